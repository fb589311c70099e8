/* Catching up: watchers that start in the past, or whose stream was slow, read
 * the store. One scan serves many; other calls of the shard come in between. */
#include "watch.h"

void watch_fall_behind(struct watcher *watcher, int64_t next_rev)
{
    struct watch_shard *shard = watcher->stream->shard;

    watcher->state = WATCHER_BEHIND;
    watcher->next_rev = next_rev;
    watcher->behind_next = shard->behind;
    watcher->behind_prev = &shard->behind;
    if (watcher->behind_next)
        watcher->behind_next->behind_prev = &watcher->behind_next;
    shard->behind = watcher;
    metric_add(shard->metrics.slow, 1);
}

void watch_leave_behind(struct watcher *watcher)
{
    metric_add(watcher->stream->shard->metrics.slow, -1);
    *watcher->behind_prev = watcher->behind_next;
    if (watcher->behind_next)
        watcher->behind_next->behind_prev = watcher->behind_prev;
    watcher->behind_next = NULL;
    watcher->behind_prev = NULL;
}

void watch_schedule(struct watch_shard *shard)
{
    if (shard->catching_up || !shard->behind)
        return;
    shard->catching_up = true;
    shard->catch_up.run = watch_catch_up;
    rpc_post(shard->rpc, &shard->catch_up);
}

static void bury(struct watcher *watcher, int64_t compacted)
{
    struct watch_answer answer = {
        .id = watcher->id, .canceled = true, .compact_rev = compacted};

    watch_leave_behind(watcher);
    watcher->state = WATCHER_DEAD;
    watch_answer(watcher->stream, &answer);
}

struct scan {
    struct watch_shard *shard;
    struct watch_builder builder;
    const struct mvcc_change *change;
    struct watcher *members[WATCH_CATCH_UP_MAX];
    size_t n_members;
};

/* Chooses who takes part, from the oldest revision on; those whose past is gone
 * are told so. Returns where the scan begins, 0 for nobody. */
static int64_t choose(struct scan *scan)
{
    struct watch_shard *shard = scan->shard;
    int64_t compacted = mvcc_compacted(node_mvcc(shard->node));
    struct watcher *next;
    int64_t from = 0;

    for (struct watcher *w = shard->behind; w; w = next) {
        next = w->behind_next;
        if (watch_over_budget(w->stream))
            continue;
        if (w->next_rev < compacted) {
            bury(w, compacted);
            continue;
        }
        if (scan->n_members == WATCH_CATCH_UP_MAX)
            break;
        w->in_round = true;
        scan->members[scan->n_members++] = w;
        if (from == 0 || w->next_rev < from)
            from = w->next_rev;
    }
    return from;
}

static void match_behind(void *arg, struct watch_link *link)
{
    struct scan *scan = arg;
    struct watcher *watcher = container_of(link, struct watcher, link);

    if (watcher->in_round)
        watch_deliver(&scan->shard->round, watcher, scan->change->tombstone,
                      scan->change->rev.main);
}

static int visit_change(void *arg, const struct mvcc_change *change)
{
    struct scan *scan = arg;
    struct watch_round *round = &scan->shard->round;
    size_t before = round->n;

    scan->change = change;
    round->event = (uint32_t)scan->builder.n;
    watch_index_match(scan->shard->index, change->key, match_behind, scan);
    if (round->n > before)
        watch_builder_add(&scan->builder, change->rev.main, change);
    return 0;
}

/* Sends what the scan found, and lets those go who have caught up. */
static void finish(struct scan *scan, int64_t current, int64_t next)
{
    struct watch_shard *shard = scan->shard;
    struct watch_round *round = &shard->round;
    struct watch_batch *batch = watch_builder_finish(&scan->builder, 0, 0);

    round->batch = batch;
    for (size_t i = 0; i < round->n_touched; i++)
        watch_send_deliveries(round->touched[i], round, current);
    watch_round_end(round);
    watch_batch_unref(batch);
    for (size_t i = 0; i < scan->n_members; i++) {
        struct watcher *w = scan->members[i];
        w->in_round = false;
        if (next > w->next_rev)
            w->next_rev = next;
        if (w->next_rev > shard->changes->seen) {
            watch_leave_behind(w);
            w->state = WATCHER_LIVE;
        }
        if (w->stream->progress_rev != 0)
            watch_answer_progress(w->stream);
    }
}

static void abandon(struct scan *scan)
{
    struct watch_round *round = &scan->shard->round;

    for (size_t i = 0; i < round->n_touched; i++)
        round->touched[i]->first = round->touched[i]->last = WATCH_NOBODY;
    round->n = 0;
    round->n_touched = 0;
    for (size_t i = 0; i < scan->n_members; i++)
        scan->members[i]->in_round = false;
}

/* Nobody can take part while all streams are over their budget: on_drained
 * starts it again. */
void watch_catch_up(struct rpc_task *task)
{
    struct watch_shard *shard =
        container_of(task, struct watch_shard, catch_up);
    struct scan scan = {.shard = shard};
    int64_t current = mvcc_revision(node_mvcc(shard->node));
    int64_t next = 0;
    int64_t from = choose(&scan);
    int rc = 0;

    shard->catching_up = false;
    if (from == 0)
        return;
    /* What the shard has seen is enough: the rest comes with the batches. */
    if (from <= shard->changes->seen)
        rc = mvcc_changes(shard->reader, from, shard->changes->seen,
                          WATCH_CATCH_UP_REVS, visit_change, &scan, &next);
    else
        next = from;
    if (rc < 0)
        abandon(&scan); /* compacted meanwhile: choose finds it out */
    else
        finish(&scan, current, next);
    watch_builder_close(&scan.builder);
    if (rc == 0 || rc == ERR_COMPACTED)
        watch_schedule(shard);
}
