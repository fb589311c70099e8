/* The methods of grpc.testing.TestService. */
#include "service.h"

#include "chorad/base/err.h"
#include "test.pb-c.h"

#include <stdlib.h>
#include <string.h>

/* gRPC's status codes that aren't the client's choice. */
#define INVALID_ARGUMENT 3
#define UNIMPLEMENTED 12

/* The largest response that a request may ask for. */
#define RESPONSE_MAX (16 << 20)

/* Packs a message into a buffer of the shard. */
static struct buf *pack(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct buf *buf = rpc_scratch(call->shard);
    size_t len = protobuf_c_message_get_packed_size(message);

    buf->len += protobuf_c_message_pack(message, buf_reserve(buf, len));
    return buf;
}

static bool echo_status(struct rpc_call *call,
                        const Grpc__Testing__EchoStatus *status)
{
    if (status == NULL || status->code == 0)
        return false;
    rpc_fail_text(call, status->code, status->message);
    return true;
}

static bool check_size(struct rpc_call *call, int32_t size)
{
    if (size >= 0 && size <= RESPONSE_MAX)
        return true;
    rpc_fail_text(call, INVALID_ARGUMENT, "the response can't have that size");
    return false;
}

/* ---- unary ----------------------------------------------------------- */

static void empty_call(struct rpc_call *call)
{
    Grpc__Testing__Empty *request = grpc__testing__empty__unpack(
        NULL, call->request.len, call->request.data);

    if (request == NULL) {
        rpc_fail(call, ERR_MALFORMED);
        return;
    }
    grpc__testing__empty__free_unpacked(request, NULL);
    rpc_reply_copy(call, (struct bytes){0});
}

static void answer_simple(struct rpc_call *call,
                          const Grpc__Testing__SimpleRequest *request)
{
    Grpc__Testing__SimpleResponse response =
        GRPC__TESTING__SIMPLE_RESPONSE__INIT;
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

    if (echo_status(call, request->response_status) ||
        !check_size(call, request->response_size))
        return;
    payload.body.len = (size_t)request->response_size;
    payload.body.data = mem_zalloc(payload.body.len + 1);
    response.payload = &payload;
    if (request->fill_server_id)
        response.server_id = (char *)(uintptr_t) "chorad";
    rpc_reply(call, pack(call, &response.base));
    free(payload.body.data);
}

static void unary_call(struct rpc_call *call)
{
    Grpc__Testing__SimpleRequest *request =
        grpc__testing__simple_request__unpack(NULL, call->request.len,
                                              call->request.data);

    if (request == NULL) {
        rpc_fail(call, ERR_MALFORMED);
        return;
    }
    answer_simple(call, request);
    grpc__testing__simple_request__free_unpacked(request, NULL);
}

/* ---- streams --------------------------------------------------------- */

/* A stream of responses. While `request` is there, its responses from `next`
 * on are still to be sent, and no further request is read. */
struct output {
    Grpc__Testing__StreamingOutputCallRequest *request;
    size_t next;
    bool half_closed;
};

static void forget_request(struct output *out)
{
    if (out->request != NULL)
        grpc__testing__streaming_output_call_request__free_unpacked(
            out->request, NULL);
    out->request = NULL;
    out->next = 0;
}

static bool send_one(struct rpc_call *call,
                     const Grpc__Testing__ResponseParameters *parameters)
{
    Grpc__Testing__StreamingOutputCallResponse response =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;
    struct buf *buf;

    if (parameters->interval_us > 0) {
        rpc_finish_text(call, UNIMPLEMENTED, "no intervals between responses");
        return false;
    }
    if (!check_size(call, parameters->size))
        return false;
    payload.body.len = (size_t)parameters->size;
    payload.body.data = mem_zalloc(payload.body.len + 1);
    response.payload = &payload;
    buf = pack(call, &response.base);
    rpc_send_copy(call, bytes_of(buf->data, buf->len));
    free(payload.body.data);
    return true;
}

/* Sends as much as the queue takes; on_drained goes on. True once the whole
 * request is answered. */
