/* The kinds of requests in the log: how each is decoded, and how long applying
 * them takes. */
#include "apply.h"
#include "chorad/base/log.h"
#include "chorad/codec.h"

/* Entries that take longer are logged. */
#define SLOW_APPLY_NS UINT64_C(100000000)

struct kind {
    uint32_t number;
    const char *op; /* the metric's label */
    /* NULL: a request of the Auth service. */
    const ProtobufCMessageDescriptor *type;
    struct metric_histogram *took[2]; /* failed, succeeded */
};

struct kind *kind_of(uint32_t number)
{
    static struct kind kinds[] = {
#define KIND(number, op, type)                                                 \
    {                                                                          \
        (number), (op), (type),                                                \
        {                                                                      \
            NULL, NULL                                                         \
        }                                                                      \
    }
        KIND(APPLY_PUT, "Put", &etcdserverpb__put_request__descriptor),
        KIND(APPLY_TXN, "Txn", &etcdserverpb__txn_request__descriptor),
        KIND(APPLY_DELETE_RANGE, "DeleteRange",
             &etcdserverpb__delete_range_request__descriptor),
        KIND(APPLY_COMPACTION, "Compaction",
             &etcdserverpb__compaction_request__descriptor),
        KIND(APPLY_LEASE_GRANT, "LeaseGrant",
             &etcdserverpb__lease_grant_request__descriptor),
        KIND(APPLY_LEASE_REVOKE, "LeaseRevoke",
             &etcdserverpb__lease_revoke_request__descriptor),
        KIND(APPLY_ALARM, "Alarm", &etcdserverpb__alarm_request__descriptor),
        KIND(APPLY_LEASE_CHECKPOINT, "LeaseCheckpoint",
             &etcdserverpb__lease_checkpoint_request__descriptor),
        KIND(APPLY_CLUSTER_VERSION, "ClusterVersionSet",
             &membershippb__cluster_version_set_request__descriptor),
        KIND(APPLY_MEMBER_ATTR, "ClusterMemberAttrSet",
             &membershippb__cluster_member_attr_set_request__descriptor),
        KIND(APPLY_DOWNGRADE_INFO, "DowngradeInfoSet",
             &membershippb__downgrade_info_set_request__descriptor),
        KIND(APPLY_DOWNGRADE_TEST, "DowngradeVersionTest",
             &etcdserverpb__downgrade_version_test_request__descriptor),
        KIND(APPLY_AUTH_ENABLE, "AuthEnable", NULL),
        KIND(APPLY_AUTH_DISABLE, "AuthDisable", NULL),
        KIND(APPLY_AUTHENTICATE, "Authenticate", NULL),
        /* As etcd has it. */
        KIND(APPLY_AUTH_STATUS, "unknown", NULL),
        KIND(APPLY_USER_ADD, "AuthUserAdd", NULL),
        KIND(APPLY_USER_DELETE, "AuthUserDelete", NULL),
        KIND(APPLY_USER_GET, "AuthUserGet", NULL),
        KIND(APPLY_USER_CHANGE_PASSWORD, "AuthUserChangePassword", NULL),
        KIND(APPLY_USER_GRANT_ROLE, "AuthUserGrantRole", NULL),
        KIND(APPLY_USER_REVOKE_ROLE, "AuthUserRevokeRole", NULL),
        KIND(APPLY_USER_LIST, "AuthUserList", NULL),
        KIND(APPLY_ROLE_LIST, "AuthRoleList", NULL),
        KIND(APPLY_ROLE_ADD, "AuthRoleAdd", NULL),
        KIND(APPLY_ROLE_DELETE, "AuthRoleDelete", NULL),
        KIND(APPLY_ROLE_GET, "AuthRoleGet", NULL),
        KIND(APPLY_ROLE_GRANT_PERMISSION, "AuthRoleGrantPermission", NULL),
        KIND(APPLY_ROLE_REVOKE_PERMISSION, "AuthRoleRevokePermission", NULL),
#undef KIND
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (kinds[i].number == number)
            return &kinds[i];
    return NULL;
}

uint32_t kind_number(const struct kind *kind)
{
    return kind->number;
}

bool kind_is_auth(const struct kind *kind)
{
    return kind->type == NULL;
}

void *kind_unpack(const struct kind *kind, struct arena *arena,
                  struct bytes data)
{
    if (kind_is_auth(kind)) {
        struct apply_auth_request *auth = arena_alloc(arena, sizeof(*auth));
        return apply_read_auth(kind->number, data, auth) < 0 ? NULL : auth;
    }
    if (kind->number == APPLY_PUT) {
        Etcdserverpb__PutRequest *put = arena_alloc(arena, sizeof(*put));
        return apply_read_put(data, put) < 0 ? NULL : put;
    }
    if (kind->number == APPLY_TXN && codec_txn_depth(data) < 0)
        return NULL;
    return codec_unpack(kind->type, arena, data);
}

void kind_observe(struct apply *apply, struct kind *kind, uint64_t index,
                  uint64_t took_ns, bool success)
{
    if (!kind->took[success]) {
        struct metric_label labels[] = {
            {"op", kind->op},
            {"success", success ? "true" : "false"},
            {"version", "v3"},
        };
        kind->took[success] = metric_histogram_exp(
            "etcd_server_apply_duration_seconds",
            "The latency distributions of v2 apply called by backend.", 0.0001,
            2, 20, labels, 3);
    }
    metric_observe(kind->took[success], (double)took_ns / 1e9);
    if (took_ns > SLOW_APPLY_NS) {
        metric_inc(apply->slow);
        log_warn("apply request took too long", LOG_NS("took", took_ns),
                 LOG_NS("expected-duration", SLOW_APPLY_NS),
                 LOG_STR("op", kind->op), LOG_U64("index", index));
    }
}
