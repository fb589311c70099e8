/* Watching: the feed's batches, and the index against a plain list. */
#include "chorad/base/clock.h"
#include "chorad/base/pb.h"
#include "chorad/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the feed ---- */

struct taker {
    struct watch_subscriber subscriber;
    struct watch_batch *batches[8];
    size_t n;
};

static void take(struct watch_subscriber *subscriber, struct watch_batch *batch)
{
    struct taker *taker = (struct taker *)subscriber;

    assert_true(taker->n < 8);
    taker->batches[taker->n++] = batch;
}

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static struct mvcc_change change(int64_t rev, const char *key,
                                 const char *record)
{
    return (struct mvcc_change){
        .rev = {rev, 0},
        .tombstone = record == NULL,
        .key = text(key),
        .record = text(record ? record : ""),
    };
}

static void batches_go_to_those_who_want_them(void **state)
{
    struct watch_feed *feed = watch_feed_new();
    struct taker one = {.subscriber.notify = take};
    struct taker two = {.subscriber.notify = take};
    struct mvcc_change c = change(2, "a", "record");

    (void)state;
    watch_feed_subscribe(feed, &one.subscriber);
    watch_feed_subscribe(feed, &two.subscriber);
    watch_feed_add(feed, 2, &c, 1);
    watch_feed_flush(feed);
    assert_int_equal(one.n + two.n, 0);

    atomic_store(&one.subscriber.wanted, true);
    c = change(3, "a", "record");
    watch_feed_add(feed, 3, &c, 1);
    c = change(4, "b", NULL);
    watch_feed_add(feed, 4, &c, 1);
    watch_feed_flush(feed);
    assert_int_equal(one.n, 1);
    assert_int_equal(two.n, 0);
    struct watch_batch *batch = one.batches[0];
    assert_int_equal(batch->first_rev, 3);
    assert_int_equal(batch->last_rev, 4);
    assert_int_equal(batch->n, 2);
    assert_true(
        bytes_cmp(watch_event_key(batch, &batch->events[1]), text("b")) == 0);
    assert_true(batch->events[1].tombstone);
    watch_done(&one.subscriber, batch);
    assert_int_equal(atomic_load(&one.subscriber.pending_bytes), 0);
    watch_feed_free(feed);
}

static void a_slow_subscriber_is_left_out(void **state)
{
    struct watch_feed *feed = watch_feed_new();
    struct taker slow = {.subscriber.notify = take};
    struct mvcc_change c = change(2, "a", "record");

    (void)state;
    watch_feed_subscribe(feed, &slow.subscriber);
    atomic_store(&slow.subscriber.wanted, true);
    atomic_store(&slow.subscriber.pending_bytes, WATCH_PENDING_MAX + 1);
    watch_feed_add(feed, 2, &c, 1);
    watch_feed_flush(feed);
    assert_int_equal(slow.n, 0);
    assert_true(atomic_load(&slow.subscriber.missed));
    watch_feed_free(feed);
}

static void events_are_encoded_as_watch_responses_have_them(void **state)
{
    /* events { kv: "kv" }, events { type: DELETE kv: "kv" prev_kv: "p" } */
    static const uint8_t put[] = {0x5a, 4, 0x12, 2, 'k', 'v'};
    static const uint8_t delete[] = {0x5a, 9,   8,    1, 0x12, 2,
                                     'k',  'v', 0x1a, 1, 'p'};
    static const uint8_t bare[] = {0x5a, 6, 8, 1, 0x12, 2, 'k', 'v'};
    struct buf out = {0};
    struct bytes record;

    (void)state;
    watch_encode_event(&out, false, text("kv"), text(""));
    assert_int_equal(out.len, sizeof(put));
    assert_memory_equal(out.data, put, sizeof(put));
    record = watch_event_record(bytes_of(out.data, out.len));
    assert_int_equal(bytes_cmp(record, text("kv")), 0);
    assert_int_equal(watch_event_record(text("\x0a\x01x")).len, 0);
    out.len = 0;
    watch_encode_event(&out, true, text("kv"), text("p"));
    assert_int_equal(out.len, sizeof(delete));
    assert_memory_equal(out.data, delete, sizeof(delete));
    out.len = 0;
    watch_event_add_prev(&out, bytes_of(bare, sizeof(bare)), text("p"));
    assert_int_equal(out.len, sizeof(delete));
    assert_memory_equal(out.data, delete, sizeof(delete));
    buf_close(&out);
}

