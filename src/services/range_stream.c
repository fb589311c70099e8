/* KV.RangeStream: a range in pieces, all at one revision.
 *
 *   open --barrier--> piece --posted, or drained--> piece ... --> finish
 *
 * A piece is read when the client has taken enough of those before it, and
 * each in a turn of its own, so that the shard serves others in between. The
 * call's memory is held for each turn that is under way. */
#include "range_stream.h"
#include "access.h"

#include "chorad/base/clock.h"
#include "chorad/base/pb.h"

#include <grpc/status.h>
#include <string.h>

/* The first piece is small: the client soon has something. */
#define FIRST_LIMIT 10

/* etcdserverpb.RangeStreamResponse and RangeResponse (proto/rpc_kv.proto). */
enum { STREAM_RESPONSE = 1, RESPONSE_MORE = 3, RESPONSE_COUNT = 4 };

struct range_stream {
    struct rpc_call *call;
    Etcdserverpb__RangeRequest req;
    struct node_barrier barrier;
    struct rpc_task turn;
    bool posted; /* `turn` is under way */
    bool over;
    bool begun;
    struct access access;
    struct buf from; /* where the next piece begins; empty: at the start */
    int64_t rev;
    int64_t header_rev; /* the current one when the first piece was read */
    int64_t limit;      /* of the next piece */
    int64_t left;       /* keys that may still be sent */
    int64_t sent;
};

int64_t range_stream_limit(int64_t limit, size_t bytes, uint64_t target_bytes)
{
    if (bytes < target_bytes / 2)
        return limit > INT64_MAX / 2 ? INT64_MAX : limit * 2;
    if (bytes > target_bytes * 2)
        limit /= 2;
    return limit > 0 ? limit : 1;
}

static struct bytes start_key(const struct range_stream *s)
{
    if (s->from.len > 0)
        return bytes_of(s->from.data, s->from.len);
    return bytes_of(s->req.key.data, s->req.key.len);
}

/* Sends one RangeStreamResponse around the kvs; only the last one has header,
 * more and count. */
static void send_piece(struct range_stream *s, struct bytes kvs, bool last,
                       bool more, int64_t count)
{
    struct rpc_call *call = s->call;
    struct buf head = {0};
    struct rpc_piece pieces[4];
    uint8_t prefix[16];
    uint8_t tail[24];
    uint8_t *end = tail;

    if (last) {
        struct apply_header header = node_header(services_of(call)->node);

        header.revision = s->header_rev;
        apply_put_header(&head, &header);
        end = pb_put_u64(end, RESPONSE_MORE, more);
        end = pb_put_u64(end, RESPONSE_COUNT, (uint64_t)count);
    }
    size_t tail_len = (size_t)(end - tail);
    end = pb_put_len(prefix, STREAM_RESPONSE, head.len + kvs.len + tail_len);
    pieces[0] =
        (struct rpc_piece){bytes_of(prefix, (size_t)(end - prefix)), NULL};
    pieces[1] = (struct rpc_piece){bytes_of(head.data, head.len), NULL};
    pieces[2] = (struct rpc_piece){kvs, NULL};
    pieces[3] = (struct rpc_piece){bytes_of(tail, tail_len), NULL};
    rpc_send(call, pieces, 4);
    buf_close(&head);
}

/* Reads and sends the next piece. 1: it was the last one. */
static int next_piece(struct range_stream *s)
{
    struct rpc_call *call = s->call;
    struct services *services = services_of(call);
    struct buf *out = rpc_scratch(call->shard);
    struct apply_chunk chunk = {.rev = s->rev};
    struct arena arena = {0};
    uint64_t begin_ns = clock_mono_ns();
    bool more;
    bool last;
    int err;

    chunk.is_last = s->limit >= s->left;
    chunk.limit = chunk.is_last ? s->left : s->limit;
    err = apply_range_chunk(access_reader(&s->access), &s->req, start_key(s),
                            &arena, &chunk, out);
    service_observe_range(services, err == 0, clock_mono_ns() - begin_ns);
    if (err != 0)
        goto out;
    if (s->header_rev == 0)
        s->header_rev = chunk.current_rev;
    s->rev = chunk.rev;
    s->left -= chunk.sent;
    more = !s->req.count_only && chunk.count > chunk.sent;
    last = !more || s->left == 0;
    send_piece(s, bytes_of(out->data, out->len), last, more,
               s->sent + chunk.count);
    s->sent += chunk.sent;
    s->limit = range_stream_limit(chunk.limit, out->len,
                                  services->config.max_request_bytes);
    s->from.len = 0;
    buf_append(&s->from, chunk.last_key.data, chunk.last_key.len);
    buf_append(&s->from, "", 1);
    err = last;
out:
    arena_close(&arena);
    return err;
}

