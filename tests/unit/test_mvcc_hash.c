/* HashKV against numbers measured from the real etcd.
 *
 * The history below was run on etcd 3.7.3 (one new member) by a client that
 * makes the same choices from the same generator: puts, puts with a lease,
 * deletes, range deletes, transactions, and compactions that were waited for
 * (physical); at the steps of the table Maintenance.HashKV was asked, each
 * row being one answer. */
#include "test_mvcc.h"

#define STEPS 240
#define LEASE 0x1234

static const struct row {
    int step;
    int64_t asked;
    struct mvcc_hash want;
} rows[] = {
    {15, 0, {0xe623dea1, 11, 12}},    {15, 12, {0xe623dea1, 11, 12}},
    {16, 0, {0xe623dea1, 12, 12}},    {16, 12, {0xe623dea1, 11, 12}},
    {23, 0, {0x6cb4c384, 12, 18}},    {23, 12, {0xe623dea1, 11, 12}},
    {25, 0, {0x2de13b29, 19, 19}},    {25, 19, {0x498759f7, 12, 19}},
    {46, 0, {0xc41f3715, 37, 37}},    {46, 37, {0xf1953bf1, 19, 37}},
    {47, 0, {0xa75b1134, 37, 38}},    {47, 38, {0xa75b1134, 37, 38}},
    {54, 0, {0x5ecf6796, 43, 43}},    {54, 43, {0x5df19797, 37, 43}},
    {71, 0, {0x659be34c, 43, 59}},    {71, 59, {0x659be34c, 43, 59}},
    {95, 0, {0xe968bdb8, 70, 77}},    {95, 71, {0x912c3ad7, 70, 71}},
    {95, 0, {0xe968bdb8, 70, 77}},    {95, 72, {0xb717bca8, 70, 72}},
    {100, 0, {0x2ea08958, 80, 80}},   {100, 80, {0x91562d4c, 70, 80}},
    {118, 0, {0x5b1c17c7, 84, 91}},   {118, 87, {0xbb6de549, 84, 87}},
    {119, 0, {0x74eb1ffa, 84, 92}},   {119, 88, {0x204f61d2, 84, 88}},
    {133, 0, {0xcd3ed0b5, 88, 103}},  {133, 102, {0x58fbc282, 88, 102}},
    {143, 0, {0x659d954b, 88, 111}},  {143, 99, {0x64eff02b, 88, 99}},
    {149, 0, {0xa071b721, 115, 115}}, {149, 115, {0x313d6452, 88, 115}},
    {163, 0, {0x24881d6d, 120, 128}}, {163, 122, {0x6460db04, 120, 122}},
    {165, 0, {0xf67b17cb, 129, 129}}, {165, 129, {0xb38dd110, 120, 129}},
    {167, 0, {0x562acff4, 129, 131}}, {167, 129, {0xb38dd110, 120, 129}},
    {191, 0, {0xe3064800, 129, 155}}, {191, 146, {0x4b7feea2, 129, 146}},
    {211, 0, {0x44d74ab4, 174, 174}}, {211, 174, {0xd6c24055, 129, 174}},
    {215, 0, {0xd5f132f1, 174, 178}}, {215, 174, {0xd6c24055, 129, 174}},
    {216, 0, {0xd5f132f1, 176, 178}}, {216, 177, {0x5d78c78d, 176, 177}},
    {239, 0, {0x8617dc41, 176, 196}}, {239, 190, {0x81fc421a, 176, 190}},
    {240, 0, {0x751fa811, 176, 197}}, {240, 185, {0x92aaa373, 176, 185}},
    {240, 0, {0x27366daa, 196, 197}}, {240, 197, {0x27366daa, 196, 197}},
    {240, 0, {0x40a4756d, 197, 197}}, {240, 197, {0xc0fcea4e, 196, 197}},
};

struct history {
    struct kv *kv;
    struct prng prng;
    int64_t rev;
    int64_t compacted;
    size_t row;
};

static struct bytes key_of(uint64_t n, char *space)
{
    snprintf(space, 16, "/chora/%02d", (int)(n % 30));
    return text(space);
}

