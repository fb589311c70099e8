/* The store: what is written can be read, in which order it gets to the disk,
 * and how it ends. */
#include "test_store.h"

#include "chorad/base/be.h"
#include "chorad/base/crc32c.h"
#include <stdio.h>

static void test_put_get_delete(void **state)
{
    struct fixture *f = *state;
    const uint8_t *copy;

    copy = store_put(f->store, STORE_LEASE, text("k"), text("value"));
    assert_memory_equal(copy, "value", 5);
    put_text(f, STORE_KEY, "k", "other");
    store_put(f->store, STORE_ALARM, text("empty"), bytes_of(NULL, 0));
    assert_int_equal(store_seq(f->store), 3);
    mark_flush(f);
    assert_value(f, STORE_LEASE, "k", "value");
    assert_value(f, STORE_KEY, "k", "other");
    assert_value(f, STORE_ALARM, "empty", "");
    assert_missing(f, STORE_META, "k");
    store_delete(f->store, STORE_LEASE, text("k"));
    store_delete(f->store, STORE_LEASE, text("never there"));
    put_text(f, STORE_KEY, "k", "new");
    mark_flush(f);
    assert_missing(f, STORE_LEASE, "k");
    assert_value(f, STORE_KEY, "k", "new");
    assert_int_equal(atomic_load(&f->flushed_seq), 6);
}

static void test_putv_joins(void **state)
{
    struct fixture *f = *state;
    const struct bytes pieces[] = {text("ab"), bytes_of(NULL, 0), text("cde")};
    const uint8_t *copy = store_putv(f->store, STORE_KEY, text("k"), pieces, 3);

    assert_memory_equal(copy, "abcde", 5);
    mark_flush(f);
    assert_value(f, STORE_KEY, "k", "abcde");
}

static void test_keys_and_values_at_their_limits(void **state)
{
    struct fixture *f = *state;
    size_t big_len = 3 << 20;
    char *big = calloc(1, big_len + 1);
    char key[512];

    assert_non_null(big);
    memset(big, 'v', big_len);
    memset(key, 'k', 511);
    key[511] = '\0';
    put_text(f, STORE_AUTH_USERS, key, "long key");
    put_text(f, STORE_KEY, "1", big);
    put_text(f, STORE_KEY, "2", "small behind big");
    put_text(f, STORE_KEY, "0", "out of order");
    mark_flush(f);
    assert_value(f, STORE_AUTH_USERS, key, "long key");
    assert_value(f, STORE_KEY, "1", big);
    assert_value(f, STORE_KEY, "2", "small behind big");
    assert_value(f, STORE_KEY, "0", "out of order");
    free(big);
}

static void test_reopen(void **state)
{
    struct fixture *f = *state;
    uint64_t index;
    uint64_t term;
    uint8_t be[8];
    struct bytes value;

    store_consistent_index(f->store, &index, &term);
    assert_int_equal(index, 0);
    put_text(f, STORE_MEMBERS, "m", "one");
    store_mark(f->store, 77, 5);
    reopen_store(f);
    store_consistent_index(f->store, &index, &term);
    assert_int_equal(index, 77);
    assert_int_equal(term, 5);
    assert_int_equal(store_flushed_index(f->store), 77);
    assert_value(f, STORE_MEMBERS, "m", "one");
    be_put_u64(be, 77);
    assert_int_equal(store_read_begin(f->reader), 0);
    assert_int_equal(
        store_get(f->reader, STORE_META, text("consistent_index"), &value), 0);
    assert_int_equal(value.len, 8);
    assert_memory_equal(value.data, be, 8);
    store_read_end(f->reader);
}

static void test_unmarked_is_dropped(void **state)
{
    struct fixture *f = *state;

    put_text(f, STORE_KEY, "1", "marked");
    mark(f);
    put_text(f, STORE_KEY, "2", "half of an entry");
    reopen_store(f);
    assert_value(f, STORE_KEY, "1", "marked");
    assert_missing(f, STORE_KEY, "2");
}

static void test_flush_waits_for_the_mark(void **state)
{
    struct fixture *f = *state;
    struct result r = RESULT_INIT;

    put_text(f, STORE_KEY, "1", "a");
    store_flush(f->store, set_result, &r);
    sleep_ms(20);
    assert_false(is_done(&r));
    assert_missing(f, STORE_KEY, "1");
    mark(f);
    assert_int_equal(await(&r), 0);
    assert_value(f, STORE_KEY, "1", "a");
}

