/* Who a call comes from, and what only some may do. */
#include "service.h"

#include "chorad/base/clock.h"

int service_identify(const struct rpc_call *call, struct auth_who *who)
{
    struct auth *auth = services_of(call)->auth;

    who->rev = 0;
    who->len = 0;
    if (!auth_enabled(auth))
        return 0;
    if (call->token.data != NULL)
        return auth_identify(auth, auth_bare_token(call->token),
                             clock_mono_ns(), clock_wall_ns(), who);
    if (call->common_name.data != NULL)
        *who = auth_who_named(auth, call->common_name);
    return 0;
}

static bool require(struct rpc_call *call, bool root)
{
    struct auth *auth = services_of(call)->auth;
    struct auth_who who;
    int err;

    if (!service_auth_on(call))
        return true;
    err = service_identify(call, &who);
    if (err == 0)
        err = root ? auth_may_manage(auth, &who) : auth_is_somebody(auth, &who);
    if (err != 0)
        rpc_fail(call, err);
    return err == 0;
}

bool service_require_user(struct rpc_call *call)
{
    return require(call, false);
}

bool service_require_root(struct rpc_call *call)
{
    return require(call, true);
}

/* ---- a token that isn't known yet ----------------------------------------
 *
 * The member that was asked has applied the entry that gives a token out; this
 * one may be behind. */

struct admission {
    struct rpc_call *call;
    struct node_barrier barrier;
    struct rpc_task back;
};

static void back_on_shard(struct rpc_task *task)
{
    rpc_admit(container_of(task, struct admission, back)->call);
}

/* Known by now or not: that is seen when the token is used. */
static void index_applied(struct node_barrier *barrier)
{
    struct admission *a = container_of(barrier, struct admission, barrier);

    rpc_post(a->call->shard, &a->back);
}

bool services_admit(void *ctx, struct rpc_call *call)
{
    struct services *services = ctx;
    struct admission *a;
    uint64_t index;

    if (!service_auth_on(call) ||
        !auth_token_pending(services->auth, auth_bare_token(call->token),
                            node_status(services->node).applied_index,
                            clock_mono_ns(), &index))
        return true;
    a = arena_alloc(&call->arena, sizeof(*a));
    a->call = call;
    a->back.run = back_on_shard;
    a->barrier.done = index_applied;
    node_await_index(services->node, &a->barrier, index);
    return false;
}
