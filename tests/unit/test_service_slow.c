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
static atomic_uint refused;     /* of the flood */
static atomic_uint other_begun; /* how many had, when the other caller's did */

#define FLOODER 1
#define OTHER 2
#define WAITING_MAX 1024

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
    unsigned n = atomic_fetch_add(&begun, 1) + 1;

    if (slow->caller == OTHER)
        atomic_store(&other_begun, n);
    while (!atomic_load(&gate))
        sleep_a_little();
    memset(job->result, 7, sizeof(job->result));
}

static void done(struct slow_job *slow, int err)
{
    struct job *job = job_of(slow);

    if (job->call == NULL) {
        if (err == ERR_TOO_MANY_REQUESTS)
            atomic_fetch_add(&refused, 1);
        return;
    }
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

static struct job *new_job(struct rpc_shard *shard, uint64_t caller)
{
    struct job *job = mem_zalloc(sizeof(*job));

    job->slow.shard = shard;
    job->slow.run = run;
    job->slow.done = done;
    job->slow.drop = drop;
    job->slow.caller = caller;
    return job;
}

static void start_for(struct rpc_call *call, uint64_t caller)
{
    struct job *job = new_job(call->shard, caller);

    job->call = call;
    call->state = job;
    slow_start(pool, &job->slow);
}

static void open_work(struct rpc_call *call)
{
    start_for(call, FLOODER);
}

static void cancel_work(struct rpc_call *call)
{
    struct job *job = call->state;

    if (job != NULL)
        slow_cancel(&job->slow);
}

static bool becomes(atomic_uint *count, unsigned want)
{
    for (int i = 0; i < WAIT_S * 1000 && atomic_load(count) != want; i++)
        sleep_a_little();
    return atomic_load(count) == want;
}

/* As many as run at once. */
static unsigned threads(void)
{
    return slow_threads_max(sysconf(_SC_NPROCESSORS_ONLN));
}

/* The flooder's jobs run, and as many as the request says wait; then comes the
 * call's own. */
static void open_flood(struct rpc_call *call)
{
    unsigned n = (unsigned)call->request.len;

    for (unsigned i = 0; i < threads(); i++)
        slow_start(pool, &new_job(call->shard, FLOODER)->slow);
    CHECK(becomes(&begun, threads()));
    for (unsigned i = 0; i < n; i++)
        slow_start(pool, &new_job(call->shard, FLOODER)->slow);
    start_for(call, OTHER);
    atomic_store(&gate, true);
}

static const struct rpc_method methods[] = {
    {.name = "Work",
     .kind = RPC_UNARY,
     .open = open_work,
     .on_cancel = cancel_work},
    {.name = "Flood",
     .kind = RPC_UNARY,
     .open = open_flood,
     .on_cancel = cancel_work},
};
static const struct rpc_service service = {
    .name = "test.Service", .methods = methods, .n = 2};
static const struct rpc_service *const services[] = {&service, NULL};

static int setup(void **state)
{
    static struct fixture f;
    struct rpc_config config = {.services = services,
                                .shards = 1,
                                .max_recv_bytes = 4096,
                                .max_concurrent_streams = UINT32_MAX,
                                .keepalive_min_ms = 5000};

    atomic_store(&gate, false);
    atomic_store(&begun, 0);
    atomic_store(&dropped, 0);
    atomic_store(&refused, 0);
    atomic_store(&other_begun, 0);
    pool = slow_pool_new();
    connect_to(&f, &config);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    atomic_store(&gate, true);
    disconnect(*state);
    slow_pool_unref(pool);
    return 0;
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

static void test_a_core_is_left(void **state)
{
    (void)state;
    assert_int_equal(slow_threads_max(-1), 1);
    assert_int_equal(slow_threads_max(1), 1);
    assert_int_equal(slow_threads_max(2), 1);
    assert_int_equal(slow_threads_max(3), 2);
    assert_int_equal(slow_threads_max(8), 7);
    assert_int_equal(slow_threads_max(64), 8);
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

static void assert_flooded(struct fixture *f, unsigned n)
{
    static const uint8_t body[2 * WAITING_MAX];
    struct client_call call;

    begin(f, &call, "test.Service/Flood");
    unary_start(&call, body, n, NULL, 0);
    assert_ended(&call, 1, GRPC_STATUS_OK, "");
}

/* One caller's jobs aren't in another's way: it begins behind those that ran
 * and one that waited, but for what other threads take meanwhile. */
static void test_callers_take_turns(void **state)
{
    assert_flooded(*state, 100);
    assert_in_range(atomic_load(&other_begun), threads() + 1,
                    3 * threads() + 1);
    assert_true(becomes(&dropped, threads() + 101));
    assert_int_equal(atomic_load(&refused), 0);
}

/* Who has most in the queue gives way when it is full. */
static void test_a_full_queue_has_room_for_another(void **state)
{
    assert_flooded(*state, WAITING_MAX + 50);
    assert_true(becomes(&dropped, threads() + WAITING_MAX + 51));
    assert_true(becomes(&refused, 51));
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
        TEST(test_a_core_is_left),
        TEST(test_callers_take_turns),
        TEST(test_a_full_queue_has_room_for_another),
        TEST(test_who_goes_before_his_turn_costs_nothing),
        TEST(test_a_stop_waits_for_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
