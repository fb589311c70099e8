/* The log on disk: create, append, reopen, cut, release, purge. */
#include "wal_fixture.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

static int setup(void **state)
{
    struct wal_fixture *f = calloc(1, sizeof(*f));
    wal_fixture_init(f, 16 * 1024);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    wal_fixture_close(*state);
    free(*state);
    return 0;
}

static void assert_entries(const struct wal_fixture *f, uint64_t term,
                           uint64_t first, uint64_t last, size_t len)
{
    const struct wal_contents *c = &f->contents;
    for (uint64_t i = first; i <= last; i++) {
        size_t at = (size_t)(i - c->snapshot.index - 1);
        assert_true(at < c->entry_count);
        assert_true(wal_fixture_is(&c->entries[at], term, i, len));
    }
}

static void a_new_log_is_empty(void **state)
{
    struct wal_fixture *f = *state;
    struct wal_metadata metadata = {1, 2};
    struct stat st;

    assert_false(wal_exists(f->dir));
    assert_int_equal(wal_open(&f->wal, f->dir, NULL, &f->contents, &f->msg),
                     ERR_NOTFOUND);
    wal_fixture_create(f);
    assert_true(wal_exists(f->dir));
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(wal_fixture_path(f, 0), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, 16 * 1024);
    assert_string_equal(strrchr(wal_fixture_path(f, 0), '/') + 1,
                        "0000000000000000-0000000000000000.wal");
    struct wal *second;
    assert_int_equal(
        wal_create(&second, f->dir, &f->options, &metadata, &f->msg),
        ERR_EXISTS);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.metadata.node_id, FIXTURE_NODE);
    assert_int_equal(f->contents.metadata.cluster_id, FIXTURE_CLUSTER);
    assert_int_equal(f->contents.entry_count, 0);
    assert_int_equal(f->contents.snapshot_count, 1);
    assert_int_equal(f->contents.hard_state.term, 0);
    assert_false(f->contents.repaired);
}

static void parents_are_made(void **state)
{
    struct wal_fixture *f = *state;
    struct wal_metadata metadata = {1, 2};
    char dir[128];

    (void)snprintf(dir, sizeof(dir), "%s/a/b/wal/", f->root);
    assert_int_equal(wal_create(&f->wal, dir, &f->options, &metadata, &f->msg),
                     0);
    assert_int_equal(wal_close(f->wal, NULL), 0);
    f->wal = NULL;
    assert_true(wal_exists(dir));
    (void)snprintf(dir, sizeof(dir), "rm -r %s/a", f->root);
    assert_int_equal(system(dir), 0);
}

static void entries_come_back(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 5, 100, 3);
    wal_fixture_append(f, 2, 6, 6, 0, 0);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 6);
    assert_entries(f, 1, 1, 5, 100);
    assert_entries(f, 2, 6, 6, 0);
    assert_int_equal(f->contents.hard_state.term, 1);
    assert_int_equal(f->contents.hard_state.vote, FIXTURE_NODE);
    assert_int_equal(f->contents.hard_state.commit, 3);

    wal_fixture_append(f, 2, 7, 9, 10, 9);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 9);
    assert_entries(f, 2, 7, 9, 10);
}

static void a_hard_state_alone(void **state)
{
    struct wal_fixture *f = *state;
    struct raft_hard_state hs = {7, 0, 0};
    struct wal_batch batch = {.hard_state = &hs};
    struct wal_batch nothing = {.hard_state = &(struct raft_hard_state){0}};

    wal_fixture_create(f);
    assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
    assert_int_equal(wal_append(f->wal, &nothing, &f->msg), 0);
    assert_int_equal(wal_flush(f->wal, &f->msg), 0);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.hard_state.term, 7);
    assert_int_equal(f->contents.hard_state.vote, 0);
}

static void later_entries_overwrite(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 10, 20, 4);
    wal_fixture_append(f, 2, 6, 7, 30, 5);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 7);
    assert_entries(f, 1, 1, 5, 20);
    assert_entries(f, 2, 6, 7, 30);
}

static void committed_entries_are_not_overwritten(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 10, 20, 8);
    wal_fixture_append(f, 2, 8, 9, 30, 0);
    assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
    assert_non_null(strstr(f->msg.text, "0000.wal: byte "));
    assert_non_null(strstr(f->msg.text, "entry 8 written after 8"));
}

static void a_gap_is_refused(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 3, 20, 1);
    wal_fixture_append(f, 1, 5, 6, 20, 1);
    assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
    assert_non_null(strstr(f->msg.text, "entry 5 where 4 should follow"));
}

