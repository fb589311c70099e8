#include "chorad/base/check.h"
#include "chorad/base/pb.h"
#include "chorad/watch.h"
#include <stdlib.h>
#include <string.h>

/* A batch goes out at the latest when it is that large. */
#define BATCH_BYTES ((size_t)1 << 20)

struct watch_feed {
    _Atomic(struct watch_subscriber *)
        subscribers; /* added to, up to the stop */
    struct watch_builder builder;
    bool stopped;
    int64_t first_rev;
    int64_t last_rev;
};

struct watch_feed *watch_feed_new(void)
{
    return mem_zalloc(sizeof(struct watch_feed));
}

void watch_feed_free(struct watch_feed *feed)
{
    if (!feed)
        return;
    watch_builder_close(&feed->builder);
    free(feed);
}

void watch_feed_subscribe(struct watch_feed *feed,
                          struct watch_subscriber *subscriber)
{
    subscriber->next = atomic_load(&feed->subscribers);
    while (!atomic_compare_exchange_weak(&feed->subscribers, &subscriber->next,
                                         subscriber))
        continue;
}

void watch_feed_stop(struct watch_feed *feed)
{
    feed->stopped = true;
    feed->builder.n = 0;
    feed->builder.bytes.len = 0;
}

/* The revision has been published. The exchange, which changes nothing, and the
 * one that a subscriber begins with, come one after the other: either the
 * subscriber is seen here as wanting the change, or it sees the revision. */
static bool wants(struct watch_subscriber *subscriber)
{
    bool idle = false;

    return !atomic_compare_exchange_strong(&subscriber->wanted, &idle, false);
}

static bool anybody(const struct watch_feed *feed)
{
    for (struct watch_subscriber *s = atomic_load(&feed->subscribers); s;
         s = s->next)
        if (wants(s))
            return true;
    return false;
}

void watch_feed_add(struct watch_feed *feed, int64_t rev,
                    const struct mvcc_change *changes, size_t n)
{
    if (feed->stopped)
        return;
    if (feed->builder.n == 0) {
        if (!anybody(feed))
            return;
        feed->first_rev = rev;
    }
    CHECK(feed->builder.n == 0 || rev == feed->last_rev + 1);
    feed->last_rev = rev;
    for (size_t i = 0; i < n; i++)
        watch_builder_add(&feed->builder, rev, &changes[i]);
    if (feed->builder.bytes.len >= BATCH_BYTES)
        watch_feed_flush(feed);
}

void watch_feed_flush(struct watch_feed *feed)
{
    struct watch_batch *batch;

    if (feed->builder.n == 0)
        return;
    batch =
        watch_builder_finish(&feed->builder, feed->first_rev, feed->last_rev);
    for (struct watch_subscriber *s = atomic_load(&feed->subscribers); s;
         s = s->next) {
        if (!atomic_load(&s->wanted))
            continue;
        if (atomic_load(&s->pending_bytes) > WATCH_PENDING_MAX) {
            atomic_store(&s->missed, true);
            continue;
        }
        atomic_fetch_add(&s->pending_bytes, batch->bytes->len);
        s->notify(s, watch_batch_ref(batch));
    }
    watch_batch_unref(batch);
}

void watch_feed_jump(struct watch_feed *feed, int64_t rev)
{
    struct watch_batch *batch;

    CHECK(feed->builder.n == 0);
    if (feed->stopped || !anybody(feed))
        return;
    /* Empty, and whatever a subscriber has seen, there is a gap before it. */
    batch = watch_builder_finish(&feed->builder, rev + 1, rev);
    for (struct watch_subscriber *s = atomic_load(&feed->subscribers); s;
         s = s->next)
        if (atomic_load(&s->wanted))
            s->notify(s, watch_batch_ref(batch));
    watch_batch_unref(batch);
}

void watch_done(struct watch_subscriber *subscriber, struct watch_batch *batch)
{
    atomic_fetch_sub(&subscriber->pending_bytes, batch->bytes->len);
    watch_batch_unref(batch);
}
