#include "reader.h"
#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"
#include "chorad/base/pb.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_BYTES (512 * 1024)
/* What a disk writes as a whole: a record isn't torn within a sector. */
#define SECTOR_BYTES 512
#define RECORD_MAX (UINT64_C(1) << 31)

/* ---- sources ----------------------------------------------------------- */

static int read_memory(const struct wal_source *source, uint64_t offset,
                       void *out, size_t len, struct errmsg *msg)
{
    (void)msg;
    memcpy(out, source->memory + offset, len);
    return 0;
}

struct wal_source wal_source_memory(const char *name, struct bytes content)
{
    return (struct wal_source){.name = name,
                               .size = content.len,
                               .read = read_memory,
                               .memory = content.data,
                               .fd = -1};
}

static int read_file(const struct wal_source *source, uint64_t offset,
                     void *out, size_t len, struct errmsg *msg)
{
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = pread(source->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(msg, n < 0 ? errno : EIO, "%s: read at byte %llu",
                             source->name, (unsigned long long)offset);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int wal_source_file(struct wal_source *source, const char *name, int fd,
                    struct errmsg *msg)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(msg, errno, "%s", name);
    *source = (struct wal_source){.name = name,
                                  .size = (uint64_t)st.st_size,
                                  .read = read_file,
                                  .fd = fd};
    return 0;
}

/* ---- window ------------------------------------------------------------ */

/* Where the `len` bytes at `offset` are; they lie within the source. */
static int load(struct wal_reader *r, uint64_t offset, size_t len,
                const uint8_t **out, struct errmsg *msg)
{
    uint64_t rest = r->source->size - offset;
    uint64_t have = 0;

    CHECK(len <= rest);
    if (r->window && offset >= r->window_offset &&
        offset < r->window_offset + r->window->len)
        have = r->window_offset + r->window->len - offset;
    if (have < len) {
        size_t want = len > WINDOW_BYTES ? len : WINDOW_BYTES;
        if (want > rest)
            want = (size_t)rest;
        struct shared *window = shared_new(want);
        if (have > 0)
            memcpy(window->data, r->window->data + (offset - r->window_offset),
                   have);
        int err = r->source->read(r->source, offset + have, window->data + have,
                                  want - (size_t)have, msg);
        if (err < 0) {
            shared_unref(window);
            return err;
        }
        shared_unref(r->window);
        r->window = window;
        r->window_offset = offset;
    }
    *out = r->window->data + (offset - r->window_offset);
    return 0;
}

void wal_reader_init(struct wal_reader *r, const struct wal_source *source,
                     bool last)
{
    *r = (struct wal_reader){.source = source, .last = last};
}

void wal_reader_next_segment(struct wal_reader *r,
                             const struct wal_source *source, bool last)
{
    shared_unref(r->window);
    r->window = NULL;
    r->source = source;
    r->last = last;
    r->offset = 0;
    r->record_offset = 0;
}

void wal_reader_close(struct wal_reader *r)
{
    shared_unref(r->window);
    r->window = NULL;
}

/* ---- damage ------------------------------------------------------------ */

int wal_reader_damaged(const struct wal_reader *r, struct errmsg *msg,
                       const char *fmt, ...)
{
    char what[160];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return err_set(msg, ERR_CORRUPT, "%s: byte %llu: %s; " WAL_ADVICE,
                   r->source->name, (unsigned long long)r->record_offset, what);
}

/* A crash leaves sectors that were never written: zeros all over, as the
 * segment was preallocated. Is there one among those that the `len` bytes at
 * `offset` touch? `p` is what lies at `offset`, up to the end of the last of
 * these sectors. */
static bool has_unwritten_sector(const uint8_t *p, size_t len, uint64_t offset)
{
    size_t at = (size_t)(-offset % SECTOR_BYTES);

    for (; at < len; at += SECTOR_BYTES) {
        size_t n = len - at < SECTOR_BYTES ? len - at : SECTOR_BYTES;
        size_t i = 0;
        while (i < n && p[at + i] == 0)
            i++;
        if (i == n)
            return true;
    }
    return false;
}

/* If the bytes begin with a record that is whole by its own lengths and goes
 * on the checksum: its length, else 0. */
static size_t whole_record(const struct wal_reader *r, const uint8_t *p,
                           size_t len)
{
    struct pb_reader in = {p, p + len};
    struct pb_field f;
    uint64_t crc = 0;

    for (uint32_t number = 1; number <= 3; number++) {
        if (pb_next(&in, &f) <= 0 || f.number != number ||
            f.wire != (number == 3 ? PB_LEN : PB_VARINT))
            return 0;
        if (number == 2)
            crc = f.value;
    }
    if (crc32c(r->crc, f.bytes.data, f.bytes.len) != crc)
        return 0;
    return (size_t)(in.at - p);
}

/* The frame is there, and what stands behind it in the same sector was written
 * with it: a head that is about another length means that the frame, or the
 * head, is damaged. */
static int check_length(struct wal_reader *r, uint64_t announced,
                        struct errmsg *msg)
{
    uint64_t offset = r->record_offset + WAL_FRAME_BYTES;
    size_t len = (size_t)(-offset % SECTOR_BYTES);
    const uint8_t *p;

    if (r->source->size < offset)
        return 0;
    if (len > r->source->size - offset)
        len = (size_t)(r->source->size - offset);
    int err = load(r, offset, len, &p, msg);
    if (err < 0)
        return err;
    if (wal_record_contradicts(bytes_of(p, len), announced))
        return wal_reader_damaged(r, msg, "length of a record is damaged");
    return 0;
}

/* The `len` bytes behind the frame at r->record_offset aren't a good record
 * of `announced` bytes, or the file ends with them. Decides between the torn
 * end of a log (0) and damage. */
static int not_whole(struct wal_reader *r, size_t len, uint64_t announced,
                     bool short_file, const char *what, struct errmsg *msg)
{
    uint64_t offset = r->record_offset + WAL_FRAME_BYTES;
    const uint8_t *p = NULL;

    if (!r->last || !r->seeded)
        return wal_reader_damaged(r, msg, "%s", what);
    int err = check_length(r, announced, msg);
    if (err < 0)
        return err;
    if (len > 0) {
        /* The last sector as a whole: what follows in it was written in the
         * same moment or later. */
        uint64_t end =
            (offset + len + SECTOR_BYTES - 1) & ~(uint64_t)(SECTOR_BYTES - 1);
        if (end > r->source->size)
            end = r->source->size;
        err = load(r, offset, (size_t)(end - offset), &p, msg);
        if (err < 0)
            return err;
        if (!short_file &&
            !has_unwritten_sector(p, (size_t)(end - offset), offset))
            return wal_reader_damaged(r, msg, "%s", what);
        /* All that is left, as the frame may announce too little. */
        uint64_t rest = r->source->size - offset;
        if (rest > RECORD_MAX)
            rest = RECORD_MAX;
        err = load(r, offset, (size_t)rest, &p, msg);
        if (err < 0)
            return err;
        size_t whole = whole_record(r, p, (size_t)rest);
        /* Not the record is torn but its frame is damaged, and cutting the
         * log off here would lose what was promised. */
        if (whole > 0 && whole != announced)
            return wal_reader_damaged(r, msg, "length of a record is damaged");
    }
    r->torn = true;
    return 0;
}

/* A zero where a frame should be ends the log. If just this frame is damaged
 * what was written with it still stands there: in the same sector, unless the
 * frame was its sector's last 8 bytes. */
static int end_of_log(struct wal_reader *r, struct errmsg *msg)
{
    uint64_t at = r->offset + WAL_FRAME_BYTES;
    uint64_t rest = r->source->size - at;
    const uint8_t *p;

    if (rest == 0 || at % SECTOR_BYTES == 0)
        return 0;
    int err = load(r, at, 1, &p, msg);
    if (err < 0 || p[0] == 0)
        return err;
    return wal_reader_damaged(r, msg, "length of a record is zero");
}

/* ---- records ----------------------------------------------------------- */

static int check_record(struct wal_reader *r, const struct wal_record *record,
                        struct errmsg *msg)
{
    if (record->type != WAL_CRC) {
        if (!r->seeded)
            return wal_reader_damaged(r, msg, "no crc record at the start");
        return 0;
    }
    if (record->data.len > 0)
        return wal_reader_damaged(r, msg, "crc record with data");
    if (r->seeded && record->crc != r->crc)
        return wal_reader_damaged(
            r, msg,
            "checksum %08x does not continue %08x, where the records "
            "before end",
            record->crc, r->crc);
    r->crc = record->crc;
    r->seeded = true;
    return 0;
}

/* The record in the `len` bytes at `p`; 1, 0 if torn, or damage. */
static int take_record(struct wal_reader *r, struct wal_record *record,
                       const uint8_t *p, size_t len, struct errmsg *msg)
{
    if (wal_record_get(record, bytes_of(p, len)) < 0)
        return not_whole(r, len, len, false, "not a record", msg);
    int err = check_record(r, record, msg);
    if (err < 0)
        return err;
    if (record->type == WAL_CRC)
        return 1;
    uint32_t crc = crc32c(r->crc, record->data.data, record->data.len);
    if (crc != record->crc)
        return not_whole(r, len, len, false, "checksum mismatch", msg);
    r->crc = crc;
    return 1;
}

int wal_reader_next(struct wal_reader *r, struct wal_record *record,
                    struct errmsg *msg)
{
    uint64_t rest = r->source->size - r->offset;
    const uint8_t *p;

    if (rest == 0 || r->torn)
        return 0;
    r->record_offset = r->offset;
    if (rest < WAL_FRAME_BYTES)
        return not_whole(r, 0, 0, true, "segment ends within a length", msg);
    int err = load(r, r->offset, WAL_FRAME_BYTES, &p, msg);
    if (err < 0)
        return err;
    uint64_t frame = le_get_u64(p);
    if (frame == 0)
        return end_of_log(r, msg);
    uint64_t len = wal_frame_record_bytes(frame);
    uint64_t pad = wal_frame_pad_bytes(frame);
    rest -= WAL_FRAME_BYTES;
    if ((len + pad) % 8 != 0 || (frame >> 56 & 0x78) != 0 ||
        (pad == 0 && frame >> 56 != 0))
        return wal_reader_damaged(r, msg, "length of a record is damaged");

    uint64_t got = len + pad > rest ? rest : len + pad;
    if (len > RECORD_MAX)
        return wal_reader_damaged(r, msg, "record of %llu bytes",
                                  (unsigned long long)len);
    err = load(r, r->offset + WAL_FRAME_BYTES, (size_t)got, &p, msg);
    if (err < 0)
        return err;
    if (got < len + pad)
        return not_whole(r, (size_t)got, len, true,
                         "record goes on behind the segment's end", msg);
    int rv = take_record(r, record, p, (size_t)len, msg);
    if (rv == 1)
        r->offset += WAL_FRAME_BYTES + len + pad;
    return rv;
}
