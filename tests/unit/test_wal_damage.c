/* Torn ends are repaired, everything else that is damaged is refused. */
#include "chorad/base/log.h"
#include "wal_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

#define SECTOR 512

struct damage {
    struct wal_fixture f;
    /* The only segment, whole, and where its records end. */
    struct bytes content;
    size_t end;
    char path[256];
};

static uint64_t frame_at(const uint8_t *p)
{
    uint64_t frame;
    memcpy(&frame, p, 8);
    return frame;
}

/* The offset behind the record at `at`. */
static size_t next_record(struct bytes content, size_t at)
{
    uint64_t frame = frame_at(content.data + at);
    uint64_t pad = frame >> 63 ? frame >> 56 & 7 : 0;
    return at + 8 + (size_t)((frame & ((UINT64_C(1) << 56) - 1)) + pad);
}

static size_t end_of_records(struct bytes content)
{
    size_t at = 0;
    while (at + 8 <= content.len && frame_at(content.data + at) != 0)
        at = next_record(content, at);
    return at;
}

static int setup(void **state)
{
    struct damage *d = calloc(1, sizeof(*d));

    wal_fixture_init(&d->f, 16 * 1024);
    d->f.options.unsafe_no_fsync = true;
    wal_fixture_create(&d->f);
    wal_fixture_append(&d->f, 1, 1, 1, 40, 1);
    wal_fixture_append(&d->f, 1, 2, 2, 700, 1);
    wal_fixture_append(&d->f, 2, 3, 4, 50, 2);
    wal_fixture_append(&d->f, 2, 5, 5, 0, 4);
    wal_fixture_append(&d->f, 2, 6, 6, 1200, 0);
    wal_fixture_append(&d->f, 2, 7, 7, 60, 5);
    wal_fixture_shut(&d->f);
    (void)snprintf(d->path, sizeof(d->path), "%s", wal_fixture_path(&d->f, 0));
    d->content = wal_fixture_read(d->path);
    d->end = end_of_records(d->content);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct damage *d = *state;
    free((void *)(uintptr_t)d->content.data);
    wal_fixture_close(&d->f);
    free(d);
    return 0;
}

static bool all_entries_good(const struct wal_contents *c)
{
    static const size_t len[] = {40, 700, 50, 50, 0, 1200, 60};
    for (size_t i = 0; i < c->entry_count; i++) {
        if (!wal_fixture_is(&c->entries[i], i < 2 ? 1 : 2, i + 1, len[i]))
            return false;
    }
    return true;
}

/* Whole records within the first `len` bytes. */
static size_t records_within(const struct damage *d, size_t len)
{
    size_t at = 0;
    while (at < d->end && next_record(d->content, at) <= len)
        at = next_record(d->content, at);
    return at;
}

/* The file ends anywhere: what is whole stays, the rest is cut off, and the
 * log goes on from there. */
static void cut_short_at_every_length(void **state)
{
    struct damage *d = *state;
    struct wal_fixture *f = &d->f;
    size_t head = next_record(d->content, next_record(d->content, 0));
    char broken[300];

    (void)snprintf(broken, sizeof(broken), "%s.broken", d->path);
    /* Without head and first snapshot there is no log to go on with. */
    for (size_t len = 0; len < next_record(d->content, head); len++) {
        wal_fixture_write(d->path, bytes_of(d->content.data, len));
        assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
    }
    for (size_t len = next_record(d->content, head); len < d->end; len++) {
        size_t whole = records_within(d, len);
        wal_fixture_write(d->path, bytes_of(d->content.data, len));
        (void)unlink(broken);
        if (wal_fixture_reopen(f) != 0)
            fail_msg("%zu bytes: %s", len, f->msg.text);
        assert_int_equal(f->contents.repaired, whole != len);
        assert_int_equal(access(broken, F_OK), whole == len ? -1 : 0);
        assert_true(all_entries_good(&f->contents));
        size_t count = f->contents.entry_count;
        wal_fixture_append(f, 3, count + 1, count + 1, 5, count + 1);
        assert_int_equal(wal_fixture_reopen(f), 0);
        assert_false(f->contents.repaired);
        assert_int_equal(f->contents.entry_count, count + 1);
    }
}

/* The disk has written only the first sectors of the last write; the length
 * of the file is right. */
