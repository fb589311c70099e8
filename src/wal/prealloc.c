#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* After each piece the disk is left to the log for so many times as long. */
#define PAUSE_TIMES 4
#define NS_PER_S UINT64_C(1000000000)

void wal_prealloc_init(struct wal_prealloc *p, const char *dir, int dir_fd,
                       uint64_t size)
{
    pthread_condattr_t attr;

    *p = (struct wal_prealloc){
        .dir_fd = dir_fd,
        .path = mem_printf("%s/" WAL_TMP_NAME, dir),
        .size = size,
        .fd = -1,
    };
    CHECK(pthread_mutex_init(&p->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attr) == 0);
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&p->wake, &attr) == 0);
    (void)pthread_condattr_destroy(&attr);
}

int wal_tmp_make(int *out, int dir_fd, const char *path, uint64_t size,
                 struct errmsg *msg)
{
    /* One left behind by a crash may hold the head of a segment. */
    int fd = openat(dir_fd, WAL_TMP_NAME,
                    O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(msg, errno, "%s", path);
    int err = wal_fd_lock(fd, path, msg);
    if (err == 0)
        err = wal_fd_allocate(fd, path, size, msg);
    if (err < 0) {
        (void)close(fd);
        (void)unlinkat(dir_fd, WAL_TMP_NAME, 0);
        return err;
    }
    *out = fd;
    return 0;
}

static void discard(struct wal_prealloc *p)
{
    (void)unlinkat(p->dir_fd, WAL_TMP_NAME, 0);
    (void)close(p->fd);
    p->fd = -1;
}

/* False once the file is wanted as it is. */
static bool wait_to_fill(struct wal_prealloc *p)
{
    CHECK(pthread_mutex_lock(&p->lock) == 0);
    while (!p->fill && !p->stop)
        CHECK(pthread_cond_wait(&p->wake, &p->lock) == 0);
    bool more = !p->stop;
    CHECK(pthread_mutex_unlock(&p->lock) == 0);
    return more;
}

static bool keep_pace(void *arg, uint64_t took_ns)
{
    struct wal_prealloc *p = arg;
    uint64_t until = clock_mono_ns() + PAUSE_TIMES * took_ns;
    struct timespec ts = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};
    int rc = 0;

    CHECK(pthread_mutex_lock(&p->lock) == 0);
    while (!p->stop && rc == 0)
        rc = pthread_cond_timedwait(&p->wake, &p->lock, &ts);
    bool more = !p->stop;
    CHECK(pthread_mutex_unlock(&p->lock) == 0);
    return more;
}

/* What is filled is made durable here, so that the log's first sync in the
 * segment doesn't have to. */
static int fill(struct wal_prealloc *p)
{
    int err = wal_fd_zero(p->fd, p->path, 0, p->size, keep_pace, p, &p->msg);

    if (err == 0 && fdatasync(p->fd) != 0)
        err = err_errno(&p->msg, errno, "%s: fdatasync", p->path);
    return err;
}

static void *prealloc_run(void *arg)
{
    struct wal_prealloc *p = arg;

    p->err = wal_tmp_make(&p->fd, p->dir_fd, p->path, p->size, &p->msg);
    if (p->err == 0 && wait_to_fill(p)) {
        p->err = fill(p);
        if (p->err < 0)
            discard(p);
    }
    return NULL;
}

void wal_prealloc_start(struct wal_prealloc *p)
{
    CHECK(!p->running);
    p->fd = -1;
    p->err = ERR_AGAIN;
    p->fill = false;
    p->stop = false;
    p->running = pthread_create(&p->thread, NULL, prealloc_run, p) == 0;
}

static void ask(struct wal_prealloc *p, bool *what)
{
    CHECK(pthread_mutex_lock(&p->lock) == 0);
    *what = true;
    CHECK(pthread_cond_signal(&p->wake) == 0);
    CHECK(pthread_mutex_unlock(&p->lock) == 0);
}

void wal_prealloc_fill(struct wal_prealloc *p)
{
    ask(p, &p->fill);
}

static void prealloc_join(struct wal_prealloc *p)
{
    if (!p->running)
        return;
    ask(p, &p->stop);
    CHECK(pthread_join(p->thread, NULL) == 0);
    p->running = false;
}

int wal_prealloc_take(struct wal_prealloc *p, int *fd, struct errmsg *msg)
{
    prealloc_join(p);
    if (p->fd < 0)
        return wal_tmp_make(fd, p->dir_fd, p->path, p->size, msg);
    *fd = p->fd;
    p->fd = -1;
    return 0;
}

void wal_prealloc_close(struct wal_prealloc *p)
{
    prealloc_join(p);
    if (p->fd >= 0)
        discard(p);
    (void)pthread_cond_destroy(&p->wake);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->path);
    *p = (struct wal_prealloc){.fd = -1};
}
