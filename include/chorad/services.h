/* The services: what clients can call, and what the server in front of them
 * (chorad/rpc.h) needs to know. */
#ifndef CHORAD_SERVICES_H
#define CHORAD_SERVICES_H

#include "chorad/node.h"
#include "chorad/rpc.h"

#include <stdbool.h>
#include <stdint.h>

struct services;

/* For struct rpc_config: all of them, ended by NULL. */
extern const struct rpc_service *const services_all[];

struct services_config {
    struct node *node; /* outlives the services */
    uint64_t max_request_bytes;
    uint32_t max_txn_ops;
    /* Unary calls that take longer are logged; so are reads. */
    uint64_t warn_unary_ns;
    uint64_t warn_apply_ns;
    /* As given, for Status: 0 is the default of 2 GiB, negative is none. */
    int64_t quota_bytes;
    /* Between progress notifications of a watcher that asked for them. */
    uint64_t watch_progress_ns;
    /* Cost of hashing a password. */
    unsigned bcrypt_cost;
    /* The health service says NOT_SERVING while a defragmentation runs. */
    bool stop_on_defrag;
};

/* `config` is copied. What is returned is the `ctx` of struct rpc_config. */
struct services *services_open(const struct services_config *config);
/* The loop, after rpc_stop and before node_close. */
void services_close(struct services *services);

/* The loop, after rpc_drain and before rpc_stop: nobody has to wait for work
 * that takes long on purpose. */
void services_stop(struct services *services);

/* For struct rpc_config: a shard's own part, made and given back on its
 * thread. */
void *services_open_local(void *ctx, unsigned shard);
void services_close_local(void *ctx, void *local);

/* For struct rpc_config: the member knows a leader. Any thread. */
bool services_has_leader(void *ctx);
/* The member is a learner. Any thread. */
bool services_is_learner(void *ctx);

/* For struct rpc_config: a token that another member has just given out may
 * have to be waited for. */
bool services_admit(void *ctx, struct rpc_call *call);

/* To be called about ten times a progress interval: sends the progress
 * notifications that are due. The loop; not after rpc_stop has begun. */
void services_tick(struct services *services);

/* What grpc.health.v1.Health answers; serving from the start. Any thread. */
void services_set_serving(struct services *services, bool serving);

#endif
