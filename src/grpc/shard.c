/* gRPC's part of a shard: tasks, the end of calls at a stop. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"

/* ---- posting --------------------------------------------------------- */

void rpc_post(struct rpc_shard *shard, struct rpc_task *task)
{
    if (queue_push(&shard->posted, &task->node))
        shard_post(shard->shard, &shard->run_posted);
}

void shard_run_posted(struct shard_task *posted)
{
    struct rpc_shard *shard =
        container_of(posted, struct rpc_shard, run_posted);
    struct queue_node *node = queue_take_all(&shard->posted);

    while (node != NULL) {
        struct rpc_task *task = container_of(node, struct rpc_task, node);

        node = node->next;
        task->run(task);
    }
}

/* ---- stopping -------------------------------------------------------- */

/* Somebody else may still post something for a call. */
static bool is_busy(const struct rpc_shard *shard)
{
    return shard->open != NULL || shard->streams > 0 || shard->held > 0;
}

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

static void fail_streams(struct rpc_shard *shard, int err, bool all)
{
    for (struct call *call = shard->open; call != NULL; call = call->next)
        if (call->pub.method->kind != RPC_UNARY &&
            (all || call->pub.has_leader))
            rpc_finish(&call->pub, err);
}

/* A handler that answers takes its call out of the list. */
static void drain_calls(struct rpc_shard *shard)
{
    struct call *next;

    for (struct call *call = shard->open; call != NULL; call = next) {
        next = call->next;
        call_drain(call);
    }
}

static void drain_task(struct shard_task *task)
{
    struct rpc_shard *shard = container_of(task, struct rpc_shard, drain_task);

    shard->draining = true;
    fail_streams(shard, ERR_STOPPED, true);
    drain_calls(shard);
    shard_drain_connections(shard->shard);
    shard_check_quiet(shard);
}

void shard_drain(struct rpc_shard *shard)
{
    shard->drain_task.run = drain_task;
    shard_post(shard->shard, &shard->drain_task);
}

static void cancel_task(struct shard_task *task)
{
    struct rpc_shard *shard = container_of(task, struct rpc_shard, cancel_task);

    shard_abort_connections(shard->shard);
}

void shard_cancel(struct rpc_shard *shard)
{
    shard->cancel_task.run = cancel_task;
    shard_post(shard->shard, &shard->cancel_task);
}

static void lost_task(struct shard_task *task)
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
    shard_post(shard->shard, &shard->lost_task);
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
