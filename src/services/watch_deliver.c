/* Rounds: which watchers of the shard the events of a batch go to. */
#include "watch.h"

#include "chorad/base/clock.h"

#include <stdlib.h>

void watch_deliver(struct watch_round *round, struct watcher *watcher,
                   bool tombstone, int64_t rev)
{
    uint32_t at;

    if (rev < watcher->next_rev ||
        (tombstone ? watcher->no_delete : watcher->no_put))
        return;
    if (round->n == round->cap) {
        round->cap = round->cap ? round->cap * 2 : 256;
        round->deliveries = mem_realloc(
            round->deliveries, round->cap * sizeof(*round->deliveries));
    }
    at = (uint32_t)round->n++;
    round->deliveries[at] = (struct watch_delivery){round->event, WATCH_NOBODY};
    if (watcher->first != WATCH_NOBODY) {
        round->deliveries[watcher->last].next = at;
        watcher->last = at;
        return;
    }
    watcher->first = watcher->last = at;
    if (round->n_touched == round->cap_touched) {
        round->cap_touched = round->cap_touched ? round->cap_touched * 2 : 256;
        round->touched = mem_realloc(
            round->touched, round->cap_touched * sizeof(struct watcher *));
    }
    round->touched[round->n_touched++] = watcher;
}

void watch_round_end(struct watch_round *round)
{
    for (size_t i = 0; round->with_prev && i < round->batch->n; i++)
        shared_unref(round->with_prev[i]);
    free(round->with_prev);
    round->with_prev = NULL;
    round->batch = NULL;
    round->n = 0;
    round->n_touched = 0;
}

/* ---- batches from the loop ---- */

struct match {
    struct watch_round *round;
    const struct watch_event *event;
};

static void match_live(void *arg, struct watch_link *link)
{
    struct match *match = arg;
    struct watcher *watcher = container_of(link, struct watcher, link);

    if (watcher->state == WATCHER_LIVE)
        watch_deliver(match->round, watcher, match->event->tombstone,
                      match->event->rev);
}

/* A stream that is over its budget doesn't take the events: the watcher reads
 * them from the store when the stream has drained. */
static void send_live(struct watch_round *round)
{
    for (size_t i = 0; i < round->n_touched; i++) {
        struct watcher *watcher = round->touched[i];
        const struct watch_delivery *first = &round->deliveries[watcher->first];
        if (watch_over_budget(watcher->stream)) {
            watch_fall_behind(watcher, round->batch->events[first->event].rev);
            watcher->first = watcher->last = WATCH_NOBODY;
            continue;
        }
        watch_send_deliveries(watcher, round, 0);
    }
}

static void answer_progress(struct watch_shard *shard)
{
    for (struct watch_stream *s = shard->streams; s; s = s->next)
        if (s->progress_rev != 0)
            watch_answer_progress(s);
}

void watch_gap(struct changes_follower *follower, int64_t from)
{
    struct watch_shard *shard =
        container_of(follower, struct watch_shard, follower);
    int64_t seen = shard->changes->seen;

    for (struct watch_stream *s = shard->streams; s; s = s->next) {
        for (size_t i = 0; i < s->n_buckets; i++) {
            for (struct watcher *w = s->ids[i]; w; w = w->id_next) {
                if (w->state == WATCHER_LIVE && w->next_rev <= seen)
                    watch_fall_behind(w,
                                      w->next_rev > from ? w->next_rev : from);
            }
        }
    }
    watch_schedule(shard);
    answer_progress(shard);
}

void watch_batch(struct changes_follower *follower, struct watch_batch *batch,
                 int64_t from)
{
    struct watch_shard *shard =
        container_of(follower, struct watch_shard, follower);
    struct watch_round *round = &shard->round;

    round->batch = batch;
    for (size_t i = 0; i < batch->n; i++) {
        const struct watch_event *event = &batch->events[i];
        struct match match = {round, event};
        if (event->rev < from)
            continue;
        round->event = (uint32_t)i;
        watch_index_match(shard->index, watch_event_key(batch, event),
                          match_live, &match);
    }
    send_live(round);
    watch_round_end(round);
    answer_progress(shard);
}

/* ---- progress ---- */

/* All watchers have been sent everything up to what the shard has seen. */
static bool all_synced(const struct watch_stream *stream)
{
    int64_t seen = stream->shard->changes->seen;

    for (size_t i = 0; i < stream->n_buckets; i++)
        for (const struct watcher *w = stream->ids[i]; w; w = w->id_next)
            if (w->state != WATCHER_LIVE || seen < w->start_rev)
                return false;
    return stream->n_watchers > 0;
}

void watch_answer_progress(struct watch_stream *stream)
{
    struct watch_answer answer = {.id = -1,
                                  .revision = stream->shard->changes->seen};

    if (stream->shard->changes->seen < stream->progress_rev)
        return;
    stream->progress_rev = 0;
    if (all_synced(stream))
        watch_answer(stream, &answer);
}

static void notify_progress(struct watch_stream *stream)
{
    int64_t seen = stream->shard->changes->seen;

    for (size_t i = 0; i < stream->n_buckets; i++) {
        for (struct watcher *w = stream->ids[i]; w; w = w->id_next) {
            struct watch_answer answer = {.id = w->id, .revision = seen};
            if (!w->progress)
                continue;
            if (w->quiet && w->state == WATCHER_LIVE && seen >= w->start_rev)
                watch_answer(stream, &answer);
            w->quiet = true;
        }
    }
}

static void run_tick(struct rpc_task *task)
{
    struct watch_shard *shard = container_of(task, struct watch_shard, tick);
    uint64_t now_ns = clock_mono_ns();

    atomic_store(&shard->ticking, false);
    for (struct watch_stream *s = shard->streams; s; s = s->next) {
        if (s->progress_count == 0 || now_ns < s->progress_due_ns)
            continue;
        s->progress_due_ns = now_ns + shard->progress_interval_ns;
        notify_progress(s);
    }
}

void watch_shard_tick(struct watch_shard *shard)
{
    if (atomic_load(&shard->progress_watchers) == 0 ||
        atomic_exchange(&shard->ticking, true))
        return;
    shard->tick.run = run_tick;
    rpc_post(shard->rpc, &shard->tick);
}
