/* The flush thread: batches, jobs, and those who wait for them. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000u

static bool is_pending(const struct store *store)
{
    return store->published.entries != store->flushed.entries;
}

/* Called with the lock held; once awake the thread looks at everything. */
static void wake(struct store *store)
{
    if (store->state != FLUSH_IDLE && store->state != FLUSH_TIMED)
        return;
    store->state = FLUSH_RUNS;
    pthread_cond_signal(&store->wake);
}

/* ---- the loop's side ---------------------------------------------------- */

void store_mark(struct store *store, uint64_t index, uint64_t term)
{
    struct ops *ops = &store->ops;

    store_ops_append_mark(ops, index, term);
    store_publish_counts(store);
    pthread_mutex_lock(&store->lock);
    store->published_place = ops->tail;
    store->published = ops->count;
    if (store->state == FLUSH_IDLE || store->wanted > store->flushed.entries ||
        ops->count.seq - store->flushed.seq >= store->config.flush_ops)
        wake(store);
    pthread_mutex_unlock(&store->lock);
}

/* ---- anybody's side ------------------------------------------------------ */

/* Everything queued now is to be flushed without waiting for the interval;
 * what isn't marked yet, as soon as it is. Called with the lock held. */
static uint64_t want_all(struct store *store)
{
    uint64_t entries =
        atomic_load_explicit(&store->queued_entries, memory_order_acquire);

    if (entries > store->wanted)
        store->wanted = entries;
    wake(store);
    return entries;
}

void store_flush(struct store *store, void (*done)(void *arg, int err),
                 void *arg)
{
    struct flush_waiter *waiter = mem_alloc(sizeof(*waiter));

    pthread_mutex_lock(&store->lock);
    *waiter = (struct flush_waiter){
        .next = store->waiters,
        .entries = want_all(store),
        .done = done,
        .arg = arg,
    };
    store->waiters = waiter;
    pthread_mutex_unlock(&store->lock);
}

void store_job(struct store *store, store_step_cb step,
               void (*finished)(void *arg, int err), void *arg)
{
    struct store_job *job = mem_alloc(sizeof(*job));

    pthread_mutex_lock(&store->lock);
    *job = (struct store_job){
        .entries = want_all(store),
        .step = step,
        .finished = finished,
        .arg = arg,
    };
    *store->jobs_tail = job;
    store->jobs_tail = &job->next;
    pthread_mutex_unlock(&store->lock);
}

struct blocking {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int err;
};

static void end_blocking(void *arg, int err)
{
    struct blocking *b = arg;

    pthread_mutex_lock(&b->lock);
    b->done = true;
    b->err = err;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
}

int store_flush_wait(struct store *store)
{
    struct blocking b = {.done = false};

    CHECK(pthread_mutex_init(&b.lock, NULL) == 0);
    CHECK(pthread_cond_init(&b.cond, NULL) == 0);
    store_flush(store, end_blocking, &b);
    pthread_mutex_lock(&b.lock);
    while (!b.done)
        pthread_cond_wait(&b.cond, &b.lock);
    pthread_mutex_unlock(&b.lock);
    pthread_cond_destroy(&b.cond);
    pthread_mutex_destroy(&b.lock);
    return b.err;
}

int store_park(struct store *store)
{
    int err = 0;

    pthread_mutex_lock(&store->lock);
    store->park = true;
    wake(store);
    while (store->state != FLUSH_PARKED && store->failed == 0)
        pthread_cond_wait(&store->parked, &store->lock);
    if (store->state != FLUSH_PARKED) {
        store->park = false;
        err = store->failed;
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

void store_unpark(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->park = false;
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->lock);
}

void store_fail(struct store *store, int err, const struct errmsg *msg)
{
    struct errmsg full = *msg;

    if (strstr(msg->text, store->dir) == NULL)
        (void)err_wrap(&full, err, "%s/" STORE_FILE, store->dir);
    pthread_mutex_lock(&store->lock);
    store->failed = err;
    pthread_cond_broadcast(&store->parked);
    pthread_mutex_unlock(&store->lock);
    log_error("the store failed and takes no more writes",
              LOG_STR("error", full.text));
    if (store->config.failed != NULL)
        store->config.failed(store->config.arg, err, &full);
}

void store_flush_stop(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->defragging)
        pthread_cond_wait(&store->parked, &store->lock);
    store->stopping = true;
    wake(store);
    pthread_mutex_unlock(&store->lock);
}

/* ---- the thread's side --------------------------------------------------
 * These are called with the lock held and give it up while they work. */

/* True if there were some: more may have come meanwhile. */
static bool serve_waiters(struct store *store, int err)
{
    struct flush_waiter **link = &store->waiters;
    struct flush_waiter *ready = NULL;

    while (*link != NULL) {
        struct flush_waiter *waiter = *link;

        if (err == 0 && waiter->entries > store->flushed.entries) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->next = ready;
        ready = waiter;
    }
    if (ready == NULL)
        return false;
    pthread_mutex_unlock(&store->lock);
    while (ready != NULL) {
        struct flush_waiter *waiter = ready;

        ready = waiter->next;
        waiter->done(waiter->arg, err);
        free(waiter);
    }
    pthread_mutex_lock(&store->lock);
    return true;
}

