/* MVCC: compactions that are cut off, damaged records, numbers, limits. What
 * ranges and changes say is tested by test_mvcc_model.c. */
#include "test_mvcc.h"

#include "chorad/base/metrics.h"
#include "mvcc/record.h"

/* ---- helpers ----------------------------------------------------------- */

static int count_record(void *arg, struct bytes key, struct bytes record)
{
    (void)key;
    (void)record;
    ++*(int *)arg;
    return 0;
}

static int records_on_disk(struct kv *kv)
{
    struct store_reader *reader;
    int n = 0;

    assert_int_equal(store_reader_open(kv->store, &reader), 0);
    assert_int_equal(store_read_begin(reader), 0);
    assert_int_equal(store_scan(reader, STORE_KEY, text(""), count_record, &n),
                     0);
    store_read_end(reader);
    store_reader_close(reader);
    return n;
}

static void put_rounds(struct kv *kv, int rounds, int keys)
{
    char key[16];

    for (int i = 0; i < rounds * keys; i++) {
        snprintf(key, sizeof(key), "key%04d", i % keys);
        kv_put(kv, key, "value");
    }
}

static void set_batch(struct kv *kv, uint32_t batch, uint64_t pause_ns)
{
    kv_close(kv);
    kv->config.compact_batch = batch;
    kv->config.compact_pause_ns = pause_ns;
    kv_open(kv);
}

static void sleep_ms(long ms)
{
    struct timespec ts = {.tv_nsec = ms * 1000000};

    nanosleep(&ts, NULL);
}

/* ---- compaction -------------------------------------------------------- */

static void test_cut_off_compaction_goes_on(void **state)
{
    struct kv *kv = *state;
    struct kv_wait wait = KV_WAIT_INIT;
    struct mvcc_hash hash;
    int before;
    int left;

    set_batch(kv, 7, 3600000000000);
    put_rounds(kv, 10, 10);
    kv_flush(kv);
    assert_int_equal(records_on_disk(kv), 100);
    assert_int_equal(mvcc_compact(kv->mvcc, 90, kv_done, &wait), 0);
    kv_mark(kv);
    /* The first batch comes at once, the second in an hour. */
    for (int i = 0; (before = records_on_disk(kv)) == 100 && i < 500; i++)
        sleep_ms(10);
    assert_in_range(before, 91, 99);

    kv_close(kv);
    assert_int_equal(kv_await(&wait), ERR_STOPPED);
    kv->config.compact_pause_ns = 1000;
    kv_open(kv);
    assert_int_equal(mvcc_compacted(kv->mvcc), 90);
    for (int i = 0; (left = records_on_disk(kv)) != 21 && i < 500; i++)
        sleep_ms(10);
    assert_int_equal(left, 21);
    /* It is over for the disk; the thread has yet to say so. */
    kv_flush(kv);
    /* It has not seen all that it should have hashed. */
    assert_int_equal(mvcc_hashes(kv->mvcc, &hash, 1), 0);
    assert_int_equal(kv_compact(kv, 95), 0);
    assert_int_equal(mvcc_hashes(kv->mvcc, &hash, 1), 1);
    assert_int_equal(hash.hash_rev, 95);
    assert_int_equal(hash.compact_rev, 90);
}

static void test_overlapping_compactions(void **state)
{
    struct kv *kv = *state;
    struct kv_wait first = KV_WAIT_INIT;
    struct kv_wait second = KV_WAIT_INIT;
    struct mvcc_hash hashes[2];

    set_batch(kv, 5, 1000000);
    put_rounds(kv, 10, 10);
    assert_int_equal(mvcc_compact(kv->mvcc, 50, kv_done, &first), 0);
    assert_int_equal(mvcc_compact(kv->mvcc, 50, kv_done, &first),
                     ERR_COMPACTED);
    assert_int_equal(mvcc_compact(kv->mvcc, 101, kv_done, &second), 0);
    assert_int_equal(mvcc_compact(kv->mvcc, 102, kv_done, &second),
                     ERR_FUTURE_REV);
    kv_mark(kv);
    assert_int_equal(kv_await(&first), 0);
    assert_int_equal(kv_await(&second), 0);
    assert_int_equal(records_on_disk(kv), 10);
    /* The second began before the first was done: its hash isn't stored. */
    assert_int_equal(mvcc_hashes(kv->mvcc, hashes, 2), 1);
    assert_int_equal(hashes[0].hash_rev, 50);
}

