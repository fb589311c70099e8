/* Readers, a watcher that catches up and hashes, while the loop writes and
 * compacts and the flush thread flushes. Worth most under TSan. */
#include "test_mvcc.h"

#include "chorad/base/check.h"

#define PAIRS 700
#define WRITES 12000

/* Every transaction writes x/i and y/i with the same value, or deletes both,
 * so that at any revision the two halves are equal. */
struct shared_state {
    struct kv *kv;
    atomic_bool stop;
    atomic_int ranges;
    atomic_int compacted;
};

struct half {
    int n;
    int64_t mods[2 * PAIRS];
    int ids[2 * PAIRS];
};

static int collect(void *arg, const struct mvcc_kv *kv)
{
    struct half *half = arg;
    struct mvcc_fields fields;
    char id[8] = {0};
    char value[24];

    CHECK(mvcc_decode(kv->record, &fields) == 0);
    CHECK(bytes_cmp(fields.key, kv->key) == 0);
    CHECK(fields.mod_rev == kv->mod_rev);
    CHECK(fields.version == kv->version);
    snprintf(value, sizeof(value), "%lld", (long long)kv->mod_rev);
    CHECK(bytes_cmp(fields.value, text(value)) == 0);
    CHECK(half->n < 2 * PAIRS);
    memcpy(id, kv->key.data + 2, kv->key.len - 2);
    half->mods[half->n] = kv->mod_rev;
    half->ids[half->n++] = atoi(id);
    return 0;
}

static void check_halves(const struct half *half)
{
    CHECK(half->n % 2 == 0);
    for (int i = 0; i < half->n / 2; i++) {
        CHECK(half->ids[i] == half->ids[i + half->n / 2]);
        CHECK(half->mods[i] == half->mods[i + half->n / 2]);
    }
}

static void read_once(struct shared_state *s, struct mvcc_reader *reader,
                      struct prng *prng)
{
    static _Thread_local struct half half;
    struct mvcc_range range = {
        .key = text("x/"), .end = text("z"), .want = MVCC_RECORDS};
    struct mvcc_range_result result;
    int64_t compacted = mvcc_compacted(s->kv->mvcc);
    int64_t current = mvcc_revision(s->kv->mvcc);
    int rv;

    if (prng_below(prng, 2))
        range.rev = current - (int64_t)prng_below(
                                  prng, (uint64_t)(current - compacted) + 1);
    if (prng_below(prng, 4) == 0) {
        range.key = text("x/0005");
        range.end = text("");
    }
    half.n = 0;
    rv = mvcc_range(reader, &range, collect, &half, &result);
    if (rv != 0) {
        CHECK(rv == ERR_COMPACTED);
        CHECK(mvcc_compacted(s->kv->mvcc) > compacted);
        atomic_fetch_add(&s->compacted, 1);
        return;
    }
    CHECK(result.count == half.n);
    if (range.end.len > 0)
        check_halves(&half);
    atomic_fetch_add(&s->ranges, 1);
}

static void *read_all_the_time(void *arg)
{
    struct shared_state *s = arg;
    struct mvcc_reader *reader;
    struct prng prng = {(uintptr_t)&reader};

    CHECK(mvcc_reader_open(s->kv->mvcc, &reader) == 0);
    while (!atomic_load(&s->stop))
        read_once(s, reader, &prng);
    mvcc_reader_close(reader);
    return NULL;
}

struct watch {
    int64_t last_main;
    int64_t last_sub;
};

static int follow(void *arg, const struct mvcc_change *change)
{
    struct watch *w = arg;

    if (change->rev.main == w->last_main) {
        CHECK(change->rev.sub == w->last_sub + 1);
    } else {
        CHECK(change->rev.main == w->last_main + 1);
        CHECK(change->rev.sub == 0);
    }
    w->last_main = change->rev.main;
    w->last_sub = change->rev.sub;
    return 0;
}

static void *watch_all_the_time(void *arg)
{
    struct shared_state *s = arg;
    struct mvcc_reader *reader;
    struct prng prng = {1};

    CHECK(mvcc_reader_open(s->kv->mvcc, &reader) == 0);
    while (!atomic_load(&s->stop)) {
        int64_t current = mvcc_revision(s->kv->mvcc);
        int64_t from = current - (int64_t)prng_below(&prng, 500);
        struct watch w = {.last_main = from - 1};
        int64_t next;
        int rv;

        /* The compacted revision itself may be without some changes. */
        if (from < 2 || from <= mvcc_compacted(s->kv->mvcc))
            continue;
        rv = mvcc_changes(reader, from, current, 100, follow, &w, &next);
        if (rv == 0)
            CHECK(next == w.last_main + 1);
        else
            CHECK(rv == ERR_COMPACTED);
    }
    mvcc_reader_close(reader);
    return NULL;
}

static void *hash_all_the_time(void *arg)
{
    struct shared_state *s = arg;

    while (!atomic_load(&s->stop)) {
        struct mvcc_hash hash;
        int rv = mvcc_hash_kv(s->kv->mvcc, 0, &hash);

        CHECK(rv == 0 || rv == ERR_COMPACTED);
        mvcc_stats(s->kv->mvcc);
    }
    return NULL;
}

static void write_pair(struct kv *kv, int id, bool bury)
{
    char x[16];
    char y[16];
    char value[24];

    snprintf(x, sizeof(x), "x/%04d", id % PAIRS);
    snprintf(y, sizeof(y), "y/%04d", id % PAIRS);
    snprintf(value, sizeof(value), "%lld",
             (long long)mvcc_revision(kv->mvcc) + 1);
    mvcc_txn_begin(kv->mvcc);
    if (bury) {
        mvcc_txn_delete(kv->mvcc, text(x), text(""));
        mvcc_txn_delete(kv->mvcc, text(y), text(""));
    } else {
        mvcc_txn_put(kv->mvcc, text(x), text(value), 0);
        mvcc_txn_put(kv->mvcc, text(y), text(value), 0);
    }
    mvcc_txn_end(kv->mvcc);
    kv_mark(kv);
}

static void write_everything(struct kv *kv)
{
    struct prng prng = {7};

    for (int i = 0; i < WRITES; i++) {
        write_pair(kv, (int)prng_below(&prng, PAIRS),
                   prng_below(&prng, 4) == 0);
        if (i % 400 == 399) {
            int64_t rev =
                mvcc_revision(kv->mvcc) - (int64_t)prng_below(&prng, 100);

            assert_int_equal(mvcc_compact(kv->mvcc, rev, NULL, NULL), 0);
            kv_mark(kv);
        }
        if (i % 100 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

static void test_readers_see_whole_transactions(void **state)
{
    static void *(*const mains[])(void *) = {
        read_all_the_time, read_all_the_time, watch_all_the_time,
        hash_all_the_time};
    struct shared_state s = {.kv = *state};
    pthread_t threads[4];

    kv_close(s.kv);
    s.kv->store_config.flush_interval_ns = 3000000;
    s.kv->config.compact_batch = 50;
    s.kv->config.compact_pause_ns = 100000;
    kv_open(s.kv);
    for (int i = 0; i < PAIRS; i++)
        write_pair(s.kv, i, false);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, mains[i], &s), 0);
    write_everything(s.kv);
    atomic_store(&s.stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&s.ranges) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KV_TEST(test_readers_see_whole_transactions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
