/* The Auth service. All of it goes through the log, looking included: what is
 * answered is what all members have agreed on by then. */
#include "auth.h"
#include "secret.h"

bool auth_request_read(struct rpc_call *call, uint32_t kind,
                       struct apply_auth_request *req)
{
    int err = apply_read_auth(kind, call->request, req);

    if (err == ERR_INVALID)
        service_fail_utf8(call);
    else if (err != 0)
        service_fail_malformed(call);
    return err == 0;
}

/* The request goes on as it is. */
static void pass_on(struct rpc_call *call, enum service_type type,
                    enum apply_kind kind)
{
    struct apply_auth_request req;

    if (!auth_request_read(call, kind, &req))
        return;
    if (kind == APPLY_ROLE_ADD && req.name.len > AUTH_NAME_MAX)
        rpc_fail(call, ERR_NAME_TOO_LONG);
    else
        service_propose(call, type, kind, call->request);
}

#define PASS_ON(function, type, kind)                                          \
    static void function(struct rpc_call *call)                                \
    {                                                                          \
        pass_on(call, (type), (kind));                                         \
    }

PASS_ON(open_enable, SERVICE_AUTH_ENABLE, APPLY_AUTH_ENABLE)
PASS_ON(open_disable, SERVICE_AUTH_DISABLE, APPLY_AUTH_DISABLE)
PASS_ON(open_status, SERVICE_AUTH_STATUS, APPLY_AUTH_STATUS)
PASS_ON(open_user_get, SERVICE_USER_GET, APPLY_USER_GET)
PASS_ON(open_user_list, SERVICE_USER_LIST, APPLY_USER_LIST)
PASS_ON(open_user_delete, SERVICE_USER_DELETE, APPLY_USER_DELETE)
PASS_ON(open_user_grant, SERVICE_USER_GRANT_ROLE, APPLY_USER_GRANT_ROLE)
PASS_ON(open_user_revoke, SERVICE_USER_REVOKE_ROLE, APPLY_USER_REVOKE_ROLE)
PASS_ON(open_role_add, SERVICE_ROLE_ADD, APPLY_ROLE_ADD)
PASS_ON(open_role_get, SERVICE_ROLE_GET, APPLY_ROLE_GET)
PASS_ON(open_role_list, SERVICE_ROLE_LIST, APPLY_ROLE_LIST)
PASS_ON(open_role_delete, SERVICE_ROLE_DELETE, APPLY_ROLE_DELETE)
PASS_ON(open_role_grant, SERVICE_ROLE_GRANT_PERMISSION,
        APPLY_ROLE_GRANT_PERMISSION)
PASS_ON(open_role_revoke, SERVICE_ROLE_REVOKE_PERMISSION,
        APPLY_ROLE_REVOKE_PERMISSION)

static const struct rpc_method methods[] = {
    {.name = "AuthEnable", .kind = RPC_UNARY, .open = open_enable},
    {.name = "AuthDisable", .kind = RPC_UNARY, .open = open_disable},
    {.name = "AuthStatus", .kind = RPC_UNARY, .open = open_status},
    {.name = "Authenticate",
     .kind = RPC_UNARY,
     .open = authenticate_open,
     .on_cancel = secret_cancel},
    {.name = "UserAdd",
     .kind = RPC_UNARY,
     .open = auth_user_add_open,
     .on_cancel = secret_cancel},
    {.name = "UserGet", .kind = RPC_UNARY, .open = open_user_get},
    {.name = "UserList", .kind = RPC_UNARY, .open = open_user_list},
    {.name = "UserDelete", .kind = RPC_UNARY, .open = open_user_delete},
    {.name = "UserChangePassword",
     .kind = RPC_UNARY,
     .open = auth_change_password_open,
     .on_cancel = secret_cancel},
    {.name = "UserGrantRole", .kind = RPC_UNARY, .open = open_user_grant},
    {.name = "UserRevokeRole", .kind = RPC_UNARY, .open = open_user_revoke},
    {.name = "RoleAdd", .kind = RPC_UNARY, .open = open_role_add},
    {.name = "RoleGet", .kind = RPC_UNARY, .open = open_role_get},
    {.name = "RoleList", .kind = RPC_UNARY, .open = open_role_list},
    {.name = "RoleDelete", .kind = RPC_UNARY, .open = open_role_delete},
    {.name = "RoleGrantPermission", .kind = RPC_UNARY, .open = open_role_grant},
    {.name = "RoleRevokePermission",
     .kind = RPC_UNARY,
     .open = open_role_revoke},
};

const struct rpc_service service_auth = {
    .name = "etcdserverpb.Auth",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
    .preset_metrics = true,
};
