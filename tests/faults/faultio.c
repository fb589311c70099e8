/* libfaultio.so: loaded with LD_PRELOAD, makes writes and syncs fail, stall or
 * be the last thing the process does. Configured by the environment:
 *
 *   FAULTIO_MATCH     substring of the file's path; none: everything with a
 * path FAULTIO_OP        comma-separated: write fsync open truncate fallocate
 *                     rename any (any: all but open); none: any
 *   FAULTIO_NTH       the how-manieth matching call is hit, from 1; none: no
 *                     call, they are only counted
 *   FAULTIO_ERRNO     ENOSPC EIO EDQUOT ENOMEM EROFS or a number
 *   FAULTIO_STICKY=1  all calls after it as well
 *   FAULTIO_DELAY_MS  the call first waits that long, or until FAULTIO_ARM's
 *                     file is gone; without FAULTIO_ERRNO it then goes on
 *   FAULTIO_KILL=1    the process dies by SIGKILL instead of the call
 *   FAULTIO_POWER=DIR the power fails instead of the call: the process dies,
 *                     and what isn't synced below DIR is lost, see power.h
 *   FAULTIO_SEED      which part of it is; none: all
 *   FAULTIO_ARM       a path: nothing is counted or hit while no such file
 *                     exists
 *   FAULTIO_LOG       a path that gets a line "<n> <call> <path>" for each
 *                     matching call, so that a test can count them first
 *
 * write covers write, pwrite, writev, pwritev; fsync covers fsync, fdatasync,
 * msync, sync_file_range; truncate ftruncate and truncate. A call that fails
 * has had no effect. */
#include "power.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum op {
    OP_WRITE = 1,
    OP_FSYNC = 2,
    OP_OPEN = 4,
    OP_TRUNCATE = 8,
    OP_FALLOCATE = 16,
    OP_RENAME = 32,
};

#define PATH_SIZE 4096

static struct {
    bool on;
    const char *match;
    const char *arm;
    unsigned ops;
    unsigned long nth;
    bool sticky;
    bool kill_process;
    bool power_fails;
    int errnum;
    long delay_ms;
    int log_fd;
} config = {.log_fd = -1};

static atomic_ulong calls;

/* ---- configuration ----------------------------------------------------- */

static unsigned parse_ops(const char *text)
{
    static const struct {
        const char *name;
        unsigned ops;
    } names[] = {
        {"write", OP_WRITE},         {"fsync", OP_FSYNC},
        {"open", OP_OPEN},           {"truncate", OP_TRUNCATE},
        {"fallocate", OP_FALLOCATE}, {"rename", OP_RENAME},
        {"any", ~(unsigned)OP_OPEN},
    };
    unsigned ops = 0;

    if (!text || !*text)
        return ~(unsigned)OP_OPEN;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strstr(text, names[i].name))
            ops |= names[i].ops;
    }
    return ops;
}

static int parse_errno(const char *text)
{
    static const struct {
        const char *name;
        int errnum;
    } names[] = {{"ENOSPC", ENOSPC},
                 {"EIO", EIO},
                 {"EDQUOT", EDQUOT},
                 {"ENOMEM", ENOMEM},
                 {"EROFS", EROFS}};

    if (!text || !*text)
        return 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i].name) == 0)
            return names[i].errnum;
    }
    return (int)strtol(text, NULL, 10);
}