static void post_turn(struct range_stream *s)
{
    s->posted = true;
    rpc_hold(s->call);
    rpc_post(s->call->shard, &s->turn);
}

static bool is_full(const struct rpc_call *call)
{
    return rpc_queued_bytes(call) >= RPC_DRAIN_BYTES ||
           rpc_queued_messages(call) >= RPC_DRAIN_MESSAGES;
}

/* Before the first piece: once for all of them. */
static int permit(struct range_stream *s)
{
    const Etcdserverpb__RangeRequest *req = &s->req;

    return access_range(s->call, bytes_of(req->key.data, req->key.len),
                        bytes_of(req->range_end.data, req->range_end.len),
                        &s->access);
}

static void finish(struct range_stream *s, int err)
{
    if (access_ended(&s->access) != 0)
        err = ERR_AUTH_OLD_REVISION;
    rpc_finish(s->call, err);
}

static void advance(struct range_stream *s)
{
    int rc = s->begun ? 0 : permit(s);

    s->begun = true;
    if (rc != 0) {
        rpc_finish(s->call, rc);
        return;
    }
    rc = next_piece(s);
    if (rc != 0)
        finish(s, rc < 0 ? rc : 0);
    else if (!is_full(s->call))
        post_turn(s);
}

static void run_turn(struct rpc_task *task)
{
    struct range_stream *s = container_of(task, struct range_stream, turn);
    struct rpc_call *call = s->call;

    s->posted = false;
    if (!s->over) {
        if (s->barrier.err != 0)
            rpc_finish(call, s->barrier.err);
        else
            advance(s);
    }
    if (s->over && !s->posted)
        buf_close(&s->from);
    rpc_release(call);
}

static void barrier_done(struct node_barrier *barrier)
{
    struct range_stream *s =
        container_of(barrier, struct range_stream, barrier);

    rpc_post(s->call->shard, &s->turn);
}

static int check(const Etcdserverpb__RangeRequest *req)
{
    int err = apply_check_range(req);

    if (err != 0)
        return err;
    if (req->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND ||
        (req->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND &&
         req->sort_target != ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY))
        return ERR_STREAM_SORT;
    if (req->min_mod_revision != 0 || req->max_mod_revision != 0 ||
        req->min_create_revision != 0 || req->max_create_revision != 0)
        return ERR_STREAM_FILTER;
    return 0;
}

void range_stream_open(struct rpc_call *call)
{
    struct range_stream *s = arena_zalloc(&call->arena, sizeof(*s));
    int err;

    s->call = call;
    call->state = s;
    if (apply_read_range(call->request, &s->req) < 0) {
        service_fail_malformed(call);
        return;
    }
    err = check(&s->req);
    if (err != 0) {
        rpc_finish(call, err);
        return;
    }
    s->rev = s->req.revision;
    s->left = s->req.limit > 0 ? s->req.limit : INT64_MAX;
    s->limit = FIRST_LIMIT;
    s->turn.run = run_turn;
    s->barrier.done = barrier_done;
    s->posted = true;
    rpc_hold(call);
    if (s->req.serializable ||
        node_barrier(services_of(call)->node, &s->barrier))
        run_turn(&s->turn);
}

void range_stream_drained(struct rpc_call *call)
{
    struct range_stream *s = call->state;

    if (!s->posted)
        post_turn(s);
}

void range_stream_done(struct rpc_call *call)
{
    struct range_stream *s = call->state;

    s->over = true;
    if (!s->posted)
        buf_close(&s->from);
}