static bool send_some(struct rpc_call *call)
{
    struct output *out = call->state;

    while (out->next < out->request->n_response_parameters) {
        if (rpc_queued_bytes(call) >= RPC_DRAIN_BYTES ||
            rpc_queued_messages(call) >= RPC_DRAIN_MESSAGES)
            return false;
        if (!send_one(call, out->request->response_parameters[out->next++]))
            return false;
    }
    forget_request(out);
    return true;
}

static void go_on(struct rpc_call *call)
{
    struct output *out = call->state;

    if (out->request == NULL || !send_some(call))
        return;
    if (out->half_closed)
        rpc_finish(call, 0);
    else
        rpc_resume(call);
}

/* Takes a request in; false: it has ended the call. */
static bool take_request(struct rpc_call *call, struct bytes message)
{
    struct output *out = call->state;

    out->request = grpc__testing__streaming_output_call_request__unpack(
        NULL, message.len, message.data);
    if (out->request == NULL) {
        rpc_fail(call, ERR_MALFORMED);
        return false;
    }
    return !echo_status(call, out->request->response_status);
}

static void output_open(struct rpc_call *call)
{
    struct output *out = arena_zalloc(&call->arena, sizeof(*out));

    call->state = out;
    if (call->method->kind == RPC_BIDI)
        return;
    out->half_closed = true;
    if (take_request(call, call->request))
        go_on(call);
}

static void output_message(struct rpc_call *call, struct bytes message)
{
    rpc_pause(call);
    if (take_request(call, message))
        go_on(call);
}

static void output_half_close(struct rpc_call *call)
{
    struct output *out = call->state;

    out->half_closed = true;
    if (out->request == NULL)
        rpc_finish(call, 0);
}

static void output_done(struct rpc_call *call)
{
    forget_request(call->state);
}

/* ---- many requests, one response ------------------------------------- */

static void input_open(struct rpc_call *call)
{
    call->state = arena_zalloc(&call->arena, sizeof(uint64_t));
}

static void input_message(struct rpc_call *call, struct bytes message)
{
    uint64_t *sum = call->state;
    Grpc__Testing__StreamingInputCallRequest *request =
        grpc__testing__streaming_input_call_request__unpack(NULL, message.len,
                                                            message.data);

    if (request == NULL) {
        rpc_fail(call, ERR_MALFORMED);
        return;
    }
    if (request->payload != NULL)
        *sum += request->payload->body.len;
    grpc__testing__streaming_input_call_request__free_unpacked(request, NULL);
}

static void input_half_close(struct rpc_call *call)
{
    const uint64_t *sum = call->state;
    Grpc__Testing__StreamingInputCallResponse response =
        GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;
    struct buf *buf;

    response.aggregated_payload_size = (int32_t)*sum;
    buf = pack(call, &response.base);
    rpc_send_copy(call, bytes_of(buf->data, buf->len));
    rpc_finish(call, 0);
}

static void input_done(struct rpc_call *call)
{
    call->state = NULL;
}

static const struct rpc_method methods[] = {
    {.name = "EmptyCall", .kind = RPC_UNARY, .open = empty_call},
    {.name = "UnaryCall", .kind = RPC_UNARY, .open = unary_call},
    {.name = "StreamingOutputCall",
     .kind = RPC_SERVER_STREAM,
     .open = output_open,
     .on_drained = go_on,
     .on_done = output_done},
    {.name = "StreamingInputCall",
     .kind = RPC_BIDI,
     .open = input_open,
     .on_message = input_message,
     .on_half_close = input_half_close,
     .on_done = input_done},
    {.name = "FullDuplexCall",
     .kind = RPC_BIDI,
     .open = output_open,
     .on_message = output_message,
     .on_half_close = output_half_close,
     .on_drained = go_on,
     .on_done = output_done},
    {.name = "UnimplementedCall", .kind = RPC_UNARY},
};

const struct rpc_service test_service = {
    .name = "grpc.testing.TestService",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
};
