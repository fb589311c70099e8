/* The Lease service but for keeping alive, which is keepalive.c's. */
#include "access.h"
#include "keepalive.h"

#include "chorad/codec.h"

int64_t service_lease_id(const struct rpc_call *call)
{
    int64_t id = 0;

    while (id == 0)
        id = (int64_t)(node_next_id(services_of(call)->node) & INT64_MAX);
    return id;
}

/* The request again, with an id that nobody has used. */
static struct bytes with_id(struct rpc_call *call,
                            Etcdserverpb__LeaseGrantRequest *req)
{
    uint8_t *out;

    req->id = service_lease_id(call);
    out = arena_alloc(&call->arena,
                      etcdserverpb__lease_grant_request__get_packed_size(req));
    return bytes_of(out, etcdserverpb__lease_grant_request__pack(req, out));
}

static void open_grant(struct rpc_call *call)
{
    Etcdserverpb__LeaseGrantRequest *req =
        service_unpack(call, &etcdserverpb__lease_grant_request__descriptor);

    if (req == NULL || !service_within_quota(call, APPLY_LEASE_COST) ||
        !service_require_user(call))
        return;
    service_propose(call, SERVICE_LEASE_GRANT, APPLY_LEASE_GRANT,
                    req->id == 0 ? with_id(call, req) : call->request);
}

static void open_revoke(struct rpc_call *call)
{
    if (service_unpack(call, &etcdserverpb__lease_revoke_request__descriptor) &&
        service_require_user(call))
        service_propose(call, SERVICE_LEASE_REVOKE, APPLY_LEASE_REVOKE,
                        call->request);
}

/* ---- looking ---- */

/* Of a request to look at a lease, or at all of them. */
struct look {
    struct auth_who who; /* rev 0: auth was off */
    uint64_t rev;        /* of auth when the request came, whatever who's is */
    int64_t *ids;
    size_t n;
    size_t checked;
    int err;
    struct node_task more;
    struct service_trip *trip;
};

/* NULL: it has been answered. */
static struct look *new_look(struct rpc_call *call)
{
    struct look *look = arena_zalloc(&call->arena, sizeof(*look));
    int err = 0;

    look->rev = auth_revision(services_of(call)->auth);
    if (service_auth_on(call)) {
        err = service_identify(call, &look->who);
        if (err == 0)
            err = auth_is_somebody(services_of(call)->auth, &look->who);
    }
    if (err == 0)
        return look;
    rpc_fail(call, err);
    return NULL;
}

/* What was permitted may be so no longer. */
static int recheck(const struct rpc_call *call, const struct look *look)
{
    return look->rev != auth_revision(services_of(call)->auth)
               ? ERR_AUTH_OLD_REVISION
               : 0;
}

struct query {
    struct node_lease_query node;
    struct look *look;
    struct service_trip *trip;
};

/* A lease that isn't there is no error. */
static void pack_query(struct service_trip *trip,
                       const struct node_lease_query *query)
{
    struct arena *arena = &trip->call->arena;
    Etcdserverpb__LeaseTimeToLiveResponse out =
        ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header =
        service_pb_header(services_of(trip->call));

    out.header = &header;
    out.id = query->id;
    out.ttl = -1;
    if (query->err == 0) {
        out.ttl = query->ttl_s;
        out.grantedttl = query->granted_s;
        out.n_keys = query->key_count;
        out.keys =
            arena_alloc(arena, (query->key_count + 1) * sizeof(*out.keys));
        for (size_t i = 0; i < query->key_count; i++)
            out.keys[i] = (ProtobufCBinaryData){
                query->key_list[i].len,
                (uint8_t *)(uintptr_t)query->key_list[i].data};
    }
    codec_pack(&trip->body, &out.base);
}

static void queried(struct node_lease_query *node)
{
    struct query *query = container_of(node, struct query, node);
    int err = node->err == ERR_LEASE_NOT_FOUND ? 0 : node->err;

    if (err == 0 && node->keys && query->look->who.rev != 0)
        err = recheck(query->trip->call, query->look);
    if (err == 0)
        pack_query(query->trip, node);
    service_trip_go_on(query->trip, err);
}

static int begin_query(struct service_trip *trip)
{
    struct services *services = services_of(trip->call);
    struct query *query = trip->state;
    const struct auth_who *who = &query->look->who;
    int err = 0;

    if (query->node.keys && who->rev != 0)
        err = access_lease(trip->call, who, query->node.id, false);
    if (err != 0)
        return err;
    node_lease_info(services->node, &query->node);
    return SERVICE_LATER;
}