static void ask(struct history *h, int step, int64_t rev)
{
    const struct row *row = &rows[h->row++];
    struct mvcc_hash got;

    assert_true(h->row <= sizeof(rows) / sizeof(rows[0]));
    assert_int_equal(row->step, step);
    assert_int_equal(row->asked, rev);
    assert_int_equal(mvcc_hash_kv(h->kv->mvcc, rev, &got), 0);
    assert_int_equal(got.hash, row->want.hash);
    assert_int_equal(got.compact_rev, row->want.compact_rev);
    assert_int_equal(got.hash_rev, row->want.hash_rev);
}

static void ask_both(struct history *h, int step)
{
    int64_t low = h->compacted < 1 ? 1 : h->compacted;

    ask(h, step, 0);
    ask(h, step,
        low + (int64_t)prng_below(&h->prng, (uint64_t)(h->rev - low + 1)));
}

static void delete_range(struct history *h, struct bytes key, struct bytes end)
{
    mvcc_txn_begin(h->kv->mvcc);
    mvcc_txn_delete(h->kv->mvcc, key, end);
    h->rev = mvcc_txn_end(h->kv->mvcc);
    kv_mark(h->kv);
}

static void put(struct history *h, uint64_t a, const char *value, int64_t lease)
{
    char space[16];

    mvcc_txn_begin(h->kv->mvcc);
    mvcc_txn_put(h->kv->mvcc, key_of(a, space), text(value), lease);
    h->rev = mvcc_txn_end(h->kv->mvcc);
    kv_mark(h->kv);
}

static void put_three(struct history *h, uint64_t a, const char *value)
{
    char space[16];

    mvcc_txn_begin(h->kv->mvcc);
    mvcc_txn_put(h->kv->mvcc, key_of(a, space), text(value), 0);
    mvcc_txn_put(h->kv->mvcc, key_of(a + 1, space), text(value), 0);
    mvcc_txn_delete(h->kv->mvcc, text("/chora/x"), text(""));
    mvcc_txn_put(h->kv->mvcc, text("/chora/y"), text(value), 0);
    h->rev = mvcc_txn_end(h->kv->mvcc);
    kv_mark(h->kv);
}

static void compact(struct history *h, int64_t rev)
{
    assert_int_equal(kv_compact(h->kv, rev), 0);
    h->compacted = rev;
}

static void compact_somewhere(struct history *h, int step, uint64_t a,
                              uint64_t b)
{
    int64_t rev = h->rev;

    if (b % 2 == 0 && h->compacted + 1 < rev) {
        int64_t low = h->compacted < 0 ? 0 : h->compacted;

        rev = low + 1 + (int64_t)a * (rev - low - 1) / 30;
    }
    if (rev <= h->compacted)
        return;
    compact(h, rev);
    ask_both(h, step);
}

static void run_step(struct history *h, int step)
{
    uint64_t what = prng_below(&h->prng, 100);
    uint64_t a = prng_below(&h->prng, 30);
    uint64_t b = prng_below(&h->prng, 30);
    char value[24];
    char key[16];
    char end[16];

    snprintf(value, sizeof(value), "value %d", step);
    if (what < 50)
        put(h, a, value, 0);
    else if (what < 60)
        put(h, a, "", LEASE);
    else if (what < 75)
        delete_range(h, key_of(a, key), text(""));
    else if (what < 80)
        delete_range(h, key_of(a, key), key_of(b, end));
    else if (what < 92)
        put_three(h, a, value);
    else
        compact_somewhere(h, step, a, b);
    if (step % 24 == 23)
        ask_both(h, step);
}

static void run_history(struct history *h)
{
    struct bytes all = {(const uint8_t *)"", 1};

    for (int step = 0; step < STEPS; step++)
        run_step(h, step);
    delete_range(h, all, all);
    ask_both(h, STEPS);
    compact(h, h->rev - 1);
    ask_both(h, STEPS);
    delete_range(h, all, all);
    compact(h, h->rev);
    ask_both(h, STEPS);
    assert_int_equal(h->row, sizeof(rows) / sizeof(rows[0]));
}

static void test_equal_to_etcd(void **state)
{
    struct history h = {
        .kv = *state, .prng = {2024}, .rev = 1, .compacted = -1};
    struct mvcc_hash hashes[16];

    run_history(&h);
    assert_int_equal(mvcc_hashes(h.kv->mvcc, hashes, 16), 10);
    assert_int_equal(hashes[9].hash_rev, h.compacted);
    assert_true(hashes[0].hash_rev < hashes[1].hash_rev);
}