static void full_segments_are_cut(void **state)
{
    struct wal_fixture *f = *state;
    struct wal_name *names;
    struct stat st;

    wal_fixture_create(f);
    for (uint64_t i = 1; i <= 100; i++)
        wal_fixture_append(f, 3, i, i, 1000, i);
    size_t count = wal_fixture_list(f, &names);
    assert_in_range(count, 6, 8);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(names[i].seq, i);
        assert_int_equal(stat(wal_fixture_path(f, i), &st), 0);
        assert_true(st.st_size >= 16 * 1024);
    }
    assert_int_equal(names[1].index, 17);
    free(names);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 100);
    assert_entries(f, 3, 1, 100, 1000);
    assert_int_equal(f->contents.hard_state.commit, 100);

    /* A segment knows the hard state of those before it. */
    struct raft_hard_state hs = {4, 0, 100};
    struct wal_batch batch = {.hard_state = &hs};
    assert_int_equal(wal_append(f->wal, &batch, NULL), 0);
    wal_fixture_append(f, 4, 101, 120, 1000, 0);
    assert_int_equal(wal_fixture_list(f, &names), count + 1);
    free(names);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 120);
    assert_int_equal(f->contents.hard_state.term, 4);
}

static void large_entries_go_through(void **state)
{
    struct wal_fixture *f = *state;

    f->options.segment_bytes = 4 << 20;
    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 1, 9 << 20, 1);
    wal_fixture_append(f, 1, 2, 8, 1 << 20, 8);
    wal_fixture_append(f, 1, 9, 9, 10, 9);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 9);
    assert_entries(f, 1, 1, 1, 9 << 20);
    assert_entries(f, 1, 2, 8, 1 << 20);
    assert_entries(f, 1, 9, 9, 10);
}

static void append_snapshot(struct wal_fixture *f, uint64_t index,
                            uint64_t term, uint64_t voter)
{
    struct raft_conf_state cs = {0};
    raft_ids_add(&cs.voters, voter);
    struct raft_snapshot *snapshot = raft_snapshot_new(index, term, &cs, NULL);
    struct wal_batch batch = {.snapshot = snapshot};
    assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
    assert_int_equal(wal_sync(f->wal, &f->msg), 0);
    raft_snapshot_unref(snapshot);
    raft_conf_state_close(&cs);
}

/* Entries of a term that was overruled don't come back behind a snapshot of
 * what took their place. */
static void overwritten_ones_stay_gone_behind_a_snapshot(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 10, 20, 4);
    wal_fixture_append(f, 2, 6, 7, 30, 7);
    append_snapshot(f, 7, 2, 5);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.snapshot.index, 7);
    assert_int_equal(f->contents.entry_count, 0);
}

static void starts_at_the_newest_committed_snapshot(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 20, 100, 15);
    append_snapshot(f, 10, 1, 5);
    append_snapshot(f, 14, 1, 6);
    append_snapshot(f, 18, 1, 7);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.snapshot.index, 14);
    assert_int_equal(f->contents.snapshot.conf_state.voters.ids[0], 6);
    assert_int_equal(f->contents.snapshot_count, 4);
    assert_int_equal(f->contents.entry_count, 6);
    assert_entries(f, 1, 15, 20, 100);

    f->options.snapshot_limit = 13;
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.snapshot.index, 10);
    assert_entries(f, 1, 11, 20, 100);
    f->options.snapshot_limit = 0;

    wal_fixture_append(f, 1, 21, 21, 100, 21);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.snapshot.index, 18);
    assert_int_equal(f->contents.entry_count, 3);
}

/* A leader has sent a snapshot: the log goes on behind it. */
static void a_received_snapshot_leaves_a_gap(void **state)
{
    struct wal_fixture *f = *state;
    struct raft_hard_state hs = {2, 0, 100};
    struct wal_batch batch = {.hard_state = &hs};

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 5, 100, 5);
    append_snapshot(f, 100, 2, 5);
    assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
    wal_fixture_append(f, 2, 101, 140, 1000, 140);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.snapshot.index, 100);
    assert_int_equal(f->contents.entry_count, 40);
    assert_entries(f, 2, 101, 140, 1000);
}

/* A segment that follows such a snapshot is named after what comes next, and
 * begins with checksum, metadata and the hard state. */
static void the_next_segment_follows_a_snapshot(void **state)
{
    struct wal_fixture *f = *state;
    struct raft_hard_state hs = {2, 0, 100};
    struct wal_batch batch = {.hard_state = &hs};
    struct wal_name *names;
    size_t count = 1;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 15, 1000, 5);
    append_snapshot(f, 100, 2, 5);
    for (size_t i = 0; i < 1000 && count == 1; i++) {
        assert_int_equal(wal_append(f->wal, &batch, &f->msg), 0);
        count = wal_fixture_list(f, &names);
        if (count == 1)
            free(names);
    }
    assert_int_equal(count, 2);
    assert_int_equal(names[1].index, 101);
    free(names);
    struct bytes content = wal_fixture_read(wal_fixture_path(f, 1));
    size_t at = 0;
    static const uint8_t types[] = {4, 1, 3};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(content.data[at + 9], types[i]);
        at += 8 + (size_t)content.data[at] + (content.data[at + 7] & 7);
    }
    free((void *)(uintptr_t)content.data);
}

