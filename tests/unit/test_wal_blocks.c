/* Where the log's bytes go: whole blocks, filled with zeros beforehand. */
#include "wal_fixture.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

#define SEGMENT_BYTES ((uint64_t)1024 * 1024)

static int setup(void **state)
{
    struct wal_fixture *f = calloc(1, sizeof(*f));
    wal_fixture_init(f, SEGMENT_BYTES);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    wal_fixture_close(*state);
    free(*state);
    return 0;
}

/* Bytes from the start that have been written. */
static uint64_t written(const char *path)
{
    int fd = open(path, O_RDONLY);
    off_t hole = fd < 0 ? -1 : lseek(fd, 0, SEEK_HOLE);

    if (fd >= 0)
        (void)close(fd);
    return hole < 0 ? 0 : (uint64_t)hole;
}

/* Where a file can be written past the page cache, and tells blocks that were
 * only allocated from others. */
static bool can_tell(const struct wal_fixture *f)
{
    char path[128];
    bool can;

    (void)snprintf(path, sizeof(path), "%s/probe", f->root);
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
    if (fd < 0)
        return false;
    can = fallocate(fd, 0, 0, 65536) == 0 && written(path) == 0;
    (void)close(fd);
    (void)unlink(path);
    return can;
}

#define NEED_BLOCKS(f)                                                         \
    do {                                                                       \
        if (!can_tell(f))                                                      \
            skip();                                                            \
    } while (0)

static uint64_t await_filled(const char *path, uint64_t size)
{
    struct timespec pause = {0, 5000000};
    uint64_t bytes = 0;

    for (int i = 0; i < 2000 && bytes < size; i++) {
        bytes = written(path);
        (void)nanosleep(&pause, NULL);
    }
    return bytes;
}

/* Entries of so many bytes in all. */
static void append_bytes(struct wal_fixture *f, uint64_t *index, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes; done += 10000) {
        ++*index;
        wal_fixture_append(f, 1, *index, *index, 10000, *index);
    }
}

static void check_entries(struct wal_fixture *f, uint64_t last)
{
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_false(f->contents.repaired);
    assert_int_equal(f->contents.entry_count, last);
    for (uint64_t i = 1; i <= last; i++)
        assert_true(wal_fixture_is(&f->contents.entries[i - 1], 1, i, 10000));
}

static void a_new_log_is_filled(void **state)
{
    struct wal_fixture *f = *state;

    NEED_BLOCKS(f);
    wal_fixture_create(f);
    assert_int_equal(written(wal_fixture_path(f, 0)), SEGMENT_BYTES);
}

static void the_next_segment_is_filled_in_time(void **state)
{
    struct wal_fixture *f = *state;
    struct timespec pause = {0, 50000000};
    uint64_t index = 0;
    char tmp[128];

    NEED_BLOCKS(f);
    (void)snprintf(tmp, sizeof(tmp), "%s/0.tmp", f->dir);
    wal_fixture_create(f);
    append_bytes(f, &index, SEGMENT_BYTES / 4);
    (void)nanosleep(&pause, NULL);
    assert_int_equal(written(tmp), 0);
    append_bytes(f, &index, SEGMENT_BYTES / 2);
    assert_int_equal(await_filled(tmp, SEGMENT_BYTES), SEGMENT_BYTES);
    append_bytes(f, &index, SEGMENT_BYTES / 2);
    assert_int_equal(written(wal_fixture_path(f, 1)), SEGMENT_BYTES);
    check_entries(f, index);
}

/* The log doesn't wait for it. */
static void a_segment_may_be_taken_before_it_is_filled(void **state)
{
    struct wal_fixture *f = *state;
    struct wal_name *names;
    uint64_t index = 0;

    wal_fixture_create(f);
    for (int i = 0; i < 8; i++) {
        struct raft_entry entry = wal_fixture_entry(1, ++index, 10000);
        struct wal_batch batch = {.entries = &entry, .entry_count = 1};
        for (int k = 0; k < 60; k++) {
            assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
            raft_entry_unref(&entry);
            entry = wal_fixture_entry(1, ++index, 10000);
        }
        assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
        assert_int_equal(wal_sync(f->wal, &f->msg), 0);
        raft_entry_unref(&entry);
    }
    struct raft_hard_state hs = {1, FIXTURE_NODE, index};
    struct wal_batch batch = {.hard_state = &hs};
    assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
    assert_int_equal(wal_sync(f->wal, &f->msg), 0);
    assert_true(wal_fixture_list(f, &names) >= 5);
    free(names);
    check_entries(f, index);
}

/* Wherever in a block the log ends, it goes on from there. */
static void every_end_in_a_block(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    for (uint64_t i = 1; i <= 200; i++) {
        wal_fixture_append(f, 1, i, i, (size_t)(i * 37 % 5000), i);
        if (i % 3 == 0)
            assert_int_equal(wal_fixture_reopen(f), 0);
    }
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_false(f->contents.repaired);
    assert_int_equal(f->contents.entry_count, 200);
    for (uint64_t i = 1; i <= 200; i++)
        assert_true(wal_fixture_is(&f->contents.entries[i - 1], 1, i,
                                   (size_t)(i * 37 % 5000)));
}

/* A segment that ends with its last record, as one does that was finished just
 * before a crash, gets room again. */
static void room_is_made_at_the_start(void **state)
{
    struct wal_fixture *f = *state;
    uint64_t index = 0;
    char path[256];
    struct stat st;

    NEED_BLOCKS(f);
    wal_fixture_create(f);
    append_bytes(f, &index, 100000);
    wal_fixture_shut(f);
    (void)snprintf(path, sizeof(path), "%s", wal_fixture_path(f, 0));
    struct bytes content = wal_fixture_read(path);
    size_t end = content.len;
    while (end > 0 && content.data[end - 1] == 0)
        end--;
    free((void *)(uintptr_t)content.data);
    assert_int_equal(truncate(path, (off_t)((end + 7) & ~(size_t)7)), 0);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, SEGMENT_BYTES);
    assert_int_equal(written(path), SEGMENT_BYTES);
    append_bytes(f, &index, 100000);
    check_entries(f, index);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_new_log_is_filled),
        TEST(the_next_segment_is_filled_in_time),
        TEST(a_segment_may_be_taken_before_it_is_filled),
        TEST(every_end_in_a_block),
        TEST(room_is_made_at_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
