#include "slow.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 8
#define WAITING_MAX 1024

struct slow_list {
    struct slow_job *first;
    struct slow_job **last;
};

struct slow_pool {
    pthread_mutex_t lock; /* guards all of it */
    unsigned refs;        /* the services, each thread */
    unsigned threads;
    unsigned threads_max;
    unsigned waiting_n;
    uint64_t round;           /* of the job that was taken last */
    struct slow_list waiting; /* by their rounds */
    struct slow_list running;
    bool stopped;
};

static void lock(struct slow_pool *pool)
{
    CHECK(pthread_mutex_lock(&pool->lock) == 0);
}

static void unlock(struct slow_pool *pool)
{
    CHECK(pthread_mutex_unlock(&pool->lock) == 0);
}

/* Lets go of the lock and of one reference. */
static void unlock_unref(struct slow_pool *pool)
{
    bool last = --pool->refs == 0;

    unlock(pool);
    if (!last)
        return;
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* The threads are no less urgent than others, because somebody waits for each:
 * niced ones get nothing beside busy programs. What keeps the rest of the
 * member served is that they leave it a core. */
unsigned slow_threads_max(long cores)
{
    if (cores <= 2)
        return 1;
    return cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores - 1;
}

struct slow_pool *slow_pool_new(void)
{
    struct slow_pool *pool = mem_zalloc(sizeof(*pool));

    CHECK(pthread_mutex_init(&pool->lock, NULL) == 0);
    pool->refs = 1;
    pool->threads_max = slow_threads_max(sysconf(_SC_NPROCESSORS_ONLN));
    pool->waiting.last = &pool->waiting.first;
    pool->running.last = &pool->running.first;
    return pool;
}

void slow_pool_unref(struct slow_pool *pool)
{
    lock(pool);
    unlock_unref(pool);
}

/* ---- lists: with the lock held ---- */

static void append(struct slow_list *list, struct slow_job *job)
{
    job->next = NULL;
    job->prev = list->last;
    *list->last = job;
    list->last = &job->next;
}

static void take_out(struct slow_list *list, struct slow_job *job)
{
    *job->prev = job->next;
    if (job->next != NULL)
        job->next->prev = job->prev;
    else
        list->last = job->prev;
}

/* ---- who comes next ---- */

/* Each caller has one job in each round, so that those with many wait behind
 * each other and not in front of everybody else: behind the caller's last, but
 * not in rounds that are over. */
static uint64_t round_for(const struct slow_pool *pool,
                          const struct slow_job *job)
{
    uint64_t round = pool->round;

    for (const struct slow_job *at = pool->waiting.first; at != NULL;
         at = at->next)
        if (at->caller == job->caller)
            round = at->round + 1;
    return round;
}

static void insert(struct slow_list *list, struct slow_job *job)
{
    struct slow_job **at = &list->first;

    while (*at != NULL && (*at)->round <= job->round)
        at = &(*at)->next;
    job->next = *at;
    job->prev = at;
    *at = job;
    if (job->next != NULL)
        job->next->prev = &job->next;
    else
        list->last = &job->next;
}

/* ---- the end of a job ---- */

static void unref_job(struct slow_job *job)
{
    struct slow_pool *pool = job->pool;
    bool last;

    lock(pool);
    last = --job->refs == 0;
    unlock(pool);
    if (last)
        job->drop(job);
}

static void back_on_shard(struct rpc_task *task)
{
    struct slow_job *job = container_of(task, struct slow_job, back);

    job->done(job, job->err);
    unref_job(job);
}

/* With the lock held. */
static void tell(struct slow_job *job, int err)
{
    if (job->told)
        return;
    job->told = true;
    job->err = err;
    rpc_post(job->shard, &job->back);
}

/* ---- the threads ---- */

static struct slow_job *take_waiting(struct slow_pool *pool)
{
    struct slow_job *job = pool->waiting.first;

    if (job == NULL)
        return NULL;
    take_out(&pool->waiting, job);
    pool->waiting_n--;
    pool->round = job->round;
    job->waiting = false;
    append(&pool->running, job);
    return job;
}

static void *run_thread(void *arg)
{
    struct slow_pool *pool = arg;
    struct slow_job *job;

    lock(pool);
    while ((job = take_waiting(pool)) != NULL) {
        unlock(pool);
        job->run(job);
        lock(pool);
        take_out(&pool->running, job);
        tell(job, 0);
        unlock(pool);
        unref_job(job);
        lock(pool);
    }
    pool->threads--;
    unlock_unref(pool);
    return NULL;
}

/* Without a thread of its own the job waits for those that are there. */
static bool start_thread(struct slow_pool *pool)
{
    pthread_attr_t attr;
    pthread_t thread;
    bool started;

    if (pool->threads == pool->threads_max)
        return true;
    CHECK(pthread_attr_init(&attr) == 0);
    CHECK(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
    started = pthread_create(&thread, &attr, run_thread, pool) == 0;
    pthread_attr_destroy(&attr);
    if (started) {
        pool->threads++;
        pool->refs++;
    }
    return pool->threads > 0;
}

/* ---- the shards ---- */

/* With the lock held: it doesn't begin any more. */
static void give_up(struct slow_pool *pool, struct slow_job *job, int err)
{
    take_out(&pool->waiting, job);
    pool->waiting_n--;
    job->waiting = false;
    job->refs--;
    tell(job, err);
}

static struct slow_job *last_waiting(const struct slow_pool *pool)
{
    return container_of(pool->waiting.last, struct slow_job, next);
}

/* With the lock held. Where no more may wait, the one that would come last
 * goes: it is of a caller that has more waiting than the new one's. */
static bool make_room(struct slow_pool *pool, const struct slow_job *job)
{
    if (pool->waiting_n < WAITING_MAX)
        return true;
    if (last_waiting(pool)->round <= job->round)
        return false;
    give_up(pool, last_waiting(pool), ERR_TOO_MANY_REQUESTS);
    return true;
}

void slow_start(struct slow_pool *pool, struct slow_job *job)
{
    job->pool = pool;
    job->back.run = back_on_shard;
    job->refs = 2; /* who runs it and who is told */
    job->told = false;
    lock(pool);
    job->round = round_for(pool, job);
    job->waiting = !pool->stopped && make_room(pool, job) && start_thread(pool);
    if (job->waiting) {
        insert(&pool->waiting, job);
        pool->waiting_n++;
    } else {
        job->refs = 1;
        tell(job, pool->stopped ? ERR_STOPPED : ERR_TOO_MANY_REQUESTS);
    }
    unlock(pool);
}

void slow_cancel(struct slow_job *job)
{
    struct slow_pool *pool = job->pool;

    lock(pool);
    if (job->waiting)
        give_up(pool, job, ERR_CANCELED);
    unlock(pool);
}

void slow_pool_stop(struct slow_pool *pool)
{
    lock(pool);
    pool->stopped = true;
    while (pool->waiting.first != NULL)
        give_up(pool, pool->waiting.first, ERR_STOPPED);
    for (struct slow_job *job = pool->running.first; job != NULL;
         job = job->next)
        tell(job, ERR_STOPPED);
    unlock(pool);
}
