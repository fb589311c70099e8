/* Calls that have to wait before they are let in. */
#include "chorad/rpc.h"
#include "test_rpc_client.h"

#include <pthread.h>
#include <time.h>

/* What the server saw; under the lock. */
static struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rpc_call *waiting;
    unsigned asked;
    unsigned waits;
    unsigned opened;
    unsigned cancels;
    unsigned dones;
    unsigned admitted;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .changed = PTHREAD_COND_INITIALIZER};

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

/* ---- the service ----------------------------------------------------- */

static void open_echo(struct rpc_call *call)
{
    note(&seen.opened);
    rpc_reply_copy(call, call->request);
}

static void on_cancel(struct rpc_call *call)
{
    (void)call;
    note(&seen.cancels);
}

static void open_bidi(struct rpc_call *call)
{
    (void)call;
    note(&seen.opened);
}

static void bidi_message(struct rpc_call *call, struct bytes message)
{
    rpc_send_copy(call, message);
    rpc_finish(call, 0);
}

static void bidi_done(struct rpc_call *call)
{
    (void)call;
    note(&seen.dones);
}

static const struct rpc_method methods[] = {
    {.name = "Echo", .kind = RPC_UNARY, .open = open_echo},
    {.name = "Watched",
     .kind = RPC_UNARY,
     .open = open_echo,
     .on_cancel = on_cancel},
    {.name = "Bidi",
     .kind = RPC_BIDI,
     .open = open_bidi,
     .on_message = bidi_message,
     .on_done = bidi_done},
};
static const struct rpc_service service = {
    .name = "test.Service",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
};
static const struct rpc_service *const services[] = {&service, NULL};

static bool admit(void *ctx, struct rpc_call *call)
{
    (void)ctx;
    note(&seen.asked);
    if (bytes_cmp(call->token, bytes_of("wait", 4)) != 0)
        return true;
    seen.waiting = call;
    note(&seen.waits);
    return false;
}

static struct rpc_task admission;

static void run_admission(struct rpc_task *task)
{
    (void)task;
    rpc_admit(seen.waiting);
    note(&seen.admitted);
}

static void let_in(void)
{
    admission.run = run_admission;
    rpc_post(seen.waiting->shard, &admission);
    wait_for(&seen.admitted, 1);
}

static int setup(void **state)
{
    static struct fixture f;
    struct rpc_config config = {.services = services,
                                .shards = 1,
                                .max_recv_bytes = 1000,
                                .max_concurrent_streams = UINT32_MAX,
                                .keepalive_min_ms = 5000,
                                .admit = admit};

    memset((char *)&seen + offsetof(struct seen, waiting), 0,
           sizeof(seen) - offsetof(struct seen, waiting));
    connect_to(&f, &config);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    disconnect(*state);
    return 0;
}

/* ---- the client ------------------------------------------------------ */

static grpc_metadata token(const char *key, const char *value)
{
    return (grpc_metadata){.key = grpc_slice_from_static_string(key),
                           .value = grpc_slice_from_static_string(value)};
}

static void call_with(struct fixture *f, struct client_call *c,
                      const char *method, const char *key, const char *value)
{
    grpc_metadata metadata = token(key, value);

    begin(f, c, method);
    unary_start(c, "hello", 5, &metadata, 1);
}

static void assert_echoed(struct client_call *c)
{
    unary_finish(c);
    assert_int_equal(c->code, GRPC_STATUS_OK);
    assert_int_equal(c->body.len, 5);
    end(c);
}

/* ---- tests ----------------------------------------------------------- */

static void test_without_a_token_nobody_is_asked(void **state)
{
    struct client_call c;

    call_with(*state, &c, "test.Service/Echo", "other", "wait");
    assert_echoed(&c);
    assert_int_equal(noted(&seen.asked), 0);
}

