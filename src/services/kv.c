/* The KV service: reads on the shard's own thread, writes through the log. */
#include "access.h"
#include "range_stream.h"

#include "chorad/base/clock.h"
#include "chorad/codec.h"

/* How many calls a shard keeps in waiting for what clients ask most. */
#define DEPTH_HOT 64

/* ---- reads --------------------------------------------------------------- */

/* A Range or a transaction of ranges. */
struct read {
    struct rpc_call *call;
    struct node_barrier barrier;
    struct rpc_task back;
    void (*run)(struct read *read);
    union {
        Etcdserverpb__RangeRequest range;
        Etcdserverpb__TxnRequest *txn;
    } req;
};

static void answer_read(struct read *read, enum service_type type,
                        struct buf *out, int err, uint64_t now_ns)
{
    struct rpc_call *call = read->call;
    uint64_t took_ns = now_ns - call->start_ns;
    size_t len = out == NULL ? 0 : out->len;

    service_observe(services_of(call), type, err == 0, took_ns);
    service_log_slow_read(
        call, type == SERVICE_RANGE ? "read-only range " : "read-only txn ",
        took_ns, len, err);
    service_log_slow(call, took_ns, NULL, len);
    if (err == 0)
        (void)service_reply_scratch(call, out);
    else
        rpc_fail(call, err);
}

static int permit_range(const struct read *read, struct access *access)
{
    const Etcdserverpb__RangeRequest *req = &read->req.range;

    return access_range(read->call, bytes_of(req->key.data, req->key.len),
                        bytes_of(req->range_end.data, req->range_end.len),
                        access);
}

/* On whatever thread has the reader. *now_ns: when it was done. */
static int read_range(const struct read *read, const struct access *access,
                      struct mvcc_reader *reader, struct buf *out,
                      uint64_t *now_ns)
{
    struct rpc_call *call = read->call;
    struct services *services = services_of(call);
    uint64_t begin_ns = clock_mono_ns();
    int err;

    err = apply_range(reader, &read->req.range, node_header(services->node),
                      &call->arena, out);
    *now_ns = clock_mono_ns();
    service_observe_range(services, err == 0, *now_ns - begin_ns);
    return access_ended(access) != 0 ? ERR_AUTH_OLD_REVISION : err;
}

static void run_range(struct read *read)
{
    struct rpc_call *call = read->call;
    struct buf *out = rpc_scratch(call->shard);
    struct access access;
    int err = permit_range(read, &access);
    uint64_t now_ns;

    if (err == 0)
        err = read_range(read, &access, access_reader(&access), out, &now_ns);
    else
        now_ns = clock_mono_ns();
    answer_read(read, SERVICE_RANGE, out, err, now_ns);
}

static void run_txn(struct read *read)
{
    struct rpc_call *call = read->call;
    struct services *services = services_of(call);
    struct buf *out = rpc_scratch(call->shard);
    struct access access;
    int err = access_txn(call, read->req.txn, &access);

    if (err == 0) {
        err = apply_txn_read(services->mvcc, access_reader(&access),
                             read->req.txn, node_header(services->node),
                             &call->arena, out);
        if (access_ended(&access) != 0)
            err = ERR_AUTH_OLD_REVISION;
    }
    answer_read(read, SERVICE_READONLY_TXN, out, err, clock_mono_ns());
}

static void after_barrier(struct rpc_task *task)
{
    struct read *read = container_of(task, struct read, back);

    if (read->barrier.err == 0) {
        read->run(read);
        return;
    }
    /* etcd counts a transaction only once it is past the barrier. */
    if (read->run == run_range)
        answer_read(read, SERVICE_RANGE, NULL, read->barrier.err,
                    clock_mono_ns());
    else
        rpc_fail(read->call, read->barrier.err);
}

static void barrier_done(struct node_barrier *barrier)
{
    struct read *read = container_of(barrier, struct read, barrier);

    rpc_post(read->call->shard, &read->back);
}

static void read_start(struct read *read, bool serializable)
{
    read->barrier.done = barrier_done;
    read->back.run = after_barrier;
    if (serializable ||
        node_barrier(services_of(read->call)->node, &read->barrier))
        read->run(read);
}

/* ---- reads of many keys ---- */

/* More than that would keep the shard's other calls waiting: a worker reads. */
#define WIDE_KEYS 2000

static bool is_wide(const struct read *read)
{
    const Etcdserverpb__RangeRequest *req = &read->req.range;

    if (req->range_end.len == 0 || req->count_only ||
        (req->limit > 0 && req->limit <= WIDE_KEYS))
        return false;
    return access_weigh(read->call, bytes_of(req->key.data, req->key.len),
                        bytes_of(req->range_end.data, req->range_end.len),
                        req->revision) > WIDE_KEYS;
}

