/* From a stream of HTTP/2 to a call, or to a refusal. */
#include "internal.h"

#include "chorad/base/err.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 640

static struct rpc_shard *shard_of(const struct http2_stream *stream)
{
    return shard_local(http2_shard(stream));
}

/* grpc-go's words and codes for what is no call. True: refused. */
static bool refuse(struct http2_stream *stream,
                   const struct http2_field *fields)
{
    struct bytes method = metadata_find(fields, ":method");
    struct bytes type = metadata_find(fields, "content-type");
    char text[TEXT_BYTES];

    if (metadata_find(fields, ":authority").data == NULL &&
        metadata_find(fields, "host").data == NULL) {
        answer_http(stream, "400", GRPC_INTERNAL,
                    "no host or :authority header present");
        return true;
    }
    if (!metadata_is_grpc(type)) {
        (void)snprintf(text, sizeof(text),
                       "invalid gRPC request content-type \"%.*s\"",
                       (int)(type.len < 128 ? type.len : 128),
                       type.len > 0 ? (const char *)type.data : "");
        answer_http(stream, "415", GRPC_INVALID_ARGUMENT, text);
        return true;
    }
    if (method.len != 4 || memcmp(method.data, "POST", 4) != 0) {
        (void)snprintf(text, sizeof(text),
                       "Received a HEADERS frame with :method \"%.*s\" which "
                       "should be POST",
                       (int)(method.len < 64 ? method.len : 64),
                       method.len > 0 ? (const char *)method.data : "");
        answer_http(stream, "405", GRPC_INTERNAL, text);
        return true;
    }
    return false;
}

static void refuse_path(struct rpc_shard *shard, struct http2_stream *stream,
                        struct bytes path)
{
    char text[TEXT_BYTES];

    path_describe(shard->server, path, text, sizeof(text));
    answer_end(stream, false, GRPC_UNIMPLEMENTED, text);
}

/* False: the call has been answered. */
static bool read_encoding(struct call *call)
{
    struct bytes name = call->encoding_name;
    char text[TEXT_BYTES];

    call->encoding = ENCODING_NONE;
    if (name.len == 0 ||
        (name.len == 8 && memcmp(name.data, "identity", 8) == 0))
        return true;
    if (name.len == 4 && memcmp(name.data, "gzip", 4) == 0) {
        call->encoding = ENCODING_GZIP;
        return true;
    }
    (void)snprintf(text, sizeof(text),
                   "grpc: Decompressor is not installed for grpc-encoding "
                   "\"%.*s\"",
                   (int)(name.len < 128 ? name.len : 128),
                   (const char *)name.data);
    rpc_fail_text(&call->pub, GRPC_UNIMPLEMENTED, text);
    return false;
}

static void open_call(struct call *call, const struct http2_field *fields)
{
    const struct rpc_method *method = call->pub.method;
    char text[TEXT_BYTES];

    if (metadata_read(call, fields, text, sizeof(text)) < 0) {
        answer_early(call, "400", GRPC_INTERNAL, text);
        return;
    }
    if (method->open == NULL) {
        (void)snprintf(text, sizeof(text), "unknown method %s for service %s",
                       method->name, call->pub.service->name);
        rpc_fail_text(&call->pub, GRPC_UNIMPLEMENTED, text);
        return;
    }
    if (!read_encoding(call) || method->kind != RPC_BIDI)
        return;
    /* Who opens a watch may think about what to watch. */
    http2_patient(call->stream);
    call_begin(call);
}

static void on_request(struct http2_stream *stream)
{
    struct rpc_shard *shard = shard_of(stream);
    const struct http2_field *fields = http2_fields(stream);
    struct bytes path = metadata_find(fields, ":path");
    struct slot *slot;

    shard->streams++;
    if (refuse(stream, fields))
        return;
    slot = path_find(shard, path);
    if (slot == NULL)
        refuse_path(shard, stream, path);
    else
        open_call(call_new(shard, slot, stream), fields);
}

static void on_data(struct http2_stream *stream, struct bytes data)
{
    struct call *call = http2_user(stream);

    if (call != NULL && data.len > 0)
        message_input(call, data);
}

static void on_end(struct http2_stream *stream)
{
    struct call *call = http2_user(stream);

    if (call != NULL)
        message_end(call);
}

static void on_drained(struct http2_stream *stream)
{
    struct call *call = http2_user(stream);

    if (call != NULL && stream_is_open(call) &&
        call->pub.method->on_drained != NULL)
        call->pub.method->on_drained(&call->pub);
}

static void unary_closed(struct call *call)
{
    bool waits = call->started || call->has_request;

    call->stream = NULL;
    if (waits) {
        /* The handler, or who admits the call, still answers. */
        call_cancel(call);
        return;
    }
    call_handled(call, GRPC_CANCELLED);
    call_end(call);
}

static void on_closed(struct http2_stream *stream, bool clean)
{
    struct rpc_shard *shard = shard_of(stream);
    struct call *call = http2_user(stream);

    shard->streams--;
    if (call != NULL && call->pub.method->kind == RPC_UNARY)
        unary_closed(call);
    else if (call != NULL)
        stream_closed(call, clean);
    if (shard->draining)
        shard_check_quiet(shard);
}

const struct http2_handler grpc_handler = {
    .on_request = on_request,
    .on_data = on_data,
    .on_end = on_end,
    .on_drained = on_drained,
    .on_closed = on_closed,
};