static void zeros_from_every_sector_on(void **state)
{
    struct damage *d = *state;
    struct wal_fixture *f = &d->f;
    uint8_t *torn = malloc(d->content.len);

    assert_non_null(torn);
    for (size_t at = SECTOR; at < d->end; at += SECTOR) {
        memcpy(torn, d->content.data, d->content.len);
        memset(torn + at, 0, d->content.len - at);
        wal_fixture_write(d->path, bytes_of(torn, d->content.len));
        assert_int_equal(wal_fixture_reopen(f), 0);
        assert_true(f->contents.repaired == (records_within(d, at) != at));
        assert_true(all_entries_good(&f->contents));
    }
    free(torn);
}

/* ... or all but one sector. What lies behind the hole is dropped, and must
 * not come back when the log grows over the hole. */
static void one_sector_missing(void **state)
{
    struct damage *d = *state;
    struct wal_fixture *f = &d->f;
    uint8_t *torn = malloc(d->content.len);

    assert_non_null(torn);
    for (size_t at = SECTOR; at < d->end; at += SECTOR) {
        memcpy(torn, d->content.data, d->content.len);
        memset(torn + at, 0, SECTOR);
        wal_fixture_write(d->path, bytes_of(torn, d->content.len));
        assert_int_equal(wal_fixture_reopen(f), 0);
        assert_true(f->contents.repaired);
        assert_true(all_entries_good(&f->contents));
        size_t count = f->contents.entry_count;
        for (uint64_t i = count + 1; i < count + 20; i++) {
            wal_fixture_append(f, 3, i, i, 5, i);
            assert_int_equal(wal_fixture_reopen(f), 0);
            assert_false(f->contents.repaired);
            assert_int_equal(f->contents.entry_count, i);
        }
    }
    free(torn);
}

/* What the disk lost begins right behind a record: nothing of the next one is
 * there, but of later ones. */
static void nothing_of_a_record_there(void **state)
{
    struct damage *d = *state;
    struct wal_fixture *f = &d->f;
    uint8_t *torn = malloc(d->content.len);
    size_t at = next_record(d->content, 0);

    assert_non_null(torn);
    at = next_record(d->content, next_record(d->content, at));
    for (; at + SECTOR < d->end; at = next_record(d->content, at)) {
        size_t gap = SECTOR - at % SECTOR;
        memcpy(torn, d->content.data, d->content.len);
        memset(torn + at, 0, gap);
        wal_fixture_write(d->path, bytes_of(torn, d->content.len));
        assert_int_equal(wal_fixture_reopen(f), 0);
        assert_true(f->contents.repaired);
        assert_true(all_entries_good(&f->contents));
        uint64_t count = f->contents.entry_count;
        for (uint64_t i = count + 1; i < count + 12; i++)
            wal_fixture_append(f, 3, i, i, 30, i);
        assert_int_equal(wal_fixture_reopen(f), 0);
        assert_int_equal(f->contents.entry_count, count + 11);
    }
    free(torn);
}

static bool in_padding(const struct damage *d, size_t byte)
{
    size_t at = records_within(d, byte);
    uint64_t frame = frame_at(d->content.data + at);
    uint64_t pad = frame >> 63 ? frame >> 56 & 7 : 0;
    return byte >= next_record(d->content, at) - pad;
}

/* No flipped bit passes for a log, nor for a torn end. */
static void every_flipped_bit_is_found(void **state)
{
    struct damage *d = *state;
    struct wal_fixture *f = &d->f;
    uint8_t *copy = malloc(d->content.len);

    assert_non_null(copy);
    memcpy(copy, d->content.data, d->content.len);
    f->msg.text[0] = '\0';
    for (size_t bit = 0; bit < d->end * 8; bit++) {
        struct wal_contents contents;
        FILE *file = fopen(d->path, "r+b");
        assert_non_null(file);
        uint8_t byte = (uint8_t)(copy[bit / 8] ^ 1U << bit % 8);
        assert_int_equal(fseek(file, (long)(bit / 8), SEEK_SET), 0);
        assert_int_equal(fputc(byte, file), byte);
        assert_int_equal(fclose(file), 0);
        int err = wal_read(f->dir, NULL, &contents, &f->msg);
        if (in_padding(d, bit / 8)) {
            assert_int_equal(err, 0);
            assert_int_equal(contents.entry_count, 7);
        } else if (err != ERR_CORRUPT) {
            print_message("bit %zu of byte %zu\n", bit % 8, bit / 8);
            fail();
        } else {
            assert_true(strstr(f->msg.text, "0000.wal: byte ") ||
                        strstr(f->msg.text, "no snapshot record"));
            assert_non_null(strstr(f->msg.text, "add it again"));
        }
        wal_contents_close(&contents);
        file = fopen(d->path, "r+b");
        assert_int_equal(fseek(file, (long)(bit / 8), SEEK_SET), 0);
        (void)fputc(copy[bit / 8], file);
        assert_int_equal(fclose(file), 0);
    }
    free(copy);
}