/* On a worker, with a reader of its own. */
static int read_wide(struct service_trip *trip)
{
    struct rpc_call *call = trip->call;
    struct services *services = services_of(call);
    struct mvcc_reader *reader;
    struct access access;
    uint64_t now_ns = clock_mono_ns();
    int err = permit_range(trip->state, &access);

    if (err == 0) {
        err = access_open_reader(&access, &reader);
        if (err != 0)
            return err;
        err = read_range(trip->state, &access, reader, &trip->body, &now_ns);
        mvcc_reader_close(reader);
    }
    service_observe(services, SERVICE_RANGE, err == 0, now_ns - call->start_ns);
    return err;
}

static void start_wide(struct read *read)
{
    struct service_trip *trip = service_trip_new(read->call);

    trip->worker = read_wide;
    trip->state = read;
    service_trip_start(trip, !read->req.range.serializable);
}

static void open_range(struct rpc_call *call)
{
    struct read *read = arena_alloc(&call->arena, sizeof(*read));
    int err;

    read->call = call;
    read->run = run_range;
    if (apply_read_range(call->request, &read->req.range) < 0) {
        service_fail_malformed(call);
        return;
    }
    err = apply_check_range(&read->req.range);
    if (err != 0)
        rpc_fail(call, err);
    else if (is_wide(read))
        start_wide(read);
    else
        read_start(read, read->req.range.serializable);
}

/* ---- writes ---------------------------------------------------------------
 */

static void open_put(struct rpc_call *call)
{
    Etcdserverpb__PutRequest req;
    int err;

    if (apply_read_put(call->request, &req) < 0) {
        service_fail_malformed(call);
        return;
    }
    if (!service_within_quota(call, apply_put_cost(&req)))
        return;
    err = apply_check_put(&req);
    if (err != 0)
        rpc_fail(call, err);
    else
        service_propose(call, SERVICE_PUT, APPLY_PUT, call->request);
}

static void open_delete_range(struct rpc_call *call)
{
    const Etcdserverpb__DeleteRangeRequest *req =
        service_unpack(call, &etcdserverpb__delete_range_request__descriptor);
    int err;

    if (req == NULL)
        return;
    err = apply_check_delete(req);
    if (err != 0)
        rpc_fail(call, err);
    else
        service_propose(call, SERVICE_DELETE_RANGE, APPLY_DELETE_RANGE,
                        call->request);
}

static void start_txn(struct rpc_call *call, Etcdserverpb__TxnRequest *req)
{
    struct read *read;

    if (!apply_txn_is_readonly(req)) {
        service_propose(call, SERVICE_TXN, APPLY_TXN, call->request);
        return;
    }
    read = arena_alloc(&call->arena, sizeof(*read));
    read->call = call;
    read->run = run_txn;
    read->req.txn = req;
    read_start(read, apply_txn_is_serializable(req));
}

static void open_txn(struct rpc_call *call)
{
    int err = codec_txn_depth(call->request);
    Etcdserverpb__TxnRequest *req;

    if (err == ERR_MALFORMED) {
        service_fail_malformed(call);
        return;
    }
    if (err < 0) {
        rpc_fail(call, err);
        return;
    }
    req = service_unpack(call, &etcdserverpb__txn_request__descriptor);
    if (req == NULL || !service_within_quota(call, apply_txn_cost(req)))
        return;
    err = apply_check_txn(req, services_of(call)->config.max_txn_ops,
                          &call->arena);
    if (err != 0)
        rpc_fail(call, err);
    else
        start_txn(call, req);
}

static void open_compact(struct rpc_call *call)
{
    if (service_unpack(call, &etcdserverpb__compaction_request__descriptor) &&
        service_require_root(call))
        service_propose(call, SERVICE_COMPACTION, APPLY_COMPACTION,
                        call->request);
}

/* A learner has a state, but not the newest. */
static bool range_on_learner(const struct rpc_call *call)
{
    Etcdserverpb__RangeRequest req;

    return apply_read_range(call->request, &req) == 0 && req.serializable;
}

static const struct rpc_method methods[] = {
    {.name = "Range",
     .kind = RPC_UNARY,
     .open = open_range,
     .on_learner = range_on_learner,
     .depth = DEPTH_HOT},
    {.name = "RangeStream",
     .kind = RPC_SERVER_STREAM,
     .open = range_stream_open,
     .on_drained = range_stream_drained,
     .on_done = range_stream_done},
    {.name = "Put", .kind = RPC_UNARY, .open = open_put, .depth = DEPTH_HOT},
    {.name = "DeleteRange", .kind = RPC_UNARY, .open = open_delete_range},
    {.name = "Txn", .kind = RPC_UNARY, .open = open_txn, .depth = DEPTH_HOT},
    {.name = "Compact", .kind = RPC_UNARY, .open = open_compact},
};

const struct rpc_service service_kv = {
    .name = "etcdserverpb.KV",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
    .preset_metrics = true,
};
