/* The Lock service. */
#include "claim.h"

#include "chorad/codec.h"
#include "lock.pb-c.h"

static ProtobufCBinaryData binary(struct bytes b)
{
    return (ProtobufCBinaryData){b.len, (uint8_t *)(uintptr_t)b.data};
}

static void locked(struct claim *claim, Etcdserverpb__ResponseHeader *header)
{
    V3lockpb__LockResponse out = V3LOCKPB__LOCK_RESPONSE__INIT;

    out.header = header;
    out.key = binary(claim->key);
    inner_reply(claim->call, &out.base);
}

static void open_lock(struct rpc_call *call)
{
    static const struct claim_kind kind = {
        .lost = ERR_SESSION_EXPIRED, .looks_first = true, .won = locked};
    const V3lockpb__LockRequest *req =
        service_unpack(call, &v3lockpb__lock_request__descriptor);

    if (req)
        claim_open(call, &kind, bytes_of(req->name.data, req->name.len),
                   req->lease, bytes_of(NULL, 0));
}

/* ---- Unlock ---- */

static void unlocked(struct inner *inner, int err, struct bytes answer)
{
    struct rpc_call *call = inner->proposal.call;
    V3lockpb__UnlockResponse out = V3LOCKPB__UNLOCK_RESPONSE__INIT;

    if (err != 0) {
        inner_fail(call, err);
        return;
    }
    out.header = inner_header(call, answer);
    inner_reply(call, &out.base);
}

/* Any key will do, also one that isn't there. */
static void open_unlock(struct rpc_call *call)
{
    const V3lockpb__UnlockRequest *req =
        service_unpack(call, &v3lockpb__unlock_request__descriptor);

    if (req)
        inner_delete(arena_alloc(&call->arena, sizeof(struct inner)), call,
                     bytes_of(req->key.data, req->key.len), unlocked);
}

static const struct rpc_method methods[] = {
    {.name = "Lock",
     .kind = RPC_UNARY,
     .open = open_lock,
     .on_cancel = claim_cancel,
     .on_drain = claim_drain},
    {.name = "Unlock", .kind = RPC_UNARY, .open = open_unlock},
};

const struct rpc_service service_lock = {
    .name = "v3lockpb.Lock",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
};
