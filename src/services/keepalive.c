/* Lease.LeaseKeepAlive: renewals of one stream, in their order.
 *
 *   shard:  messages --> waiting   .--> answers
 *                           |      |
 *                 post when idle   | post when all are renewed
 *                           v      |
 *   loop:                running --+   one after the other; one whose lease
 *                                      has just expired waits for the revoke,
 *                                      one of a follower for the leader
 *
 * While a batch is with the loop, further messages gather for the next one. */
#include "keepalive.h"
#include "access.h"

#include "chorad/base/pb.h"

#include <stdlib.h>

/* So many unanswered messages and no more is read. */
#define WAITING_MAX 1024

/* etcdserverpb.LeaseKeepAliveRequest and Response (proto/rpc_lease.proto). */
enum { REQUEST_ID = 1, RESPONSE_ID = 2, RESPONSE_TTL = 3 };

struct renewal {
    int64_t id;
    struct apply_header header;
    int64_t ttl_s;
    uint64_t auth_rev; /* as of which `who` of the stream was found */
    int err;           /* why there is nobody */
};

struct batch {
    struct renewal *items;
    size_t n;
    size_t cap;
};

struct keepalive {
    struct rpc_call *call;
    struct auth_who *who; /* the same for all; NULL while auth is off */
    /* The shard's. */
    struct batch waiting;
    bool with_loop; /* `running` is the loop's */
    bool paused;
    bool half_closed;
    bool over;
    /* Whose turn it is. */
    struct batch running;
    size_t done; /* of them */
    int err;
    struct node_task there;
    struct rpc_task back;
    /* The loop's. */
    struct node_renewal renewal;
    bool renewing;
    bool asynchronous;
    /* Taking a waiting renewal back. */
    struct node_task cancel;
    struct rpc_task cancelled;
    bool cancelling;
};

static void free_if_idle(struct keepalive *k)
{
    if (!k->over || k->with_loop || k->cancelling)
        return;
    free(k->waiting.items);
    free(k->running.items);
    k->waiting = (struct batch){0};
    k->running = (struct batch){0};
}

/* ---- on the loop ---- */

static void renew_next(struct keepalive *k);

static void renewed(struct node_renewal *renewal)
{
    struct keepalive *k = container_of(renewal, struct keepalive, renewal);
    int64_t ttl_s = renewal->ttl_s;
    int err = renewal->err;

    k->renewing = false;
    /* A lease that isn't there is answered with 0. */
    if (err == ERR_LEASE_NOT_FOUND) {
        err = 0;
        ttl_s = 0;
    }
    k->running.items[k->done].ttl_s = ttl_s;
    k->err = err;
    if (err == 0)
        k->done++;
    if (k->asynchronous)
        renew_next(k);
}

/* Who renews a lease keeps its keys alive: that is writing. */
static int permit(const struct keepalive *k, const struct renewal *r)
{
    struct auth_who who;

    if (r->err != 0 || r->auth_rev == 0)
        return r->err;
    who = *k->who;
    who.rev = r->auth_rev;
    return access_lease(k->call, &who, r->id, true);
}

static void renew_next(struct keepalive *k)
{
    struct node *node = services_of(k->call)->node;

    while (k->done < k->running.n && k->err == 0) {
        k->err = permit(k, &k->running.items[k->done]);
        if (k->err != 0)
            break;
        k->renewing = true;
        k->asynchronous = false;
        k->renewal = (struct node_renewal){.id = k->running.items[k->done].id,
                                           .done = renewed};
        node_renew(node, &k->renewal);
        k->asynchronous = true;
        if (k->renewing)
            return;
    }
    rpc_post(k->call->shard, &k->back);
}

static void run_batch(struct node_task *task)
{
    renew_next(container_of(task, struct keepalive, there));
}

static void run_cancel(struct node_task *task)
{
    struct keepalive *k = container_of(task, struct keepalive, cancel);

    /* What can't be taken back ends with an error. */
    if (k->renewing &&
        node_renew_cancel(services_of(k->call)->node, &k->renewal)) {
        k->renewing = false;
        rpc_post(k->call->shard, &k->back);
    }
    rpc_post(k->call->shard, &k->cancelled);
}

/* ---- on the shard ---- */

static void send_batch(struct keepalive *k)
{
    struct buf *out = rpc_scratch(k->call->shard);

    for (size_t i = 0; i < k->done; i++) {
        const struct renewal *r = &k->running.items[i];
        uint8_t *at;

        out->len = 0;
        apply_put_header(out, &r->header);
        at = buf_reserve(out, 24);
        at = pb_put_u64(at, RESPONSE_ID, (uint64_t)r->id);
        at = pb_put_u64(at, RESPONSE_TTL, (uint64_t)r->ttl_s);
        rpc_send_copy(k->call, bytes_of(out->data, (size_t)(at - out->data)));
    }
}