/* The head of the list, which is the one that runs. */
static void end_job(struct store *store, int err)
{
    struct store_job *job = store->jobs;

    store->jobs = job->next;
    if (store->jobs == NULL)
        store->jobs_tail = &store->jobs;
    pthread_mutex_unlock(&store->lock);
    if (job->finished != NULL)
        job->finished(job->arg, err);
    free(job);
    pthread_mutex_lock(&store->lock);
    pthread_cond_broadcast(&store->parked);
}

void store_cancel_jobs(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    CHECK(store->state == FLUSH_PARKED);
    while (store->jobs != NULL)
        end_job(store, ERR_CANCELED);
    pthread_mutex_unlock(&store->lock);
}

static void run_batch(struct store *store)
{
    struct ops_place end = store->published_place;
    struct ops_place place = store->ops.head;
    struct op_mark mark;
    struct errmsg msg;
    int err;

    pthread_mutex_unlock(&store->lock);
    err = store_batch_run(store, &end, &place, &mark, &msg);
    if (err == 0) {
        atomic_store(&store->flushed_index, mark.index);
        if (store->config.flushed != NULL)
            store->config.flushed(store->config.arg, mark.count.seq);
        store_ops_release(&store->ops, place);
        atomic_store(&store->flushed_bytes, mark.count.bytes);
    } else {
        store_fail(store, err, &msg);
    }
    pthread_mutex_lock(&store->lock);
    store->due_ns = 0;
    if (err == 0)
        store->flushed = mark.count;
}

static void run_job(struct store *store, struct store_job *job)
{
    struct errmsg msg;
    int64_t pause_ns = -1;
    bool disk_failed = false;
    int err;

    pthread_mutex_unlock(&store->lock);
    err = store_job_step(store, job, &pause_ns, &disk_failed, &msg);
    if (pause_ns >= 0)
        job->not_before_ns = clock_mono_ns() + (uint64_t)pause_ns;
    if (err != 0 && disk_failed)
        store_fail(store, err, &msg);
    pthread_mutex_lock(&store->lock);
    if (err != 0 || pause_ns < 0)
        end_job(store, err);
}

static bool batch_due(struct store *store, uint64_t now)
{
    if (!is_pending(store))
        return false;
    if (store->due_ns == 0)
        store->due_ns = now + store->config.flush_interval_ns;
    return store->stopping || now >= store->due_ns ||
           store->wanted > store->flushed.entries ||
           store->published.seq - store->flushed.seq >= store->config.flush_ops;
}

static bool job_due(const struct store *store, uint64_t now)
{
    const struct store_job *job = store->jobs;

    return job != NULL && !store->stopping &&
           job->entries <= store->flushed.entries && now >= job->not_before_ns;
}

static void sleep_until(struct store *store, uint64_t until)
{
    struct timespec ts = {
        .tv_sec = (time_t)(until / NS_PER_S),
        .tv_nsec = (long)(until % NS_PER_S),
    };

    if (until == UINT64_MAX) {
        store->state = FLUSH_IDLE;
        pthread_cond_wait(&store->wake, &store->lock);
    } else {
        store->state = FLUSH_TIMED;
        pthread_cond_timedwait(&store->wake, &store->lock, &ts);
    }
    store->state = FLUSH_RUNS;
}

static uint64_t next_time(const struct store *store)
{
    const struct store_job *job = store->jobs;
    uint64_t until = UINT64_MAX;

    if (store->failed != 0)
        return until;
    if (is_pending(store))
        until = store->due_ns;
    if (job != NULL && job->entries <= store->flushed.entries &&
        job->not_before_ns < until)
        until = job->not_before_ns;
    return until;
}

/* True if there was something to do. */
static bool work(struct store *store)
{
    bool worked = false;

    if (batch_due(store, clock_mono_ns())) {
        run_batch(store);
        worked = true;
    }
    /* Batches and steps take turns, whatever the load. */
    if (store->failed == 0 && job_due(store, clock_mono_ns())) {
        run_job(store, store->jobs);
        worked = true;
    }
    return worked;
}

static void park(struct store *store)
{
    store->state = FLUSH_PARKED;
    pthread_cond_broadcast(&store->parked);
    while (store->park)
        pthread_cond_wait(&store->wake, &store->lock);
    store->state = FLUSH_RUNS;
}

void *store_flush_main(void *arg)
{
    struct store *store = arg;

    pthread_mutex_lock(&store->lock);
    for (;;) {
        if (serve_waiters(store, store->failed))
            continue;
        if (store->failed != 0 && store->jobs != NULL)
            end_job(store, store->failed);
        else if (store->failed == 0 && store->park)
            park(store);
        else if (store->failed == 0 && work(store))
            continue;
        else if (store->stopping)
            break;
        else
            sleep_until(store, next_time(store));
    }
    while (store->jobs != NULL)
        end_job(store, ERR_STOPPED);
    while (serve_waiters(store, ERR_STOPPED)) {
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}
