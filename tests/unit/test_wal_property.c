/* Random histories against a model: what was appended comes back after every
 * reopening, through cuts, snapshots, purges and torn ends. */
#include "chorad/base/log.h"
#include "wal_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

#define ROUNDS 40
#define STEPS 120
#define INDEX_MAX 4000

struct model {
    struct wal_fixture f;
    struct prng prng;
    uint64_t term;
    uint64_t last;
    uint64_t commit;
    uint64_t snapshot;
    uint64_t snapshot_term;
    uint64_t terms[INDEX_MAX];
    size_t lens[INDEX_MAX];
};

static void append_some(struct model *m)
{
    uint64_t first = m->last + 1;
    uint64_t count = prng_below(&m->prng, 12);
    struct raft_entry entries[12];
    struct raft_hard_state hs;

    if (prng_below(&m->prng, 10) == 0) {
        m->term++;
        if (m->last > m->commit)
            first = m->commit + 1 + prng_below(&m->prng, m->last - m->commit);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t index = first + i;
        size_t len = (size_t)prng_below(&m->prng, 1500);
        if (prng_below(&m->prng, 5) == 0)
            len = 0;
        entries[i] = wal_fixture_entry(m->term, index, len);
        m->terms[index] = m->term;
        m->lens[index] = len;
    }
    if (count > 0)
        m->last = first + count - 1;
    m->commit += prng_below(&m->prng, m->last - m->commit + 1);
    hs = (struct raft_hard_state){m->term, 0, m->commit};
    struct wal_batch batch = {
        .entries = entries,
        .entry_count = (size_t)count,
        .hard_state = &hs,
    };
    assert_int_equal(wal_append(m->f.wal, &batch, &m->f.msg), 0);
    for (uint64_t i = 0; i < count; i++)
        raft_entry_unref(&entries[i]);
}

static void take_snapshot(struct model *m)
{
    struct raft_conf_state cs = {0};

    if (m->commit == m->snapshot)
        return;
    m->snapshot += 1 + prng_below(&m->prng, m->commit - m->snapshot);
    m->snapshot_term = m->terms[m->snapshot];
    raft_ids_add(&cs.voters, m->snapshot);
    struct raft_snapshot *snapshot =
        raft_snapshot_new(m->snapshot, m->snapshot_term, &cs, NULL);
    struct wal_batch batch = {.snapshot = snapshot};
    assert_int_equal(wal_append(m->f.wal, &batch, &m->f.msg), 0);
    raft_snapshot_unref(snapshot);
    raft_conf_state_close(&cs);
    if (prng_below(&m->prng, 2) == 0) {
        assert_int_equal(wal_sync(m->f.wal, &m->f.msg), 0);
        wal_release(m->f.wal, m->snapshot);
        assert_int_equal(wal_purge(m->f.wal, 2, &m->f.msg), 0);
    }
}

static void check(const struct model *m)
{
    const struct wal_contents *c = &m->f.contents;

    if (m->last > 0)
        assert_int_equal(c->hard_state.term, m->term);
    assert_int_equal(c->hard_state.commit, m->commit);
    assert_int_equal(c->snapshot.index, m->snapshot);
    assert_int_equal(c->snapshot.term, m->snapshot_term);
    if (m->snapshot > 0)
        assert_int_equal(c->snapshot.conf_state.voters.ids[0], m->snapshot);
    assert_int_equal(c->entry_count, m->last - m->snapshot);
    for (size_t i = 0; i < c->entry_count; i++) {
        uint64_t index = m->snapshot + 1 + i;
        assert_true(wal_fixture_is(&c->entries[i], m->terms[index], index,
                                   m->lens[index]));
    }
}

static void reopen(struct model *m)
{
    if (wal_fixture_reopen(&m->f) != 0)
        fail_msg("%s", m->f.msg.text);
    assert_false(m->f.contents.repaired);
    check(m);
}

/* Cuts the end of the last segment off; what is left is a beginning of what
 * was there. */
static void tear(struct model *m)
{
    char path[256];
    struct wal_name *names;
    struct stat st;
    size_t count = wal_fixture_list(&m->f, &names);

    free(names);
    wal_fixture_shut(&m->f);
    (void)snprintf(path, sizeof(path), "%s",
                   wal_fixture_path(&m->f, count - 1));
    assert_int_equal(stat(path, &st), 0);
    struct bytes content = wal_fixture_read(path);
    size_t end = content.len;
    while (end > 0 && content.data[end - 1] == 0)
        end--;
    free((void *)(uintptr_t)content.data);
    end -= (size_t)prng_below(&m->prng, 3000);
    if (end > content.len || end < 200)
        end = 200;
    assert_int_equal(truncate(path, (off_t)end), 0);
    /* It may be the snapshot record that is lost, or the segment's head. */
    int err = wal_fixture_reopen(&m->f);
    if (err == 0) {
        const struct wal_contents *c = &m->f.contents;
        assert_true(c->hard_state.commit <= m->commit);
        assert_true(c->snapshot.index <= m->snapshot);
        for (size_t i = 0; i < c->entry_count; i++)
            assert_int_equal(c->entries[i].index, c->snapshot.index + 1 + i);
    } else {
        assert_int_equal(err, ERR_CORRUPT);
    }
}

static void random_histories(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct model *m = calloc(1, sizeof(*m));
        uint64_t seed = random_u64() >> 20;

        print_message("seed %llu\n", (unsigned long long)seed);
        m->prng.state =
            getenv("WAL_SEED") ? strtoull(getenv("WAL_SEED"), NULL, 10) : seed;
        m->term = 1;
        wal_fixture_init(&m->f, 4096 + prng_below(&m->prng, 64) * 1024);
        m->f.options.unsafe_no_fsync = true;
        wal_fixture_create(&m->f);
        for (size_t step = 0; step < STEPS; step++) {
            switch (prng_below(&m->prng, 10)) {
            case 0:
                reopen(m);
                break;
            case 1:
                take_snapshot(m);
                break;
            case 2:
                assert_int_equal(wal_flush(m->f.wal, &m->f.msg), 0);
                break;
            default:
                append_some(m);
            }
        }
        reopen(m);
        tear(m);
        wal_fixture_close(&m->f);
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
