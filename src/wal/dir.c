#include "dir.h"
#include "chorad/base/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (256 * 1024)

/* ---- names ------------------------------------------------------------- */

void wal_name_print(char out[WAL_NAME_SIZE], struct wal_name name)
{
    (void)snprintf(out, WAL_NAME_SIZE, "%016" PRIx64 "-%016" PRIx64 ".wal",
                   name.seq, name.index);
}

static bool parse_hex16(const char *text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < 16; i++) {
        char c = text[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

bool wal_name_parse(struct wal_name *name, const char *text)
{
    return strlen(text) == WAL_NAME_SIZE - 1 && parse_hex16(text, &name->seq) &&
           text[16] == '-' && parse_hex16(text + 17, &name->index) &&
           strcmp(text + 33, ".wal") == 0;
}

static int by_seq(const void *a, const void *b)
{
    const struct wal_name *x = a;
    const struct wal_name *y = b;
    if (x->seq != y->seq)
        return x->seq < y->seq ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

int wal_dir_list(const char *dir, struct wal_name **names, size_t *count,
                 struct errmsg *msg)
{
    DIR *d = opendir(dir);
    struct wal_name *list = NULL;
    size_t n = 0;
    size_t cap = 0;
    const struct dirent *entry;

    if (!d)
        return err_errno(msg, errno, "%s", dir);
    errno = 0;
    while ((entry = readdir(d)) != NULL) {
        struct wal_name name;
        if (wal_name_parse(&name, entry->d_name)) {
            if (n == cap) {
                cap = cap ? cap * 2 : 16;
                list = mem_realloc(list, cap * sizeof(*list));
            }
            list[n++] = name;
        }
        errno = 0;
    }
    int errnum = errno;
    (void)closedir(d);
    if (errnum != 0) {
        free(list);
        return err_errno(msg, errnum, "%s", dir);
    }
    if (n > 0)
        qsort(list, n, sizeof(*list), by_seq);
    *names = list;
    *count = n;
    return 0;
}

/* ---- directories ------------------------------------------------------- */

int wal_fd_sync_dir(int dir_fd, const char *dir, struct errmsg *msg)
{
    if (fsync(dir_fd) != 0)
        return err_errno(msg, errno, "%s: fsync", dir);
    return 0;
}

static int sync_parent(char *path, struct errmsg *msg)
{
    char *slash = strrchr(path, '/');
    const char *parent = ".";

    if (slash == path)
        parent = "/";
    else if (slash)
        parent = path;
    if (slash && slash != path)
        *slash = '\0';
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd < 0 ? err_errno(msg, errno, "%s", parent)
                     : wal_fd_sync_dir(fd, parent, msg);
    if (fd >= 0)
        (void)close(fd);
    if (slash && slash != path)
        *slash = '/';
    return err;
}

static int make_one(char *path, struct errmsg *msg)
{
    if (mkdir(path, 0700) == 0)
        return sync_parent(path, msg);
    if (errno == EEXIST)
        return 0;
    return err_errno(msg, errno, "%s: mkdir", path);
}

int wal_dir_make(const char *dir, struct errmsg *msg)
{
    char *path = mem_strdup(dir);
    size_t len = strlen(path);
    int err = 0;

    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    for (char *p = path + 1; *p && err == 0; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        err = make_one(path, msg);
        *p = '/';
    }
    if (err == 0)
        err = make_one(path, msg);
    free(path);
    return err;
}

/* ---- files ------------------------------------------------------------- */

int wal_fd_lock(int fd, const char *path, struct errmsg *msg)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    if (errno == EINVAL && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return err_set(msg, ERR_BUSY, "%s: in use by another process", path);
    return err_errno(msg, errno, "%s: lock", path);
}

int wal_fd_allocate(int fd, const char *path, uint64_t size, struct errmsg *msg)
{
    struct stat st;
    int rv;

    do {
        rv = fallocate(fd, 0, 0, (off_t)size);
    } while (rv != 0 && errno == EINTR);
    if (rv == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return err_errno(msg, errno, "%s: fallocate", path);
    if (fstat(fd, &st) != 0)
        return err_errno(msg, errno, "%s", path);
    if ((uint64_t)st.st_size < size && ftruncate(fd, (off_t)size) != 0)
        return err_errno(msg, errno, "%s: ftruncate", path);
    return 0;
}

static ssize_t read_at(int fd, void *buf, size_t len, uint64_t offset)
{
    ssize_t n;
    do {
        n = pread(fd, buf, len, (off_t)offset);
    } while (n < 0 && errno == EINTR);
    return n;
}

int wal_fd_is_zero(int fd, const char *path, uint64_t offset, uint64_t size,
                   bool *zero, struct errmsg *msg)
{
    uint8_t *buf = mem_alloc(COPY_BYTES);
    uint64_t start = offset;
    int err = 0;

    *zero = true;
    while (offset < size && *zero) {
        off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        if (data >= 0)
            offset = (uint64_t)data;
        ssize_t n = read_at(fd, buf, COPY_BYTES, offset);
        if (n < 0) {
            err = err_errno(msg, errno, "%s: read at byte %" PRIu64, path,
                            offset);
            break;
        }
        if (n == 0)
            break;
        *zero = buf[0] == 0 && memcmp(buf, buf + 1, (size_t)n - 1) == 0;
        offset += (uint64_t)n;
    }
    /* What is written there next goes past the page cache. */
    (void)posix_fadvise(fd, (off_t)start, 0, POSIX_FADV_DONTNEED);
    free(buf);
    return err;
}

static int copy_bytes(int from, const char *path, int to, const char *copy_path,
                      struct errmsg *msg)
{
    uint8_t *buf = mem_alloc(COPY_BYTES);
    uint64_t offset = 0;
    int err = 0;

    while (err == 0) {
        ssize_t n = read_at(from, buf, COPY_BYTES, offset);
        if (n < 0)
            err = err_errno(msg, errno, "%s: read at byte %" PRIu64, path,
                            offset);
        if (n <= 0)
            break;
        for (ssize_t done = 0; done < n && err == 0;) {
            ssize_t w = pwrite(to, buf + done, (size_t)(n - done),
                               (off_t)offset + done);
            if (w >= 0)
                done += w;
            else if (errno != EINTR)
                err = err_errno(msg, errno, "%s: write", copy_path);
        }
        offset += (uint64_t)n;
    }
    free(buf);
    return err;
}

int wal_fd_copy(int fd, const char *path, const char *copy_path,
                struct errmsg *msg)
{
    int to = open(copy_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0)
        return err_errno(msg, errno, "%s", copy_path);
    int err = copy_bytes(fd, path, to, copy_path, msg);
    if (err == 0 && fsync(to) != 0)
        err = err_errno(msg, errno, "%s: fsync", copy_path);
    if (close(to) != 0 && err == 0)
        err = err_errno(msg, errno, "%s: close", copy_path);
    return err;
}
