/* The transport, spoken to by gRPC's own client over a socketpair. */
#include "chorad/rpc.h"
#include "test_rpc_client.h"

#include "chorad/base/clock.h"
#include "chorad/base/err.h"
#include "chorad/base/metrics.h"

#include <pthread.h>

#define RECV_MAX 200000

/* ---- the service ----------------------------------------------------- */

/* What the handlers saw; written on the shard's thread, read after a wait
 * for `changed`. */
static struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rpc_call *held;
    unsigned opened;
    unsigned cancels;
    unsigned half_closes;
    unsigned drains;
    unsigned dones;
    bool cancelled_at_answer;
    size_t queued_bytes;
    size_t queued_messages;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .changed = PTHREAD_COND_INITIALIZER};

static struct shared *blob;

static void note(unsigned *count)
{
    pthread_mutex_lock(&seen.lock);
    (*count)++;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static unsigned noted(const unsigned *count)
{
    unsigned n;

    pthread_mutex_lock(&seen.lock);
    n = *count;
    pthread_mutex_unlock(&seen.lock);
    return n;
}

static void wait_for(const unsigned *count, unsigned want)
{
    struct timespec until;
    int rv = 0;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&seen.lock);
    while (*count < want && rv == 0)
        rv = pthread_cond_timedwait(&seen.changed, &seen.lock, &until);
    pthread_mutex_unlock(&seen.lock);
    assert_int_equal(rv, 0);
}

static void open_echo(struct rpc_call *call)
{
    rpc_reply_copy(call, call->request);
}

static void open_echo_buf(struct rpc_call *call)
{
    struct buf buf = {0};

    buf_append(&buf, call->request.data, call->request.len);
    rpc_reply(call, &buf);
}

static void open_fail(struct rpc_call *call)
{
    rpc_fail(call, ERR_LEASE_NOT_FOUND);
}

static void open_hold(struct rpc_call *call)
{
    seen.held = call;
    note(&seen.opened);
}

static void on_cancel(struct rpc_call *call)
{
    assert_true(rpc_cancelled(call));
    note(&seen.cancels);
}

static void on_drain(struct rpc_call *call)
{
    note(&seen.drains);
    rpc_fail(call, ERR_STOPPED);
}

static void open_peer(struct rpc_call *call)
{
    rpc_reply_copy(call, bytes_of(rpc_peer(call), strlen(rpc_peer(call))));
}

static void open_bidi(struct rpc_call *call)
{
    seen.held = call;
    note(&seen.opened);
}

static void bidi_message(struct rpc_call *call, struct bytes message)
{
    struct rpc_piece pieces[] = {{.bytes = bytes_of("<", 1)},
                                 {.bytes = message},
                                 {.bytes = bytes_of(">", 1)}};

    rpc_send(call, pieces, 3);
}

static void bidi_half_close(struct rpc_call *call)
{
    note(&seen.half_closes);
    rpc_finish(call, 0);
}

/* Somebody elsewhere still points to the call when its life is over. */
static void open_kept(struct rpc_call *call)
{
    rpc_hold(call);
    seen.held = call;
    note(&seen.opened);
}

static void stream_done(struct rpc_call *call)
{
    rpc_send_copy(call, bytes_of("late", 4));
    note(&seen.dones);
}

#define FLOOD 40

/* Far more than the client's window, so that it queues. */
static void open_flood(struct rpc_call *call)
{
    for (unsigned i = 0; i < FLOOD; i++) {
        uint8_t head[4] = {(uint8_t)i, 0, 0, 0};
        struct rpc_piece pieces[] = {
            {.bytes = bytes_of(head, sizeof(head))},
            {.bytes = bytes_of(blob->data, blob->len), .shared = blob},
            {.bytes = bytes_of(blob->data + 1, 10), .shared = blob},
        };

        rpc_send(call, pieces, 3);
    }
    seen.queued_bytes = rpc_queued_bytes(call);
    seen.queued_messages = rpc_queued_messages(call);
    note(&seen.opened);
}

static void flood_drained(struct rpc_call *call)
{
    assert_true(rpc_queued_bytes(call) < RPC_DRAIN_BYTES);
    note(&seen.drains);
    rpc_finish(call, ERR_COMPACTED);
}

