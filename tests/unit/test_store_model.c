/* Random operations on the store and on a plain array, compared after each
 * flush, reopening and defragmentation. A failure prints the seed. */
#include "test_store.h"

#include "chorad/base/clock.h"
#include <stdio.h>

#define KEYS 400
#define MAX_VALUE 9000

struct slot {
    bool there;
    uint32_t len;
    uint8_t fill;
};

struct model {
    struct fixture *f;
    struct prng prng;
    uint64_t seed;
    struct slot marked[STORE_BUCKETS][KEYS];
    struct slot queued[STORE_BUCKETS][KEYS];
    uint8_t value[MAX_VALUE];
    /* of the scan under way */
    enum store_bucket bucket;
    int next;
};

/* Keys of different lengths, in the order of their numbers. */
static struct bytes key_of(int n, char *text_out)
{
    size_t len = (size_t)sprintf(text_out, "%04d", n);
    size_t more = (size_t)n % 7 * 40;

    memset(text_out + len, 'p', more);
    return bytes_of(text_out, len + more);
}

static int key_number(struct bytes key)
{
    int n = 0;

    for (int i = 0; i < 4; i++)
        n = n * 10 + key.data[i] - '0';
    return n;
}

static void put_random(struct model *m)
{
    enum store_bucket bucket = prng_below(&m->prng, STORE_BUCKETS);
    int n = (int)prng_below(&m->prng, KEYS);
    struct slot *slot = &m->queued[bucket][n];
    char key[320];

    if (prng_below(&m->prng, 3) == 0) {
        slot->there = false;
        store_delete(m->f->store, bucket, key_of(n, key));
        return;
    }
    slot->there = true;
    slot->fill = (uint8_t)prng_next(&m->prng);
    slot->len = (uint32_t)prng_below(
        &m->prng, prng_below(&m->prng, 10) == 0 ? MAX_VALUE : 400);
    memset(m->value, slot->fill, slot->len);
    store_put(m->f->store, bucket, key_of(n, key),
              bytes_of(m->value, slot->len));
}

static void write_unit(struct model *m)
{
    uint64_t n = prng_below(&m->prng, 20);

    for (uint64_t i = 0; i < n; i++)
        put_random(m);
    mark(m->f);
    memcpy(m->marked, m->queued, sizeof(m->marked));
}

static void check_slot(struct model *m, int n, struct bytes value)
{
    const struct slot *slot = &m->marked[m->bucket][n];

    if (!slot->there || value.len != slot->len)
        fail_msg("seed %llu: bucket %d key %d", (unsigned long long)m->seed,
                 m->bucket, n);
    memset(m->value, slot->fill, slot->len);
    assert_memory_equal(value.data, m->value, slot->len);
}

static int visit(void *arg, struct bytes key, struct bytes value)
{
    struct model *m = arg;
    int n;

    if (m->bucket == STORE_META && (key.data[0] < '0' || key.data[0] > '9'))
        return 0;
    n = key_number(key);
    for (; m->next < n; m->next++) {
        if (m->marked[m->bucket][m->next].there)
            fail_msg("seed %llu: bucket %d key %d missing",
                     (unsigned long long)m->seed, m->bucket, m->next);
    }
    m->next = n + 1;
    check_slot(m, n, value);
    return 0;
}

static void check_all(struct model *m)
{
    assert_int_equal(flush(m->f), 0);
    assert_int_equal(store_read_begin(m->f->reader), 0);
    for (m->bucket = 0; m->bucket < STORE_BUCKETS; m->bucket++) {
        m->next = 0;
        assert_int_equal(
            store_scan(m->f->reader, m->bucket, bytes_of(NULL, 0), visit, m),
            0);
        for (; m->next < KEYS; m->next++)
            assert_false(m->marked[m->bucket][m->next].there);
    }
    for (int i = 0; i < 50; i++) {
        int n = (int)prng_below(&m->prng, KEYS);
        struct bytes value;
        char key[320];
        int err;

        m->bucket = prng_below(&m->prng, STORE_BUCKETS);
        err = store_get(m->f->reader, m->bucket, key_of(n, key), &value);
        assert_int_equal(err, m->marked[m->bucket][n].there ? 0 : ERR_NOTFOUND);
        if (err == 0)
            check_slot(m, n, value);
    }
    store_read_end(m->f->reader);
}

struct sweep {
    struct model *m;
    struct result result;
    enum store_bucket bucket;
    char from[320];
    int left;
};

static int sweep_one(void *arg, struct bytes key, struct bytes value)
{
    struct sweep *s = arg;
    int n;

    (void)value;
    if (s->bucket == STORE_META && (key.data[0] < '0' || key.data[0] > '9'))
        return 0;
    if (s->left-- == 0) {
        memcpy(s->from, key.data, key.len);
        s->from[key.len] = '\0';
        return 2;
    }
    n = key_number(key);
    return n % 3 == 1;
}

static int64_t sweep_step(void *arg, struct store_txn *txn)
{
    struct sweep *s = arg;

    s->left = 40;
    assert_int_equal(
        store_txn_scan(txn, s->bucket, text(s->from), sweep_one, s), 0);
    return s->left >= 0 ? -1 : 0;
}

static void sweep_end(void *arg, int err)
{
    struct sweep *s = arg;

    set_result(&s->result, err);
}

/* A job that deletes every third key of a bucket. */
static void sweep(struct model *m)
{
    struct sweep s = {.m = m, .result = RESULT_INIT};

    s.bucket = prng_below(&m->prng, STORE_BUCKETS);
    mark(m->f);
    memcpy(m->marked, m->queued, sizeof(m->marked));
    store_job(m->f->store, sweep_step, sweep_end, &s);
    assert_int_equal(await(&s.result), 0);
    for (int n = 1; n < KEYS; n += 3) {
        m->marked[s.bucket][n].there = false;
        m->queued[s.bucket][n].there = false;
    }
}

static void reopen_and_check(struct model *m)
{
    uint64_t index;
    uint64_t term;

    put_random(m); /* not marked: dropped */
    memcpy(m->queued, m->marked, sizeof(m->marked));
    reopen_store(m->f);
    store_consistent_index(m->f->store, &index, &term);
    assert_int_equal(index, m->f->index);
    check_all(m);
}

static void run_model(struct fixture *f, uint64_t seed)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->f = f;
    m->seed = seed;
    m->prng.state = seed;
    for (int i = 0; i < 600; i++) {
        write_unit(m);
        switch (prng_below(&m->prng, 60)) {
        case 0:
            reopen_and_check(m);
            break;
        case 1:
            assert_int_equal(store_defrag(f->store, NULL), 0);
            break;
        case 2:
            sweep(m);
            check_all(m);
            break;
        case 3:
        case 4:
        case 5:
            check_all(m);
            break;
        default:
            break;
        }
    }
    check_all(m);
    free(m);
}

static void test_fixed_seed(void **state)
{
    run_model(*state, 1);
}

static void test_random_seed(void **state)
{
    uint64_t seed = random_u64();

    print_message("seed %llu\n", (unsigned long long)seed);
    run_model(*state, seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fixed_seed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_seed, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
