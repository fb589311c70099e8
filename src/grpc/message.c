/* Messages out of a request's body: a flag, a length, and as many bytes.
 *
 *   prefix --5 bytes--> body --all there--> delivered --> prefix
 *
 * A message that came in one piece is delivered from where it lies. What comes
 * while nobody reads waits in the backlog, which HTTP/2's window bounds. */
#include "internal.h"

#include "chorad/base/err.h"

#include <stdio.h>
#include <string.h>

/* A longer message asks for room. */
#define EXPECT_BYTES (HTTP2_STREAM_WINDOW / 4)

/* ---- one message ----------------------------------------------------- */

static void fail_too_large(struct call *call, size_t len)
{
    char text[96];

    (void)snprintf(text, sizeof(text),
                   "grpc: received message larger than max (%zu vs. %u)", len,
                   call->pub.shard->server->config.max_recv_bytes);
    rpc_fail_text(&call->pub, GRPC_RESOURCE_EXHAUSTED, text);
}

/* False: the call has been answered. */
static bool unpack(struct call *call, struct bytes *message,
                   struct arena *arena)
{
    uint32_t max = call->pub.shard->server->config.max_recv_bytes;
    char text[96];
    int err = inflate_message(*message, arena, max, message);

    if (err == 0)
        return true;
    (void)snprintf(text, sizeof(text),
                   "grpc: received message after decompression larger than "
                   "max %u",
                   max);
    if (err == ERR_TOOBIG)
        rpc_fail_text(&call->pub, GRPC_RESOURCE_EXHAUSTED, text);
    else
        rpc_fail_text(&call->pub, GRPC_INTERNAL,
                      "grpc: failed to decompress the received message");
    return false;
}

static void counted_in(struct call *call, size_t len)
{
    count(&call->slot->received, 1);
    count(&call->pub.shard->bytes_in, len);
}

/* The request lives as long as the call: what isn't ours is copied. */
static void deliver_request(struct call *call, struct bytes message, bool ours)
{
    struct arena *arena = &call->pub.arena;

    if (call->in.compressed) {
        if (!unpack(call, &message, arena))
            return;
    } else if (!ours) {
        message =
            bytes_of(arena_dup(arena, message.data, message.len), message.len);
    }
    call->has_request = true;
    call->pub.request = message;
    counted_in(call, message.len);
    http2_settle(call->stream);
    call_begin(call);
}

static void deliver_message(struct call *call, struct bytes message)
{
    struct arena arena = {0};

    http2_settle(call->stream);
    if (!call->in.compressed || unpack(call, &message, &arena)) {
        counted_in(call, message.len);
        call->delivering = true;
        call->pub.method->on_message(&call->pub, message);
        call->delivering = false;
    }
    arena_close(&arena);
}

/* The message is complete; `ours`: it lies in the call's own buffer. */
static void deliver(struct call *call, struct bytes message, bool ours)
{
    if (call->in.expected)
        http2_expect(call->stream, 0);
    call->in.expected = false;
    call->in.prefix_n = 0;
    if (call->pub.method->kind == RPC_BIDI) {
        deliver_message(call, message);
        call->in.body.len = 0;
        if (call->in.body.cap > EXPECT_BYTES)
            buf_close(&call->in.body);
    } else if (!call->has_request) {
        deliver_request(call, message, ours);
    }
}

/* ---- the bytes ------------------------------------------------------- */

static bool is_reading(const struct call *call)
{
    if (call->stream == NULL || call->paused || call->delivering)
        return false;
    if (call->pub.method->kind == RPC_BIDI)
        return call->started && stream_is_open(call);
    return !call->has_request && !call->answered && !call->finishing;
}

/* What the prefix says. False: the call has been answered. */
static bool read_prefix(struct call *call)
{
    struct incoming *in = &call->in;
    const uint8_t *p = in->prefix;
    char text[64];

    in->len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 |
              (size_t)p[4];
    in->compressed = p[0] == 1;
    if (p[0] > 1) {
        (void)snprintf(text, sizeof(text),
                       "grpc: received unexpected payload format %u", p[0]);
        rpc_fail_text(&call->pub, GRPC_INTERNAL, text);
        return false;
    }
    if (in->len > call->pub.shard->server->config.max_recv_bytes) {
        fail_too_large(call, in->len);
        return false;
    }
    if (in->compressed && call->encoding == ENCODING_NONE) {
        rpc_fail_text(&call->pub, GRPC_INTERNAL,
                      "grpc: compressed flag set with identity or empty "
                      "encoding");
        return false;
    }
    return true;
}

/* Takes bytes of the prefix: how many. */
static size_t take_prefix(struct incoming *in, struct bytes data)
{
    size_t n = PREFIX_BYTES - in->prefix_n;

    if (n > data.len)
        n = data.len;
    memcpy(in->prefix + in->prefix_n, data.data, n);
    in->prefix_n = (uint8_t)(in->prefix_n + n);
    return n;
}