static const struct rpc_method methods[] = {
    {.name = "Echo", .kind = RPC_UNARY, .open = open_echo},
    {.name = "EchoBuf", .kind = RPC_UNARY, .open = open_echo_buf},
    {.name = "Fail", .kind = RPC_UNARY, .open = open_fail},
    {.name = "Hold", .kind = RPC_UNARY, .open = open_hold},
    {.name = "HoldWatched",
     .kind = RPC_UNARY,
     .open = open_hold,
     .on_cancel = on_cancel},
    {.name = "HoldDrained",
     .kind = RPC_UNARY,
     .open = open_hold,
     .on_drain = on_drain},
    {.name = "Kept",
     .kind = RPC_SERVER_STREAM,
     .open = open_kept,
     .on_done = stream_done},
    {.name = "Later", .kind = RPC_UNARY},
    {.name = "LaterStream", .kind = RPC_BIDI},
    {.name = "Peer", .kind = RPC_UNARY, .open = open_peer},
    {.name = "Bidi",
     .kind = RPC_BIDI,
     .open = open_bidi,
     .on_message = bidi_message,
     .on_half_close = bidi_half_close,
     .on_done = stream_done},
    {.name = "Flood",
     .kind = RPC_SERVER_STREAM,
     .open = open_flood,
     .on_drained = flood_drained,
     .on_done = stream_done},
};
static const struct rpc_service service = {.name = "test.Service",
                                           .methods = methods,
                                           .n = sizeof(methods) /
                                                sizeof(methods[0]),
                                           .preset_metrics = true};
static const struct rpc_service *const services[] = {&service, NULL};

/* ---- the server ------------------------------------------------------ */

static bool no_leader(void *ctx)
{
    (void)ctx;
    return false;
}

static int setup(void **state)
{
    static struct fixture f;
    struct rpc_config config = {.services = services,
                                .shards = 2,
                                .max_recv_bytes = RECV_MAX,
                                .max_concurrent_streams = UINT32_MAX,
                                .keepalive_min_ms = 5000,
                                .has_leader = no_leader};
    memset((char *)&seen + offsetof(struct seen, held), 0,
           sizeof(seen) - offsetof(struct seen, held));
    blob = shared_new(100000);
    memset(blob->data, 'b', blob->len);
    connect_to(&f, &config);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    disconnect(f);
    assert_int_equal(atomic_load(&blob->refs), 1);
    shared_unref(blob);
    return 0;
}

/* ---- unary ----------------------------------------------------------- */

static void test_echo(void **state)
{
    struct fixture *f = *state;
    size_t len = RECV_MAX;
    uint8_t *large = mem_alloc(len);

    for (size_t i = 0; i < len; i++)
        large[i] = (uint8_t)(i * 7);
    assert_unary(f, "test.Service/Echo", "hello", 5, 0, "");
    assert_unary(f, "test.Service/Echo", "", 0, 0, "");
    assert_unary(f, "test.Service/Echo", large, len, 0, "");
    assert_unary(f, "test.Service/EchoBuf", "hello", 5, 0, "");
    assert_unary(f, "test.Service/EchoBuf", "", 0, 0, "");
    assert_unary(f, "test.Service/EchoBuf", large, len, 0, "");
    free(large);
}

static void test_errors(void **state)
{
    struct fixture *f = *state;
    uint8_t *large = mem_zalloc(RECV_MAX + 1);

    assert_unary(f, "test.Service/Fail", "", 0, 5,
                 "etcdserver: requested lease not found");
    assert_unary(f, "test.Service/Nope", "", 0, 12,
                 "unknown method Nope for service test.Service");
    assert_unary(f, "test.Service/Later", "", 0, 12,
                 "unknown method Later for service test.Service");
    assert_unary(f, "test.Service/LaterStream", "", 0, 12,
                 "unknown method LaterStream for service test.Service");
    assert_unary(f, "test.Other/Nope", "", 0, 12, "unknown service test.Other");
    assert_unary(f, "test.Service/Echo", large, RECV_MAX + 1, 8,
                 "grpc: received message larger than max (200001 vs. 200000)");
    free(large);
}

static void test_has_leader(void **state)
{
    struct client_call c;
    grpc_metadata metadata = {.key = grpc_slice_from_static_string("hasleader"),
                              .value = grpc_slice_from_static_string("true")};

    begin(*state, &c, "test.Service/Echo");
    unary_start(&c, "x", 1, &metadata, 1);
    unary_finish(&c);
    assert_int_equal(c.code, 14);
    assert_string_equal(c.text, "etcdserver: no leader");
    end(&c);
}

static void test_peer(void **state)
{
    struct client_call c;

    begin(*state, &c, "test.Service/Peer");
    unary_start(&c, "x", 1, NULL, 0);
    unary_finish(&c);
    assert_int_equal(c.code, 0);
    assert_int_equal(c.body.len, 1);
    assert_memory_equal(c.body.data, "@", 1);
    end(&c);
}

