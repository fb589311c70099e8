/* The Auth service's requests. */
#include "apply.h"
#include "encode.h"

/* The answers (proto/rpc_auth.proto): behind the header at most these. */
enum { STATUS_ENABLED = 2, STATUS_REVISION = 3 };
enum { TOKEN = 2, NAMES = 2, PERMISSIONS = 2 };
/* authpb.Permission (proto/auth.proto). */
enum { PERMISSION_TYPE = 1, PERMISSION_KEY = 2, PERMISSION_END = 3 };

bool apply_needs_root(uint32_t kind)
{
    switch (kind) {
    case APPLY_AUTH_ENABLE:
    case APPLY_AUTH_DISABLE:
    case APPLY_USER_ADD:
    case APPLY_USER_DELETE:
    case APPLY_USER_CHANGE_PASSWORD:
    case APPLY_USER_GRANT_ROLE:
    case APPLY_USER_REVOKE_ROLE:
    case APPLY_USER_LIST:
    case APPLY_ROLE_LIST:
    case APPLY_ROLE_ADD:
    case APPLY_ROLE_DELETE:
    case APPLY_ROLE_GRANT_PERMISSION:
    case APPLY_ROLE_REVOKE_PERMISSION:
        return true;
    default:
        return false;
    }
}

bool apply_only_looks(uint32_t kind)
{
    return kind == APPLY_USER_GET || kind == APPLY_ROLE_GET ||
           kind == APPLY_AUTH_STATUS;
}

/* ---- looking ---- */

static void put_name(void *arg, struct bytes name)
{
    encode_bytes(arg, NAMES, name);
}

/* Users may look at themselves. */
static int get_user(struct apply_context *ctx,
                    const struct apply_auth_request *req)
{
    struct auth *auth = ctx->apply->config.auth;

    if (ctx->auth_on) {
        int rc = auth_may_manage(auth, &ctx->who);

        if (rc < 0 && bytes_cmp(auth_name(&ctx->who), req->name) != 0)
            return rc;
    }
    return auth_user_roles(auth, req->name, put_name, &ctx->result->body);
}

static void put_permission(void *arg, const struct auth_permission *permission)
{
    struct buf *out = arg;
    size_t mark = encode_begin(out, PERMISSIONS);

    encode_u64(out, PERMISSION_TYPE, (uint64_t)(int64_t)permission->type);
    if (permission->key.len > 0)
        encode_bytes(out, PERMISSION_KEY, permission->key);
    if (permission->end.len > 0)
        encode_bytes(out, PERMISSION_END, permission->end);
    encode_end(out, mark);
}

/* And at their own roles. */
static int get_role(struct apply_context *ctx,
                    const struct apply_auth_request *req)
{
    struct auth *auth = ctx->apply->config.auth;

    if (ctx->auth_on) {
        int rc = auth_may_manage(auth, &ctx->who);

        if (rc < 0 && !auth_user_has(auth, auth_name(&ctx->who), req->name))
            return rc;
    }
    return auth_role_permissions(auth, req->name, put_permission,
                                 &ctx->result->body);
}

static int get_status(struct apply_context *ctx)
{
    const struct auth *auth = ctx->apply->config.auth;

    encode_u64(&ctx->result->body, STATUS_ENABLED, auth_enabled(auth));
    encode_u64(&ctx->result->body, STATUS_REVISION, auth_revision(auth));
    return 0;
}

/* ---- changing ---- */

/* The password has been checked by the member that was asked; whether it was
 * still the same, that member finds out by the revision. */
static int authenticate(struct apply_context *ctx,
                        const struct apply_auth_request *req)
{
    struct buf token = {0};
    int rc = auth_assign(ctx->apply->config.auth, req->name, req->token,
                         ctx->index - 1, ctx->apply->now_ns, &token);

    if (rc == 0 && token.len > 0)
        encode_bytes(&ctx->result->body, TOKEN,
                     bytes_of(token.data, token.len));
    buf_close(&token);
    return rc;
}

static int grant_permission(struct auth *auth,
                            const struct apply_auth_request *req)
{
    if (!req->has_permission)
        return ERR_PERMISSION_NOT_GIVEN;
    return auth_role_grant(auth, req->name, req->permission);
}

static int carry_out(struct apply_context *ctx, uint32_t kind,
                     const struct apply_auth_request *req)
{
    struct auth *auth = ctx->apply->config.auth;
    struct auth_password password = {req->password, req->hashed};

    switch (kind) {
    case APPLY_AUTH_ENABLE:
        return auth_enable(auth);
    case APPLY_AUTH_DISABLE:
        auth_disable(auth);
        return 0;
    case APPLY_AUTHENTICATE:
        return authenticate(ctx, req);
    case APPLY_AUTH_STATUS:
        return get_status(ctx);
    case APPLY_USER_ADD:
        return auth_user_add(auth, req->name, req->no_password, password);
    case APPLY_USER_DELETE:
        return auth_user_delete(auth, req->name);
    case APPLY_USER_GET:
        return get_user(ctx, req);
    case APPLY_USER_CHANGE_PASSWORD:
        return auth_user_set_password(auth, req->name, password);
    case APPLY_USER_GRANT_ROLE:
        return auth_user_grant(auth, req->name, req->role);
    case APPLY_USER_REVOKE_ROLE:
        return auth_user_revoke(auth, req->name, req->role);
    case APPLY_USER_LIST:
        auth_users(auth, put_name, &ctx->result->body);
        return 0;
    case APPLY_ROLE_LIST:
        auth_roles(auth, put_name, &ctx->result->body);
        return 0;
    case APPLY_ROLE_ADD:
        return auth_role_add(auth, req->name);
    case APPLY_ROLE_DELETE:
        return auth_role_delete(auth, req->name);
    case APPLY_ROLE_GET:
        return get_role(ctx, req);
    case APPLY_ROLE_GRANT_PERMISSION:
        return grant_permission(auth, req);
    case APPLY_ROLE_REVOKE_PERMISSION:
        return auth_role_revoke(auth, req->name, req->permission.key,
                                req->permission.end);
    default:
        return ERR_UNSUPPORTED;
    }
}

int apply_auth(struct apply_context *ctx, uint32_t kind,
               const struct apply_auth_request *req)
{
    struct apply_header header = apply_header_now(ctx->apply);

    apply_put_header(&ctx->result->body, &header);
    return carry_out(ctx, kind, req);
}
