/* Calls on their way in: the pool, the calls that wait for clients, and the
 * step from gRPC's call to the seam's. */
#include "transport.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Idle calls that a shard keeps for the next client. */
#define POOL_MAX ((size_t)1024)
#define DEPTH_DEFAULT 2

static void arrived(struct tag *tag, bool ok);

static struct call *pool_take(struct rpc_shard *shard)
{
    struct call *call = shard->idle;

    if (call == NULL) {
        call = mem_zalloc(sizeof(*call));
        grpc_metadata_array_init(&call->metadata);
        return call;
    }
    shard->idle = call->next;
    shard->idle_n--;
    return call;
}

/* Everything of the call but its arena's block goes. */
static void pool_give(struct call *call)
{
    struct rpc_shard *shard = call->pub.shard;
    struct arena arena;

    if (call->payload != NULL)
        grpc_byte_buffer_destroy(call->payload);
    grpc_metadata_array_destroy(&call->metadata);
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

void intake_close_pool(struct rpc_shard *shard)
{
    while (shard->idle != NULL) {
        struct call *call = shard->idle;

        shard->idle = call->next;
        arena_close(&call->pub.arena);
        free(call);
    }
    shard->idle_n = 0;
}

void intake_arm(struct rpc_shard *shard, struct slot *slot)
{
    struct call *call = pool_take(shard);
    bool with_payload = slot->method->kind != RPC_BIDI;
    grpc_call_error error;

    call->pub.service = slot->service;
    call->pub.method = slot->method;
    call->pub.shard = shard;
    call->slot = slot;
    call->arrived.run = arrived;
    error = grpc_server_request_registered_call(
        shard->core, slot->handle, &call->core, &call->deadline,
        &call->metadata, with_payload ? &call->payload : NULL, shard->cq,
        shard->cq, &call->arrived);
    CHECK(error == GRPC_CALL_OK);
}

void intake_arm_all(struct rpc_shard *shard)
{
    for (unsigned i = 0; i < shard->server->methods_n; i++) {
        struct slot *slot = &shard->slots[i];
        unsigned depth = slot->method->depth;

        if (depth == 0)
            depth = DEPTH_DEFAULT;
        for (unsigned k = 0; k < depth; k++)
            intake_arm(shard, slot);
    }
}

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

static uint64_t deadline_ns(gpr_timespec t)
{
    if (t.tv_sec == INT64_MAX)
        return UINT64_MAX;
    if (t.clock_type != GPR_CLOCK_MONOTONIC)
        t = gpr_convert_clock_type(t, GPR_CLOCK_MONOTONIC);
    if (t.tv_sec < 0)
        return 0;
    if ((uint64_t)t.tv_sec >= UINT64_MAX / 1000000000u)
        return UINT64_MAX;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail_too_large(struct call *call, size_t len)
{
    char text[96];

    (void)snprintf(text, sizeof(text),
                   "grpc: received message larger than max (%zu vs. %u)", len,
                   call->pub.shard->server->config.max_recv_bytes);
    rpc_fail_text(&call->pub, GRPC_STATUS_RESOURCE_EXHAUSTED, text);
}

static bool unpack(struct call *call, const grpc_byte_buffer *message,
                   struct arena *arena, struct bytes *bytes)
{
    uint32_t max = call->pub.shard->server->config.max_recv_bytes;
    char text[96];
    int err;

    if (message->data.raw.compression != GRPC_COMPRESS_GZIP) {
        rpc_fail_text(&call->pub, GRPC_STATUS_UNIMPLEMENTED,
                      "grpc: Decompressor is not installed for grpc-encoding "
                      "\"deflate\"");
        return false;
    }
    err = intake_inflate(&message->data.raw.slice_buffer, arena, max, bytes);
    if (err == 0)
        return true;
    (void)snprintf(text, sizeof(text),
                   "grpc: received message after decompression larger than "
                   "max %u",
                   max);
    if (err == ERR_TOOBIG)
        rpc_fail_text(&call->pub, GRPC_STATUS_RESOURCE_EXHAUSTED, text);
    else
        rpc_fail_text(&call->pub, GRPC_STATUS_INTERNAL,
                      "grpc: failed to decompress the received message");
    return false;
}

static void join(const grpc_slice_buffer *slices, struct arena *arena,
                 struct bytes *bytes)
{
    uint8_t *at = arena_alloc(arena, slices->length);

    *bytes = bytes_of(at, slices->length);
    for (size_t i = 0; i < slices->count; i++) {
        size_t part = GRPC_SLICE_LENGTH(slices->slices[i]);

        if (part > 0)
            memcpy(at, GRPC_SLICE_START_PTR(slices->slices[i]), part);
        at += part;
    }
}

bool intake_bytes(struct call *call, grpc_byte_buffer *message,
                  struct arena *arena, struct bytes *bytes)
{
    grpc_slice_buffer *slices = &message->data.raw.slice_buffer;

    *bytes = (struct bytes){0};
    if (slices->length > call->pub.shard->server->config.max_recv_bytes) {
        fail_too_large(call, slices->length);
        return false;
    }
    if (message->data.raw.compression != GRPC_COMPRESS_NONE) {
        if (!unpack(call, message, arena, bytes))
            return false;
    } else if (slices->count == 1) {
        *bytes =
            bytes_of(GRPC_SLICE_START_PTR(slices->slices[0]), slices->length);
    } else if (slices->count > 1) {
        join(slices, arena, bytes);
    }
    count(&call->slot->received, 1);
    count(&call->pub.shard->bytes_in, bytes->len);
    return true;
}

/* The request of a unary call or a server stream. False: answered. */
static bool take_request(struct call *call)
{
    if (call->payload == NULL) {
        /* The client ended the stream without a message, or is gone: etcd's
         * words for either kind. */
        if (call->pub.method->kind == RPC_UNARY)
            rpc_fail_text(&call->pub, GRPC_STATUS_UNKNOWN, "EOF");
        else
            rpc_fail_text(&call->pub, GRPC_STATUS_INTERNAL,
                          "cardinality violation: received no request message "
                          "from non-client-streaming RPC");
        return false;
    }
    return intake_bytes(call, call->payload, &call->pub.arena,
                        &call->pub.request);
}

static void start(struct call *call)
{
    call->started = true;
    call->pub.method->open(&call->pub);
    if (call->pub.method->kind == RPC_BIDI)
        stream_opened(call);
    if (call->pub.shard->draining)
        call_drain(call);
}

/* A stream may have ended while it waited. */
void rpc_admit(struct rpc_call *pub)
{
    struct call *call = call_of(pub);

    if (pub->method->kind == RPC_UNARY ? !call->cancelled
                                       : stream_is_open(call))
        start(call);
    else if (pub->method->kind == RPC_UNARY)
        rpc_fail(pub, ERR_CANCELED);
    rpc_release(pub);
}

static void begin(struct call *call)
{
    const struct rpc_config *config = &call->pub.shard->server->config;
    const struct rpc_method *method = call->pub.method;
    char text[256];
    int err;

    if (method->kind == RPC_UNARY)
        unary_open(call);
    else
        stream_open(call);
    if (method->open == NULL) {
        (void)snprintf(text, sizeof(text), "unknown method %s for service %s",
                       method->name, call->pub.service->name);
        rpc_fail_text(&call->pub, GRPC_STATUS_UNIMPLEMENTED, text);
        return;
    }
    if (method->kind != RPC_BIDI && !take_request(call))
        return;
    err = metadata_check(call);
    if (err == 0 && call->pub.shard->draining && method->kind != RPC_UNARY)
        err = ERR_STOPPED;
    if (err != 0) {
        rpc_fail(&call->pub, err);
        return;
    }
    if (call->pub.token.data != NULL && config->admit != NULL &&
        !config->admit(config->ctx, &call->pub))
        rpc_hold(&call->pub); /* until rpc_admit, on this thread */
    else
        start(call);
}

void call_drain(struct call *call)
{
    const struct rpc_method *method = call->pub.method;

    if (call->started && !call->answered && method->on_drain != NULL)
        method->on_drain(&call->pub);
}

static void arrived(struct tag *tag, bool ok)
{
    struct call *call = container_of(tag, struct call, arrived);
    struct rpc_shard *shard = call->pub.shard;

    if (!ok) {
        pool_give(call);
        return;
    }
    if (!shard->draining)
        intake_arm(shard, call->slot);
    call->holds = 1;
    call->pub.deadline_ns = deadline_ns(call->deadline);
    call->pub.start_ns = clock_mono_ns();
    deadline_watch(call);
    open_link(call);
    cork_call_opened(call);
    count(&call->slot->started, 1);
    if (!call->slot->shown)
        rpc_metrics_show(call->slot, shard->server);
    begin(call);
}

void call_handled(struct call *call, int status)
{
    if (status < 0 || status >= RPC_CODES)
        status = GRPC_STATUS_UNKNOWN;
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

    cork_call_ended(call);
    deadline_forget(call);
    open_unlink(call);
    grpc_call_unref(call->core);
    call->core = NULL;
    if (call->holds > 1) {
        call->ended = true;
        shard->held++;
    }
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

bool rpc_cancelled(const struct rpc_call *pub)
{
    return container_of(pub, const struct call, pub)->cancelled ||
           (pub->deadline_ns != UINT64_MAX &&
            clock_mono_ns() >= pub->deadline_ns);
}
