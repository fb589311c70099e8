/* The Maintenance service: what an operator asks of this one member. */
#include "access.h"
#include "snapshot.h"

#include "chorad/base/log.h"
#include "chorad/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- Status -----------------------------------------------------------------
 */

#define QUOTA_DEFAULT (INT64_C(2) << 30)
/* More alarms than that are not told of one by one. */
#define ALARMS_SHOWN 64

/* As protobuf's text format has an AlarmMember. */
static char *alarm_text(const struct alarm *alarm, struct arena *arena)
{
    static const char *const names[] = {"NONE", "NOSPACE", "CORRUPT"};
    char member[40] = "";
    char type[40] = "";
    char text[96];

    if (alarm->member_id != 0)
        (void)snprintf(member, sizeof(member), "memberID:%" PRIu64,
                       alarm->member_id);
    if (alarm->type > ALARM_NONE && alarm->type <= ALARM_CORRUPT)
        (void)snprintf(type, sizeof(type), "alarm:%s", names[alarm->type]);
    else if (alarm->type != ALARM_NONE)
        (void)snprintf(type, sizeof(type), "alarm:%" PRId32, alarm->type);
    int len = snprintf(text, sizeof(text), "%s%s%s", member,
                       *member && *type ? " " : "", type);
    return arena_dup(arena, text, (size_t)len + 1);
}

static void add_errors(struct services *services, struct arena *arena,
                       bool no_leader, Etcdserverpb__StatusResponse *out)
{
    struct alarm alarms[ALARMS_SHOWN];
    size_t n = alarms_list(node_alarms(services->node), ALARM_NONE, alarms,
                           ALARMS_SHOWN);

    if (n > ALARMS_SHOWN)
        n = ALARMS_SHOWN;
    out->errors = arena_alloc(arena, (n + 1) * sizeof(*out->errors));
    if (no_leader)
        out->errors[out->n_errors++] =
            (char *)(uintptr_t)err_text(ERR_NO_LEADER);
    for (size_t i = 0; i < n; i++)
        out->errors[out->n_errors++] = alarm_text(&alarms[i], arena);
}

static int make_status(struct service_trip *trip)
{
    struct services *services = services_of(trip->call);
    struct node_status status = node_status(services->node);
    struct store_size size = store_size(node_store(services->node));
    const struct cluster *cluster = node_cluster(services->node);
    const char *storage = cluster_storage_version(cluster);
    const char *target = cluster_downgrade(cluster);
    Etcdserverpb__ResponseHeader header = service_pb_header(services);
    Etcdserverpb__DowngradeInfo downgrade = ETCDSERVERPB__DOWNGRADE_INFO__INIT;
    Etcdserverpb__StatusResponse out = ETCDSERVERPB__STATUS_RESPONSE__INIT;

    out.header = &header;
    out.version = (char *)(uintptr_t)CLUSTER_API_VERSION;
    out.dbsize = (int64_t)size.total;
    out.dbsizeinuse = (int64_t)size.in_use;
    out.leader = status.leader;
    out.raftindex = status.raft_index;
    out.raftterm = status.raft_term;
    out.raftappliedindex = status.applied_index;
    out.islearner = status.is_learner;
    if (storage != NULL)
        out.storageversion = (char *)(uintptr_t)storage;
    out.dbsizequota = services->config.quota_bytes;
    if (out.dbsizequota == 0)
        out.dbsizequota = QUOTA_DEFAULT;
    out.downgradeinfo = &downgrade;
    downgrade.enabled = target != NULL;
    if (target != NULL)
        downgrade.targetversion = (char *)(uintptr_t)target;
    add_errors(services, &trip->call->arena, status.leader == 0, &out);
    codec_pack(&trip->body, &out.base);
    return 0;
}

static void open_status(struct rpc_call *call)
{
    struct service_trip *trip;

    if (!service_unpack(call, &etcdserverpb__status_request__descriptor) ||
        !service_require_user(call))
        return;
    trip = service_trip_new(call);
    trip->loop = make_status;
    service_trip_start(trip, false);
}