/* ---- the index ---- */

#define LINKS 400

struct item {
    struct watch_link link;
    char key[4];
    char end[4]; /* "" for one key */
    bool to_end;
    bool there;
    bool seen;
};

static void see(void *arg, struct watch_link *link)
{
    struct item *item = (struct item *)link;

    assert_false(item->seen);
    item->seen = true;
    (*(size_t *)arg)++;
}

static bool holds(const struct item *item, const char *key)
{
    if (item->to_end)
        return strcmp(key, item->key) >= 0;
    if (item->end[0] == 0)
        return strcmp(key, item->key) == 0;
    return strcmp(key, item->key) >= 0 && strcmp(key, item->end) < 0;
}

static void random_key(struct prng *prng, char out[4])
{
    size_t len = 1 + prng_below(prng, 3);

    memset(out, 0, 4);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + prng_below(prng, 4));
}

static void toggle(struct watch_index *index, struct prng *prng,
                   struct item *item)
{
    struct bytes end;

    if (item->there) {
        watch_index_remove(index, &item->link);
        item->there = false;
        return;
    }
    random_key(prng, item->key);
    memset(item->end, 0, sizeof(item->end));
    item->to_end = prng_below(prng, 10) == 0;
    if (!item->to_end && prng_below(prng, 2)) {
        do {
            random_key(prng, item->end);
        } while (strcmp(item->end, item->key) <= 0 && item->key[0] < 'd');
        if (strcmp(item->end, item->key) <= 0)
            memset(item->end, 0, sizeof(item->end));
    }
    end = item->to_end ? bytes_of("", 1) : text(item->end);
    watch_index_add(index, text(item->key), end, &item->link);
    item->there = true;
}

static void the_index_finds_what_a_list_finds(void **state)
{
    struct item *items = calloc(LINKS, sizeof(*items));
    struct prng prng = {random_u64()};

    (void)state;
    printf("seed %llu\n", (unsigned long long)prng.state);
    struct watch_index *index = watch_index_new(prng_next(&prng));
    for (int round = 0; round < 20000; round++) {
        char key[4];
        size_t found = 0;
        size_t expected = 0;
        toggle(index, &prng, &items[prng_below(&prng, LINKS)]);
        random_key(&prng, key);
        for (size_t i = 0; i < LINKS; i++)
            items[i].seen = false;
        watch_index_match(index, text(key), see, &found);
        for (size_t i = 0; i < LINKS; i++) {
            bool should = items[i].there && holds(&items[i], key);
            expected += should;
            assert_int_equal(items[i].seen, should);
        }
        assert_int_equal(found, expected);
    }
    for (size_t i = 0; i < LINKS; i++)
        if (items[i].there)
            watch_index_remove(index, &items[i].link);
    watch_index_free(index);
    free(items);
}

static void drop(void *arg, struct watch_link *link)
{
    watch_index_remove(arg, link);
}

static void a_visit_may_remove_its_link(void **state)
{
    struct watch_index *index = watch_index_new(1);
    struct watch_link links[100];
    size_t found = 0;

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        char end[16];
        snprintf(end, sizeof(end), "k%02zu", i % 50);
        watch_index_add(index, text("k"), i % 2 ? text(end) : text(""),
                        &links[i]);
    }
    watch_index_match(index, text("k"), drop, index);
    watch_index_match(index, text("k"), see, &found);
    assert_int_equal(found, 0);
    watch_index_free(index);
}

static void the_range_of_a_link_can_be_asked_for(void **state)
{
    struct watch_index *index = watch_index_new(1);
    struct watch_link link;
    struct bytes key;
    struct bytes end;

    (void)state;
    watch_index_add(index, text("a"), bytes_of("", 1), &link);
    watch_link_range(&link, &key, &end);
    assert_true(bytes_cmp(key, text("a")) == 0);
    assert_true(bytes_cmp(end, bytes_of("", 1)) == 0);
    watch_index_remove(index, &link);
    watch_index_free(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_go_to_those_who_want_them),
        cmocka_unit_test(a_slow_subscriber_is_left_out),
        cmocka_unit_test(events_are_encoded_as_watch_responses_have_them),
        cmocka_unit_test(the_index_finds_what_a_list_finds),
        cmocka_unit_test(a_visit_may_remove_its_link),
        cmocka_unit_test(the_range_of_a_link_can_be_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
