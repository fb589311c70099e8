/* Watching: how changes get from the loop to the threads that serve streams,
 * and which watchers of a thread a change concerns.
 *
 *   apply --watch_feed_add--> feed --one batch for all--> subscriber (thread)
 *                                                            |
 *                                                   watch_index: key ->
 * watchers
 *
 * A change is encoded once, as an event of a WatchResponse, into one buffer
 * that all streams send from. Each subscriber is one thread with its own index
 * and no locks. A subscriber has seen everything up to some revision; a
 * watcher that starts later than that only waits, one that starts earlier
 * reads the store first. Batches that a slow subscriber can't take are left
 * out: it finds the gap by the revisions, which have none, and reads the store
 * as well. */
#ifndef CHORAD_WATCH_H
#define CHORAD_WATCH_H

#include "chorad/base/mem.h"
#include "chorad/mvcc.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- batches ----------------------------------------------------------------
 */

struct watch_event {
    int64_t rev;
    bool tombstone;
    uint32_t key_at; /* the key's place in the batch's bytes */
    uint32_t key_len;
    uint32_t at;  /* the encoded `events` field of a WatchResponse, */
    uint32_t len; /* its field key and length included */
};

/* Changes of consecutive revisions, in order. Immutable, counted. */
struct watch_batch {
    atomic_uint refs;
    int64_t first_rev;
    int64_t last_rev;
    struct shared *bytes;
    size_t n;
    struct watch_event events[];
};

struct watch_batch *watch_batch_ref(struct watch_batch *batch);
void watch_batch_unref(struct watch_batch *batch);

static inline struct bytes watch_event_key(const struct watch_batch *batch,
                                           const struct watch_event *event)
{
    return bytes_of(batch->bytes->data + event->key_at, event->key_len);
}

static inline struct bytes watch_event_bytes(const struct watch_batch *batch,
                                             const struct watch_event *event)
{
    return bytes_of(batch->bytes->data + event->at, event->len);
}

/* The encoded KeyValue inside an encoded `events` field; borrowed. Empty if
 * there is none. */
struct bytes watch_event_record(struct bytes event);

/* Appends the encoded `events` field of one change to a buffer; `prev` is an
 * encoded KeyValue, or empty. */
void watch_encode_event(struct buf *out, bool tombstone, struct bytes record,
                        struct bytes prev);
/* Appends an event that watch_encode_event made without `prev` once more, with
 * it. */
void watch_event_add_prev(struct buf *out, struct bytes event,
                          struct bytes prev);

/* A tombstone's record as clients see it: key and mod_revision. */
void watch_tombstone_record(struct buf *out, struct bytes key, int64_t rev);

/* ---- making batches --------------------------------------------------- */

/* A batch being made; zeroed memory is an empty one. */
struct watch_builder {
    struct buf bytes;
    struct watch_event *events;
    size_t n;
    size_t cap;
};

void watch_builder_add(struct watch_builder *builder, int64_t rev,
                       const struct mvcc_change *change);
/* One reference to a batch of what was added; the builder is empty again. */
struct watch_batch *watch_builder_finish(struct watch_builder *builder,
                                         int64_t first_rev, int64_t last_rev);
void watch_builder_close(struct watch_builder *builder);

/* ---- the feed: the loop ---- */

struct watch_feed;

struct watch_subscriber {
    /* Set by the owner. Called on the loop with a reference of its own;
     * hands the batch to the subscriber's thread, which reports with
     * watch_done. */
    void (*notify)(struct watch_subscriber *subscriber,
                   struct watch_batch *batch);
    /* Batches are made only while somebody wants them. Set by an exchange,
     * before the revision is looked at from which on they are wanted. */
    atomic_bool wanted;
    /* Bytes handed over and not reported as done. */
    atomic_size_t pending_bytes;
    /* Something was left out since the last look. */
    atomic_bool missed;
    struct watch_subscriber *next;
};

/* A subscriber with more than this waiting is left out until it has caught
 * up. */
#define WATCH_PENDING_MAX ((size_t)64 << 20)

struct watch_feed *watch_feed_new(void);
void watch_feed_free(struct watch_feed *feed);

/* Any thread, once per subscriber, before it is wanted. */
void watch_feed_subscribe(struct watch_feed *feed,
                          struct watch_subscriber *subscriber);

/* The loop: subscribers are about to go, nothing is handed out any more. */
void watch_feed_stop(struct watch_feed *feed);

/* The changes of one revision. */
void watch_feed_add(struct watch_feed *feed, int64_t rev,
                    const struct mvcc_change *changes, size_t n);
/* Hands out what was added. */
void watch_feed_flush(struct watch_feed *feed);
/* The revision has jumped to `rev`: subscribers find what came in between in
 * the store. Nothing may be left that wasn't handed out. */
void watch_feed_jump(struct watch_feed *feed, int64_t rev);

/* The subscriber's thread: the batch is dealt with; gives the reference back.
 */
void watch_done(struct watch_subscriber *subscriber, struct watch_batch *batch);

/* ---- the index: the subscriber's thread ---- */

struct watch_index;
struct watch_group;

/* Embedded in a watcher. */
struct watch_link {
    struct watch_group *group;
    struct watch_link *next;
    struct watch_link **prev;
};

struct watch_index *watch_index_new(uint64_t seed);
void watch_index_free(struct watch_index *index);

/* end: empty for the one key, "\0" for key and all above (forms of
 * struct mvcc_range). Both are copied, once for all watchers of the same
 * range. */
void watch_index_add(struct watch_index *index, struct bytes key,
                     struct bytes end, struct watch_link *link);
void watch_index_remove(struct watch_index *index, struct watch_link *link);

/* Calls for each watcher whose range holds the key. `visit` may remove the
 * link that it is called with, no other. */
void watch_index_match(const struct watch_index *index, struct bytes key,
                       void (*visit)(void *arg, struct watch_link *link),
                       void *arg);

/* The range of a link that is in the index; borrowed. */
void watch_link_range(const struct watch_link *link, struct bytes *key,
                      struct bytes *end);

#endif