/* ---- Alarm ------------------------------------------------------------------
 */

static void open_alarm(struct rpc_call *call)
{
    const Etcdserverpb__AlarmRequest *req =
        service_unpack(call, &etcdserverpb__alarm_request__descriptor);
    bool looks;

    if (req == NULL)
        return;
    looks = req->action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET;
    if (looks ? service_require_user(call) : service_require_root(call))
        service_propose(call, SERVICE_ALARM, APPLY_ALARM, call->request);
}

/* ---- hashes ---- */

static int run_hash(struct service_trip *trip)
{
    struct services *services = services_of(trip->call);
    Etcdserverpb__HashResponse out = ETCDSERVERPB__HASH_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    int64_t rev;
    int err = access_hash(trip->state, &out.hash, &rev);

    if (err != 0)
        return err;
    header = service_pb_header(services);
    header.revision = rev;
    out.header = &header;
    codec_pack(&trip->body, &out.base);
    return 0;
}

static void open_hash(struct rpc_call *call)
{
    struct service_trip *trip;
    struct access access;

    if (!service_unpack(call, &etcdserverpb__hash_request__descriptor) ||
        !access_all(call, &access))
        return;
    trip = service_trip_new(call);
    trip->state = arena_dup(&call->arena, &access, sizeof(access));
    trip->worker = run_hash;
    service_trip_start(trip, false);
}

struct hash_kv {
    struct access access;
    int64_t rev;
};

static int run_hash_kv(struct service_trip *trip)
{
    struct services *services = services_of(trip->call);
    const struct hash_kv *state = trip->state;
    Etcdserverpb__HashKVResponse out = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    struct mvcc_hash hash;
    int err = access_hash_kv(&state->access, state->rev, &hash);

    if (err != 0)
        return err;
    header = service_pb_header(services);
    out.header = &header;
    out.hash = hash.hash;
    out.compact_revision = hash.compact_rev;
    out.hash_revision = hash.hash_rev;
    codec_pack(&trip->body, &out.base);
    return 0;
}

static void open_hash_kv(struct rpc_call *call)
{
    const Etcdserverpb__HashKVRequest *req =
        service_unpack(call, &etcdserverpb__hash_kvrequest__descriptor);
    struct service_trip *trip;
    struct hash_kv state;

    if (req == NULL || !access_all(call, &state.access))
        return;
    state.rev = req->revision;
    trip = service_trip_new(call);
    trip->state = arena_dup(&call->arena, &state, sizeof(state));
    trip->worker = run_hash_kv;
    service_trip_start(trip, false);
}

/* ---- Defragment ---- */

static int run_defragment(struct service_trip *trip)
{
    struct services *services = services_of(trip->call);
    struct errmsg msg = {0};
    int err;

    log_info("starting defragment");
    pthread_mutex_lock(&services->defrag_lock);
    if (services->config.stop_on_defrag)
        services_set_serving(services, false);
    err = store_defrag(node_store(services->node), &msg);
    if (services->config.stop_on_defrag)
        services_set_serving(services, true);
    pthread_mutex_unlock(&services->defrag_lock);
    if (err != 0)
        log_warn("failed to defragment", LOG_STR("error", msg.text));
    else
        log_info("finished defragment");
    return err;
}

static void open_defragment(struct rpc_call *call)
{
    struct service_trip *trip;

    if (!service_unpack(call, &etcdserverpb__defragment_request__descriptor) ||
        !service_require_root(call))
        return;
    trip = service_trip_new(call);
    trip->worker = run_defragment;
    service_trip_start(trip, false);
}

/* ---- MoveLeader ---- */

struct transfer {
    struct node_transfer node;
    struct service_trip *trip;
};

static void moved(struct node_transfer *node)
{
    struct transfer *transfer = container_of(node, struct transfer, node);

    /* The answer has no header. */
    service_trip_go_on(transfer->trip, node->err);
}

static int begin_transfer(struct service_trip *trip)
{
    struct transfer *transfer = trip->state;

    node_move_leader(services_of(trip->call)->node, &transfer->node);
    return SERVICE_LATER;
}