static void test_most_go_in_at_once(void **state)
{
    struct client_call c;

    call_with(*state, &c, "test.Service/Echo", "token", "go");
    assert_echoed(&c);
    call_with(*state, &c, "test.Service/Echo", "authorization", "go");
    assert_echoed(&c);
    assert_int_equal(noted(&seen.asked), 2);
    assert_int_equal(noted(&seen.waits), 0);
}

static void test_one_waits(void **state)
{
    struct client_call c;
    struct client_call other;

    call_with(*state, &c, "test.Service/Echo", "token", "wait");
    wait_for(&seen.waits, 1);
    call_with(*state, &other, "test.Service/Echo", "token", "go");
    assert_echoed(&other);
    assert_int_equal(noted(&seen.opened), 1);
    let_in();
    assert_echoed(&c);
    assert_int_equal(noted(&seen.opened), 2);
}

static void test_a_client_that_goes_while_it_waits(void **state)
{
    struct client_call c;

    call_with(*state, &c, "test.Service/Watched", "token", "wait");
    wait_for(&seen.waits, 1);
    grpc_call_cancel(c.call, NULL);
    unary_finish(&c);
    assert_int_equal(c.code, GRPC_STATUS_CANCELLED);
    end(&c);
    let_in();
    /* Its handler isn't told of a call that it never saw. */
    assert_int_equal(noted(&seen.cancels), 0);
}

/* A stream with its status asked for; tag 2. */
static void open_stream(struct fixture *f, struct client_call *c)
{
    grpc_metadata metadata = token("token", "wait");
    grpc_byte_buffer *out = bytes_buffer("hello", 5);
    grpc_op ops[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_MESSAGE},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA}};

    ops[0].data.send_initial_metadata.count = 1;
    ops[0].data.send_initial_metadata.metadata = &metadata;
    ops[1].data.send_message.send_message = out;
    begin(f, c, "test.Service/Bidi");
    ops[2].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    ops[3] = status_op(c);
    start(c, ops, 4, (void *)2);
    grpc_byte_buffer_destroy(out);
    wait_for(&seen.waits, 1);
}

static void test_a_stream_waits(void **state)
{
    struct client_call c;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    open_stream(*state, &c);
    assert_int_equal(noted(&seen.opened), 0);
    let_in();
    op.data.recv_message.recv_message = &c.message;
    start(&c, &op, 1, (void *)3);
    assert_true(pluck(&c, (void *)3));
    assert_true(take_message(&c));
    assert_int_equal(c.body.len, 5);
    (void)pluck(&c, (void *)2);
    assert_int_equal(c.code, GRPC_STATUS_OK);
    end(&c);
    wait_for(&seen.dones, 1);
}

static void test_a_stream_that_ends_while_it_waits(void **state)
{
    struct client_call c;
    struct client_call other;

    open_stream(*state, &c);
    grpc_call_cancel(c.call, NULL);
    (void)pluck(&c, (void *)2);
    end(&c);
    /* The server has seen the end once it answers a later call. */
    for (int i = 0; i < 20; i++) {
        call_with(*state, &other, "test.Service/Echo", "token", "go");
        assert_echoed(&other);
    }
    let_in();
    assert_int_equal(noted(&seen.dones), 0);
    assert_int_equal(noted(&seen.opened), 20);
}

static void test_a_stop_while_a_stream_waits(void **state)
{
    struct fixture *f = *state;
    struct client_call c;

    open_stream(f, &c);
    rpc_drain(f->server);
    (void)pluck(&c, (void *)2);
    assert_int_equal(c.code, GRPC_STATUS_UNAVAILABLE);
    end(&c);
    let_in();
    assert_int_equal(noted(&seen.opened), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_token_nobody_is_asked),
        TEST(test_most_go_in_at_once),
        TEST(test_one_waits),
        TEST(test_a_client_that_goes_while_it_waits),
        TEST(test_a_stream_waits),
        TEST(test_a_stream_that_ends_while_it_waits),
        TEST(test_a_stop_while_a_stream_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