/* One call with its request packed by gRPC's client. */
static void packed(struct fixture *f, const char *encoding, size_t len,
                   struct client_call *c)
{
    uint8_t *data = mem_zalloc(len);
    grpc_metadata metadata = {
        .key = grpc_slice_from_static_string("grpc-internal-encoding-request"),
        .value = grpc_slice_from_static_string(encoding)};

    begin(f, c, "test.Service/Echo");
    unary_start(c, data, len, &metadata, 1);
    unary_finish(c);
    free(data);
}

static void test_compressed(void **state)
{
    struct client_call c;

    packed(*state, "gzip", RECV_MAX, &c);
    assert_int_equal(c.code, 0);
    assert_int_equal(c.body.len, RECV_MAX);
    assert_int_equal(c.body.data[RECV_MAX - 1], 0);
    end(&c);
    packed(*state, "gzip", RECV_MAX + 1, &c);
    assert_int_equal(c.code, 8);
    assert_string_equal(c.text, "grpc: received message after decompression "
                                "larger than max 200000");
    end(&c);
    packed(*state, "deflate", 1000, &c);
    assert_int_equal(c.code, 12);
    assert_string_equal(c.text, "grpc: Decompressor is not installed for "
                                "grpc-encoding \"deflate\"");
    end(&c);
}

/* ---- answers from elsewhere ------------------------------------------ */

struct answer {
    struct rpc_task task;
    struct rpc_call *call;
};

static void run_answer(struct rpc_task *task)
{
    struct answer *answer = container_of(task, struct answer, task);

    seen.cancelled_at_answer = rpc_cancelled(answer->call);
    rpc_reply_copy(answer->call, bytes_of("late", 4));
    note(&seen.dones);
}

static void post_answer(struct answer *answer)
{
    answer->task.run = run_answer;
    answer->call = seen.held;
    rpc_post(seen.held->shard, &answer->task);
}

static void test_answer_later(void **state)
{
    struct client_call c;
    struct answer answer;

    begin(*state, &c, "test.Service/Hold");
    unary_start(&c, "x", 1, NULL, 0);
    wait_for(&seen.opened, 1);
    post_answer(&answer);
    unary_finish(&c);
    assert_int_equal(c.code, 0);
    assert_int_equal(c.body.len, 4);
    wait_for(&seen.dones, 1);
    assert_false(seen.cancelled_at_answer);
    end(&c);
}

static void test_cancelled_while_held(void **state)
{
    struct fixture *f = *state;
    struct client_call c;
    struct answer answer;

    begin(f, &c, "test.Service/Hold");
    unary_start(&c, "x", 1, NULL, 0);
    wait_for(&seen.opened, 1);
    (void)grpc_call_cancel(c.call, NULL);
    unary_finish(&c);
    assert_int_equal(c.code, 1);
    end(&c);
    /* The call is still the handler's. */
    assert_int_equal(rpc_calls_open(f->server), 1);
    post_answer(&answer);
    wait_for(&seen.dones, 1);
    for (unsigned i = 0; rpc_calls_open(f->server) > 0 && i < 1000; i++)
        (void)usleep(1000);
    assert_int_equal(rpc_calls_open(f->server), 0);
}

static void test_cancel_is_told(void **state)
{
    struct client_call c;
    struct answer answer;

    begin(*state, &c, "test.Service/HoldWatched");
    unary_start(&c, "x", 1, NULL, 0);
    wait_for(&seen.opened, 1);
    (void)grpc_call_cancel(c.call, NULL);
    wait_for(&seen.cancels, 1);
    post_answer(&answer);
    wait_for(&seen.dones, 1);
    assert_true(seen.cancelled_at_answer);
    unary_finish(&c);
    end(&c);
}

/* ---- streams --------------------------------------------------------- */

static void stream_start(struct client_call *c)
{
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    grpc_op status = status_op(c);

    ops[1].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    start(c, &ops[0], 1, (void *)1);
    start(c, &ops[1], 1, (void *)2);
    start(c, &status, 1, (void *)3);
    assert_true(pluck(c, (void *)1));
}

static void stream_send(struct client_call *c, const void *data, size_t len)
{
    grpc_byte_buffer *out = bytes_buffer(data, len);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

    op.data.send_message.send_message = out;
    start(c, &op, 1, (void *)4);
    assert_true(pluck(c, (void *)4));
    grpc_byte_buffer_destroy(out);
}