static void open_time_to_live(struct rpc_call *call)
{
    const Etcdserverpb__LeaseTimeToLiveRequest *req = service_unpack(
        call, &etcdserverpb__lease_time_to_live_request__descriptor);
    struct look *look = req == NULL ? NULL : new_look(call);
    struct query *query;

    if (look == NULL)
        return;
    query = arena_zalloc(&call->arena, sizeof(*query));
    query->node.id = req->id;
    query->node.keys = req->keys;
    query->node.arena = &call->arena;
    query->node.done = queried;
    query->look = look;
    query->trip = service_trip_new(call);
    query->trip->state = query;
    query->trip->loop = begin_query;
    service_trip_start(query->trip, false);
}

static int make_leases(struct service_trip *trip)
{
    struct services *services = services_of(trip->call);
    struct arena *arena = &trip->call->arena;
    struct look *look = trip->state;
    Etcdserverpb__LeaseLeasesResponse out =
        ETCDSERVERPB__LEASE_LEASES_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = service_pb_header(services);
    Etcdserverpb__LeaseStatus *statuses;

    if (look->err != 0)
        return look->err;
    if (look->ids == NULL)
        lessor_list(node_lessor(services->node), arena, &look->ids, &look->n);
    out.header = &header;
    out.n_leases = look->n;
    out.leases = arena_alloc(arena, (look->n + 1) * sizeof(*out.leases));
    statuses = arena_alloc(arena, (look->n + 1) * sizeof(*statuses));
    for (size_t i = 0; i < look->n; i++) {
        etcdserverpb__lease_status__init(&statuses[i]);
        statuses[i].id = look->ids[i];
        out.leases[i] = &statuses[i];
    }
    codec_pack(&trip->body, &out.base);
    return 0;
}

/* Leases that are looked at in one go, while the loop does nothing else. */
#define CHECK_STEP 256

/* Whoever is to see all leases must be permitted to read all their keys. */
static void check_leases(struct node_task *task)
{
    struct look *look = container_of(task, struct look, more);
    struct rpc_call *call = look->trip->call;
    struct services *services = services_of(call);
    const struct lessor *lessor = node_lessor(services->node);
    size_t upto;

    if (look->ids == NULL)
        lessor_list(lessor, &call->arena, &look->ids, &look->n);
    upto = look->checked + CHECK_STEP;
    for (; look->checked < look->n && look->checked < upto && look->err == 0;
         look->checked++)
        look->err =
            access_lease(call, &look->who, look->ids[look->checked], false);
    if (look->err == 0 && look->checked < look->n) {
        node_run(services->node, &look->more);
        return;
    }
    if (look->err == 0)
        look->err = recheck(call, look);
    service_trip_start(look->trip, false);
}

static void open_leases(struct rpc_call *call)
{
    struct services *services = services_of(call);
    struct service_trip *trip;
    struct look *look;

    if (!service_unpack(call, &etcdserverpb__lease_leases_request__descriptor))
        return;
    look = new_look(call);
    if (look == NULL)
        return;
    trip = service_trip_new(call);
    trip->state = look;
    trip->loop = make_leases;
    look->trip = trip;
    look->more.run = check_leases;
    if (look->who.rev != 0 && auth_may_manage(services->auth, &look->who) != 0)
        node_run(services->node, &look->more);
    else
        service_trip_start(trip, false);
}

static const struct rpc_method methods[] = {
    {.name = "LeaseGrant", .kind = RPC_UNARY, .open = open_grant, .depth = 16},
    {.name = "LeaseRevoke", .kind = RPC_UNARY, .open = open_revoke},
    {.name = "LeaseKeepAlive",
     .kind = RPC_BIDI,
     .open = keepalive_open,
     .on_message = keepalive_message,
     .on_half_close = keepalive_half_close,
     .on_drained = keepalive_drained,
     .on_done = keepalive_done},
    {.name = "LeaseTimeToLive", .kind = RPC_UNARY, .open = open_time_to_live},
    {.name = "LeaseLeases", .kind = RPC_UNARY, .open = open_leases},
};

const struct rpc_service service_lease = {
    .name = "etcdserverpb.Lease",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
    .preset_metrics = true,
};