static void test_first_compactions(void **state)
{
    struct kv *kv = *state;

    assert_int_equal(mvcc_compacted(kv->mvcc), -1);
    assert_int_equal(mvcc_compact(kv->mvcc, -1, NULL, NULL), ERR_COMPACTED);
    assert_int_equal(kv_compact(kv, 0), 0);
    assert_int_equal(mvcc_compact(kv->mvcc, 0, NULL, NULL), ERR_COMPACTED);
    assert_int_equal(kv_compact(kv, 1), 0);
    assert_int_equal(mvcc_compact(kv->mvcc, 2, NULL, NULL), ERR_FUTURE_REV);
}

/* The revision doesn't go back when nothing of the newest is left. */
static void test_revision_outlives_its_records(void **state)
{
    struct kv *kv = *state;

    kv_put(kv, "a", "1");
    kv_delete(kv, "a");
    kv_put(kv, "b", "1");
    kv_delete(kv, "b");
    assert_int_equal(kv_compact(kv, 5), 0);
    assert_int_equal(records_on_disk(kv), 1);
    assert_int_equal(kv_put(kv, "c", "1"), 6);
    kv_delete(kv, "c");
    assert_int_equal(kv_compact(kv, 7), 0);
    kv_reopen(kv);
    assert_int_equal(mvcc_revision(kv->mvcc), 7);
    assert_int_equal(mvcc_stats(kv->mvcc).keys, 1);
}

static void test_memory_is_given_back(void **state)
{
    struct kv *kv = *state;
    struct mvcc_stats stats;

    put_rounds(kv, 3, 1000);
    mvcc_txn_begin(kv->mvcc);
    assert_int_equal(mvcc_txn_delete(kv->mvcc, text("key"), text("kez")), 1000);
    mvcc_txn_end(kv->mvcc);
    kv_put(kv, "last", "");
    stats = mvcc_stats(kv->mvcc);
    assert_int_equal(stats.keys, 1001);
    assert_true(stats.index_bytes > 100000);
    assert_int_equal(kv_compact(kv, mvcc_revision(kv->mvcc)), 0);
    stats = mvcc_stats(kv->mvcc);
    assert_int_equal(stats.keys, 1);
    assert_true(stats.index_bytes < 2000);
    assert_int_equal(stats.tail_records, 0);
}

/* ---- damage ------------------------------------------------------------ */

static void open_with(struct kv *kv, struct rev_key at, const char *record,
                      size_t len, const char *want)
{
    uint8_t space[REV_KEY_MAX];
    struct errmsg msg;
    int rv;

    store_put(kv->store, STORE_KEY, rev_encode(at, space),
              bytes_of(record, len));
    kv_mark(kv);
    kv_close(kv);
    rv = kv_try_open(kv, &msg);
    assert_int_equal(rv, ERR_CORRUPT);
    assert_non_null(strstr(msg.text, want));
    assert_non_null(strstr(msg.text, "bucket key"));

    store_delete(kv->store, STORE_KEY, rev_encode(at, space));
    kv_mark(kv);
    store_close(kv->store);
    kv_open(kv);
}

static void test_damaged_records_are_named(void **state)
{
    struct kv *kv = *state;

    kv_put(kv, "a", "1");
    open_with(kv, (struct rev_key){{7, 3}, false}, "\x0a\x09zz", 4, "{7 3}");
    open_with(kv, (struct rev_key){{7, 0}, false}, "\x0a\x01z\x18\x06", 5,
              "{7 0}");
    open_with(kv, (struct rev_key){{2, 0}, true}, "\x0a\x01z", 3, "{2 0}");
    open_with(kv, (struct rev_key){{8, INT64_MAX}, true}, "\x0a\x01z", 3, "{8");
}

static void test_bumped_revision(void **state)
{
    struct kv *kv = *state;
    uint8_t space[REV_KEY_MAX];
    struct mvcc_stats stats;

    kv_put(kv, "a", "1");
    store_put(kv->store, STORE_KEY,
              rev_encode((struct rev_key){{1000, 0}, false}, space), text(""));
    kv_mark(kv);
    kv_reopen(kv);
    assert_int_equal(mvcc_revision(kv->mvcc), 1000);
    stats = mvcc_stats(kv->mvcc);
    assert_int_equal(stats.keys, 2);
    assert_int_equal(kv_compact(kv, 1000), 0);
    assert_int_equal(records_on_disk(kv), 2);
    kv_reopen(kv);
    assert_int_equal(mvcc_revision(kv->mvcc), 1000);
}

