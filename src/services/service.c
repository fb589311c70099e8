/* What all services stand on: their common state, a shard's part of it, and
 * the small steps they share. */
#include "service.h"
#include "access.h"
#include "line.h"
#include "slow.h"
#include "snapshot.h"
#include "watch.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/codec.h"

#include <grpc/status.h>
#include <stdio.h>
#include <stdlib.h>

const struct rpc_service *const services_all[] = {
    &service_kv,          &service_watch, &service_lease,  &service_cluster,
    &service_maintenance, &service_auth,  &service_health, &service_lock,
    &service_election,    NULL,
};

struct services *services_open(const struct services_config *config)
{
    struct services *services = mem_zalloc(sizeof(*services));
    struct watch_metrics watch;

    services->config = *config;
    services->node = config->node;
    services->mvcc = node_mvcc(config->node);
    services->auth = node_auth(config->node);
    services->auth_on = auth_switch(services->auth);
    services->slow = slow_pool_new();
    services->slow_apply = metric_counter(
        "etcd_server_slow_apply_total",
        "The total number of slow apply requests (likely overloaded from "
        "slow disk).",
        NULL, 0);
    atomic_store(&services->serving, true);
    CHECK(pthread_mutex_init(&services->health_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&services->defrag_lock, NULL) == 0);
    snapshots_open(services);
    watch_metrics_open(&watch); /* zeros are shown before the first watcher */
    return services;
}

/* Not with their shards: until here the loop looks at them at each change, and
 * at each tick. */
static void close_watches(struct services *services)
{
    struct changes *changes = atomic_load(&services->changes);
    struct watch_shard *shard = atomic_load(&services->watch_shards);

    while (shard != NULL) {
        struct watch_shard *next = shard->next;

        watch_shard_close(shard);
        shard = next;
    }
    while (changes != NULL) {
        struct changes *next = changes->next;

        changes_close(changes);
        changes = next;
    }
}

void services_stop(struct services *services)
{
    slow_pool_stop(services->slow);
}

void services_close(struct services *services)
{
    if (services == NULL)
        return;
    close_watches(services);
    snapshots_close(services);
    slow_pool_unref(services->slow);
    pthread_mutex_destroy(&services->health_lock);
    pthread_mutex_destroy(&services->defrag_lock);
    free(services);
}

void *services_open_local(void *ctx, unsigned shard)
{
    struct service_local *local = mem_zalloc(sizeof(*local));

    local->services = ctx;
    local->index = shard;
    local->door = access_door_open(ctx);
    return local;
}

void services_close_local(void *ctx, void *arg)
{
    struct service_local *local = arg;

    (void)ctx;
    lines_close(local->lines);
    access_door_close(local->door);
    free(local);
}

bool services_has_leader(void *ctx)
{
    const struct services *services = ctx;

    return node_has_leader(services->node);
}

bool services_is_learner(void *ctx)
{
    const struct services *services = ctx;

    return node_is_learner(services->node);
}

static void fail_unmarshal(struct rpc_call *call, const char *why)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "grpc: %s: %s",
                   call->method->kind == RPC_UNARY
                       ? "error unmarshalling request"
                       : "failed to unmarshal the received message",
                   why);
    rpc_fail_text(call, GRPC_STATUS_INTERNAL, text);
}

void service_fail_malformed(struct rpc_call *call)
{
    fail_unmarshal(call, "proto: cannot parse invalid wire-format data");
}

void service_fail_utf8(struct rpc_call *call)
{
    fail_unmarshal(call, "string field contains invalid UTF-8");
}

void *service_unpack(struct rpc_call *call,
                     const ProtobufCMessageDescriptor *type)
{
    void *message = codec_unpack(type, &call->arena, call->request);

    if (message == NULL)
        service_fail_malformed(call);
    return message;
}

struct apply_header service_header(const struct services *services)
{
    struct apply_header header = node_header(services->node);

    header.revision = mvcc_revision(services->mvcc);
    return header;
}

Etcdserverpb__ResponseHeader service_pb_header(const struct services *services)
{
    struct apply_header header = service_header(services);
    Etcdserverpb__ResponseHeader out = ETCDSERVERPB__RESPONSE_HEADER__INIT;

    out.cluster_id = header.cluster_id;
    out.member_id = header.member_id;
    out.revision = header.revision;
    out.raft_term = header.raft_term;
    return out;
}

/* Up to here the scratch buffer stays with its shard. */
#define SCRATCH_KEEP ((size_t)16 * 1024)

size_t service_reply_scratch(struct rpc_call *call, struct buf *scratch)
{
    size_t len = scratch->len;

    if (len <= SCRATCH_KEEP)
        rpc_reply_copy(call, bytes_of(scratch->data, len));
    else
        rpc_reply(call, scratch);
    return len;
}
