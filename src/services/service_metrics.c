/* How long requests take: histograms, and lines in the log for slow ones. */
#include "service.h"

#include "chorad/base/clock.h"
#include "chorad/base/log.h"

#include <stdio.h>

static const char *const type_names[SERVICE_TYPES] = {
    [SERVICE_RANGE] = "Range",
    [SERVICE_READONLY_TXN] = "ReadonlyTxn",
    [SERVICE_PUT] = "Put",
    [SERVICE_DELETE_RANGE] = "DeleteRange",
    [SERVICE_TXN] = "Txn",
    [SERVICE_COMPACTION] = "Compaction",
    [SERVICE_LEASE_GRANT] = "LeaseGrant",
    [SERVICE_LEASE_REVOKE] = "LeaseRevoke",
    [SERVICE_ALARM] = "Alarm",
    [SERVICE_AUTHENTICATE] = "Authenticate",
    [SERVICE_AUTH_ENABLE] = "AuthEnable",
    [SERVICE_AUTH_DISABLE] = "AuthDisable",
    [SERVICE_AUTH_STATUS] = "AuthStatus",
    [SERVICE_USER_ADD] = "AuthUserAdd",
    [SERVICE_USER_DELETE] = "AuthUserDelete",
    [SERVICE_USER_GET] = "AuthUserGet",
    [SERVICE_USER_LIST] = "AuthUserList",
    [SERVICE_USER_CHANGE_PASSWORD] = "AuthUserChangePassword",
    [SERVICE_USER_GRANT_ROLE] = "AuthUserGrantRole",
    [SERVICE_USER_REVOKE_ROLE] = "AuthUserRevokeRole",
    [SERVICE_ROLE_ADD] = "AuthRoleAdd",
    [SERVICE_ROLE_DELETE] = "AuthRoleDelete",
    [SERVICE_ROLE_GET] = "AuthRoleGet",
    [SERVICE_ROLE_LIST] = "AuthRoleList",
    [SERVICE_ROLE_GRANT_PERMISSION] = "AuthRoleGrantPermission",
    [SERVICE_ROLE_REVOKE_PERMISSION] = "AuthRoleRevokePermission",
};

static const char *success_text(bool success)
{
    return success ? "true" : "false";
}

/* Two threads that come first at once register the same series. */
void service_observe(struct services *services, enum service_type type,
                     bool success, uint64_t took_ns)
{
    struct metric_histogram *_Atomic *slot = &services->took[type][success];
    struct metric_histogram *h =
        atomic_load_explicit(slot, memory_order_acquire);

    if (h == NULL) {
        struct metric_label labels[] = {{"success", success_text(success)},
                                        {"type", type_names[type]}};

        h = metric_histogram_exp("etcd_server_request_duration_seconds",
                                 "Response latency distribution in seconds "
                                 "for each type.",
                                 0.001, 2, 14, labels, 2);
        atomic_store_explicit(slot, h, memory_order_release);
    }
    metric_observe(h, (double)took_ns / 1e9);
}

void service_observe_range(struct services *services, bool success,
                           uint64_t took_ns)
{
    struct metric_histogram *_Atomic *slot = &services->range_took[success];
    struct metric_histogram *h =
        atomic_load_explicit(slot, memory_order_acquire);

    if (h == NULL) {
        struct metric_label label = {"success", success_text(success)};

        h = metric_histogram_exp("etcd_server_range_duration_seconds",
                                 "The latency distributions of txn.Range",
                                 0.0001, 2, 20, &label, 1);
        atomic_store_explicit(slot, h, memory_order_release);
    }
    metric_observe(h, (double)took_ns / 1e9);
}

static void method_path(const struct rpc_call *call, char *out, size_t size)
{
    (void)snprintf(out, size, "/%s/%s", call->service->name,
                   call->method->name);
}

static uint64_t since(uint64_t later_ns, uint64_t earlier_ns)
{
    return later_ns > earlier_ns && earlier_ns != 0 ? later_ns - earlier_ns : 0;
}

void service_log_slow(struct rpc_call *call, uint64_t took_ns,
                      const struct node_request *request, size_t reply_bytes)
{
    uint64_t now_ns = call->start_ns + took_ns;
    char path[96];

    if (took_ns <= services_of(call)->config.warn_unary_ns)
        return;
    method_path(call, path, sizeof(path));
    if (request == NULL)
        log_warn("request stats", LOG_NS("time spent", took_ns),
                 LOG_STR("remote", rpc_peer(call)),
                 LOG_STR("response type", path),
                 LOG_U64("request size", call->request.len),
                 LOG_U64("response size", reply_bytes));
    else
        log_warn(
            "request stats", LOG_NS("time spent", took_ns),
            LOG_NS("in queue", since(request->proposed_ns, call->start_ns)),
            LOG_NS("in log and apply",
                   since(request->applied_ns, request->proposed_ns)),
            LOG_NS("to answer", since(now_ns, request->applied_ns)),
            LOG_STR("remote", rpc_peer(call)), LOG_STR("response type", path),
            LOG_U64("request size", call->request.len),
            LOG_U64("response size", reply_bytes));
}

void service_log_slow_read(struct rpc_call *call, const char *prefix,
                           uint64_t took_ns, size_t reply_bytes, int err)
{
    struct services *services = services_of(call);

    if (took_ns <= services->config.warn_apply_ns)
        return;
    metric_inc(services->slow_apply);
    log_warn("apply request took too long", LOG_NS("took", took_ns),
             LOG_NS("expected-duration", services->config.warn_apply_ns),
             LOG_STR("prefix", prefix), LOG_STR("remote", rpc_peer(call)),
             LOG_U64("request size", call->request.len),
             LOG_U64("response size", reply_bytes),
             LOG_STR("error", err < 0 ? err_text(err) : ""));
}
