/* Whole files and directories. */
#include "chorad/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int open_file(const char *path, int flags, mode_t mode)
{
    int fd;

    do {
        fd = open(path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static int read_rest(int fd, const char *path, size_t max, struct buf *out,
                     struct errmsg *msg)
{
    size_t start = out->len;

    for (;;) {
        uint8_t *at = buf_reserve(out, 4096);
        ssize_t n = read(fd, at, out->cap - out->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(msg, errno, "read %s", path);
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len - start > max)
            return err_set(msg, ERR_TOOBIG, "%s: more than %zu bytes", path,
                           max);
    }
}

int file_read(const char *path, size_t max, struct buf *out, struct errmsg *msg)
{
    size_t start = out->len;
    int fd = open_file(path, O_RDONLY, 0);
    int rv;

    if (fd < 0)
        return err_errno(msg, errno, "open %s", path);
    rv = read_rest(fd, path, max, out, msg);
    if (rv != 0)
        out->len = start;
    (void)close(fd);
    return rv;
}

int file_write_all(int fd, const void *data, size_t len, struct errmsg *msg)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(msg, errno, "write");
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_synced(const char *path, const void *data, size_t len,
                        mode_t mode, struct errmsg *msg)
{
    int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    int rv;

    if (fd < 0)
        return err_errno(msg, errno, "open %s", path);
    rv = file_write_all(fd, data, len, msg);
    if (rv != 0) {
        rv = err_wrap(msg, rv, "%s", path);
        goto err_after_open;
    }
    if (fsync(fd) != 0) {
        rv = err_errno(msg, errno, "fsync %s", path);
        goto err_after_open;
    }
    if (close(fd) != 0)
        return err_errno(msg, errno, "close %s", path);
    return 0;

err_after_open:
    (void)close(fd);
    return rv;
}

/* The directory a name stands in, to be freed. */
static char *parent_dir(const char *path)
{
    size_t len = strlen(path);
    char *dir;

    while (len > 1 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0)
        return mem_strdup(".");
    dir = mem_strdup(path);
    dir[len] = '\0';
    return dir;
}

static int sync_parent(const char *path, struct errmsg *msg)
{
    char *dir = parent_dir(path);
    int rv = file_sync_dir(dir, msg);

    free(dir);
    return rv;
}

int file_write_atomic(const char *path, const void *data, size_t len,
                      mode_t mode, struct errmsg *msg)
{
    char *tmp = mem_printf("%s.tmp", path);
    int rv = write_synced(tmp, data, len, mode, msg);

    if (rv == 0 && rename(tmp, path) != 0)
        rv = err_errno(msg, errno, "rename %s", tmp);
    if (rv != 0)
        (void)unlink(tmp);
    free(tmp);
    return rv != 0 ? rv : sync_parent(path, msg);
}

int file_sync_dir(const char *path, struct errmsg *msg)
{
    int fd = open_file(path, O_RDONLY | O_DIRECTORY, 0);
    int rv = 0;

    if (fd < 0)
        return err_errno(msg, errno, "open %s", path);
    if (fsync(fd) != 0)
        rv = err_errno(msg, errno, "fsync %s", path);
    (void)close(fd);
    return rv;
}

static int make_dir(const char *path, struct errmsg *msg)
{
    struct stat st;

    if (mkdir(path, 0700) == 0)
        return sync_parent(path, msg);
    if (errno != EEXIST)
        return err_errno(msg, errno, "mkdir %s", path);
    if (stat(path, &st) != 0)
        return err_errno(msg, errno, "stat %s", path);
    if (!S_ISDIR(st.st_mode))
        return err_set(msg, ERR_EXISTS, "%s is not a directory", path);
    return 0;
}

int file_make_dirs(const char *path, struct errmsg *msg)
{
    char *copy = mem_strdup(path);
    int rv = 0;

    /* The name's beginnings that end before a slash, shortest first. */
    for (char *p = copy; rv == 0 && *p != '\0'; p++) {
        if (p == copy || *p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        rv = make_dir(copy, msg);
        *p = '/';
    }
    if (rv == 0)
        rv = make_dir(copy, msg);
    free(copy);
    return rv;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_DP || type == FTW_DNR)
        return rmdir(path);
    return unlink(path);
}

int file_remove_tree(const char *path, struct errmsg *msg)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0 ||
        errno == ENOENT)
        return 0;
    return err_errno(msg, errno, "remove %s", path);
}

/* Measured on ext4: steps twice as long hold up a sync visibly. */
#define DISSOLVE_BYTES ((off_t)4 << 20)
#define DISSOLVE_PAUSE_NS 5000000

void file_dissolve(int fd, const atomic_bool *stop)
{
    struct timespec pause = {0, DISSOLVE_PAUSE_NS};
    struct stat st;

    if (fstat(fd, &st) != 0)
        return;
    for (off_t size = st.st_size; size > DISSOLVE_BYTES;) {
        if (stop != NULL && atomic_load(stop))
            return;
        size -= DISSOLVE_BYTES;
        if (ftruncate(fd, size) != 0)
            return;
        (void)nanosleep(&pause, NULL);
    }
}

bool file_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}