static void await_flushed(struct fixture *f, uint64_t seq)
{
    for (int i = 0; atomic_load(&f->flushed_seq) < seq; i++) {
        assert_true(i < 10000);
        sleep_ms(1);
    }
}

static void test_flushes_by_interval_and_number(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    f->config.flush_interval_ns = 30000000;
    open_store(f);
    sleep_ms(20); /* the thread sleeps without an end by then */
    put_text(f, STORE_KEY, "1", "a");
    mark(f);
    await_flushed(f, 1);
    assert_int_equal(store_flushed_index(f->store), f->index);

    close_store(f);
    f->config.flush_interval_ns = UINT64_C(3600000000000);
    f->config.flush_ops = 10;
    open_store(f);
    for (int i = 0; i < 10; i++) {
        put_text(f, STORE_LEASE, "l", "b");
        mark(f);
    }
    await_flushed(f, 10);
}

/* No transaction holds much more than 10,000 operations, but a unit isn't
 * cut. */
static void test_batches_are_bounded(void **state)
{
    struct fixture *f = *state;
    char key[16];

    close_store(f);
    f->config.flush_interval_ns = UINT64_C(3600000000000);
    f->config.flush_ops = UINT32_MAX;
    open_store(f);
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof(key), "%08d", i);
        put_text(f, STORE_KEY, key, "v");
        if (i < 25000)
            mark(f);
    }
    mark_flush(f);
    assert_int_equal(atomic_load(&f->batches), 3);
    assert_int_equal(atomic_load(&f->flushed_seq), 50000);
}

static void test_batches_are_bounded_in_bytes(void **state)
{
    struct fixture *f = *state;
    size_t len = 10 << 20;
    uint8_t *big = calloc(1, len);

    assert_non_null(big);
    close_store(f);
    f->config.flush_interval_ns = UINT64_C(3600000000000);
    open_store(f);
    for (int i = 0; i < 4; i++) {
        store_put(f->store, STORE_LEASE, text("big"), bytes_of(big, len));
        mark(f);
    }
    assert_int_equal(flush(f), 0);
    assert_int_equal(atomic_load(&f->batches), 2);
    free(big);
}

static void test_pending_bytes(void **state)
{
    struct fixture *f = *state;
    struct store_size before = store_size(f->store);
    char value[1001];

    memset(value, 'x', 1000);
    value[1000] = '\0';
    assert_int_equal(store_pending_bytes(f->store), 0);
    for (int i = 0; i < 100; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%03d", i);
        put_text(f, STORE_KEY, key, value);
    }
    assert_in_range(store_pending_bytes(f->store), 100000, 110000);
    assert_in_range(store_size(f->store).total - before.total, 100000, 110000);
    mark_flush(f);
    assert_int_equal(store_pending_bytes(f->store), 0);
}

struct visits {
    char keys[256];
    int left;
};

static int visit_key(void *arg, struct bytes key, struct bytes value)
{
    struct visits *v = arg;

    strncat(v->keys, (const char *)key.data, key.len);
    strncat(v->keys, "=", 2);
    strncat(v->keys, (const char *)value.data, value.len);
    strncat(v->keys, " ", 2);
    return --v->left == 0 ? 42 : 0;
}

static void test_scan(void **state)
{
    struct fixture *f = *state;
    struct visits v = {.left = 10};

    put_text(f, STORE_CLUSTER, "c", "3");
    put_text(f, STORE_CLUSTER, "a", "1");
    put_text(f, STORE_CLUSTER, "b", "2");
    mark_flush(f);
    assert_int_equal(store_read_begin(f->reader), 0);
    assert_int_equal(
        store_scan(f->reader, STORE_CLUSTER, bytes_of(NULL, 0), visit_key, &v),
        0);
    assert_string_equal(v.keys, "a=1 b=2 c=3 ");
    v = (struct visits){.left = 1};
    assert_int_equal(
        store_scan(f->reader, STORE_CLUSTER, text("aa"), visit_key, &v), 42);
    assert_string_equal(v.keys, "b=2 ");
    v = (struct visits){.left = 1};
    assert_int_equal(
        store_scan(f->reader, STORE_CLUSTER, text("d"), visit_key, &v), 0);
    assert_string_equal(v.keys, "");
    store_read_end(f->reader);
}

