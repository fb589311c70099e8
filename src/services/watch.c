/* The Watch service: streams, and their requests to create and cancel. */
#include "watch.h"
#include "access.h"

#include "chorad/base/clock.h"
#include "chorad/codec.h"
#include "rpc.pb-c.h"

#include <stdlib.h>
#include <string.h>

/* What a response may be longer than a request before it is split (source:
 * etcd's grpcOverheadBytes). */
#define REQUEST_OVERHEAD ((size_t)512 * 1024)

/* ---- the shard ---- */

void watch_metrics_open(struct watch_metrics *m)
{
    m->watchers = metric_gauge("etcd_debugging_mvcc_watcher_total",
                               "Total number of watchers.", NULL, 0);
    m->streams = metric_gauge("etcd_debugging_mvcc_watch_stream_total",
                              "Total number of watch streams.", NULL, 0);
    m->slow = metric_gauge("etcd_debugging_mvcc_slow_watcher_total",
                           "Total number of unsynced slow watchers.", NULL, 0);
    m->events =
        metric_counter("etcd_debugging_mvcc_events_total",
                       "Total number of events sent by this member.", NULL, 0);
    metric_gauge("etcd_debugging_mvcc_pending_events_total",
                 "Total number of pending events to be sent.", NULL, 0);
}

struct watch_shard *watch_shard_open(struct changes *changes,
                                     uint64_t progress_interval_ns,
                                     size_t max_message)
{
    struct watch_shard *shard = mem_zalloc(sizeof(*shard));

    shard->node = changes->node;
    shard->rpc = changes->rpc;
    shard->changes = changes;
    shard->progress_interval_ns = progress_interval_ns;
    shard->max_message = max_message;
    shard->prng.state = random_u64();
    shard->index = watch_index_new(prng_next(&shard->prng));
    shard->follower.batch = watch_batch;
    shard->follower.gap = watch_gap;
    watch_metrics_open(&shard->metrics);
    return shard;
}

void watch_shard_close(struct watch_shard *shard)
{
    if (!shard)
        return;
    if (shard->reader)
        mvcc_reader_close(shard->reader);
    watch_index_free(shard->index);
    free(shard->round.deliveries);
    free(shard->round.touched);
    free(shard);
}

bool watch_over_budget(const struct watch_stream *stream)
{
    return rpc_queued_bytes(stream->call) > WATCH_BUDGET_BYTES ||
           rpc_queued_messages(stream->call) > WATCH_BUDGET_MESSAGES;
}

/* ---- watchers by id ---- */

static struct watcher *find(const struct watch_stream *stream, int64_t id)
{
    if (stream->n_buckets == 0)
        return NULL;
    struct watcher *w = stream->ids[(size_t)id & (stream->n_buckets - 1)];
    while (w && w->id != id)
        w = w->id_next;
    return w;
}

static void grow(struct watch_stream *stream)
{
    size_t n = stream->n_buckets ? stream->n_buckets * 2 : 4;
    struct watcher **table = mem_zalloc(n * sizeof(struct watcher *));

    for (size_t i = 0; i < stream->n_buckets; i++) {
        struct watcher *next;
        for (struct watcher *w = stream->ids[i]; w; w = next) {
            next = w->id_next;
            w->id_next = table[(size_t)w->id & (n - 1)];
            table[(size_t)w->id & (n - 1)] = w;
        }
    }
    free(stream->ids);
    stream->ids = table;
    stream->n_buckets = n;
}

static void insert(struct watch_stream *stream, struct watcher *watcher)
{
    if (stream->n_watchers >= stream->n_buckets)
        grow(stream);
    struct watcher **at =
        &stream->ids[(size_t)watcher->id & (stream->n_buckets - 1)];
    watcher->id_next = *at;
    *at = watcher;
    stream->n_watchers++;
    metric_add(stream->shard->metrics.watchers, 1);
}

static void free_watcher(struct watcher *watcher)
{
    struct watch_stream *stream = watcher->stream;

    if (watcher->state == WATCHER_BEHIND)
        watch_leave_behind(watcher);
    if (watcher->progress) {
        stream->progress_count--;
        atomic_fetch_sub(&stream->shard->progress_watchers, 1);
    }
    watch_index_remove(stream->shard->index, &watcher->link);
    metric_add(stream->shard->metrics.watchers, -1);
    free(watcher);
}

/* ---- requests ---- */

