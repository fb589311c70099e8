/* How much CPU time of the calling thread single operations take, and how
 * much memory keys take. Measures only when CHORAD_BENCH is set to the number
 * of keys, 1000000 say. */
#include "test_mvcc.h"

#include "mvcc/index.h"
#include <malloc.h>

#define KEY_LEN 32
#define OPS 200000

struct bench {
    struct kv *kv;
    struct prng prng;
    size_t n;
    char (*keys)[KEY_LEN];
};

static uint64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static size_t wanted(void)
{
    const char *text_n = getenv("CHORAD_BENCH");

    return text_n == NULL ? 0 : strtoull(text_n, NULL, 0);
}

static void make_keys(struct bench *b)
{
    b->n = wanted();
    b->prng.state = 1;
    b->keys = mem_alloc(b->n * KEY_LEN);
    for (size_t i = 0; i < b->n; i++) {
        char key[KEY_LEN + 1];

        snprintf(key, sizeof(key), "/chora/capab/%019llu",
                 (unsigned long long)(prng_next(&b->prng) >> 2));
        memcpy(b->keys[i], key, KEY_LEN);
    }
}

static struct bytes any_key(struct bench *b)
{
    return bytes_of(b->keys[prng_below(&b->prng, b->n)], KEY_LEN);
}

static void print(const char *what, uint64_t begin, size_t n)
{
    fprintf(stderr, "%-36s %8.0f ns\n", what,
            (double)(cpu_ns() - begin) / (double)n);
}

static void bench_index(struct bench *b)
{
    struct mallinfo2 before = mallinfo2();
    struct mallinfo2 after;
    struct item_rev rev = {.main = 2, .created = 2, .version = 1};
    struct index index;
    uint64_t begin = cpu_ns();

    index_init(&index);
    for (size_t i = 0; i < b->n; i++)
        index_insert(&index, item_new(bytes_of(b->keys[i], KEY_LEN), &rev));
    print("index insert", begin, b->n);
    after = mallinfo2();
    fprintf(stderr, "%-36s %8.1f bytes a key\n", "index memory",
            (double)(after.uordblks - before.uordblks) / (double)b->n);
    begin = cpu_ns();
    for (size_t i = 0; i < OPS; i++)
        assert_non_null(index_find(&index, any_key(b)));
    print("index find", begin, OPS);
    index_close(&index);
}

static void put_all(struct bench *b)
{
    uint8_t value[256];
    uint64_t begin = cpu_ns();

    memset(value, 'v', sizeof(value));
    for (size_t i = 0; i < b->n; i++) {
        mvcc_txn_begin(b->kv->mvcc);
        mvcc_txn_put(b->kv->mvcc, bytes_of(b->keys[i], KEY_LEN),
                     bytes_of(value, sizeof(value)), 0);
        mvcc_txn_end(b->kv->mvcc);
        kv_mark(b->kv);
    }
    print("put of a new key, the disk at work", begin, b->n);
}

static int count_bytes(void *arg, const struct mvcc_kv *kv)
{
    *(size_t *)arg += kv->record.len;
    return 0;
}

static void get_many(struct bench *b, const char *what, bool recent)
{
    struct mvcc_range_result result;
    size_t got = 0;
    uint64_t begin = cpu_ns();

    for (size_t i = 0; i < OPS; i++) {
        struct mvcc_range range = {
            .key = recent ? bytes_of(b->keys[i % 5000 % b->n], KEY_LEN)
                          : any_key(b),
            .end = text(""),
            .want = MVCC_RECORDS};

        mvcc_range(b->kv->reader, &range, count_bytes, &got, &result);
    }
    print(what, begin, OPS);
    assert_true(got > 0);
}

static void put_recent(struct bench *b)
{
    struct bytes value = text("{\"dc_title\": \"a capability\"}");
    uint64_t begin = cpu_ns();

    for (size_t i = 0; i < 5000; i++) {
        mvcc_txn_begin(b->kv->mvcc);
        mvcc_txn_put(b->kv->mvcc, bytes_of(b->keys[i % b->n], KEY_LEN), value,
                     0);
        mvcc_txn_end(b->kv->mvcc);
    }
    print("put", begin, 5000);
}

static void range_all(struct bench *b, enum mvcc_want want, const char *what)
{
    struct mvcc_range range = {
        .key = text("/"), .end = text("0"), .want = want};
    struct mvcc_range_result result;
    size_t got = 0;
    uint64_t begin = cpu_ns();

    assert_int_equal(
        mvcc_range(b->kv->reader, &range, count_bytes, &got, &result), 0);
    assert_int_equal(result.count, b->n);
    print(what, begin, b->n);
}

static void bench_compaction(struct bench *b)
{
    struct mvcc_hash hash;
    uint64_t begin = cpu_ns();

    assert_int_equal(mvcc_hash_kv(b->kv->mvcc, 0, &hash), 0);
    print("hash, a record", begin, b->n);
    kv_close(b->kv);
    b->kv->config.compact_pause_ns = 1;
    begin = cpu_ns();
    kv_open(b->kv);
    print("open, a record", begin, b->n);
    begin = clock_mono_ns();
    assert_int_equal(kv_compact(b->kv, mvcc_revision(b->kv->mvcc)), 0);
    fprintf(stderr, "%-36s %8.0f ns\n", "compaction, elapsed, a record",
            (double)(clock_mono_ns() - begin) / (double)b->n);
}

static void test_bench(void **state)
{
    struct bench b = {.kv = *state};

    if (wanted() == 0)
        skip();
    make_keys(&b);
    bench_index(&b);
    put_all(&b);
    kv_flush(b.kv);
    get_many(&b, "range of one key, from LMDB", false);
    get_many(&b, "range of one key, from LMDB, few keys", true);
    put_recent(&b);
    get_many(&b, "range of one key, from the tail", true);
    kv_mark(b.kv);
    kv_flush(b.kv);
    range_all(&b, MVCC_COUNT, "count, a key");
    range_all(&b, MVCC_KEYS, "range of keys, a key");
    range_all(&b, MVCC_RECORDS, "range of records, a key");
    fprintf(stderr, "%-36s %8.1f bytes a key\n", "index, own estimate",
            (double)mvcc_stats(b.kv->mvcc).index_bytes / (double)b.n);
    bench_compaction(&b);
    free(b.keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KV_TEST(test_bench),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
