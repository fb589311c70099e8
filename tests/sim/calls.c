/* The system calls of the members' code, on the simulated disks. */
#include "chorad/base/check.h"
#include "disk.h"
#include "wraps.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Descriptors from here on are simulated. */
#define FD_BASE 100000

enum handle_kind { HANDLE_FREE, HANDLE_FILE, HANDLE_EVENT, HANDLE_PIPE };

/* Both ends share it. */
struct pipe {
    struct buf data;
    size_t taken;
    unsigned writers;
    unsigned readers;
};

struct handle {
    enum handle_kind kind;
    struct life *life;
    struct file *file;
    char *path;
    uint64_t offset;
    uint64_t count; /* of an eventfd */
    bool direct;
    bool writes; /* the writing end */
    struct pipe *pipe;
};

static struct handle *handles;
static size_t handle_count;

static int new_handle(struct handle h)
{
    size_t i = 0;

    h.life = sim.life;
    while (i < handle_count && handles[i].kind != HANDLE_FREE)
        i++;
    if (i == handle_count) {
        handles = mem_realloc(handles, (handle_count + 1) * sizeof(*handles));
        handle_count++;
    }
    handles[i] = h;
    return FD_BASE + (int)i;
}

static struct handle *handle_of(int fd)
{
    CHECK(fd >= FD_BASE && (size_t)(fd - FD_BASE) < handle_count);
    struct handle *h = &handles[fd - FD_BASE];
    CHECK(h->kind != HANDLE_FREE);
    return h;
}

static int fail(int errnum)
{
    errno = errnum;
    return -1;
}

/* ---- opening ------------------------------------------------------------ */

static int open_path(const char *path, int flags)
{
    struct file *file = disk_find(path);

    if (!disk_is_path(path))
        return fail(ENOENT);
    if (!file && !(flags & O_CREAT))
        return fail(ENOENT);
    if (file && (flags & O_CREAT) && (flags & O_EXCL))
        return fail(EEXIST);
    if (file && (flags & O_DIRECTORY) && !file->is_dir)
        return fail(ENOTDIR);
    if (!file)
        file = disk_make(path, false);
    else if (flags & O_TRUNC)
        file_set_size(file, 0);
    file->refs++;
    return new_handle((struct handle){
        .kind = HANDLE_FILE, .file = file, .path = mem_strdup(path)});
}

int __wrap_open(const char *path, int flags, ...)
{
    return open_path(path, flags);
}

static char *path_at(int dir, const char *path)
{
    return mem_printf("%s/%s", handle_of(dir)->path, path);
}

int __wrap_openat(int dir, const char *path, int flags, ...)
{
    char *full = path_at(dir, path);
    int fd = open_path(full, flags);

    free(full);
    return fd;
}

int __wrap_eventfd(unsigned count, int flags)
{
    (void)flags;
    return new_handle((struct handle){.kind = HANDLE_EVENT, .count = count});
}

int __wrap_pipe2(int fds[2], int flags)
{
    struct pipe *pipe = mem_zalloc(sizeof(*pipe));

    (void)flags;
    pipe->writers = pipe->readers = 1;
    fds[0] = new_handle((struct handle){.kind = HANDLE_PIPE, .pipe = pipe});
    fds[1] = new_handle(
        (struct handle){.kind = HANDLE_PIPE, .pipe = pipe, .writes = true});
    return 0;
}

static void close_pipe(const struct handle *h)
{
    struct pipe *pipe = h->pipe;

    *(h->writes ? &pipe->writers : &pipe->readers) -= 1;
    if (pipe->writers + pipe->readers == 0) {
        buf_close(&pipe->data);
        free(pipe);
    }
}

int __wrap_close(int fd)
{
    struct handle *h;

    if (fd < FD_BASE)
        return __real_close(fd);
    h = handle_of(fd);
    if (h->kind == HANDLE_PIPE)
        close_pipe(h);
    if (h->kind == HANDLE_FILE)
        file_unref(h->file);
    free(h->path);
    *h = (struct handle){0};
    return 0;
}

/* ---- reading and writing ------------------------------------------------ */

/* Bytes of [offset, offset + len) that are there. */
static size_t within(const struct file *file, size_t len, uint64_t offset)
{
    if (offset >= file->size)
        return 0;
    return len < file->size - offset ? len : (size_t)(file->size - offset);
}

ssize_t __wrap_pread(int fd, void *out, size_t len, off_t offset)
{
    const struct handle *h = handle_of(fd);
    size_t n = within(h->file, len, (uint64_t)offset);

    file_read_at(h->file, out, n, (uint64_t)offset);
    return (ssize_t)n;
}