static int64_t free_id(struct watch_stream *stream)
{
    while (find(stream, stream->next_id))
        stream->next_id++;
    return stream->next_id++;
}

/* Asked only when a watcher is created, as in etcd: what is permitted to it
 * then it is told of for as long as it is there. The whole status as text is
 * what clients look for. */
static const char *forbidden(const struct rpc_call *call, struct bytes key,
                             struct bytes end, struct access *access)
{
    switch (access_range(call, key, end, access)) {
    case 0:
        return NULL;
    case ERR_AUTH_TOKEN:
        return "rpc error: code = Unauthenticated desc = etcdserver: invalid "
               "auth token";
    case ERR_AUTH_OLD_REVISION:
        return "rpc error: code = InvalidArgument desc = etcdserver: revision "
               "of auth store is old";
    case ERR_USER_EMPTY:
        return "rpc error: code = InvalidArgument desc = etcdserver: user name "
               "is empty";
    default:
        return "rpc error: code = PermissionDenied desc = etcdserver: "
               "permission denied";
    }
}

static const char *refusal(const struct watch_stream *stream,
                           const Etcdserverpb__WatchCreateRequest *req,
                           struct bytes key, struct bytes end,
                           struct access *access)
{
    bool to_end = end.len == 1 && end.data[0] == 0;

    const char *why;

    if (req->start_revision < 0)
        return err_text(ERR_COMPACTED);
    why = forbidden(stream->call, key, end, access);
    if (why != NULL)
        return why;
    if (!to_end && end.len > 0 && bytes_cmp(key, end) >= 0)
        return "mvcc: watcher range is empty";
    if (req->watch_id != 0 && find(stream, req->watch_id))
        return "mvcc: duplicate watch ID provided on the WatchStream";
    return NULL;
}

static void set_filters(struct watcher *watcher,
                        const Etcdserverpb__WatchCreateRequest *req)
{
    for (size_t i = 0; i < req->n_filters; i++) {
        if (req->filters[i] ==
            ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT)
            watcher->no_put = true;
        if (req->filters[i] ==
            ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE)
            watcher->no_delete = true;
    }
}

static void start_progress(struct watch_stream *stream)
{
    struct watch_shard *shard = stream->shard;
    uint64_t interval_ns = shard->progress_interval_ns;

    atomic_fetch_add(&shard->progress_watchers, 1);
    if (stream->progress_count++ > 0)
        return;
    /* Up to a tenth more, so that not all streams are served at once. */
    stream->progress_due_ns = clock_mono_ns() + interval_ns +
                              prng_below(&shard->prng, interval_ns / 10 + 1);
}

static struct watcher *new_watcher(struct watch_stream *stream,
                                   const Etcdserverpb__WatchCreateRequest *req)
{
    struct watcher *watcher = mem_zalloc(sizeof(*watcher));

    watcher->stream = stream;
    watcher->id = req->watch_id ? req->watch_id : free_id(stream);
    watcher->start_rev = req->start_revision;
    watcher->first = watcher->last = WATCH_NOBODY;
    watcher->prev_kv = req->prev_kv;
    watcher->fragment = req->fragment;
    watcher->progress = req->progress_notify;
    watcher->quiet = true;
    set_filters(watcher, req);
    if (watcher->progress)
        start_progress(stream);
    return watcher;
}

/* With the first watcher: it reads for those that come after, each of which
 * has been asked about. */
static void open_reader(struct watch_shard *shard, const struct access *access)
{
    if (!shard->reader && access_open_reader(access, &shard->reader) < 0)
        abort();
}

static void create(struct watch_stream *stream,
                   const Etcdserverpb__WatchCreateRequest *req)
{
    static const uint8_t zero[1] = {0};
    struct watch_shard *shard = stream->shard;
    struct bytes key = {req->key.data, req->key.len};
    struct bytes end = {req->range_end.data, req->range_end.len};
    int64_t current = mvcc_revision(node_mvcc(shard->node));
    struct watch_answer answer = {.revision = current, .created = true};
    struct watcher *watcher;
    struct access access;

    if (key.len == 0)
        key = bytes_of(zero, 1);
    answer.cancel_reason = refusal(stream, req, key, end, &access);
    if (answer.cancel_reason) {
        answer.id = -1;
        answer.canceled = true;
        watch_answer(stream, &answer);
        return;
    }
    open_reader(shard, &access);
    watcher = new_watcher(stream, req);
    insert(stream, watcher);
    watch_index_add(shard->index, key, end, &watcher->link);
    answer.id = watcher->id;
    watch_answer(stream, &answer);
    if (watcher->start_rev == 0) {
        watcher->next_rev = current + 1;
    } else if (watcher->start_rev > shard->changes->seen) {
        watcher->next_rev = watcher->start_rev;
    } else {
        watch_fall_behind(watcher, watcher->start_rev);
        watch_schedule(shard);
    }
}

