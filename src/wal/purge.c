/* Old segments: given up, and taken away. */
#include "chorad/base/check.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void wal_release(struct wal *wal, uint64_t index)
{
    CHECK(pthread_mutex_lock(&wal->lock) == 0);
    /* A segment is done with if the next one begins at or before `index`. */
    size_t done = 0;
    while (done + 1 < wal->count && wal->segments[done + 1].name.index <= index)
        (void)close(wal->segments[done++].fd);
    wal->count -= done;
    memmove(wal->segments, wal->segments + done,
            wal->count * sizeof(wal->segments[0]));
    CHECK(pthread_mutex_unlock(&wal->lock) == 0);
}

/* Takes the name away; the open file, or -1, is the caller's. */
static int unlink_segment(const struct wal *wal, struct wal_name name, int *fd,
                          struct errmsg *msg)
{
    char text[WAL_NAME_SIZE];

    wal_name_print(text, name);
    *fd = openat(wal->dir_fd, text, O_WRONLY | O_CLOEXEC);
    if (unlinkat(wal->dir_fd, text, 0) != 0) {
        int err = err_errno(msg, errno, "%s/%s: unlink", wal->dir, text);
        if (*fd >= 0)
            (void)close(*fd);
        *fd = -1;
        return err;
    }
    log_info("purged", LOG_STR("path", text));
    return 0;
}

/* A name that might come back must not do so without its content. */
static void dissolve(const struct wal *wal, const int *fds, size_t count)
{
    bool gone = wal_fd_sync_dir(wal->dir_fd, wal->dir, NULL) == 0;

    for (size_t i = 0; i < count; i++) {
        if (fds[i] < 0)
            continue;
        if (gone)
            file_dissolve(fds[i], NULL);
        (void)close(fds[i]);
    }
}

int wal_purge(struct wal *wal, size_t max_segments, struct errmsg *msg)
{
    struct wal_name *names;
    size_t count;
    size_t n = 0;

    if (max_segments == 0)
        return 0;
    CHECK(pthread_mutex_lock(&wal->lock) == 0);
    uint64_t first = wal->segments[0].name.seq;
    CHECK(pthread_mutex_unlock(&wal->lock) == 0);
    int err = wal_dir_list(wal->dir, &names, &count, msg);
    if (err < 0)
        return err;
    int *fds = mem_alloc((count + 1) * sizeof(*fds));
    while (err == 0 && n < count && count - n > max_segments &&
           names[n].seq < first) {
        err = unlink_segment(wal, names[n], &fds[n], msg);
        n += err == 0;
    }
    if (n > 0)
        dissolve(wal, fds, n);
    free(fds);
    free(names);
    return err;
}