static void test_read_is_a_snapshot(void **state)
{
    struct fixture *f = *state;
    struct bytes value;

    put_text(f, STORE_KEY, "k", "old");
    mark_flush(f);
    assert_int_equal(store_read_begin(f->reader), 0);
    put_text(f, STORE_KEY, "k", "new");
    mark_flush(f);
    assert_int_equal(store_get(f->reader, STORE_KEY, text("k"), &value), 0);
    assert_memory_equal(value.data, "old", 3);
    store_read_end(f->reader);
    assert_value(f, STORE_KEY, "k", "new");
}

static void test_second_opener_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *second;
    struct errmsg msg = {{0}};

    assert_int_equal(store_open(&f->config, &second, &msg), ERR_BUSY);
    assert_non_null(strstr(msg.text, f->dir));
}

static void test_hash(void **state)
{
    static const char *const names[] = {
        "alarm", "auth",  "authRoles", "authUsers",       "cluster",
        "key",   "lease", "members",   "members_removed", "meta",
    };
    struct fixture *f = *state;
    uint32_t expected = 0;
    uint32_t hash;

    for (size_t i = 0; i < STORE_BUCKETS; i++) {
        assert_string_equal(store_bucket_name(i), names[i]);
        expected = crc32c(expected, names[i], strlen(names[i]));
        if (i == STORE_KEY)
            expected = crc32c(expected, "k1v1k2v2", 8);
        if (i == STORE_META)
            expected = crc32c(expected, "confState{}", 11);
    }
    put_text(f, STORE_KEY, "k2", "v2");
    put_text(f, STORE_KEY, "k1", "v1");
    put_text(f, STORE_META, "confState", "{}");
    put_text(f, STORE_META, "storageVersion", "3.7.0");
    mark(f);
    assert_int_equal(store_hash(f->store, &hash), 0);
    assert_int_equal(hash, expected);
    mark(f);
    assert_int_equal(store_hash(f->store, &hash), 0);
    assert_int_equal(hash, expected);
}

static void test_crc_on_disk(void **state)
{
    struct fixture *f = *state;
    char path[128];
    struct buf buf = {0};
    uint8_t expected[14];
    uint32_t crc = crc32c(0, "leasekthe record", 16);

    for (int i = 0; i < 10; i++)
        expected[i] = (uint8_t) "the record"[i];
    le_put_u32(expected + 10, crc);
    put_text(f, STORE_LEASE, "k", "the record");
    mark_flush(f);
    snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
    assert_int_equal(file_read(path, SIZE_MAX, &buf, NULL), 0);
    assert_non_null(memmem(buf.data, buf.len, expected, 14));
    buf_close(&buf);
}

static void test_flipped_bit_is_seen(void **state)
{
    struct fixture *f = *state;
    struct visits v = {.left = 10};
    uint32_t hash;
    int err;

    put_text(f, STORE_KEY, "k1", "sound");
    put_text(f, STORE_KEY, "k2", "to be damaged");
    mark(f);
    close_store(f);
    patch_file(f, "to be damaged", "to be dam`ged");
    open_store(f);
    assert_value(f, STORE_KEY, "k1", "sound");
    free(get_text(f, STORE_KEY, "k2", &err));
    assert_int_equal(err, ERR_CORRUPT);
    assert_int_equal(atomic_load(&f->corrupt), 1);
    assert_int_equal(store_read_begin(f->reader), 0);
    assert_int_equal(
        store_scan(f->reader, STORE_KEY, bytes_of(NULL, 0), visit_key, &v),
        ERR_CORRUPT);
    store_read_end(f->reader);
    assert_string_equal(v.keys, "k1=sound ");
    assert_int_equal(store_hash(f->store, &hash), ERR_CORRUPT);
    assert_int_equal(atomic_load(&f->corrupt), 3);
}

static void test_damaged_file_is_refused(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg = {{0}};
    struct store *store;
    char path[128];
    char value[5000];

    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    for (int i = 0; i < 20; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%02d", i);
        put_text(f, STORE_KEY, key, value);
    }
    mark(f);
    close_store(f);
    snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
    assert_int_equal(truncate(path, 65536), 0);
    assert_int_equal(store_open(&f->config, &store, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "data.mdb"));
    assert_int_equal(file_write_atomic(path, value, 4096, 0600, NULL), 0);
    assert_int_equal(store_open(&f->config, &store, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "data.mdb"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_get_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_putv_joins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_and_values_at_their_limits,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unmarked_is_dropped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_flush_waits_for_the_mark, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_flushes_by_interval_and_number,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_batches_are_bounded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_batches_are_bounded_in_bytes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_crc_on_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pending_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_is_a_snapshot, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_second_opener_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flipped_bit_is_seen, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_damaged_file_is_refused, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