/* ---- metrics ------------------------------------------------------------ */

static void assert_metric(const char *line)
{
    struct buf page = {0};

    metrics_print(&page);
    buf_append(&page, "", 1);
    if (strstr((const char *)page.data, line) == NULL)
        fail_msg("no line %s", line);
    buf_close(&page);
}

static int visit_nothing(void *arg, const struct mvcc_kv *kv)
{
    (void)arg;
    (void)kv;
    return 0;
}

static void test_metrics(void **state)
{
    struct kv *kv = *state;
    struct mvcc_range range = {.key = text("a"), .end = text("")};
    struct mvcc_range_result result;

    kv_put(kv, "a", "12345");
    kv_put(kv, "a", "1");
    kv_put(kv, "b", "1");
    kv_delete(kv, "b");
    kv_delete(kv, "nothing");
    mvcc_range(kv->reader, &range, visit_nothing, NULL, &result);
    mvcc_txn_begin(kv->mvcc);
    mvcc_txn_range(kv->mvcc, &range, visit_nothing, NULL, &result);
    mvcc_txn_put(kv->mvcc, text("c"), text(""), 0);
    mvcc_txn_end(kv->mvcc);
    kv_mark(kv);
    kv_compact(kv, 3);
    assert_metric("\netcd_mvcc_put_total 4\n");
    assert_metric("\netcd_mvcc_delete_total 2\n");
    assert_metric("\netcd_mvcc_range_total 2\n");
    assert_metric("\netcd_mvcc_txn_total 1\n");
    assert_metric("\netcd_debugging_mvcc_keys_total 2\n");
    assert_metric("\netcd_debugging_mvcc_total_put_size_in_bytes 11\n");
    assert_metric("\netcd_debugging_mvcc_current_revision 6\n");
    assert_metric("\netcd_debugging_mvcc_compact_revision 3\n");
    assert_metric("_mvcc_db_compaction_pause_duration_milliseconds_count ");
    kv_reopen(kv);
    assert_metric("\netcd_debugging_mvcc_keys_total 2\n");
}

/* ---- records ------------------------------------------------------------ */

static void assert_encodes(const struct mvcc_fields *fields, const void *want,
                           size_t len)
{
    struct record record;
    struct mvcc_fields back;
    uint8_t joined[256];
    size_t at = 0;

    record_encode(&record, fields);
    for (size_t i = 0; i < record.n; i++) {
        memcpy(joined + at, record.pieces[i].data, record.pieces[i].len);
        at += record.pieces[i].len;
    }
    assert_int_equal(at, record.len);
    assert_int_equal(at, len);
    assert_memory_equal(joined, want, len);
    assert_int_equal(mvcc_decode(bytes_of(joined, at), &back), 0);
    assert_int_equal(bytes_cmp(back.key, fields->key), 0);
    assert_int_equal(bytes_cmp(back.value, fields->value), 0);
    assert_int_equal(back.lease, fields->lease);
    assert_int_equal(back.create_rev, fields->create_rev);
    assert_int_equal(back.mod_rev, fields->mod_rev);
    assert_int_equal(back.version, fields->version);
    assert_int_equal(bytes_cmp(record_key(bytes_of(joined, at)), fields->key),
                     0);
}

static void test_record_bytes(void **state)
{
    struct mvcc_fields fields = {.key = text("k")};

    (void)state;
    assert_encodes(&fields, "\x0a\x01k", 3);
    fields.create_rev = 2;
    fields.mod_rev = 300;
    fields.version = 3;
    assert_encodes(&fields, "\x0a\x01k\x10\x02\x18\xac\x02\x20\x03", 10);
    fields.value = text("v");
    assert_encodes(&fields, "\x0a\x01k\x10\x02\x18\xac\x02\x20\x03\x2a\x01v",
                   13);
    /* A negative lease takes ten bytes, as protobuf has it. */
    fields.lease = -1;
    assert_encodes(&fields,
                   "\x0a\x01k\x10\x02\x18\xac\x02\x20\x03\x2a\x01v\x30"
                   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                   24);
    fields.create_rev = fields.mod_rev = fields.version = INT64_MAX;
    record_encode(&(struct record){0}, &fields);
}

