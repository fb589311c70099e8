/* POST /leases and /leases/internal: leases renewed and looked at for other
 * members. */
#include "chorad/base/pb.h"
#include "chorad/codec.h"
#include "lease.pb-c.h"
#include "node.h"
#include "routes.h"
#include <stdlib.h>

#define PROTOBUF "application/protobuf"
#define REQUEST_MAX ((size_t)64 << 10)
#define BEHIND "waiting for node to catch up its applied index has timed out"

/* etcdserverpb.LeaseKeepAliveRequest and Response (proto/rpc_lease.proto). */
enum { REQUEST_ID = 1, RESPONSE_ID = 2, RESPONSE_TTL = 3 };

static bool acceptable(struct peers_request *request,
                       const struct peers_query *query)
{
    if (!route_method(request, query, "POST"))
        return false;
    if (query->body.len <= REQUEST_MAX)
        return true;
    route_error(request, 413, "request body too large");
    return false;
}

/* ---- renewing ---- */

struct visit {
    struct node_renewal renewal;
    struct peers_request *request;
};

static void renewed(struct node_renewal *renewal)
{
    struct visit *visit = container_of(renewal, struct visit, renewal);
    int err = renewal->err;
    uint8_t answer[32];
    uint8_t *end;

    if (err == ERR_LEASE_NOT_FOUND) {
        route_error(visit->request, 404, "lease not found");
    } else if (err == ERR_TIMEOUT_APPLIED) {
        route_error(visit->request, 408, BEHIND);
    } else if (err < 0) {
        route_error(visit->request, 400, err_text(ERR_NOT_PRIMARY));
    } else {
        end = pb_put_u64(answer, RESPONSE_ID, (uint64_t)renewal->id);
        end = pb_put_u64(end, RESPONSE_TTL, (uint64_t)renewal->ttl_s);
        peers_answer(visit->request, 200, PROTOBUF,
                     bytes_of(answer, (size_t)(end - answer)));
    }
    free(visit);
}

static int read_id(struct bytes body, int64_t *id)
{
    struct pb_reader r = pb_over(body);
    struct pb_field field;
    int rc;

    *id = 0;
    while ((rc = pb_next(&r, &field)) > 0)
        if (field.number == REQUEST_ID && field.wire == PB_VARINT)
            *id = (int64_t)field.value;
    return rc;
}

void route_renew(void *arg, struct peers_request *request,
                 const struct peers_query *query)
{
    struct node *node = arg;
    struct visit *visit;
    int64_t id;

    if (!acceptable(request, query))
        return;
    if (read_id(query->body, &id) < 0) {
        route_error(request, 400, "error unmarshalling request");
        return;
    }
    visit = mem_zalloc(sizeof(*visit));
    visit->request = request;
    visit->renewal =
        (struct node_renewal){.id = id, .here_only = true, .done = renewed};
    node_renew(node, &visit->renewal);
}

/* ---- looking ---- */

static void answer_info(struct peers_request *request,
                        const struct node_lease_query *query)
{
    Leasepb__LeaseInternalResponse out = LEASEPB__LEASE_INTERNAL_RESPONSE__INIT;
    Etcdserverpb__LeaseTimeToLiveResponse info =
        ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    struct buf body = {0};

    info.header = &header;
    info.id = query->id;
    info.ttl = query->ttl_s;
    info.grantedttl = query->granted_s;
    info.n_keys = query->key_count;
    info.keys =
        arena_alloc(query->arena, (query->key_count + 1) * sizeof(*info.keys));
    for (size_t i = 0; i < query->key_count; i++)
        info.keys[i] = (ProtobufCBinaryData){
            query->key_list[i].len,
            (uint8_t *)(uintptr_t)query->key_list[i].data};
    out.leasetimetoliveresponse = &info;
    codec_pack(&body, &out.base);
    peers_answer(request, 200, PROTOBUF, bytes_of(body.data, body.len));
    buf_close(&body);
}

struct look {
    struct node_lease_query query;
    struct peers_request *request;
    struct arena arena;
};

static void looked(struct node_lease_query *query)
{
    struct look *look = container_of(query, struct look, query);
    int err = query->err;

    if (err == ERR_LEASE_NOT_FOUND)
        route_error(look->request, 404, "lease not found");
    else if (err == ERR_TIMEOUT_APPLIED)
        route_error(look->request, 408, BEHIND);
    else if (err < 0)
        route_error(look->request, 500, err_text(ERR_NOT_PRIMARY));
    else
        answer_info(look->request, query);
    arena_close(&look->arena);
    free(look);
}

void route_lease_info(void *arg, struct peers_request *request,
                      const struct peers_query *query)
{
    const Leasepb__LeaseInternalRequest *asked;
    struct look *look;

    if (!acceptable(request, query))
        return;
    look = mem_zalloc(sizeof(*look));
    asked =
        (const void *)codec_unpack(&leasepb__lease_internal_request__descriptor,
                                   &look->arena, query->body);
    if (!asked || !asked->leasetimetoliverequest) {
        route_error(request, 400, "error unmarshalling request");
        arena_close(&look->arena);
        free(look);
        return;
    }
    look->request = request;
    look->query.arena = &look->arena;
    look->query.id = asked->leasetimetoliverequest->id;
    look->query.keys = asked->leasetimetoliverequest->keys;
    look->query.done = looked;
    node_lease_info_here(arg, &look->query);
}