/* A disk that has damaged a length seldom leaves the record whole: neither
 * alone tells that this isn't the end. */
static void damaged_length_and_record(void **state)
{
    static const uint64_t lengths[] = {0,
                                       1 << 3,
                                       1 << 12,
                                       1 << 20,
                                       UINT64_C(1) << 30,
                                       UINT64_C(1) << 40,
                                       (UINT64_C(1) << 56) - 8};
    struct damage *d = *state;
    uint8_t *bytes = malloc(d->content.len);
    size_t at = next_record(d->content, next_record(d->content, 0));

    assert_non_null(bytes);
    for (at = next_record(d->content, at); at < d->end;
         at = next_record(d->content, at)) {
        size_t end = next_record(d->content, at);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
            memcpy(bytes, d->content.data, d->content.len);
            memcpy(bytes + at, &lengths[i], 8);
            for (size_t n = at + 8 + (end - at - 8) / 2; n < end; n++)
                bytes[n] = 0xff;
            wal_fixture_write(d->path, bytes_of(bytes, d->content.len));
            if (wal_fixture_reopen(&d->f) != ERR_CORRUPT)
                fail_msg("byte %zu, length %zu passes", at, i);
        }
    }
    free(bytes);
}

/* Payloads of zeros look like sectors never written; whole records beside
 * them tell. */
static void zeros_in_payloads(void **state)
{
    struct damage *d = *state;
    struct wal_fixture *f = &d->f;
    uint8_t *zeros = calloc(1, 4000);

    wal_fixture_write(d->path, d->content);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_non_null(zeros);
    struct raft_entry entry = raft_entry_new(RAFT_ENTRY_NORMAL, zeros, 4000);
    entry.term = 3;
    entry.index = 8;
    struct wal_batch batch = {.entries = &entry, .entry_count = 1};
    assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
    wal_fixture_append(f, 3, 9, 9, 5, 9);
    raft_entry_unref(&entry);
    free(zeros);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 9);
    wal_fixture_shut(f);

    /* Its length flipped to one that reaches far into the zeros, and to
     * none. */
    static const uint64_t flips[] = {UINT64_C(1) << 12, UINT64_C(1) << 13,
                                     UINT64_C(1) << 30};
    struct bytes content = wal_fixture_read(d->path);
    uint8_t *bytes = (uint8_t *)(uintptr_t)content.data;
    for (size_t i = 0; i < 3; i++) {
        uint64_t frame = frame_at(bytes + d->end);
        uint64_t flipped = frame ^ flips[i];
        memcpy(bytes + d->end, &flipped, 8);
        wal_fixture_write(d->path, content);
        assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
        assert_non_null(strstr(f->msg.text, "length of a record"));
        memcpy(bytes + d->end, &frame, 8);
    }
    free(bytes);
}

/* Only the last segment may be torn. */
static void older_segments_may_not_end_early(void **state)
{
    struct damage *d = *state;
    struct wal_fixture *f = &d->f;
    struct stat st;

    wal_fixture_write(d->path, d->content);
    assert_int_equal(wal_fixture_reopen(f), 0);
    wal_fixture_append(f, 3, 8, 40, 1000, 0);
    wal_fixture_append(f, 3, 41, 41, 1000, 41);
    wal_fixture_shut(f);
    assert_int_equal(stat(d->path, &st), 0);
    assert_int_equal(truncate(d->path, st.st_size - 40), 0);
    assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
    assert_non_null(strstr(f->msg.text, "0000000000000000-0000000000000000"));

    /* Right behind a record, only the next segment's checksum tells. */
    struct bytes content = wal_fixture_read(d->path);
    size_t at = 0;
    while (next_record(content, at) + 8 < content.len &&
           next_record(content, next_record(content, at)) <= content.len)
        at = next_record(content, at);
    free((void *)(uintptr_t)content.data);
    assert_int_equal(truncate(d->path, (off_t)at), 0);
    assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
    assert_non_null(strstr(f->msg.text, "0000000000000001-"));
    assert_non_null(strstr(f->msg.text, "does not continue"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(cut_short_at_every_length),
        TEST(zeros_from_every_sector_on),
        TEST(one_sector_missing),
        TEST(nothing_of_a_record_there),
        TEST(every_flipped_bit_is_found),
        TEST(damaged_length_and_record),
        TEST(zeros_in_payloads),
        TEST(older_segments_may_not_end_early),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