static ssize_t write_file(struct handle *h, const void *data, size_t len,
                          uint64_t offset)
{
    const struct disk_faults *faults = disk_faults(h->file->slot);

    if (sim_chance(faults->fail_write)) {
        sim_say("%u: a write fails", h->file->slot);
        return fail(sim_chance(500) ? EIO : ENOSPC);
    }
    if (h->direct && (len % DISK_SECTOR || offset % DISK_SECTOR))
        return fail(EINVAL);
    /* A short one now and then. */
    if (len > DISK_PAGE && sim_chance(20))
        len = DISK_PAGE;
    file_write_at(h->file, data, len, offset);
    return (ssize_t)len;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return write_file(handle_of(fd), data, len, (uint64_t)offset);
}

static ssize_t read_pipe(const struct handle *h, void *out, size_t len)
{
    struct pipe *pipe = h->pipe;
    size_t n = pipe->data.len - pipe->taken;

    if (n == 0)
        return pipe->writers == 0 ? 0 : fail(EAGAIN);
    if (n > len)
        n = len;
    memcpy(out, pipe->data.data + pipe->taken, n);
    pipe->taken += n;
    return (ssize_t)n;
}

ssize_t __wrap_read(int fd, void *out, size_t len)
{
    struct handle *h;
    ssize_t n;

    if (fd < FD_BASE)
        return __real_read(fd, out, len);
    h = handle_of(fd);
    if (h->kind == HANDLE_PIPE)
        return read_pipe(h, out, len);
    if (h->kind == HANDLE_EVENT) {
        if (h->count == 0)
            return fail(EAGAIN);
        memcpy(out, &h->count, sizeof(h->count));
        h->count = 0;
        return sizeof(h->count);
    }
    n = __wrap_pread(fd, out, len, (off_t)h->offset);
    h->offset += (uint64_t)n;
    return n;
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    struct handle *h;
    ssize_t n;

    if (fd < FD_BASE)
        return __real_write(fd, data, len);
    h = handle_of(fd);
    if (h->kind == HANDLE_PIPE) {
        if (h->pipe->readers == 0)
            return fail(EPIPE);
        buf_append(&h->pipe->data, data, len);
        return (ssize_t)len;
    }
    if (h->kind == HANDLE_EVENT) {
        h->count++;
        loop_fd_ready(h->life, fd);
        return (ssize_t)len;
    }
    n = write_file(h, data, len, h->offset);
    if (n > 0)
        h->offset += (uint64_t)n;
    return n;
}

/* ---- syncing ------------------------------------------------------------ */

static void wait_for_disk(unsigned slot)
{
    const struct disk_faults *faults = disk_faults(slot);

    if (!task_current())
        return;
    task_sleep(sim_between(faults->sync_ns / 2, faults->sync_ns * 2));
    while (faults->stall_until > sim.now_ns)
        task_sleep(faults->stall_until - sim.now_ns);
}

int __wrap_fdatasync(int fd)
{
    struct file *file = handle_of(fd)->file;

    /* Another thread may close it meanwhile. */
    file->refs++;
    wait_for_disk(file->slot);
    if (sim_chance(disk_faults(file->slot)->fail_sync) && !file->is_dir) {
        sim_say("%u: a sync fails", file->slot);
        file_lose(file);
        file_unref(file);
        return fail(EIO);
    }
    file_sync(file);
    file_unref(file);
    return 0;
}

int __wrap_fsync(int fd)
{
    return __wrap_fdatasync(fd);
}

/* ---- files -------------------------------------------------------------- */

int __wrap_ftruncate(int fd, off_t size)
{
    file_set_size(handle_of(fd)->file, (uint64_t)size);
    return 0;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
    struct file *file = handle_of(fd)->file;

    CHECK(mode == 0 && offset == 0);
    if (file->size < (uint64_t)len)
        file_set_size(file, (uint64_t)len);
    return 0;
}

int __wrap_posix_fadvise(int fd, off_t offset, off_t len, int advice)
{
    (void)fd;
    (void)offset;
    (void)len;
    (void)advice;
    return 0;
}

off_t __wrap_lseek(int fd, off_t offset, int whence)
{
    const struct handle *h = handle_of(fd);

    CHECK(whence == SEEK_DATA || whence == SEEK_SET);
    if (whence == SEEK_DATA && (uint64_t)offset >= h->file->size)
        return fail(ENXIO);
    return offset;
}

/* Nobody else is there. */
int __wrap_flock(int fd, int operation)
{
    (void)fd;
    (void)operation;
    return 0;
}

