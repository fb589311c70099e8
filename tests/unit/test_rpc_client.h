/* A client for the tests of the transport: gRPC's own, over a socketpair. */
#ifndef CHORAD_TEST_RPC_CLIENT_H
#define CHORAD_TEST_RPC_CLIENT_H

#include "chorad/base/check.h"
#include "chorad/base/mem.h"
#include "chorad/rpc.h"

#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_S 10

struct fixture {
    struct rpc_server *server;
    grpc_channel *channel;
};

struct client_call {
    grpc_completion_queue *cq;
    grpc_call *call;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code code;
    grpc_slice details;
    grpc_byte_buffer *message;
    char text[256];
    struct buf body;
};

/* Starts a server and connects to it. */
static inline void connect_to(struct fixture *f,
                              const struct rpc_config *config)
{
    /* The client's windows stay as small as they begin, so that it holds what
     * nobody reads up by itself. */
    grpc_arg no_probe = {.type = GRPC_ARG_INTEGER,
                         .key = (char *)(uintptr_t)GRPC_ARG_HTTP2_BDP_PROBE,
                         .value.integer = 0};
    const grpc_channel_args fixed = {.num_args = 1, .args = &no_probe};
    grpc_channel_credentials *creds;
    int fds[2];
    int rv = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds);

    CHECK(rv == 0);
    grpc_init();
    f->server = rpc_start(config);
    rpc_add_connection(f->server, fds[0]);
    creds = grpc_insecure_credentials_create();
    f->channel = grpc_channel_create_from_fd("test", fds[1], creds, &fixed);
    grpc_channel_credentials_release(creds);
}

static inline void disconnect(struct fixture *f)
{
    if (f->channel != NULL)
        grpc_channel_destroy(f->channel);
    if (f->server != NULL)
        rpc_stop(f->server, 1000);
    grpc_shutdown_blocking();
}

static inline gpr_timespec in_seconds(int s)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_seconds(s, GPR_TIMESPAN));
}

static inline void begin(struct fixture *f, struct client_call *c,
                         const char *method)
{
    char path[128];
    grpc_slice slice;

    memset(c, 0, sizeof(*c));
    (void)snprintf(path, sizeof(path), "/%s", method);
    c->cq = grpc_completion_queue_create_for_pluck(NULL);
    slice = grpc_slice_from_copied_string(path);
    c->call =
        grpc_channel_create_call(f->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                 c->cq, slice, NULL, in_seconds(WAIT_S), NULL);
    grpc_slice_unref(slice);
    grpc_metadata_array_init(&c->initial);
    grpc_metadata_array_init(&c->trailing);
    c->details = grpc_empty_slice();
}

static inline void end(struct client_call *c)
{
    grpc_slice_unref(c->details);
    grpc_metadata_array_destroy(&c->initial);
    grpc_metadata_array_destroy(&c->trailing);
    grpc_call_unref(c->call);
    grpc_completion_queue_shutdown(c->cq);
    while (grpc_completion_queue_pluck(c->cq, NULL, in_seconds(1), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(c->cq);
    buf_close(&c->body);
}

static inline void start(struct client_call *c, const grpc_op *ops, size_t n,
                         void *tag)
{
    assert_int_equal(grpc_call_start_batch(c->call, ops, n, tag, NULL),
                     GRPC_CALL_OK);
}

static inline bool pluck(struct client_call *c, void *tag)
{
    grpc_event event =
        grpc_completion_queue_pluck(c->cq, tag, in_seconds(WAIT_S), NULL);

    assert_int_equal(event.type, GRPC_OP_COMPLETE);
    return event.success != 0;
}

static inline grpc_byte_buffer *bytes_buffer(const void *data, size_t len)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(data, len);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);

    grpc_slice_unref(slice);
    return buffer;
}

/* Keeps the received message in `body`; false for none. */
static inline bool take_message(struct client_call *c)
{
    grpc_slice_buffer *slices;

    c->body.len = 0;
    if (c->message == NULL)
        return false;
    slices = &c->message->data.raw.slice_buffer;
    for (size_t i = 0; i < slices->count; i++)
        buf_append(&c->body, GRPC_SLICE_START_PTR(slices->slices[i]),
                   GRPC_SLICE_LENGTH(slices->slices[i]));
    grpc_byte_buffer_destroy(c->message);
    c->message = NULL;
    return true;
}

static inline void take_status(struct client_call *c)
{
    size_t len = GRPC_SLICE_LENGTH(c->details);

    if (len >= sizeof(c->text))
        len = sizeof(c->text) - 1;
    memcpy(c->text, GRPC_SLICE_START_PTR(c->details), len);
    c->text[len] = '\0';
}

static inline grpc_op status_op(struct client_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

    op.data.recv_status_on_client.trailing_metadata = &c->trailing;
    op.data.recv_status_on_client.status = &c->code;
    op.data.recv_status_on_client.status_details = &c->details;
    return op;
}

/* Starts a whole unary call; tag 1. */
static inline void unary_start(struct client_call *c, const void *data,
                               size_t len, grpc_metadata *metadata,
                               size_t metadata_n)
{
    grpc_byte_buffer *out = bytes_buffer(data, len);
    grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_MESSAGE},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_MESSAGE}};

    ops[0].data.send_initial_metadata.count = metadata_n;
    ops[0].data.send_initial_metadata.metadata = metadata;
    ops[1].data.send_message.send_message = out;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    ops[4].data.recv_message.recv_message = &c->message;
    ops[5] = status_op(c);
    start(c, ops, 6, (void *)1);
    grpc_byte_buffer_destroy(out);
}

static inline void unary_finish(struct client_call *c)
{
    (void)pluck(c, (void *)1);
    take_status(c);
    (void)take_message(c);
}

static inline void assert_unary(struct fixture *f, const char *method,
                                const void *data, size_t len, int code,
                                const char *text)
{
    struct client_call c;

    begin(f, &c, method);
    unary_start(&c, data, len, NULL, 0);
    unary_finish(&c);
    assert_int_equal(c.code, code);
    assert_string_equal(c.text, text);
    if (code == 0) {
        assert_int_equal(c.body.len, len);
        if (len > 0)
            assert_memory_equal(c.body.data, data, len);
    }
    end(&c);
}

#endif
