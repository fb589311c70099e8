/* Work on threads of its own: who waits, who is told what, and that nobody has
 * to wait for it at a stop. */
#include "chorad/base/clock.h"
#include "chorad/base/err.h"
#include "services/slow.h"
#include "test_rpc_client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static struct slow_pool *pool;
static atomic_bool gate; /* jobs run until it is open */
static atomic_uint begun;
static atomic_uint dropped;

struct job {
    struct slow_job slow;
    struct rpc_call *call;
    uint8_t result[64]; /* written by the thread */
};

static struct job *job_of(struct slow_job *slow)
{
    return container_of(slow, struct job, slow);
}

static void sleep_a_little(void)
{
    struct timespec ms = {0, 1000000};

    (void)nanosleep(&ms, NULL);
}

static void run(struct slow_job *slow)
{
    struct job *job = job_of(slow);

    atomic_fetch_add(&begun, 1);
    while (!atomic_load(&gate))
        sleep_a_little();
    memset(job->result, 7, sizeof(job->result));
}

static void done(struct slow_job *slow, int err)
{
    struct job *job = job_of(slow);

    job->call->state = NULL;
    if (err != 0)
        rpc_fail(job->call, err);
    else
        rpc_reply_copy(job->call, bytes_of(job->result, sizeof(job->result)));
}

static void drop(struct slow_job *slow)
{
    atomic_fetch_add(&dropped, 1);
    free(job_of(slow));
}

static void open_work(struct rpc_call *call)
{
    struct job *job = mem_zalloc(sizeof(*job));

    job->slow.shard = call->shard;
    job->slow.run = run;
    job->slow.done = done;
    job->slow.drop = drop;
    job->call = call;
    call->state = job;
    slow_start(pool, &job->slow);
}

static void cancel_work(struct rpc_call *call)
{
    struct job *job = call->state;

    if (job != NULL)
        slow_cancel(&job->slow);
}

static const struct rpc_method methods[] = {
    {.name = "Work",
     .kind = RPC_UNARY,
     .open = open_work,
     .on_cancel = cancel_work},
};
static const struct rpc_service service = {
    .name = "test.Service", .methods = methods, .n = 1};
static const struct rpc_service *const services[] = {&service, NULL};

static int setup(void **state)
{
    static struct fixture f;
    struct rpc_config config = {.services = services,
                                .shards = 1,
                                .max_recv_bytes = 1000,
                                .max_concurrent_streams = UINT32_MAX,
                                .keepalive_min_ms = 5000};

    atomic_store(&gate, false);
    atomic_store(&begun, 0);
    atomic_store(&dropped, 0);
    pool = slow_pool_new();
    connect_to(&f, &config);
    *state = &f;
    return 0;
}

static bool becomes(atomic_uint *count, unsigned want)
{
    for (int i = 0; i < WAIT_S * 1000 && atomic_load(count) != want; i++)
        sleep_a_little();
    return atomic_load(count) == want;
}

static int teardown(void **state)
{
    atomic_store(&gate, true);
    disconnect(*state);
    slow_pool_unref(pool);
    return 0;
}

/* As many as run at once. */
static unsigned threads(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 8 ? 8 : (unsigned)n;
}

#define CALLS_MAX 32

static void start_calls(struct fixture *f, struct client_call *calls,
                        unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        begin(f, &calls[i], "test.Service/Work");
        unary_start(&calls[i], "", 0, NULL, 0);
    }
    assert_true(becomes(&begun, n < threads() ? n : threads()));
}

static void assert_ended(struct client_call *calls, unsigned n, int code,
                         const char *text)
{
    for (unsigned i = 0; i < n; i++) {
        unary_finish(&calls[i]);
        assert_int_equal(calls[i].code, code);
        assert_string_equal(calls[i].text, text);
        if (code == 0)
            assert_int_equal(calls[i].body.data[63], 7);
        end(&calls[i]);
    }
}

static void test_all_get_their_turn(void **state)
{
    struct client_call calls[CALLS_MAX];

    start_calls(*state, calls, CALLS_MAX);
    assert_int_equal(atomic_load(&begun), threads());
    atomic_store(&gate, true);
    assert_ended(calls, CALLS_MAX, GRPC_STATUS_OK, "");
    assert_true(becomes(&dropped, CALLS_MAX));
    /* The threads have ended meanwhile, perhaps; new ones come. */
    begin(*state, &calls[0], "test.Service/Work");
    unary_start(&calls[0], "", 0, NULL, 0);
    assert_ended(calls, 1, GRPC_STATUS_OK, "");
}

static void test_who_goes_before_his_turn_costs_nothing(void **state)
{
    struct client_call calls[CALLS_MAX];
    unsigned n = threads() + 3;

    start_calls(*state, calls, n);
    for (unsigned i = 0; i < n; i++)
        grpc_call_cancel(calls[i].call, NULL);
    for (unsigned i = 0; i < n; i++) {
        unary_finish(&calls[i]);
        assert_int_equal(calls[i].code, GRPC_STATUS_CANCELLED);
        end(&calls[i]);
    }
    /* Those that wait go at once, those that run do so to their end. */
    assert_true(becomes(&dropped, 3));
    atomic_store(&gate, true);
    assert_true(becomes(&dropped, n));
    assert_int_equal(atomic_load(&begun), threads());
}

static void test_a_stop_waits_for_none(void **state)
{
    struct fixture *f = *state;
    struct client_call calls[CALLS_MAX];
    unsigned n = threads() + 3;
    uint64_t start_ns = clock_mono_ns();

    start_calls(f, calls, n);
    slow_pool_stop(pool);
    assert_ended(calls, n, GRPC_STATUS_UNAVAILABLE,
                 "etcdserver: server stopped");
    begin(f, &calls[0], "test.Service/Work");
    unary_start(&calls[0], "", 0, NULL, 0);
    assert_ended(calls, 1, GRPC_STATUS_UNAVAILABLE,
                 "etcdserver: server stopped");
    grpc_channel_destroy(f->channel);
    f->channel = NULL;
    rpc_stop(f->server, 1000);
    f->server = NULL;
    assert_true(clock_mono_ns() - start_ns < UINT64_C(9000000000));
    /* What still runs has nobody left but itself. */
    assert_int_equal(atomic_load(&dropped), 4);
    atomic_store(&gate, true);
    assert_true(becomes(&dropped, n + 1));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_all_get_their_turn),
        TEST(test_who_goes_before_his_turn_costs_nothing),
        TEST(test_a_stop_waits_for_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