static void start_batch(struct keepalive *k)
{
    struct batch empty = k->running;

    empty.n = 0;
    k->running = k->waiting;
    k->waiting = empty;
    k->done = 0;
    k->err = 0;
    k->with_loop = true;
    rpc_hold(k->call);
    node_run(services_of(k->call)->node, &k->there);
}

static bool is_full(const struct rpc_call *call)
{
    return rpc_queued_bytes(call) >= RPC_DRAIN_BYTES ||
           rpc_queued_messages(call) >= RPC_DRAIN_MESSAGES;
}

/* Whatever the stream's state calls for next. */
static void go_on(struct keepalive *k)
{
    if (k->over || k->with_loop)
        return;
    /* A client that doesn't read its answers gets no more of them. */
    if (k->waiting.n > 0 && !is_full(k->call))
        start_batch(k);
    else if (k->waiting.n == 0 && k->half_closed)
        rpc_finish(k->call, 0);
    if (k->paused && k->waiting.n < WAITING_MAX) {
        k->paused = false;
        rpc_resume(k->call);
    }
}

static void batch_back(struct rpc_task *task)
{
    struct keepalive *k = container_of(task, struct keepalive, back);
    struct rpc_call *call = k->call;

    k->with_loop = false;
    if (!k->over) {
        send_batch(k);
        if (k->err != 0)
            rpc_finish(call, k->err);
        else
            go_on(k);
    }
    free_if_idle(k);
    rpc_release(call);
}

static void cancel_back(struct rpc_task *task)
{
    struct keepalive *k = container_of(task, struct keepalive, cancelled);
    struct rpc_call *call = k->call;

    k->cancelling = false;
    free_if_idle(k);
    rpc_release(call);
}

void keepalive_open(struct rpc_call *call)
{
    struct keepalive *k = arena_zalloc(&call->arena, sizeof(*k));

    k->call = call;
    k->there.run = run_batch;
    k->back.run = batch_back;
    k->cancel.run = run_cancel;
    k->cancelled.run = cancel_back;
    call->state = k;
}

static int read_id(struct bytes message, int64_t *id)
{
    struct pb_reader r = {message.data, message.data + message.len};
    struct pb_field field;
    int rc;

    *id = 0;
    while ((rc = pb_next(&r, &field)) > 0)
        if (field.number == REQUEST_ID && field.wire == PB_VARINT)
            *id = (int64_t)field.value;
    return rc;
}

/* The token is the stream's, but what it is worth may change with each
 * message. */
static void identify(struct keepalive *k, struct renewal *r)
{
    struct services *services = services_of(k->call);
    struct auth_who who;

    r->auth_rev = 0;
    r->err = 0;
    if (!service_auth_on(k->call))
        return;
    r->err = service_identify(k->call, &who);
    if (r->err == 0)
        r->err = auth_is_somebody(services->auth, &who);
    if (r->err != 0)
        return;
    if (k->who == NULL)
        k->who = arena_dup(&k->call->arena, &who, sizeof(who));
    r->auth_rev = who.rev;
}

void keepalive_message(struct rpc_call *call, struct bytes message)
{
    struct keepalive *k = call->state;
    struct batch *waiting = &k->waiting;
    struct renewal *r;

    if (waiting->n == waiting->cap) {
        waiting->cap = waiting->cap ? waiting->cap * 2 : 4;
        waiting->items =
            mem_realloc(waiting->items, waiting->cap * sizeof(*waiting->items));
    }
    r = &waiting->items[waiting->n];
    if (read_id(message, &r->id) < 0) {
        service_fail_malformed(call);
        return;
    }
    /* Taken before the renewal: the answer must not name a revision at which
     * the lease may have been revoked already. */
    r->header = service_header(services_of(call));
    r->ttl_s = 0;
    identify(k, r);
    waiting->n++;
    if (waiting->n >= WAITING_MAX && !k->paused) {
        k->paused = true;
        rpc_pause(call);
    }
    go_on(k);
}

void keepalive_half_close(struct rpc_call *call)
{
    struct keepalive *k = call->state;

    k->half_closed = true;
    go_on(k);
}

void keepalive_drained(struct rpc_call *call)
{
    go_on(call->state);
}

void keepalive_done(struct rpc_call *call)
{
    struct keepalive *k = call->state;

    k->over = true;
    if (k->with_loop) {
        k->cancelling = true;
        rpc_hold(call);
        node_run(services_of(call)->node, &k->cancel);
    }
    free_if_idle(k);
}
