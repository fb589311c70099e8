/* Deadlines of calls that last: streams, and unary calls that wait. All others
 * are over before it matters, so that only these pay for it. A client resets
 * its call at the deadline; this is for one that has fallen silent. */
#include "transport.h"

#include "chorad/base/clock.h"
#include "chorad/base/err.h"

static bool lasts(const struct rpc_method *method)
{
    return method->kind != RPC_UNARY || method->on_cancel != NULL;
}

void deadline_watch(struct call *call)
{
    heap_node_init(&call->due);
    if (call->pub.deadline_ns != UINT64_MAX && lasts(call->pub.method))
        heap_set(&call->pub.shard->due, &call->due, call->pub.deadline_ns);
}

void deadline_forget(struct call *call)
{
    heap_remove(&call->pub.shard->due, &call->due);
}

gpr_timespec deadline_next(const struct rpc_shard *shard)
{
    const struct heap_node *node = heap_min(&shard->due);
    gpr_timespec at = {.clock_type = GPR_CLOCK_MONOTONIC};

    if (node == NULL)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    at.tv_sec = (int64_t)(node->key / 1000000000u);
    at.tv_nsec = (int32_t)(node->key % 1000000000u);
    return at;
}

static void end(struct call *call)
{
    if (!call->started)
        return;
    if (call->pub.method->kind == RPC_UNARY)
        unary_cancel(call);
    else
        rpc_finish(&call->pub, ERR_DEADLINE);
}

void deadline_run(struct rpc_shard *shard)
{
    struct heap_node *node = heap_min(&shard->due);
    uint64_t now_ns;

    if (node == NULL)
        return;
    now_ns = clock_mono_ns();
    while (node != NULL && node->key <= now_ns) {
        heap_remove(&shard->due, node);
        end(container_of(node, struct call, due));
        node = heap_min(&shard->due);
    }
}