static void old_segments_are_purged(void **state)
{
    struct wal_fixture *f = *state;
    struct wal_name *names;

    wal_fixture_create(f);
    for (uint64_t i = 1; i <= 100; i++)
        wal_fixture_append(f, 3, i, i, 1000, i);
    append_snapshot(f, 60, 3, 1);
    size_t count = wal_fixture_list(f, &names);
    uint64_t second = names[1].index;
    free(names);
    assert_int_equal(wal_purge(f->wal, 1, &f->msg), 0);
    assert_int_equal(wal_fixture_list(f, &names), count);
    free(names);

    wal_release(f->wal, second - 1);
    assert_int_equal(wal_purge(f->wal, 1, &f->msg), 0);
    assert_int_equal(wal_fixture_list(f, &names), count);
    free(names);

    wal_release(f->wal, 60);
    assert_int_equal(wal_purge(f->wal, 0, &f->msg), 0);
    assert_int_equal(wal_purge(f->wal, count - 1, &f->msg), 0);
    assert_int_equal(wal_fixture_list(f, &names), count - 1);
    free(names);
    assert_int_equal(wal_purge(f->wal, 1, &f->msg), 0);
    size_t left = wal_fixture_list(f, &names);
    assert_true(left < count - 1);
    assert_true(names[0].index <= 60 && names[1].index > 60);
    free(names);

    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.snapshot.index, 60);
    assert_int_equal(f->contents.entry_count, 40);
    assert_entries(f, 3, 61, 100, 1000);
}

static void a_missing_segment_is_named(void **state)
{
    struct wal_fixture *f = *state;

    wal_fixture_create(f);
    for (uint64_t i = 1; i <= 100; i++)
        wal_fixture_append(f, 3, i, i, 1000, i);
    wal_fixture_shut(f);
    assert_int_equal(unlink(wal_fixture_path(f, 2)), 0);
    assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
    assert_non_null(strstr(f->msg.text, "segment 0000000000000002 is missing"));
}

static void an_open_log_is_locked(void **state)
{
    struct wal_fixture *f = *state;
    struct wal_contents contents;
    struct wal *second;

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 3, 10, 3);
    assert_int_equal(wal_open(&second, f->dir, NULL, &contents, &f->msg),
                     ERR_BUSY);
    assert_non_null(strstr(f->msg.text, ".wal: in use"));
    assert_int_equal(wal_read(f->dir, NULL, &contents, &f->msg), 0);
    assert_int_equal(contents.entry_count, 3);
    wal_contents_close(&contents);
    assert_int_equal(wal_fixture_reopen(f), 0);
}

/* A crash while a segment was being made leaves a temporary file with a head
 * in it. */
static void a_temporary_file_is_no_segment(void **state)
{
    struct wal_fixture *f = *state;
    char tmp[128];

    wal_fixture_create(f);
    wal_fixture_append(f, 1, 1, 3, 10, 3);
    wal_fixture_shut(f);
    (void)snprintf(tmp, sizeof(tmp), "%s/0.tmp", f->dir);
    assert_int_equal(access(tmp, F_OK), -1);
    struct bytes head = wal_fixture_read(wal_fixture_path(f, 0));
    wal_fixture_write(tmp, head);
    free((void *)(uintptr_t)head.data);
    assert_int_equal(wal_fixture_reopen(f), 0);
    for (uint64_t i = 4; i <= 60; i++)
        wal_fixture_append(f, 1, i, i, 1000, i);
    assert_int_equal(wal_fixture_reopen(f), 0);
    assert_int_equal(f->contents.entry_count, 60);
}

static void other_peoples_segments_are_refused(void **state)
{
    struct wal_fixture *f = *state;
    struct wal_fixture other;
    char to[256];

    wal_fixture_init(&other, 16 * 1024);
    struct wal_metadata metadata = {1, 2};
    assert_int_equal(
        wal_create(&other.wal, other.dir, &other.options, &metadata, NULL), 0);
    wal_fixture_create(f);
    for (uint64_t i = 1; i <= 20; i++) {
        wal_fixture_append(f, 1, i, i, 1000, i);
        wal_fixture_append(&other, 1, i, i, 1000, i);
    }
    wal_fixture_shut(f);
    wal_fixture_shut(&other);
    (void)snprintf(to, sizeof(to), "%s", wal_fixture_path(f, 1));
    assert_int_equal(rename(wal_fixture_path(&other, 1), to), 0);
    assert_int_equal(wal_fixture_reopen(f), ERR_CORRUPT);
    assert_non_null(strstr(f->msg.text, "checksum"));
    wal_fixture_close(&other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_new_log_is_empty),
        TEST(parents_are_made),
        TEST(entries_come_back),
        TEST(a_hard_state_alone),
        TEST(later_entries_overwrite),
        TEST(committed_entries_are_not_overwritten),
        TEST(overwritten_ones_stay_gone_behind_a_snapshot),
        TEST(a_gap_is_refused),
        TEST(full_segments_are_cut),
        TEST(large_entries_go_through),
        TEST(starts_at_the_newest_committed_snapshot),
        TEST(a_received_snapshot_leaves_a_gap),
        TEST(the_next_segment_follows_a_snapshot),
        TEST(old_segments_are_purged),
        TEST(a_missing_segment_is_named),
        TEST(an_open_log_is_locked),
        TEST(a_temporary_file_is_no_segment),
        TEST(other_peoples_segments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