static void open_move_leader(struct rpc_call *call)
{
    const Etcdserverpb__MoveLeaderRequest *req =
        service_unpack(call, &etcdserverpb__move_leader_request__descriptor);
    struct transfer *transfer;

    if (req == NULL || !service_require_root(call))
        return;
    transfer = arena_zalloc(&call->arena, sizeof(*transfer));
    transfer->node.to = req->targetid;
    transfer->node.done = moved;
    transfer->trip = service_trip_new(call);
    transfer->trip->state = transfer;
    transfer->trip->loop = begin_transfer;
    service_trip_start(transfer->trip, false);
}

/* ---- Downgrade ---- */

struct downgrade {
    struct node_downgrade node;
    struct service_trip *trip;
};

/* "3.7" of "3.7.0" */
static char *short_version(const char *version, struct arena *arena)
{
    const char *patch = strrchr(version, '.');
    size_t len = patch != NULL ? (size_t)(patch - version) : strlen(version);
    char *out = arena_dup(arena, version, len + 1);

    out[len] = '\0';
    return out;
}

static void downgraded(struct node_downgrade *node)
{
    struct downgrade *downgrade = container_of(node, struct downgrade, node);
    struct service_trip *trip = downgrade->trip;
    struct services *services = services_of(trip->call);
    const char *version = cluster_version(node_cluster(services->node));
    Etcdserverpb__DowngradeResponse out =
        ETCDSERVERPB__DOWNGRADE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = service_pb_header(services);

    if (node->err == 0) {
        out.header = &header;
        if (version != NULL)
            out.version = short_version(version, &trip->call->arena);
        codec_pack(&trip->body, &out.base);
    }
    service_trip_go_on(trip, node->err);
}

static int begin_downgrade(struct service_trip *trip)
{
    struct downgrade *downgrade = trip->state;

    node_downgrade(services_of(trip->call)->node, &downgrade->node);
    return SERVICE_LATER;
}

static void open_downgrade(struct rpc_call *call)
{
    const Etcdserverpb__DowngradeRequest *req =
        service_unpack(call, &etcdserverpb__downgrade_request__descriptor);
    struct downgrade *downgrade;

    if (req == NULL || !service_require_root(call))
        return;
    if ((unsigned)req->action > (unsigned)NODE_DOWNGRADE_CANCEL) {
        rpc_fail(call, ERR_UNKNOWN_METHOD);
        return;
    }
    downgrade = arena_zalloc(&call->arena, sizeof(*downgrade));
    downgrade->node.action = (enum node_downgrade_action)req->action;
    downgrade->node.version = req->version;
    downgrade->node.done = downgraded;
    downgrade->trip = service_trip_new(call);
    downgrade->trip->state = downgrade;
    downgrade->trip->loop = begin_downgrade;
    service_trip_start(downgrade->trip, false);
}

static bool on_learner(const struct rpc_call *call)
{
    (void)call;
    return true;
}

static const struct rpc_method methods[] = {
    {.name = "Alarm", .kind = RPC_UNARY, .open = open_alarm},
    {.name = "Status",
     .kind = RPC_UNARY,
     .open = open_status,
     .on_learner = on_learner},
    {.name = "Defragment", .kind = RPC_UNARY, .open = open_defragment},
    {.name = "Hash", .kind = RPC_UNARY, .open = open_hash},
    {.name = "HashKV", .kind = RPC_UNARY, .open = open_hash_kv},
    {.name = "Snapshot",
     .kind = RPC_SERVER_STREAM,
     .open = snapshot_open,
     .on_learner = on_learner,
     .on_drained = snapshot_drained,
     .on_done = snapshot_done},
    {.name = "MoveLeader", .kind = RPC_UNARY, .open = open_move_leader},
    {.name = "Downgrade", .kind = RPC_UNARY, .open = open_downgrade},
};

const struct rpc_service service_maintenance = {
    .name = "etcdserverpb.Maintenance",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
    .preset_metrics = true,
};