static void cancel(struct watch_stream *stream, int64_t id)
{
    struct watcher *watcher = find(stream, id);
    struct watch_answer answer = {
        .id = id,
        .revision = mvcc_revision(node_mvcc(stream->shard->node)),
        .canceled = true,
    };

    if (!watcher)
        return;
    struct watcher **at = &stream->ids[(size_t)id & (stream->n_buckets - 1)];
    while (*at != watcher)
        at = &(*at)->id_next;
    *at = watcher->id_next;
    stream->n_watchers--;
    free_watcher(watcher);
    watch_answer(stream, &answer);
}

static void on_message(struct rpc_call *call, struct bytes message)
{
    struct watch_stream *stream = call->state;
    struct arena arena = {0};
    Etcdserverpb__WatchRequest *req =
        (Etcdserverpb__WatchRequest *)(void *)codec_unpack(
            &etcdserverpb__watch_request__descriptor, &arena, message);

    if (!req) {
        rpc_finish(call, ERR_MALFORMED);
        arena_close(&arena);
        return;
    }
    switch (req->request_union_case) {
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        create(stream, req->create_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        cancel(stream, req->cancel_request->watch_id);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST:
        stream->progress_rev = mvcc_revision(node_mvcc(stream->shard->node));
        watch_answer_progress(stream);
        break;
    default:
        break; /* requests of newer clients are ignored, as etcd does */
    }
    arena_close(&arena);
}

/* ---- the stream ---- */

/* The shard's part is made with its first stream. */
static struct watch_shard *shard_of(const struct rpc_call *call)
{
    struct services *services = services_of(call);
    struct service_local *local = local_of(call);

    if (!local->watch) {
        struct watch_shard *shard = watch_shard_open(
            changes_of(call), services->config.watch_progress_ns,
            services->config.max_request_bytes + REQUEST_OVERHEAD);
        local->watch = shard;
        shard->next = atomic_load(&services->watch_shards);
        while (!atomic_compare_exchange_weak(&services->watch_shards,
                                             &shard->next, shard))
            continue;
    }
    return local->watch;
}

void services_tick(struct services *services)
{
    for (struct watch_shard *shard = atomic_load(&services->watch_shards);
         shard; shard = shard->next)
        watch_shard_tick(shard);
}

static void open_stream(struct rpc_call *call)
{
    struct watch_shard *shard = shard_of(call);
    struct watch_stream *stream = mem_zalloc(sizeof(*stream));

    if (!shard->streams)
        changes_follow(shard->changes, &shard->follower);
    stream->call = call;
    stream->shard = shard;
    stream->next = shard->streams;
    stream->prev = &shard->streams;
    if (stream->next)
        stream->next->prev = &stream->next;
    shard->streams = stream;
    call->state = stream;
    metric_add(shard->metrics.streams, 1);
}

static void on_drained(struct rpc_call *call)
{
    struct watch_stream *stream = call->state;

    watch_schedule(stream->shard);
}

static void on_done(struct rpc_call *call)
{
    struct watch_stream *stream = call->state;
    struct watch_shard *shard = stream->shard;

    for (size_t i = 0; i < stream->n_buckets; i++) {
        while (stream->ids[i]) {
            struct watcher *watcher = stream->ids[i];
            stream->ids[i] = watcher->id_next;
            free_watcher(watcher);
        }
    }
    *stream->prev = stream->next;
    if (stream->next)
        stream->next->prev = stream->prev;
    if (!shard->streams)
        changes_unfollow(shard->changes, &shard->follower);
    metric_add(shard->metrics.streams, -1);
    free(stream->ids);
    free(stream);
}

static const struct rpc_method methods[] = {
    {
        .name = "Watch",
        .kind = RPC_BIDI,
        .open = open_stream,
        .on_message = on_message,
        .on_drained = on_drained,
        .on_done = on_done,
    },
};

const struct rpc_service service_watch = {
    .name = "etcdserverpb.Watch",
    .methods = methods,
    .n = 1,
    .preset_metrics = true,
};
