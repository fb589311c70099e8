/* Unary calls: one request in, one batch out. */
#include "transport.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"

#include <string.h>

/* A call that watches its close has two batches; the last one to come back
 * ends it. */
static void one_done(struct call *call)
{
    if (--call->ops == 0 && call->answered)
        call_end(call);
}

static void on_sent(struct tag *tag, bool ok)
{
    (void)ok; /* nobody is told that nobody waited */
    one_done(container_of(tag, struct call, sent));
}

static void on_closed(struct tag *tag, bool ok)
{
    struct call *call = container_of(tag, struct call, s.closed);

    (void)ok;
    if (call->peer_gone)
        unary_cancel(call);
    one_done(call);
}

void unary_cancel(struct call *call)
{
    if (call->answered || call->cancelled)
        return;
    call->cancelled = true;
    if (call->started)
        call->pub.method->on_cancel(&call->pub);
}

static size_t add_close(struct call *call, grpc_op *op)
{
    *op = (grpc_op){.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op->data.recv_close_on_server.cancelled = &call->peer_gone;
    return 1;
}

void unary_open(struct call *call)
{
    grpc_op op;
    grpc_call_error error;

    call->sent.run = on_sent;
    if (call->pub.method->on_cancel == NULL)
        return;
    call->watches_close = true;
    call->s.closed.run = on_closed;
    call->ops++;
    error = grpc_call_start_batch(call->core, &op, add_close(call, &op),
                                  &call->s.closed, NULL);
    CHECK(error == GRPC_CALL_OK);
}

/* Sends what is in the shard's `out`, if anything, and the status. */
static void answer(struct call *call, bool with_message, int code,
                   const char *text)
{
    grpc_op ops[4];
    size_t n = 0;
    grpc_slice details;
    grpc_call_error error;

    CHECK(!call->answered);
    call->answered = true;
    /* Counted before it leaves: a client that has its answer finds it in the
     * metrics. An error counts as a message too, as etcd's interceptor has
     * it. */
    count(&call->slot->sent, 1);
    call_handled(call, code);
    ops[n++] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    if (with_message) {
        ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
        ops[n++].data.send_message.send_message = call->pub.shard->out;
    }
    ops[n] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    ops[n].data.send_status_from_server.status = (grpc_status_code)code;
    if (text != NULL) {
        details = grpc_slice_from_copied_string(text);
        ops[n].data.send_status_from_server.status_details = &details;
    }
    n++;
    if (!call->watches_close)
        n += add_close(call, &ops[n]);
    call->ops++;
    cork_before_send(call);
    error = grpc_call_start_batch(call->core, ops, n, &call->sent, NULL);
    CHECK(error == GRPC_CALL_OK);
    if (text != NULL)
        grpc_slice_unref(details);
}

static void answer_slice(struct call *call, grpc_slice slice)
{
    struct rpc_shard *shard = call->pub.shard;

    count(&shard->bytes_out, GRPC_SLICE_LENGTH(slice));
    grpc_slice_buffer_add(&shard->out->data.raw.slice_buffer, slice);
    answer(call, true, GRPC_STATUS_OK, NULL);
    grpc_slice_buffer_reset_and_unref(&shard->out->data.raw.slice_buffer);
}

void rpc_reply(struct rpc_call *pub, struct buf *buf)
{
    CHECK(pub->method->kind == RPC_UNARY);
    answer_slice(call_of(pub), slices_of_buf(buf));
}

void rpc_reply_copy(struct rpc_call *pub, struct bytes message)
{
    CHECK(pub->method->kind == RPC_UNARY);
    answer_slice(call_of(pub), grpc_slice_from_copied_buffer(
                                   (const char *)message.data, message.len));
}

void rpc_fail_text(struct rpc_call *pub, int grpc_code, const char *text)
{
    if (pub->method->kind == RPC_UNARY)
        answer(call_of(pub), false, grpc_code, text);
    else
        rpc_finish_text(pub, grpc_code, text);
}

void rpc_fail(struct rpc_call *pub, int err)
{
    rpc_fail_text(pub, err_grpc_status(err), err_text(err));
}
