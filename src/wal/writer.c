/* The thread that writes the log: everything queued, one write, one sync. */
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/wal.h"
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct wal_writer {
    struct wal *wal;
    pthread_t thread;
    struct queue queue;
    /* 1 while the thread sleeps or is about to; whoever makes it 0 wakes
     * it. */
    atomic_uint asleep;
    atomic_bool stopping;
    /* When the writing now under way began; 0: none. */
    atomic_uint_least64_t busy_since_ns;
};

static void futex(atomic_uint *word, int op, unsigned value)
{
    (void)syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void wake(struct wal_writer *w)
{
    if (atomic_exchange(&w->asleep, 0) == 1)
        futex(&w->asleep, FUTEX_WAKE_PRIVATE, 1);
}

/* Everything queued; sleeps while there is nothing, NULL at the stop. */
static struct queue_node *wait_for_jobs(struct wal_writer *w)
{
    struct queue_node *jobs = queue_take_all(&w->queue);

    while (!jobs) {
        /* A job pushed before this line is seen by the look at the queue, one
         * pushed after it finds the word set. */
        atomic_store(&w->asleep, 1);
        bool stopping = atomic_load(&w->stopping);
        jobs = queue_take_all(&w->queue);
        if (jobs || stopping)
            break;
        futex(&w->asleep, FUTEX_WAIT_PRIVATE, 1);
        jobs = queue_take_all(&w->queue);
    }
    atomic_store(&w->asleep, 0);
    return jobs;
}

static int write_jobs(struct wal_writer *w, const struct queue_node *jobs,
                      struct errmsg *msg)
{
    bool must_sync = false;
    int err = 0;

    for (const struct queue_node *n = jobs; n && err == 0; n = n->next) {
        const struct wal_job *job = container_of(n, struct wal_job, node);
        err = wal_append(w->wal, &job->batch, msg);
        must_sync |= job->must_sync;
    }
    if (err < 0)
        return err;
    return must_sync ? wal_sync(w->wal, msg) : wal_flush(w->wal, msg);
}

static void *writer_run(void *arg)
{
    struct wal_writer *w = arg;
    struct queue_node *jobs;

    while ((jobs = wait_for_jobs(w)) != NULL) {
        struct errmsg msg = {0};
        atomic_store(&w->busy_since_ns, clock_mono_ns());
        int err = write_jobs(w, jobs, &msg);
        atomic_store(&w->busy_since_ns, 0);
        while (jobs) {
            struct wal_job *job = container_of(jobs, struct wal_job, node);
            /* The job may be gone once it is done. */
            jobs = jobs->next;
            job->done(job, err, &msg);
        }
    }
    return NULL;
}

int wal_writer_start(struct wal_writer **out, struct wal *wal,
                     struct errmsg *msg)
{
    struct wal_writer *w = mem_zalloc(sizeof(*w));

    w->wal = wal;
    queue_init(&w->queue);
    int errnum = pthread_create(&w->thread, NULL, writer_run, w);
    if (errnum != 0) {
        queue_close(&w->queue);
        free(w);
        return err_errno(msg, errnum, "thread of the log");
    }
    (void)pthread_setname_np(w->thread, "wal");
    *out = w;
    return 0;
}

void wal_writer_submit(struct wal_writer *writer, struct wal_job *job)
{
    if (queue_push(&writer->queue, &job->node))
        wake(writer);
}

uint64_t wal_writer_stalled_ns(const struct wal_writer *writer)
{
    uint64_t since = atomic_load(&writer->busy_since_ns);
    if (since == 0)
        return 0;
    uint64_t now = clock_mono_ns();
    return now > since ? now - since : 0;
}

void wal_writer_stop(struct wal_writer *writer)
{
    atomic_store(&writer->stopping, true);
    wake(writer);
    CHECK(pthread_join(writer->thread, NULL) == 0);
    queue_close(&writer->queue);
    free(writer);
}