/* Takes bytes of the body: how many. */
static size_t take_body(struct call *call, struct bytes data)
{
    struct incoming *in = &call->in;
    size_t missing = in->len - in->body.len;

    if (in->body.len == 0 && data.len >= in->len) {
        deliver(call, bytes_of(data.data, in->len), false);
        return missing;
    }
    if (!in->expected && in->len > EXPECT_BYTES) {
        in->expected = true;
        http2_expect(call->stream, in->len);
    }
    if (missing > data.len) {
        buf_append(&in->body, data.data, data.len);
        return data.len;
    }
    buf_append(&in->body, data.data, missing);
    deliver(call, bytes_of(in->body.data, in->body.len), true);
    return missing;
}

/* As many bytes as somebody reads. The call may be gone when this returns less
 * than all; the caller holds it. */
static size_t take(struct call *call, struct bytes data)
{
    struct incoming *in = &call->in;
    size_t at = 0;

    while (is_reading(call) &&
           (at < data.len || in->prefix_n == PREFIX_BYTES)) {
        struct bytes rest = bytes_of(data.data + at, data.len - at);

        if (in->prefix_n < PREFIX_BYTES) {
            at += take_prefix(in, rest);
            if (in->prefix_n < PREFIX_BYTES || !read_prefix(call))
                break;
            rest = bytes_of(data.data + at, data.len - at);
        }
        if (rest.len == 0 && in->len > in->body.len)
            break;
        at += take_body(call, rest);
    }
    return at;
}

static void half_close(struct call *call)
{
    if (call->half_closed || !is_reading(call))
        return;
    call->half_closed = true;
    if (call->in.prefix_n > 0)
        rpc_fail_text(&call->pub, GRPC_INTERNAL, "unexpected EOF");
    else if (call->pub.method->on_half_close != NULL)
        call->pub.method->on_half_close(&call->pub);
}

/* The client ended the stream without a whole message: etcd's words for either
 * kind. */
static void end_without_request(struct call *call)
{
    if (call->has_request || call->answered || call->finishing)
        return;
    if (call->in.prefix_n == PREFIX_BYTES)
        rpc_fail_text(&call->pub, GRPC_UNKNOWN, "unexpected EOF");
    else if (call->pub.method->kind == RPC_UNARY || call->in.prefix_n > 0)
        rpc_fail_text(&call->pub, GRPC_UNKNOWN, "EOF");
    else
        rpc_fail_text(&call->pub, GRPC_INTERNAL,
                      "cardinality violation: received no request message "
                      "from non-client-streaming RPC");
}

static void read_backlog(struct call *call)
{
    struct buf *backlog = &call->in.backlog;
    struct buf taken = *backlog;
    size_t n;

    if (taken.len == 0)
        return;
    *backlog = (struct buf){0};
    n = take(call, bytes_of(taken.data, taken.len));
    if (n < taken.len && call->stream != NULL && stream_is_open(call)) {
        struct buf later = *backlog;

        *backlog = (struct buf){0};
        buf_append(backlog, taken.data + n, taken.len - n);
        if (later.len > 0)
            buf_append(backlog, later.data, later.len);
        buf_close(&later);
    }
    buf_close(&taken);
}

void message_input(struct call *call, struct bytes data)
{
    bool bidi = call->pub.method->kind == RPC_BIDI;
    size_t n = 0;

    rpc_hold(&call->pub);
    read_backlog(call);
    if (call->in.backlog.len == 0)
        n = take(call, data);
    if (bidi && n < data.len && call->stream != NULL && stream_is_open(call))
        buf_append(&call->in.backlog, data.data + n, data.len - n);
    if (bidi && call->end_seen && call->in.backlog.len == 0)
        half_close(call);
    if (bidi && call->stream != NULL)
        http2_hold(call->stream, call->in.backlog.len > 0);
    rpc_release(&call->pub);
}

void message_end(struct call *call)
{
    rpc_hold(&call->pub);
    call->end_seen = true;
    if (call->pub.method->kind != RPC_BIDI)
        end_without_request(call);
    else if (call->in.backlog.len == 0)
        half_close(call);
    rpc_release(&call->pub);
}

void message_close(struct call *call)
{
    buf_close(&call->in.body);
    buf_close(&call->in.backlog);
}

/* ---- pauses ---------------------------------------------------------- */

void rpc_pause(struct rpc_call *pub)
{
    call_of(pub)->paused = true;
}

void rpc_resume(struct rpc_call *pub)
{
    struct call *call = call_of(pub);

    call->paused = false;
    if (call->started && !call->delivering && call->stream != NULL)
        message_input(call, bytes_of("", 0));
}
