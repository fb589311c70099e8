/* Streams: messages in one at a time, messages out through a queue behind
 * the one send that gRPC allows.
 *
 *   opened --rpc_finish--> finishing --queue empty--> status sent --.
 *      |                       |                                    v
 *      `---- client gone ------+--------------------------------> closed
 *
 * Up to three batches are in flight beside each other: the wait for the
 * close (always), a receive and a send. The call ends when it is closed and
 * none is left. */
#include "transport.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/err.h"

#include <stdlib.h>

static void start_batch(struct call *call, const grpc_op *ops, size_t n,
                        struct tag *tag)
{
    grpc_call_error error =
        grpc_call_start_batch(call->core, ops, n, tag, NULL);

    CHECK(error == GRPC_CALL_OK);
    call->ops++;
}

static bool may_send(const struct call *call)
{
    return !call->cancelled && !call->s.finishing && !call->s.close_seen;
}

/* ---- out ------------------------------------------------------------- */

static size_t add_metadata(struct call *call, grpc_op *op)
{
    if (call->s.metadata_sent)
        return 0;
    call->s.metadata_sent = true;
    *op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    return 1;
}

/* Takes the slices over. */
static void send_slices(struct call *call, grpc_slice *slices, size_t n,
                        size_t bytes, uint32_t flags)
{
    grpc_byte_buffer *out = call->pub.shard->out;
    grpc_op ops[2];
    size_t ops_n = add_metadata(call, &ops[0]);

    grpc_slice_buffer_addn(&out->data.raw.slice_buffer, slices, n);
    ops[ops_n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE, .flags = flags};
    ops[ops_n++].data.send_message.send_message = out;
    call->s.send_in_flight = true;
    call->s.sending = bytes;
    cork_before_send(call);
    start_batch(call, ops, ops_n, &call->sent);
    grpc_slice_buffer_reset_and_unref(&out->data.raw.slice_buffer);
}

static void send_status(struct call *call)
{
    struct stream *s = &call->s;
    grpc_op ops[2];
    size_t n = add_metadata(call, &ops[0]);
    grpc_slice details = grpc_empty_slice();

    s->status_sent = true;
    s->send_in_flight = true;
    s->sending = 0;
    ops[n] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    ops[n].data.send_status_from_server.status = (grpc_status_code)s->status;
    if (s->status_text != NULL) {
        details = grpc_slice_from_copied_string(s->status_text);
        ops[n].data.send_status_from_server.status_details = &details;
    }
    n++;
    start_batch(call, ops, n, &call->sent);
    grpc_slice_unref(details);
}

static void send_next(struct call *call)
{
    struct stream *s = &call->s;
    struct queued *q = s->head;

    if (q == NULL) {
        if (s->finishing && !s->status_sent)
            send_status(call);
        return;
    }
    s->head = q->next;
    if (s->head == NULL)
        s->tail = &s->head;
    send_slices(call, q->slices, q->n, q->bytes,
                s->head != NULL ? GRPC_WRITE_BUFFER_HINT : 0);
    free(q);
}

static void enqueue(struct call *call, const grpc_slice *slices, size_t n,
                    size_t bytes)
{
    struct queued *q = mem_alloc(sizeof(*q) + n * sizeof(slices[0]));

    q->next = NULL;
    q->bytes = bytes;
    q->n = n;
    for (size_t i = 0; i < n; i++)
        q->slices[i] = slices[i];
    *call->s.tail = q;
    call->s.tail = &q->next;
}

#define SLICES_ON_STACK 64

void rpc_send(struct rpc_call *pub, const struct rpc_piece *pieces, size_t n)
{
    struct call *call = call_of(pub);
    struct stream *s = &call->s;
    grpc_slice few[SLICES_ON_STACK];
    grpc_slice *slices = few;
    size_t bytes = 0;

    CHECK(pub->method->kind != RPC_UNARY);
    if (!may_send(call))
        return;
    if (n > SLICES_ON_STACK)
        slices = mem_alloc(n * sizeof(*slices));
    for (size_t i = 0; i < n; i++)
        bytes += pieces[i].bytes.len;
    n = slices_make(pieces, n, slices);
    s->messages++;
    s->bytes += bytes;
    if (s->bytes >= RPC_DRAIN_BYTES || s->messages >= RPC_DRAIN_MESSAGES)
        s->above = true;
    count(&call->slot->sent, 1);
    count(&pub->shard->bytes_out, bytes);
    if (s->send_in_flight)
        enqueue(call, slices, n, bytes);
    else
        send_slices(call, slices, n, bytes, 0);
    if (slices != few)
        free(slices);
}

void rpc_send_copy(struct rpc_call *pub, struct bytes message)
{
    struct rpc_piece piece = {.bytes = message};

    rpc_send(pub, &piece, 1);
}

size_t rpc_queued_bytes(const struct rpc_call *pub)
{
    return container_of(pub, const struct call, pub)->s.bytes;
}