static long number(const char *name)
{
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void configure(void)
{
    const char *log = getenv("FAULTIO_LOG");

    config.match = getenv("FAULTIO_MATCH");
    config.arm = getenv("FAULTIO_ARM");
    config.ops = parse_ops(getenv("FAULTIO_OP"));
    config.nth = (unsigned long)number("FAULTIO_NTH");
    config.sticky = number("FAULTIO_STICKY") != 0;
    config.kill_process = number("FAULTIO_KILL") != 0;
    config.power_fails = getenv("FAULTIO_POWER") != NULL;
    power_init(getenv("FAULTIO_POWER"), (unsigned long)number("FAULTIO_SEED"));
    config.errnum = parse_errno(getenv("FAULTIO_ERRNO"));
    config.delay_ms = number("FAULTIO_DELAY_MS");
    if (log)
        config.log_fd =
            (int)syscall(SYS_openat, AT_FDCWD, log,
                         O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    config.on = config.nth > 0 || config.log_fd >= 0;
}

/* ---- deciding ---------------------------------------------------------- */

static void log_call(unsigned long n, const char *call, const char *path)
{
    char line[PATH_SIZE + 64];
    int len;

    if (config.log_fd < 0)
        return;
    len = snprintf(line, sizeof(line), "%lu %s %s\n", n, call, path);
    if (len > 0)
        (void)syscall(SYS_write, config.log_fd, line, (size_t)len);
}

static bool armed(void)
{
    return !config.arm ||
           syscall(SYS_faccessat, AT_FDCWD, config.arm, F_OK) == 0;
}

#define LOOK_MS 10

static void delay(void)
{
    for (long left = config.delay_ms; left > 0 && armed(); left -= LOOK_MS) {
        long ms = left < LOOK_MS ? left : LOOK_MS;
        struct timespec pause = {0, ms * 1000000};
        while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
            ;
    }
}

/* True if the call is to fail, with errno set. */
static bool hit(enum op op, const char *call, const char *path)
{
    if (!config.on || !(config.ops & op))
        return false;
    if (config.match ? !strstr(path, config.match) : path[0] != '/')
        return false;
    if (!armed())
        return false;
    unsigned long n = atomic_fetch_add(&calls, 1) + 1;
    log_call(n, call, path);
    if (config.nth == 0 || n < config.nth || (n > config.nth && !config.sticky))
        return false;
    delay();
    if (config.power_fails)
        power_fail();
    if (config.kill_process)
        (void)kill(getpid(), SIGKILL);
    if (config.errnum == 0)
        return false;
    errno = config.errnum;
    return true;
}

static bool hit_fd(enum op op, const char *call, int fd)
{
    char link[64];
    char path[PATH_SIZE];
    int before = errno;

    if (!config.on || !(config.ops & op))
        return false;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    errno = before;
    return hit(op, call, path);
}

/* The file that is mapped at the address. */
static bool hit_address(const char *call, const void *address)
{
    char line[PATH_SIZE + 128];
    bool rv = false;
    FILE *maps;

    if (!config.on || !(config.ops & OP_FSYNC))
        return false;
    maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof(line), maps)) {
        uintptr_t from;
        uintptr_t to;
        char *path = strchr(line, '/');
        if (!path || sscanf(line, "%lx-%lx", &from, &to) != 2 ||
            (uintptr_t)address < from || (uintptr_t)address >= to)
            continue;
        path[strcspn(path, "\n")] = '\0';
        rv = hit(OP_FSYNC, call, path);
        break;
    }
    int errnum = errno;
    if (maps)
        (void)fclose(maps);
    errno = errnum;
    return rv;
}

/* The real function, looked up once. */
#define REAL(ret, name, ...)                                                   \
    static ret (*real)(__VA_ARGS__);                                           \
    do {                                                                       \
        if (!real)                                                             \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                         \
    } while (0)

/* ---- the calls --------------------------------------------------------- */

/* What is replaced is declared by the C library already. `begin` and `end` are
 * done around the call that goes through, with its result in `rv`. */
