/* Requests of the Auth service with a password in them. The member that is
 * asked hashes it; what goes into the log, and to other members, is the hash.
 */
#include "auth.h"
#include "secret.h"

#include "chorad/base/base64.h"
#include "chorad/base/pb.h"

/* etcdserverpb.AuthUserAddRequest, AuthUserChangePasswordRequest and
 * authpb.UserAddOptions (proto/). */
enum { NAME = 1, ADD_OPTIONS = 3, ADD_HASHED = 4, CHANGE_HASHED = 3 };
enum { OPTIONS_NO_PASSWORD = 1 };

static struct bytes arena_bytes(struct rpc_call *call, const struct buf *buf)
{
    return bytes_of(arena_dup(&call->arena, buf->data, buf->len), buf->len);
}

static void put_bytes(struct buf *out, uint32_t field, struct bytes b)
{
    uint8_t *at = buf_reserve(out, pb_bytes_size(field, b));

    out->len += (size_t)(pb_put_bytes(at, field, b) - at);
}

/* The name, which the request has, and the hash in base64. */
static struct bytes with_hash(struct rpc_call *call, struct bytes name,
                              uint32_t field, const struct buf *hash)
{
    struct buf text = {0};
    struct buf out = {0};
    struct bytes request;

    base64_encode(&text, BASE64_PADDED, bytes_of(hash->data, hash->len));
    put_bytes(&out, NAME, name);
    put_bytes(&out, field, bytes_of(text.data, text.len));
    request = arena_bytes(call, &out);
    buf_close(&text);
    buf_close(&out);
    return request;
}

/* ---- UserAdd ---- */

static void add_hashed(struct secret_job *job, int err)
{
    struct rpc_call *call = job->call;
    struct apply_auth_request req;

    if (err != 0)
        rpc_fail(call, err);
    else if (auth_request_read(call, APPLY_USER_ADD, &req))
        service_propose(call, SERVICE_USER_ADD, APPLY_USER_ADD,
                        with_hash(call, req.name, ADD_HASHED, &job->hash));
}

/* A password that isn't wanted doesn't go any further. */
static void add_without(struct rpc_call *call, struct bytes name)
{
    static const uint8_t options[] = {OPTIONS_NO_PASSWORD << 3 | PB_VARINT, 1};
    struct buf out = {0};
    struct bytes request;

    put_bytes(&out, NAME, name);
    put_bytes(&out, ADD_OPTIONS, bytes_of(options, sizeof(options)));
    request = arena_bytes(call, &out);
    buf_close(&out);
    service_propose(call, SERVICE_USER_ADD, APPLY_USER_ADD, request);
}

void auth_user_add_open(struct rpc_call *call)
{
    struct apply_auth_request req;

    if (!auth_request_read(call, APPLY_USER_ADD, &req))
        return;
    if (req.name.len > AUTH_NAME_MAX)
        rpc_fail(call, ERR_NAME_TOO_LONG);
    else if (req.no_password)
        add_without(call, req.name);
    else
        secret_hash(call, req.name, req.password, add_hashed, NULL);
}

/* ---- UserChangePassword ---- */

static void change_hashed(struct secret_job *job, int err)
{
    struct rpc_call *call = job->call;
    struct apply_auth_request req;

    if (err != 0)
        rpc_fail(call, err);
    else if (auth_request_read(call, APPLY_USER_CHANGE_PASSWORD, &req))
        service_propose(call, SERVICE_USER_CHANGE_PASSWORD,
                        APPLY_USER_CHANGE_PASSWORD,
                        with_hash(call, req.name, CHANGE_HASHED, &job->hash));
}

/* Without a password it may have a hash that was made elsewhere. */
void auth_change_password_open(struct rpc_call *call)
{
    struct apply_auth_request req;

    if (!auth_request_read(call, APPLY_USER_CHANGE_PASSWORD, &req))
        return;
    if (req.password.len > 0)
        secret_hash(call, req.name, req.password, change_hashed, NULL);
    else
        service_propose(call, SERVICE_USER_CHANGE_PASSWORD,
                        APPLY_USER_CHANGE_PASSWORD, call->request);
}