static void test_rev_bytes(void **state)
{
    uint8_t space[REV_KEY_MAX];
    struct rev_key at = {{0x0102030405060708, 9}, true};
    struct rev_key back;
    struct bytes key = rev_encode(at, space);

    (void)state;
    assert_int_equal(key.len, 18);
    assert_memory_equal(key.data, "\1\2\3\4\5\6\7\10_\0\0\0\0\0\0\0\11t", 18);
    assert_int_equal(rev_decode(key, &back), 0);
    assert_true(back.tombstone && back.rev.main == at.rev.main &&
                back.rev.sub == 9);
    space[17] = 'u';
    assert_int_equal(rev_decode(key, &back), ERR_MALFORMED);
    assert_int_equal(rev_decode(bytes_of(space, 17), &back), 0);
    assert_false(back.tombstone);
    assert_int_equal(rev_decode(bytes_of(space, 16), &back), ERR_MALFORMED);
    space[8] = '-';
    assert_int_equal(rev_decode(bytes_of(space, 17), &back), ERR_MALFORMED);
    space[8] = '_';
    space[0] = 0x80;
    assert_int_equal(rev_decode(bytes_of(space, 17), &back), ERR_MALFORMED);
}

/* A visitor's own result ends the range and comes back. */
static int stop_at_third(void *arg, const struct mvcc_kv *kv)
{
    (void)kv;
    return ++*(int *)arg == 3 ? 77 : 0;
}

static void test_visitor_stops(void **state)
{
    struct kv *kv = *state;
    struct mvcc_range range = {
        .key = text("key"), .end = text("l"), .want = MVCC_RECORDS};
    struct mvcc_range_result result;
    int n = 0;

    put_rounds(kv, 1, 10);
    assert_int_equal(mvcc_range(kv->reader, &range, stop_at_third, &n, &result),
                     77);
    assert_int_equal(n, 3);
    kv_flush(kv);
    n = 0;
    assert_int_equal(mvcc_range(kv->reader, &range, stop_at_third, &n, &result),
                     77);
    assert_int_equal(n, 3);
}

/* A visitor at work on a record of the tail holds the flush thread up. */
static int visit_slowly(void *arg, const struct mvcc_kv *kv)
{
    struct kv_wait *flushed = arg;
    bool done;

    sleep_ms(50);
    pthread_mutex_lock(&flushed->lock);
    done = flushed->done;
    pthread_mutex_unlock(&flushed->lock);
    assert_false(done);
    assert_int_equal(bytes_cmp(kv->key, text("a")), 0);
    return 0;
}

struct mark_in_visit {
    struct kv *kv;
    struct kv_wait *flushed;
};

static int mark_and_visit(void *arg, const struct mvcc_kv *kv)
{
    struct mark_in_visit *v = arg;

    kv_mark(v->kv);
    return visit_slowly(v->flushed, kv);
}

static void test_flush_waits_for_visitors(void **state)
{
    struct kv *kv = *state;
    static const char *const ends[] = {"", "b"};
    struct mvcc_range range = {.key = text("a"), .want = MVCC_RECORDS};
    struct mvcc_range_result result;

    for (int i = 0; i < 2; i++) {
        struct kv_wait flushed = KV_WAIT_INIT;
        struct mark_in_visit v = {kv, &flushed};

        range.end = text(ends[i]);
        mvcc_txn_begin(kv->mvcc);
        mvcc_txn_put(kv->mvcc, text("a"), text("1"), 0);
        mvcc_txn_end(kv->mvcc);
        /* What is flushed is flushed when the mark comes: in the visit. */
        store_flush(kv->store, kv_done, &flushed);
        range.rev = mvcc_revision(kv->mvcc);
        assert_int_equal(
            mvcc_range(kv->reader, &range, mark_and_visit, &v, &result), 0);
        assert_int_equal(kv_await(&flushed), 0);
        assert_int_equal(mvcc_stats(kv->mvcc).tail_records, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record_bytes),
        cmocka_unit_test(test_rev_bytes),
        KV_TEST(test_cut_off_compaction_goes_on),
        KV_TEST(test_overlapping_compactions),
        KV_TEST(test_first_compactions),
        KV_TEST(test_revision_outlives_its_records),
        KV_TEST(test_memory_is_given_back),
        KV_TEST(test_damaged_records_are_named),
        KV_TEST(test_bumped_revision),
        KV_TEST(test_metrics),
        KV_TEST(test_visitor_stops),
        KV_TEST(test_flush_waits_for_visitors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