#define WRAP(name, op, ret, params, types, args, begin, end)                   \
    ret name params                                                            \
    {                                                                          \
        REAL(ret, name, types);                                                \
        if (hit_fd(op, #name, fd))                                             \
            return -1;                                                         \
        begin;                                                                 \
        ret rv = real args;                                                    \
        end;                                                                   \
        return rv;                                                             \
    }
#define TYPES(...) __VA_ARGS__

#define WRAP_WRITE(name, params, types, args, offset, len)                     \
    WRAP(name, OP_WRITE, ssize_t, params, TYPES types, args,                   \
         power_write_begin(fd, offset, len), power_change_end(fd, rv > 0))
#define WRAP_RESIZE(name, op, params, types, args, size)                       \
    WRAP(name, op, int, params, TYPES types, args,                             \
         power_resize_begin(fd, size), power_change_end(fd, rv == 0))
#define WRAP_SYNC(name)                                                        \
    WRAP(name, OP_FSYNC, int, (int fd), TYPES(int), (fd),                      \
         unsigned long begun = power_sync_begin(),                             \
         power_sync_end(fd, begun, rv == 0))

static size_t total(const struct iovec *v, int n)
{
    size_t len = 0;

    for (int i = 0; i < n; i++)
        len += v[i].iov_len;
    return len;
}

WRAP_WRITE(write, (int fd, const void *b, size_t n),
           (int, const void *, size_t), (fd, b, n), -1, n)
WRAP_WRITE(pwrite, (int fd, const void *b, size_t n, off_t o),
           (int, const void *, size_t, off_t), (fd, b, n, o), o, n)
WRAP_WRITE(pwrite64, (int fd, const void *b, size_t n, off64_t o),
           (int, const void *, size_t, off64_t), (fd, b, n, o), o, n)
WRAP_WRITE(writev, (int fd, const struct iovec *v, int n),
           (int, const struct iovec *, int), (fd, v, n), -1, total(v, n))
WRAP_WRITE(pwritev, (int fd, const struct iovec *v, int n, off_t o),
           (int, const struct iovec *, int, off_t), (fd, v, n, o), o,
           total(v, n))
WRAP_WRITE(pwritev64, (int fd, const struct iovec *v, int n, off64_t o),
           (int, const struct iovec *, int, off64_t), (fd, v, n, o), o,
           total(v, n))
WRAP_WRITE(pwritev2, (int fd, const struct iovec *v, int n, off_t o, int f),
           (int, const struct iovec *, int, off_t, int), (fd, v, n, o, f), o,
           total(v, n))
WRAP_SYNC(fsync)
WRAP_SYNC(fdatasync)
WRAP(sync_file_range, OP_FSYNC, int, (int fd, off64_t o, off64_t n, unsigned f),
     TYPES(int, off64_t, off64_t, unsigned), (fd, o, n, f), , )
WRAP_RESIZE(ftruncate, OP_TRUNCATE, (int fd, off_t n), (int, off_t), (fd, n), n)
WRAP_RESIZE(ftruncate64, OP_TRUNCATE, (int fd, off64_t n), (int, off64_t),
            (fd, n), n)
WRAP_RESIZE(fallocate, OP_FALLOCATE, (int fd, int m, off_t o, off_t n),
            (int, int, off_t, off_t), (fd, m, o, n), LONG_MAX)
WRAP_RESIZE(fallocate64, OP_FALLOCATE, (int fd, int m, off64_t o, off64_t n),
            (int, int, off64_t, off64_t), (fd, m, o, n), LONG_MAX)

/* These give the error back instead of setting errno. */
int posix_fallocate(int fd, off_t offset, off_t len)
{
    REAL(int, posix_fallocate, int, off_t, off_t);
    if (hit_fd(OP_FALLOCATE, "posix_fallocate", fd))
        return errno;
    return real(fd, offset, len);
}

int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    REAL(int, posix_fallocate64, int, off64_t, off64_t);
    if (hit_fd(OP_FALLOCATE, "posix_fallocate64", fd))
        return errno;
    return real(fd, offset, len);
}

int msync(void *address, size_t len, int flags)
{
    REAL(int, msync, void *, size_t, int);
    if (hit_address("msync", address))
        return -1;
    return real(address, len, flags);
}

int truncate(const char *path, off_t len)
{
    REAL(int, truncate, const char *, off_t);
    if (hit(OP_TRUNCATE, "truncate", path))
        return -1;
    return real(path, len);
}

static int rename_tracked(int from_fd, const char *from, int to_fd,
                          const char *to)
{
    power_unlink_begin(to_fd, to);
    int rv = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
    power_renamed(from_fd, from, to_fd, to, rv == 0);
    power_name_end(rv == 0);
    return rv;
}

int rename(const char *from, const char *to)
{
    if (hit(OP_RENAME, "rename", to))
        return -1;
    return rename_tracked(AT_FDCWD, from, AT_FDCWD, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    if (hit_fd(OP_RENAME, "renameat", to_fd))
        return -1;
    return rename_tracked(from_fd, from, to_fd, to);
}

int unlinkat(int dir, const char *path, int flags)
{
    power_unlink_begin(dir, path);
    int rv = (int)syscall(SYS_unlinkat, dir, path, flags);
    power_name_end(rv == 0);
    return rv;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    power_name_begin();
    int rv = (int)syscall(SYS_mkdirat, dir, path, mode);
    if (rv == 0)
        power_created(dir, path);
    power_name_end(true);
    return rv;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

/* The mode is there only if a file may be made. */
#define OPEN_MODE(flags)                                                       \
    mode_t mode = 0;                                                           \
    if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) {                 \
        va_list ap;                                                            \
        va_start(ap, flags);                                                   \
        mode = (mode_t)va_arg(ap, int);                                        \
        va_end(ap);                                                            \
    }

/* Notes a file that this makes. */
static int open_tracked(int dir, const char *path, int flags, mode_t mode)
{
    if (!(flags & O_CREAT))
        return (int)syscall(SYS_openat, dir, path, flags, mode);
    power_name_begin();
    bool is_new = syscall(SYS_faccessat, dir, path, F_OK) != 0;
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && is_new)
        power_created(dir, path);
    power_name_end(true);
    return fd;
}

#define WRAP_OPEN(name)                                                        \
    int name(const char *path, int flags, ...)                                 \
    {                                                                          \
        OPEN_MODE(flags)                                                       \
        if (hit(OP_OPEN, #name, path))                                         \
            return -1;                                                         \
        return open_tracked(AT_FDCWD, path, flags, mode);                      \
    }

/* Relative to a directory: its path is what counts. */
#define WRAP_OPENAT(name)                                                      \
    int name(int dir, const char *path, int flags, ...)                        \
    {                                                                          \
        OPEN_MODE(flags)                                                       \
        bool fails = path[0] == '/' || dir == AT_FDCWD                         \
                         ? hit(OP_OPEN, #name, path)                           \
                         : hit_fd(OP_OPEN, #name, dir);                        \
        if (fails)                                                             \
            return -1;                                                         \
        return open_tracked(dir, path, flags, mode);                           \
    }

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)