int __wrap_fcntl(int fd, int command, ...)
{
    struct handle *h = handle_of(fd);
    va_list args;
    int flags;

    if (command == F_GETFL)
        return h->direct ? O_DIRECT : 0;
    if (command == F_OFD_SETLK)
        return 0;
    CHECK(command == F_SETFL);
    va_start(args, command);
    flags = va_arg(args, int);
    va_end(args);
    if ((flags & O_DIRECT) && !disk_faults(h->file->slot)->direct)
        return fail(EINVAL);
    h->direct = flags & O_DIRECT;
    return 0;
}

static int stat_file(const struct file *file, struct stat *st)
{
    if (!file)
        return fail(ENOENT);
    *st = (struct stat){
        .st_mode = file->is_dir ? S_IFDIR | 0700 : S_IFREG | 0600,
        .st_size = (off_t)file->size,
    };
    return 0;
}

int __wrap_fstat(int fd, struct stat *st)
{
    return stat_file(handle_of(fd)->file, st);
}

int __wrap_stat(const char *path, struct stat *st)
{
    if (strcmp(path, "/sim") == 0) {
        *st = (struct stat){.st_mode = S_IFDIR | 0700};
        return 0;
    }
    return stat_file(disk_find(path), st);
}

int __wrap_lstat(const char *path, struct stat *st)
{
    return stat_file(disk_find(path), st);
}

int __wrap_access(const char *path, int mode)
{
    (void)mode;
    return disk_find(path) ? 0 : fail(ENOENT);
}

/* ---- names -------------------------------------------------------------- */

int __wrap_mkdir(const char *path, mode_t mode)
{
    (void)mode;
    /* What lies above the members' directories is always there. */
    if (strlen(path) <= strlen("/sim/0") || disk_find(path))
        return fail(EEXIST);
    disk_make(path, true);
    return 0;
}

int __wrap_rename(const char *from, const char *to)
{
    int errnum = disk_rename(from, to);

    return errnum ? fail(errnum) : 0;
}

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    char *full_from = path_at(from_dir, from);
    char *full_to = path_at(to_dir, to);
    int rc = __wrap_rename(full_from, full_to);

    free(full_from);
    free(full_to);
    return rc;
}

int __wrap_unlink(const char *path)
{
    int errnum = disk_unlink(path);

    return errnum ? fail(errnum) : 0;
}

int __wrap_unlinkat(int dir, const char *path, int flags)
{
    char *full = path_at(dir, path);
    int rc = __wrap_unlink(full);

    (void)flags;
    free(full);
    return rc;
}

int __wrap_rmdir(const char *path)
{
    return __wrap_unlink(path);
}

/* ---- directories -------------------------------------------------------- */

struct listing {
    char *path;
    size_t next;
    int fd;
    struct dirent entry;
};

DIR *__wrap_opendir(const char *path)
{
    int fd = open_path(path, O_DIRECTORY);
    struct listing *listing;

    if (fd < 0)
        return NULL;
    listing = mem_zalloc(sizeof(*listing));
    listing->path = mem_strdup(path);
    listing->fd = fd;
    return (DIR *)listing;
}

struct dirent *__wrap_readdir(DIR *dir)
{
    struct listing *listing = (struct listing *)dir;
    const char *name = disk_list(listing->path, listing->next);

    if (!name)
        return NULL;
    listing->next++;
    CHECK(strlen(name) < sizeof(listing->entry.d_name));
    strcpy(listing->entry.d_name, name);
    return &listing->entry;
}

int __wrap_closedir(DIR *dir)
{
    struct listing *listing = (struct listing *)dir;

    (void)__wrap_close(listing->fd);
    free(listing->path);
    free(listing);
    return 0;
}

int __wrap_dirfd(DIR *dir)
{
    return ((struct listing *)dir)->fd;
}

/* Depth first. */
int __wrap_nftw(const char *path,
                int (*visit)(const char *path, const struct stat *st, int type,
                             struct FTW *ftw),
                int depth, int flags)
{
    const struct file *file = disk_find(path);
    const char *name;
    struct stat st;

    if (!file)
        return fail(ENOENT);
    while (file->is_dir && (name = disk_list(path, 0)) != NULL) {
        char *below = mem_printf("%s/%s", path, name);
        int rc = __wrap_nftw(below, visit, depth, flags);
        free(below);
        if (rc != 0)
            return rc;
    }
    (void)stat_file(file, &st);
    return visit(path, &st, file->is_dir ? FTW_DP : FTW_F, NULL);
}