size_t rpc_queued_messages(const struct rpc_call *pub)
{
    return container_of(pub, const struct call, pub)->s.messages;
}

void rpc_finish_text(struct rpc_call *pub, int grpc_code, const char *text)
{
    struct call *call = call_of(pub);

    if (!may_send(call))
        return;
    call->s.finishing = true;
    call->s.status = grpc_code;
    call->s.status_text = text != NULL ? mem_strdup(text) : NULL;
    call_handled(call, grpc_code);
    if (!call->s.send_in_flight)
        send_status(call);
}

void rpc_finish(struct rpc_call *pub, int err)
{
    if (err == 0)
        rpc_finish_text(pub, GRPC_STATUS_OK, NULL);
    else
        rpc_finish_text(pub, err_grpc_status(err), err_text(err));
}

/* ---- in -------------------------------------------------------------- */

static void receive(struct call *call)
{
    struct stream *s = &call->s;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    if (call->pub.method->kind != RPC_BIDI || s->receiving || s->paused ||
        s->half_closed || !may_send(call))
        return;
    s->receiving = true;
    op.data.recv_message.recv_message = &s->message;
    start_batch(call, &op, 1, &s->received);
}

void rpc_pause(struct rpc_call *pub)
{
    call_of(pub)->s.paused = true;
}

void rpc_resume(struct rpc_call *pub)
{
    struct call *call = call_of(pub);

    call->s.paused = false;
    if (call->started && !call->s.delivering)
        receive(call);
}

static void deliver(struct call *call)
{
    struct arena arena = {0};
    struct bytes bytes;

    if (intake_bytes(call, call->s.message, &arena, &bytes)) {
        call->s.delivering = true;
        call->pub.method->on_message(&call->pub, bytes);
        call->s.delivering = false;
    }
    arena_close(&arena);
}

/* ---- completions ----------------------------------------------------- */

static void end_if_over(struct call *call)
{
    if (!call->s.close_seen || call->ops > 0)
        return;
    stream_clear(call);
    call_end(call);
}

static void on_received(struct tag *tag, bool ok)
{
    struct call *call = container_of(tag, struct call, s.received);
    struct stream *s = &call->s;

    call->ops--;
    s->receiving = false;
    if (s->message == NULL) {
        s->half_closed = true;
        if (ok && may_send(call) &&
            !grpc_call_failed_before_recv_message(call->core) &&
            call->pub.method->on_half_close != NULL)
            call->pub.method->on_half_close(&call->pub);
    } else {
        if (may_send(call))
            deliver(call);
        grpc_byte_buffer_destroy(s->message);
        s->message = NULL;
        receive(call);
    }
    end_if_over(call);
}

static void on_sent(struct tag *tag, bool ok)
{
    struct call *call = container_of(tag, struct call, sent);
    struct stream *s = &call->s;

    call->ops--;
    s->send_in_flight = false;
    if (!s->status_sent) {
        s->bytes -= s->sending;
        s->messages--;
    }
    /* A failed send means that the close is on its way. */
    if (ok && !call->cancelled && !s->close_seen)
        send_next(call);
    if (s->above && s->bytes < RPC_DRAIN_BYTES &&
        s->messages < RPC_DRAIN_MESSAGES) {
        s->above = false;
        if (may_send(call) && call->pub.method->on_drained != NULL)
            call->pub.method->on_drained(&call->pub);
    }
    end_if_over(call);
}

static void on_closed(struct tag *tag, bool ok)
{
    struct call *call = container_of(tag, struct call, s.closed);

    (void)ok; /* this operation doesn't fail */
    call->ops--;
    call->s.close_seen = true;
    if (call->peer_gone || !call->s.status_sent)
        call->cancelled = true;
    if (!call->s.finishing)
        call_handled(call, clock_mono_ns() >= call->pub.deadline_ns
                               ? GRPC_STATUS_DEADLINE_EXCEEDED
                               : GRPC_STATUS_CANCELLED);
    if (call->started)
        call->pub.method->on_done(&call->pub);
    end_if_over(call);
}

void stream_open(struct call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

    call->s.tail = &call->s.head;
    call->s.received.run = on_received;
    call->s.closed.run = on_closed;
    call->sent.run = on_sent;
    op.data.recv_close_on_server.cancelled = &call->peer_gone;
    start_batch(call, &op, 1, &call->s.closed);
}

bool stream_is_open(const struct call *call)
{
    return may_send(call);
}

void stream_opened(struct call *call)
{
    receive(call);
}

void stream_clear(struct call *call)
{
    struct stream *s = &call->s;

    while (s->head != NULL) {
        struct queued *q = s->head;

        s->head = q->next;
        for (size_t i = 0; i < q->n; i++)
            grpc_slice_unref(q->slices[i]);
        free(q);
    }
    s->tail = &s->head;
    if (s->message != NULL)
        grpc_byte_buffer_destroy(s->message);
    s->message = NULL;
    free(s->status_text);
    s->status_text = NULL;
}
