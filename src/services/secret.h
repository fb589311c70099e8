/* A call's work on a password: bcrypt, on a thread of its own. */
#ifndef CHORAD_SERVICES_SECRET_H
#define CHORAD_SERVICES_SECRET_H

#include "service.h"
#include "slow.h"

struct secret_job {
    struct slow_job slow;
    struct rpc_call *call;
    void (*then)(struct secret_job *job, int err); /* the shard */
    void *arg;
    struct buf password;
    unsigned cost;
    int err;         /* what the work came to */
    struct buf hash; /* made, or compared with */
    bool matches;
};

/* Hashes a user's. `then` comes later, on the shard, and after it the job is
 * gone. `call->state` is the job's meanwhile. */
void secret_hash(struct rpc_call *call, struct bytes user,
                 struct bytes password,
                 void (*then)(struct secret_job *job, int err), void *arg);
/* Compares it with the hash, which is taken over. */
void secret_compare(struct rpc_call *call, struct bytes user,
                    struct bytes password, struct buf *hash,
                    void (*then)(struct secret_job *job, int err), void *arg);

/* The `on_cancel` of methods that use these. */
void secret_cancel(struct rpc_call *call);

#endif