/* What is hashed doesn't depend on how far the disk has come. */
static void test_same_while_compacting(void **state)
{
    struct kv *kv = *state;
    struct mvcc_hash before;
    struct mvcc_hash meanwhile;
    struct mvcc_hash after;
    struct kv_wait wait = KV_WAIT_INIT;
    char key[16];

    kv_close(kv);
    kv->config.compact_batch = 10;
    kv->config.compact_pause_ns = 20000000;
    kv_open(kv);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "%d", i % 50);
        kv_put(kv, key, "value");
    }
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 180, &before), 0);
    assert_int_equal(before.compact_rev, -1);
    assert_int_equal(mvcc_compact(kv->mvcc, 150, kv_done, &wait), 0);
    kv_mark(kv);
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 180, &meanwhile), 0);
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 149, &after), ERR_COMPACTED);
    assert_int_equal(kv_await(&wait), 0);
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 180, &after), 0);
    assert_int_equal(meanwhile.hash, after.hash);
    assert_int_equal(meanwhile.compact_rev, 150);
    assert_int_not_equal(before.hash, after.hash);
}

static void test_limits(void **state)
{
    struct kv *kv = *state;
    struct mvcc_hash hash;

    assert_int_equal(mvcc_hash_kv(kv->mvcc, 0, &hash), 0);
    assert_int_equal(hash.hash_rev, 1);
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 2, &hash), ERR_FUTURE_REV);
    kv_put(kv, "a", "1");
    kv_put(kv, "a", "2");
    assert_int_equal(kv_compact(kv, 3), 0);
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 2, &hash), ERR_COMPACTED);
    /* Computed while compacting, with the compacted revision before. */
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 3, &hash), 0);
    assert_int_equal(hash.compact_rev, -1);
    kv_put(kv, "a", "3");
    assert_int_equal(kv_compact(kv, 4), 0);
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 3, &hash), 0);
    assert_int_equal(hash.hash_rev, 3);
    kv_reopen(kv);
    assert_int_equal(mvcc_hash_kv(kv->mvcc, 3, &hash), ERR_COMPACTED);
}

struct asker {
    struct kv *kv;
    int64_t rev;
    atomic_bool go;
    struct mvcc_hash got[3];
};

static void *hash_thrice(void *arg)
{
    struct asker *asker = arg;

    while (!atomic_load(&asker->go))
        sched_yield();
    for (size_t i = 0; i < 3; i++)
        if (mvcc_hash_kv(asker->kv->mvcc, asker->rev, &asker->got[i]) != 0)
            asker->got[i] = (struct mvcc_hash){.hash_rev = -1};
    return NULL;
}

/* A hash says which compaction it was computed with: one that comes meanwhile
 * takes no record away that belongs to it. */
static void test_compaction_meanwhile(void **state)
{
    struct kv *kv = *state;

    for (int round = 0; round < 100; round++) {
        struct asker asker = {.kv = kv};
        struct mvcc_hash before;
        struct mvcc_hash after;
        pthread_t thread;

        for (int i = 0; i < 30; i++)
            kv_put(kv, i % 2 ? "a" : "b", "some value");
        asker.rev = mvcc_revision(kv->mvcc);
        assert_int_equal(mvcc_hash_kv(kv->mvcc, asker.rev, &before), 0);
        assert_int_equal(pthread_create(&thread, NULL, hash_thrice, &asker), 0);
        /* Both wait for that to be flushed. */
        kv_put(kv, "c", "behind");
        atomic_store(&asker.go, true);
        const struct timespec pause = {.tv_nsec = round % 20 * 5000};
        (void)nanosleep(&pause, NULL);
        assert_int_equal(kv_compact(kv, asker.rev - 3), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(mvcc_hash_kv(kv->mvcc, asker.rev, &after), 0);
        for (size_t i = 0; i < 3; i++) {
            const struct mvcc_hash *got = &asker.got[i];

            assert_int_equal(got->hash_rev, asker.rev);
            assert_true(got->compact_rev == before.compact_rev ||
                        got->compact_rev == after.compact_rev);
            assert_int_equal(got->hash, got->compact_rev == before.compact_rev
                                            ? before.hash
                                            : after.hash);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KV_TEST(test_equal_to_etcd),
        KV_TEST(test_same_while_compacting),
        KV_TEST(test_limits),
        KV_TEST(test_compaction_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