static bool stream_receive(struct client_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = &c->message;
    start(c, &op, 1, (void *)5);
    (void)pluck(c, (void *)5);
    return take_message(c);
}

static void stream_half_close(struct client_call *c)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

    start(c, &op, 1, (void *)6);
    (void)pluck(c, (void *)6);
}

static void stream_status(struct client_call *c, int code, const char *text)
{
    (void)pluck(c, (void *)2);
    (void)pluck(c, (void *)3);
    take_status(c);
    assert_int_equal(c->code, code);
    if (text != NULL)
        assert_string_equal(c->text, text);
}

static void test_bidi(void **state)
{
    struct client_call c;
    char text[32];
    int n;

    begin(*state, &c, "test.Service/Bidi");
    stream_start(&c);
    for (int i = 0; i < 200; i++) {
        n = snprintf(text, sizeof(text), "<%d>", i);
        stream_send(&c, text + 1, (size_t)n - 2);
        assert_true(stream_receive(&c));
        assert_int_equal(c.body.len, n);
        assert_memory_equal(c.body.data, text, n);
    }
    stream_half_close(&c);
    assert_false(stream_receive(&c));
    stream_status(&c, 0, "");
    wait_for(&seen.dones, 1);
    assert_int_equal(seen.half_closes, 1);
    end(&c);
}

static void test_bidi_too_large(void **state)
{
    struct client_call c;
    uint8_t *large = mem_zalloc(RECV_MAX + 1);

    begin(*state, &c, "test.Service/Bidi");
    stream_start(&c);
    stream_send(&c, large, RECV_MAX + 1);
    stream_status(&c, 8,
                  "grpc: received message larger than max (200001 vs. 200000)");
    wait_for(&seen.dones, 1);
    end(&c);
    free(large);
}

static void test_bidi_cancel(void **state)
{
    struct client_call c;

    begin(*state, &c, "test.Service/Bidi");
    stream_start(&c);
    wait_for(&seen.opened, 1);
    (void)grpc_call_cancel(c.call, NULL);
    wait_for(&seen.dones, 1);
    stream_status(&c, 1, NULL);
    assert_int_equal(seen.half_closes, 0);
    end(&c);
}

static void test_flood(void **state)
{
    struct client_call c;

    begin(*state, &c, "test.Service/Flood");
    stream_start(&c);
    stream_send(&c, "go", 2);
    stream_half_close(&c);
    wait_for(&seen.opened, 1);
    assert_int_equal(seen.queued_messages, FLOOD);
    assert_int_equal(seen.queued_bytes, FLOOD * (5 + 4 + blob->len + 10));
    assert_int_equal(noted(&seen.drains), 0);
    for (unsigned i = 0; i < FLOOD; i++) {
        assert_true(stream_receive(&c));
        assert_int_equal(c.body.len, 4 + blob->len + 10);
        assert_int_equal(c.body.data[0], i);
        assert_memory_equal(c.body.data + 4, blob->data, blob->len);
    }
    assert_false(stream_receive(&c));
    wait_for(&seen.drains, 1);
    stream_status(&c, 11, err_text(ERR_COMPACTED));
    wait_for(&seen.dones, 1);
    end(&c);
}

/* A client that reads nothing and goes: what was queued is given back. */
static void test_flood_cancel(void **state)
{
    struct client_call c;

    begin(*state, &c, "test.Service/Flood");
    stream_start(&c);
    stream_send(&c, "go", 2);
    wait_for(&seen.opened, 1);
    (void)grpc_call_cancel(c.call, NULL);
    wait_for(&seen.dones, 1);
    stream_status(&c, 1, NULL);
    end(&c);
}

static void test_leader_lost(void **state)
{
    struct fixture *f = *state;
    struct client_call c;

    /* This stream didn't ask for a leader. */
    begin(f, &c, "test.Service/Bidi");
    stream_start(&c);
    wait_for(&seen.opened, 1);
    rpc_leader_lost(f->server);
    stream_send(&c, "x", 1);
    assert_true(stream_receive(&c));
    stream_half_close(&c);
    stream_status(&c, 0, "");
    end(&c);
}

/* ---- stop ------------------------------------------------------------ */

static void *answer_soon(void *arg)
{
    (void)usleep(100000);
    post_answer(arg);
    return NULL;
}

