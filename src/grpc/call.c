/* Calls: their pool, their life, their deadlines. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Idle calls that a shard keeps for the next client. */
#define POOL_MAX ((size_t)1024)

/* ---- the pool -------------------------------------------------------- */

static struct call *pool_take(struct rpc_shard *shard)
{
    struct call *call = shard->idle;

    if (call == NULL)
        return mem_zalloc(sizeof(*call));
    shard->idle = call->next;
    shard->idle_n--;
    return call;
}

/* Everything of the call but its arena's block goes. */
static void pool_give(struct call *call)
{
    struct rpc_shard *shard = call->pub.shard;
    struct arena arena;

    message_close(call);
    free(call->peer);
    arena_reset(&call->pub.arena);
    if (shard->idle_n >= POOL_MAX) {
        arena_close(&call->pub.arena);
        free(call);
        return;
    }
    arena = call->pub.arena;
    memset(call, 0, sizeof(*call));
    call->pub.arena = arena;
    call->next = shard->idle;
    shard->idle = call;
    shard->idle_n++;
}

void call_close_pool(struct rpc_shard *shard)
{
    while (shard->idle != NULL) {
        struct call *call = shard->idle;

        shard->idle = call->next;
        arena_close(&call->pub.arena);
        free(call);
    }
    shard->idle_n = 0;
}

/* ---- deadlines ------------------------------------------------------- */

/* Only calls that last are watched: streams, and unary calls that wait. All
 * others are over before it matters. A client resets its call at the deadline;
 * this is for one that has fallen silent. */
static bool lasts(const struct rpc_method *method)
{
    return method->kind != RPC_UNARY || method->on_cancel != NULL;
}

static void deadline_over(struct shard_timer *timer)
{
    struct call *call = container_of(timer, struct call, due);

    if (!call->started)
        return;
    if (call->pub.method->kind == RPC_UNARY)
        call_cancel(call);
    else
        rpc_finish(&call->pub, ERR_DEADLINE);
}

static void deadline_watch(struct call *call)
{
    if (call->pub.deadline_ns != UINT64_MAX && lasts(call->pub.method))
        shard_timer_set(call->pub.shard->shard, &call->due,
                        call->pub.deadline_ns);
}

bool rpc_cancelled(const struct rpc_call *pub)
{
    return container_of(pub, const struct call, pub)->cancelled ||
           (pub->deadline_ns != UINT64_MAX &&
            clock_mono_ns() >= pub->deadline_ns);
}

/* ---- the beginning --------------------------------------------------- */

static void open_link(struct call *call)
{
    struct rpc_shard *shard = call->pub.shard;

    call->prev = NULL;
    call->next = shard->open;
    if (shard->open != NULL)
        shard->open->prev = call;
    shard->open = call;
    count(&shard->open_n, 1);
}

static void open_unlink(struct call *call)
{
    struct rpc_shard *shard = call->pub.shard;

    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        shard->open = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    count(&shard->open_n, UINT64_MAX);
}

struct call *call_new(struct rpc_shard *shard, struct slot *slot,
                      struct http2_stream *stream)
{
    struct call *call = pool_take(shard);

    call->pub.service = slot->service;
    call->pub.method = slot->method;
    call->pub.shard = shard;
    call->pub.deadline_ns = UINT64_MAX;
    call->pub.start_ns = clock_mono_ns();
    call->slot = slot;
    call->stream = stream;
    call->connection = http2_connection(stream);
    call->holds = 1;
    shard_timer_init(&call->due, deadline_over);
    http2_set_user(stream, call);
    open_link(call);
    count(&slot->started, 1);
    if (!slot->shown)
        rpc_metrics_show(slot, shard->server);
    return call;
}

static void start(struct call *call)
{
    call->started = true;
    call->pub.method->open(&call->pub);
    /* What has come while the call waited. */
    if (call->pub.method->kind == RPC_BIDI && call->stream != NULL)
        message_input(call, bytes_of("", 0));
    if (call->pub.shard->draining)
        call_drain(call);
}

void rpc_admit(struct rpc_call *pub)
{
    struct call *call = call_of(pub);

    /* A stream may have ended while it waited. */
    if (pub->method->kind == RPC_UNARY ? !call->cancelled
                                       : stream_is_open(call))
        start(call);
    else if (pub->method->kind == RPC_UNARY)
        rpc_fail(pub, ERR_CANCELED);
    rpc_release(pub);
}

void call_begin(struct call *call)
{
    const struct rpc_config *config = &call->pub.shard->server->config;
    int err;

    deadline_watch(call);
    err = metadata_check(call);
    if (err == 0 && call->pub.shard->draining &&
        call->pub.method->kind != RPC_UNARY)
        err = ERR_STOPPED;
    if (err == 0 && call->pub.method->kind != RPC_UNARY &&
        clock_mono_ns() >= call->pub.deadline_ns)
        err = ERR_DEADLINE; /* it had passed before the call came */
    if (err != 0) {
        rpc_fail(&call->pub, err);
        return;
    }
    rpc_hold(&call->pub);
    if (call->pub.token.data != NULL && config->admit != NULL &&
        !config->admit(config->ctx, &call->pub))
        return; /* held until rpc_admit, on this thread */
    start(call);
    rpc_release(&call->pub);
}

/* ---- the end --------------------------------------------------------- */

void call_drain(struct call *call)
{
    const struct rpc_method *method = call->pub.method;

    if (call->started && !call->answered && !call->ended &&
        method->on_drain != NULL)
        method->on_drain(&call->pub);
}

void call_cancel(struct call *call)
{
    if (call->answered || call->cancelled)
        return;
    call->cancelled = true;
    if (call->started && call->pub.method->on_cancel != NULL)
        call->pub.method->on_cancel(&call->pub);
}

void call_handled(struct call *call, int status)
{
    if (status < 0 || status >= RPC_CODES)
        status = GRPC_UNKNOWN;
    count(&call->slot->handled[status], 1);
    if (call->slot->seconds != NULL)
        metric_observe(call->slot->seconds,
                       (double)(clock_mono_ns() - call->pub.start_ns) / 1e9);
}

static void unhold(struct call *call)
{
    CHECK(call->holds > 0);
    if (--call->holds == 0)
        pool_give(call);
}

void call_end(struct call *call)
{
    struct rpc_shard *shard = call->pub.shard;

    CHECK(!call->ended);
    shard_timer_clear(shard->shard, &call->due);
    open_unlink(call);
    call->ended = true;
    if (call->holds > 1)
        shard->held++;
    unhold(call);
    if (shard->draining)
        shard_check_quiet(shard);
}

void rpc_hold(struct rpc_call *pub)
{
    call_of(pub)->holds++;
}

void rpc_release(struct rpc_call *pub)
{
    struct call *call = call_of(pub);
    struct rpc_shard *shard = pub->shard;

    if (call->ended && call->holds == 1)
        shard->held--;
    unhold(call);
    if (shard->draining)
        shard_check_quiet(shard);
}

const char *rpc_peer(struct rpc_call *pub)
{
    struct call *call = call_of(pub);

    if (call->peer != NULL)
        return call->peer;
    call->peer = mem_strdup(
        call->stream != NULL ? connection_peer(call->connection) : "unknown");
    return call->peer;
}
