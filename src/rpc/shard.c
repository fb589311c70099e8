/* A shard: one gRPC server, one completion queue, one thread. */
#include "transport.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- waking ---------------------------------------------------------- */

/* A batch without operations completes at once on the queue of its call, so
 * a call that goes nowhere is the cheapest way to wake the thread: it does
 * without the timer that an alarm goes through. */
static void wake_open(struct rpc_shard *shard)
{
    shard->wake_channel = grpc_lame_client_channel_create(
        "wake", GRPC_STATUS_UNAVAILABLE, "only to wake a thread");
    shard->wake_call =
        grpc_channel_create_call(shard->wake_channel, NULL, 0, shard->cq,
                                 grpc_slice_from_static_string("/wake"), NULL,
                                 gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    CHECK(shard->wake_call != NULL);
}

static void wake_close(struct rpc_shard *shard)
{
    int rv = pthread_mutex_lock(&shard->wake_lock);

    CHECK(rv == 0);
    grpc_call_unref(shard->wake_call);
    shard->wake_call = NULL;
    rv = pthread_mutex_unlock(&shard->wake_lock);
    CHECK(rv == 0);
    grpc_channel_destroy(shard->wake_channel);
}

static void wake(struct rpc_shard *shard)
{
    grpc_call_error error = GRPC_CALL_OK;
    int rv = pthread_mutex_lock(&shard->wake_lock);

    CHECK(rv == 0);
    /* After the end of the queue what was posted runs without it. */
    if (shard->wake_call != NULL)
        error = grpc_call_start_batch(shard->wake_call, NULL, 0, &shard->wake,
                                      NULL);
    rv = pthread_mutex_unlock(&shard->wake_lock);
    CHECK(rv == 0 && error == GRPC_CALL_OK);
}

/* Either the poster sees that the thread sleeps, or the thread sees before it
 * goes to sleep that something is there: each writes its own word first and
 * reads the other's after, all of it in one order. */
void rpc_post(struct rpc_shard *shard, struct rpc_task *task)
{
    (void)queue_push(&shard->posted, &task->node);
    if (!atomic_exchange(&shard->pending, true) && atomic_load(&shard->asleep))
        wake(shard);
}

static void run_posted(struct rpc_shard *shard)
{
    struct queue_node *node;

    if (!atomic_load_explicit(&shard->pending, memory_order_relaxed))
        return;
    atomic_store(&shard->pending, false);
    node = queue_take_all(&shard->posted);
    while (node != NULL) {
        struct rpc_task *task = container_of(node, struct rpc_task, node);

        node = node->next;
        task->run(task);
    }
}

/* The queue is looked at after each event anyway. */
static void on_wake(struct tag *tag, bool ok)
{
    (void)tag;
    (void)ok;
}

/* ---- the thread ------------------------------------------------------ */

/* Somebody else may still post something for a call. */
static bool is_busy(const struct rpc_shard *shard)
{
    return shard->open != NULL || shard->strays > 0 || shard->held > 0;
}

static void finish_queue(struct rpc_shard *shard)
{
    if (shard->closing || !shard->shut_seen || is_busy(shard))
        return;
    shard->closing = true;
    wake_close(shard);
    grpc_completion_queue_shutdown(shard->cq);
}

/* The next event. Sleeps only where no answers are corked and nothing has
 * been posted. */
static grpc_event next_event(struct rpc_shard *shard)
{
    gpr_timespec until = gpr_inf_past(GPR_CLOCK_MONOTONIC);
    grpc_event event;

    if (shard->corked_n == 0) {
        atomic_store(&shard->asleep, true);
        if (!atomic_load(&shard->pending))
            until = deadline_next(shard);
    }
    event = grpc_completion_queue_next(shard->cq, until, NULL);
    atomic_store_explicit(&shard->asleep, false, memory_order_relaxed);
    return event;
}

/* One event and what was posted meanwhile; false at the end. */
static bool turn(struct rpc_shard *shard)
{
    grpc_event event = next_event(shard);
    struct tag *tag = event.tag;

    if (event.type == GRPC_QUEUE_SHUTDOWN)
        return false;
    if (event.type == GRPC_OP_COMPLETE) {
        tag->run(tag, event.success != 0);
        cork_event(shard);
    } else if (!atomic_load_explicit(&shard->pending, memory_order_relaxed)) {
        cork_end_round(shard);
    }
    run_posted(shard);
    deadline_run(shard);
    if (shard->shut_seen)
        finish_queue(shard);
    return true;
}

static void *run(void *arg)
{
    struct rpc_shard *shard = arg;
    struct rpc_config *config = &shard->server->config;

    if (config->open_local != NULL)
        shard->local = config->open_local(config->ctx, shard->index);
    for (unsigned i = 0; i < 4; i++)
        stray_arm(shard);
    intake_arm_all(shard);
    while (turn(shard))
        ;
    run_posted(shard);
    if (config->close_local != NULL)
        config->close_local(config->ctx, shard->local);
    return NULL;
}

/* ---- stopping -------------------------------------------------------- */

void shard_check_quiet(struct rpc_shard *shard)
{
    struct rpc_server *server = shard->server;

    if (shard->quiet || is_busy(shard))
        return;
    shard->quiet = true;
    pthread_mutex_lock(&server->lock);
    server->quiet_n++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

static void on_shut(struct tag *tag, bool ok)
{
    (void)ok;
    container_of(tag, struct rpc_shard, shut)->shut_seen = true;
}

static void fail_streams(struct rpc_shard *shard, int err, bool all)
{
    for (struct call *call = shard->open; call != NULL; call = call->next)
        if (call->pub.method->kind != RPC_UNARY &&
            (all || call->pub.has_leader))
            rpc_finish(&call->pub, err);
}

static void drain_calls(struct rpc_shard *shard)
{
    for (struct call *call = shard->open; call != NULL; call = call->next)
        call_drain(call);
}

static void drain_task(struct rpc_task *task)
{
    struct rpc_shard *shard = container_of(task, struct rpc_shard, drain_task);

    shard->draining = true;
    shard->shut.run = on_shut;
    grpc_server_shutdown_and_notify(shard->core, shard->cq, &shard->shut);
    fail_streams(shard, ERR_STOPPED, true);
    drain_calls(shard);
    shard_check_quiet(shard);
}

void shard_drain(struct rpc_shard *shard)
{
    shard->drain_task.run = drain_task;
    rpc_post(shard, &shard->drain_task);
}

static void cancel_task(struct rpc_task *task)
{
    struct rpc_shard *shard = container_of(task, struct rpc_shard, cancel_task);

    grpc_server_cancel_all_calls(shard->core);
}

void shard_cancel(struct rpc_shard *shard)
{
    shard->cancel_task.run = cancel_task;
    rpc_post(shard, &shard->cancel_task);
}

static void lost_task(struct rpc_task *task)
{
    struct rpc_shard *shard = container_of(task, struct rpc_shard, lost_task);

    atomic_store(&shard->lost_posted, false);
    fail_streams(shard, ERR_NO_LEADER, false);
}

void shard_leader_lost(struct rpc_shard *shard)
{
    if (atomic_exchange(&shard->lost_posted, true))
        return;
    shard->lost_task.run = lost_task;
    rpc_post(shard, &shard->lost_task);
}

/* ---- life ------------------------------------------------------------ */

/* Signals are the business of the thread that asked for them. */
static void start_thread(struct rpc_shard *shard)
{
    sigset_t all;
    sigset_t before;
    int rv;

    (void)sigfillset(&all);
    rv = pthread_sigmask(SIG_BLOCK, &all, &before);
    CHECK(rv == 0);
    rv = pthread_create(&shard->thread, NULL, run, shard);
    CHECK(rv == 0);
    rv = pthread_sigmask(SIG_SETMASK, &before, NULL);
    CHECK(rv == 0);
    (void)snprintf(shard->name, sizeof(shard->name), "rpc-%u", shard->index);
    (void)pthread_setname_np(shard->thread, shard->name);
}

void shard_open(struct rpc_shard *shard)
{
    int rv;

    queue_init(&shard->posted);
    rv = pthread_mutex_init(&shard->wake_lock, NULL);
    CHECK(rv == 0);
    shard->wake.run = on_wake;
    wake_open(shard);
    shard->out = grpc_raw_byte_buffer_create(NULL, 0);
    grpc_server_start(shard->core);
    start_thread(shard);
}

void shard_close(struct rpc_shard *shard)
{
    int rv = pthread_join(shard->thread, NULL);

    CHECK(rv == 0);
    run_posted(shard);
    grpc_server_destroy(shard->core);
    grpc_completion_queue_destroy(shard->cq);
    grpc_byte_buffer_destroy(shard->out);
    intake_close_pool(shard);
    buf_close(&shard->scratch);
    heap_close(&shard->due);
    queue_close(&shard->posted);
    rv = pthread_mutex_destroy(&shard->wake_lock);
    CHECK(rv == 0);
    free(shard->connections);
    free(shard->slots);
}

/* ---- the seam's small ones ------------------------------------------- */

void *rpc_ctx(const struct rpc_shard *shard)
{
    return shard->server->config.ctx;
}

void *rpc_local(const struct rpc_shard *shard)
{
    return shard->local;
}

unsigned rpc_shard_index(const struct rpc_shard *shard)
{
    return shard->index;
}

struct buf *rpc_scratch(struct rpc_shard *shard)
{
    shard->scratch.len = 0;
    return &shard->scratch;
}