static void test_stop(void **state)
{
    struct fixture *f = *state;
    struct client_call stream;
    struct client_call held;
    struct answer answer;
    pthread_t thread;
    uint64_t begin_ns;

    begin(f, &stream, "test.Service/Bidi");
    stream_start(&stream);
    wait_for(&seen.opened, 1);
    begin(f, &held, "test.Service/Hold");
    unary_start(&held, "x", 1, NULL, 0);
    wait_for(&seen.opened, 2);
    begin_ns = clock_mono_ns();
    assert_int_equal(pthread_create(&thread, NULL, answer_soon, &answer), 0);
    rpc_stop(f->server, 1000);
    f->server = NULL;
    assert_true(clock_mono_ns() - begin_ns < 2000000000u);
    assert_int_equal(pthread_join(thread, NULL), 0);
    stream_status(&stream, 14, "etcdserver: server stopped");
    unary_finish(&held);
    assert_int_equal(held.code, 0);
    assert_int_equal(seen.dones, 2);
    end(&stream);
    end(&held);
}

static void test_stop_is_told(void **state)
{
    struct fixture *f = *state;
    struct client_call c;

    begin(f, &c, "test.Service/HoldDrained");
    unary_start(&c, "x", 1, NULL, 0);
    wait_for(&seen.opened, 1);
    rpc_drain(f->server);
    unary_finish(&c);
    assert_int_equal(c.code, 14);
    assert_int_equal(noted(&seen.drains), 1);
    end(&c);
}

struct release {
    struct rpc_task task;
    struct rpc_call *call;
    uint64_t at_ns;
};

static void run_release(struct rpc_task *task)
{
    struct release *release = container_of(task, struct release, task);

    release->at_ns = clock_mono_ns();
    rpc_release(release->call);
}

static void *release_soon(void *arg)
{
    struct release *release = arg;

    (void)usleep(300000);
    rpc_post(release->call->shard, &release->task);
    return NULL;
}

/* The stream has ended long before, but its shard must still be there. */
static void test_stop_waits_for_who_holds(void **state)
{
    struct fixture *f = *state;
    struct client_call c;
    struct release release = {.task.run = run_release};
    pthread_t thread;

    begin(f, &c, "test.Service/Kept");
    unary_start(&c, "x", 1, NULL, 0);
    wait_for(&seen.opened, 1);
    (void)grpc_call_cancel(c.call, NULL);
    wait_for(&seen.dones, 1);
    release.call = seen.held;
    assert_int_equal(pthread_create(&thread, NULL, release_soon, &release), 0);
    rpc_stop(f->server, 100);
    f->server = NULL;
    assert_int_not_equal(release.at_ns, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    unary_finish(&c);
    end(&c);
}

/* ---- metrics --------------------------------------------------------- */

static void assert_line(const char *page, const char *line)
{
    if (strstr(page, line) == NULL)
        fail_msg("missing: %s", line);
}

static void test_metrics(void **state)
{
    struct fixture *f = *state;
    struct buf page = {0};

    assert_unary(f, "test.Service/Echo", "hello", 5, 0, "");
    assert_unary(f, "test.Service/Fail", "", 0, 5,
                 "etcdserver: requested lease not found");
    metrics_print(&page);
    buf_append(&page, "", 1);
    assert_line((char *)page.data,
                "grpc_server_started_total{grpc_method=\"Echo\",grpc_service="
                "\"test.Service\",grpc_type=\"unary\"} 1\n");
    assert_line((char *)page.data,
                "grpc_server_handled_total{grpc_code=\"NotFound\",grpc_method="
                "\"Fail\",grpc_service=\"test.Service\",grpc_type=\"unary\"} "
                "1\n");
    assert_line((char *)page.data,
                "grpc_server_msg_sent_total{grpc_method=\"Flood\",grpc_service="
                "\"test.Service\",grpc_type=\"server_stream\"} 0\n");
    assert_line((char *)page.data,
                "etcd_network_client_grpc_received_bytes_total 5\n");
    assert_line((char *)page.data,
                "etcd_network_client_grpc_sent_bytes_total 5\n");
    assert_line((char *)page.data,
                "etcd_server_client_requests_total{client_api_version="
                "\"unknown\",type=\"unary\"} ");
    buf_close(&page);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_echo),
        TEST(test_errors),
        TEST(test_has_leader),
        TEST(test_peer),
        TEST(test_compressed),
        TEST(test_answer_later),
        TEST(test_cancelled_while_held),
        TEST(test_cancel_is_told),
        TEST(test_bidi),
        TEST(test_bidi_too_large),
        TEST(test_bidi_cancel),
        TEST(test_flood),
        TEST(test_flood_cancel),
        TEST(test_leader_lost),
        TEST(test_stop),
        TEST(test_stop_is_told),
        TEST(test_stop_waits_for_who_holds),
        TEST(test_metrics),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
