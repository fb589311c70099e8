/* chorad snapshot status */
#include "tool.h"

#include "chorad/base/crc32c.h"
#include "chorad/base/size.h"
#include "chorad/image.h"
#include "chorad/mvcc.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct status {
    const struct image_file *image;
    uint32_t hash;
    bool in_keys;
    int64_t revision;
    struct keys keys;
    uint64_t records;
    uint64_t read;
    struct snapshot_info info;
    struct headway headway;
    struct errmsg *msg;
};

static int on_bucket(void *arg, struct bytes name)
{
    struct status *s = arg;

    s->hash = crc32c(s->hash, name.data, name.len);
    s->in_keys = name.len == 3 && memcmp(name.data, "key", 3) == 0;
    return 0;
}

static int count_key(struct status *s, struct bytes key, struct bytes value)
{
    struct mvcc_fields fields;
    struct mvcc_rev rev;
    struct key_state *state;
    bool tombstone;

    if (mvcc_decode_rev(key, &rev, &tombstone) != 0 ||
        mvcc_decode(value, &fields) != 0)
        return err_set(s->msg, ERR_CORRUPT,
                       "bucket key: a record after revision %" PRId64
                       " isn't one",
                       s->revision);
    s->revision = rev.main;
    state = keys_at(&s->keys, fields.key);
    if (state->live == tombstone)
        s->keys.live += tombstone ? (uint64_t)-1 : 1;
    state->live = !tombstone;
    return 0;
}

static int on_record(void *arg, struct bytes key, struct bytes value)
{
    struct status *s = arg;

    s->hash = crc32c(s->hash, key.data, key.len);
    s->hash = crc32c(s->hash, value.data, value.len);
    s->records++;
    if (s->records % 1024 == 0)
        headway_at(&s->headway, s->read, s->info.bytes, s->records);
    return s->in_keys ? count_key(s, key, value) : 0;
}

static int read_at(void *arg, uint64_t offset, void *data, size_t len)
{
    struct status *s = arg;

    s->read += len;
    return image_file_read(s->image, offset, data, len, s->msg);
}

static int look(struct status *s, struct errmsg *msg)
{
    struct image_source source = {
        .size = s->image->size, .read_at = read_at, .arg = s};
    struct image_visitor visitor = {on_bucket, on_record, s};
    int err = snapshot_info_read(&s->image->file, &s->info, msg);

    if (err != 0)
        return err;
    if (s->image->has_sum) {
        err = image_file_check_sum(s->image, msg);
        if (err != 0)
            return err;
    }
    err = image_walk(&source, &visitor, msg);
    return err != 0 ? err_wrap(msg, err, "%s", s->image->file.name) : 0;
}

static int print(const struct status *s, const char *format)
{
    char hash[16];
    char number[16];
    char revision[24];
    char keys[24];
    char bytes[24];
    char *size = size_text(s->info.bytes);
    const bool readable =
        strcmp(format, "simple") == 0 || strcmp(format, "table") == 0;
    int code;

    (void)snprintf(hash, sizeof(hash), readable ? "%x" : "%u", s->hash);
    (void)snprintf(number, sizeof(number), "%u", s->hash);
    (void)snprintf(revision, sizeof(revision), "%" PRId64, s->revision);
    (void)snprintf(keys, sizeof(keys), "%" PRIu64, s->keys.live);
    (void)snprintf(bytes, sizeof(bytes), "%" PRIu64, s->info.bytes);
    const struct print_field fields[] = {
        {"hash", "hash", "Hash", hash, number},
        {"revision", "revision", "Revision", revision, revision},
        {"total keys", "totalKey", "Keys", keys, keys},
        {"total size", "totalSize", "Size", readable ? size : bytes, bytes},
        {"version", "version", "Version", s->info.version, NULL},
    };
    code = print_fields(format, fields, sizeof(fields) / sizeof(fields[0]));
    free(size);
    return code;
}

int status_run(const struct options *options)
{
    struct errmsg msg = {""};
    struct image_file image;
    struct status s = {.image = &image, .msg = &msg};
    int code = EXIT_OK;
    int err;

    if (!print_knows(options->write_out))
        return EXIT_BAD_USAGE;
    keys_open(&s.keys);
    tool_headway(&s.headway, options, "checking");
    err = image_file_open(&image, options->args[0], &msg);
    if (err == 0)
        err = look(&s, &msg);
    headway_end(&s.headway);
    code = err == 0 ? print(&s, options->write_out) : tool_fail(&msg);
    keys_close(&s.keys);
    image_file_close(&image);
    return code;
}
