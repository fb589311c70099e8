/* Work that takes long on purpose: hashing and comparing passwords. On threads
 * of its own, one less than there are cores, so that it keeps nothing else
 * waiting; who finds them at work waits, and callers take turns, however many
 * jobs each has.
 *
 *   start --> waiting --> running --> done
 *                |           |
 *                | cancel    | stop: done at once, with ERR_STOPPED; the
 *                `--> done   '       thread ends later, by itself
 */
#ifndef CHORAD_SERVICES_SLOW_H
#define CHORAD_SERVICES_SLOW_H

#include "chorad/rpc.h"

struct slow_pool;

/* Embedded in memory of its own, which `drop` frees: a thread may still be at
 * it when nobody waits for it any more. */
struct slow_job {
    struct rpc_shard *shard;
    void (*run)(struct slow_job *job); /* its thread */
    /* The shard; err is 0 once `run` has been done with, else ERR_STOPPED,
     * ERR_CANCELED or ERR_TOO_MANY_REQUESTS: then only what `run` leaves alone
     * may be looked at. */
    void (*done)(struct slow_job *job, int err);
    void (*drop)(struct slow_job *job);
    uint64_t caller; /* jobs of the same one wait for each other */

    /* The pool's own. */
    struct slow_pool *pool;
    struct slow_job *next; /* of those that wait, or that run */
    struct slow_job **prev;
    struct rpc_task back;
    uint64_t round;
    unsigned refs;
    int err;
    bool waiting;
    bool told; /* `done` is on its way */
};

/* How many jobs run at once on a machine with so many cores. */
unsigned slow_threads_max(long cores);
struct slow_pool *slow_pool_new(void);
/* Jobs that run, wait or come later are done with ERR_STOPPED. Any thread,
 * while the shards still run. */
void slow_pool_stop(struct slow_pool *pool);
void slow_pool_unref(struct slow_pool *pool);

/* The shard. `done` is never called from inside these. */
void slow_start(struct slow_pool *pool, struct slow_job *job);
/* A job that still waits doesn't begin any more; one that runs goes on. */
void slow_cancel(struct slow_job *job);

#endif
