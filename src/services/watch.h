/* The Watch service of one shard.
 *
 * A shard has seen all changes up to `seen` (changes.h). A watcher is
 *
 *   live      events after `seen` reach it by the batches;
 *   behind    it has to read the store from next_rev on: it starts in the
 *             past, or its stream was too slow;
 *   dead      its past has been compacted away; the id stays taken until the
 *             client cancels.
 *
 *      create --> behind <--- stream over its budget --- live
 *         \          \------- caught up with `seen` -----^ ^
 *          \---------------------------------------------/ |
 *                    start revision not seen yet, or none -'
 */
#ifndef CHORAD_SERVICES_WATCH_H
#define CHORAD_SERVICES_WATCH_H

#include "changes.h"

#include "chorad/base/clock.h"
#include "chorad/base/metrics.h"
#include "chorad/rpc.h"

/* A stream with that much unsent gets nothing new: its watchers fall behind
 * and read the store later. */
#define WATCH_BUDGET_BYTES ((size_t)1 << 20)
#define WATCH_BUDGET_MESSAGES ((size_t)4096)
/* Distinct revisions in one response of a watcher that catches up (source:
 * etcd's watchBatchMaxRevs). */
#define WATCH_CATCH_UP_REVS 1000
/* Watchers that catch up in one scan of the store. */
#define WATCH_CATCH_UP_MAX 512

#define WATCH_NOBODY UINT32_MAX

enum watcher_state { WATCHER_LIVE, WATCHER_BEHIND, WATCHER_DEAD };

struct watcher {
    struct watch_link link;
    struct watch_stream *stream;
    struct watcher *id_next; /* of the stream's table */
    struct watcher *behind_next;
    struct watcher **behind_prev;
    int64_t id;
    int64_t start_rev; /* as asked for; 0: from now on */
    int64_t next_rev;  /* nothing older is sent */
    uint32_t first;    /* its deliveries of the round, WATCH_NOBODY */
    uint32_t last;
    uint8_t state; /* enum watcher_state */
    bool in_round; /* catches up in this scan */
    bool no_put;
    bool no_delete;
    bool prev_kv;
    bool fragment;
    bool progress;
    bool quiet; /* nothing sent since the last progress tick */
};

struct watch_stream {
    struct rpc_call *call;
    struct watch_shard *shard;
    struct watch_stream *next;
    struct watch_stream **prev;
    struct watcher **ids; /* hash table by id */
    size_t n_buckets;
    size_t n_watchers;
    int64_t next_id;
    int64_t progress_rev; /* a progress request waits for it; 0: none */
    uint64_t progress_due_ns;
    unsigned progress_count;
};

/* One event for one watcher. */
struct watch_delivery {
    uint32_t event;
    uint32_t next; /* of the same watcher */
};

/* What one batch, or one scan of the store, brings to whom. */
struct watch_round {
    const struct watch_batch *batch;
    struct shared **with_prev; /* per event, made on demand */
    struct watch_delivery *deliveries;
    size_t n;
    size_t cap;
    struct watcher **touched;
    size_t n_touched;
    size_t cap_touched;
    uint32_t event; /* being matched */
};

struct watch_metrics {
    struct metric *watchers;
    struct metric *streams;
    struct metric *slow;
    struct metric *events;
};

/* Registers them; again: gives the same. */
void watch_metrics_open(struct watch_metrics *metrics);

struct watch_shard {
    struct watch_shard *next; /* of the services' list */
    struct node *node;
    struct watch_metrics metrics;
    struct rpc_shard *rpc;
    struct changes *changes;
    struct changes_follower follower; /* while there are streams */
    struct mvcc_reader *reader;       /* made with the first watcher */
    struct watch_index *index;
    struct watch_stream *streams;
    struct watcher *behind;
    struct watch_round round;
    struct rpc_task catch_up;
    bool catching_up;
    struct rpc_task tick;
    atomic_bool ticking;
    atomic_uint progress_watchers;
    uint64_t progress_interval_ns;
    size_t max_message;
    struct prng prng;
};

/* One per shard, opened on its thread, closed when that is gone.
 * `max_message`: where fragments begin. */
struct watch_shard *watch_shard_open(struct changes *changes,
                                     uint64_t progress_interval_ns,
                                     size_t max_message);
void watch_shard_close(struct watch_shard *shard);

/* Any thread, every so often (at least ten times a progress interval): sends
 * the progress notifications that are due. */
void watch_shard_tick(struct watch_shard *shard);

/* ---- the streams (watch.c) ---- */

bool watch_over_budget(const struct watch_stream *stream);

/* ---- responses (watch_send.c) ---- */

struct watch_answer {
    int64_t id;
    int64_t revision; /* of the header */
    int64_t compact_rev;
    bool created;
    bool canceled;
    bool fragment;
    const char *cancel_reason;
};
void watch_answer(struct watch_stream *stream,
                  const struct watch_answer *answer);

/* The watcher's deliveries of the round, in order. `revision`: of the header,
 * or 0 for that of the events. */
void watch_send_deliveries(struct watcher *watcher, struct watch_round *round,
                           int64_t revision);

/* ---- rounds (watch_deliver.c) ---- */

/* Notes the event for the watcher if its filters let it through. */
void watch_deliver(struct watch_round *round, struct watcher *watcher,
                   bool tombstone, int64_t rev);
/* Frees what a round made on demand, forgets its deliveries. */
void watch_round_end(struct watch_round *round);

/* As a follower of the changes. */
void watch_batch(struct changes_follower *follower, struct watch_batch *batch,
                 int64_t from);
void watch_gap(struct changes_follower *follower, int64_t from);

/* Progress requests that can be answered now. */
void watch_answer_progress(struct watch_stream *stream);

/* ---- the past (watch_past.c) ---- */

void watch_fall_behind(struct watcher *watcher, int64_t next_rev);
void watch_leave_behind(struct watcher *watcher);
/* Goes on catching up soon. */
void watch_schedule(struct watch_shard *shard);
void watch_catch_up(struct rpc_task *task);

#endif
