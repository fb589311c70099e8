#include "power.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
/* Of what a truncation cuts off, as much is noted at most. */
#define CUT_MAX (1 << 20)
#define PATH_SIZE 4096

enum kind { WRITTEN, CREATED, RENAMED, UNLINKED };

struct change {
    struct change *older;
    unsigned long serial;
    enum kind kind;
    dev_t dev; /* of the file, or of the directory with the name */
    ino_t ino;
    int fd; /* one of our own */
    off_t offset;
    off_t size; /* of the file before */
    size_t len;
    uint8_t *before;
    char *path;
    char *other; /* the name before, or what we keep the file as */
};

/* One descriptor for each file that was ever changed. It stays open: closing
 * it would take the process's locks on the file away. */
struct file {
    struct file *next;
    dev_t dev;
    ino_t ino;
    int fd;
};

static struct {
    bool on;
    char root[PATH_SIZE];
    char attic[PATH_SIZE + 8]; /* what is deleted moves there first */
    unsigned long seed;
    pthread_mutex_t lock;
    unsigned long serial;
    struct change *newest;
    struct file *files;
    unsigned long kept;
} power = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __thread bool holding;
static __thread struct change *pending;
static __thread int before_errno;

void power_init(const char *root, unsigned long seed)
{
    if (!root || !*root)
        return;
    (void)snprintf(power.root, sizeof(power.root), "%s", root);
    (void)snprintf(power.attic, sizeof(power.attic), "%s.gone", root);
    (void)syscall(SYS_mkdirat, AT_FDCWD, power.attic, 0700);
    power.seed = seed;
    power.on = true;
}

static void hold(void)
{
    before_errno = errno;
    pthread_mutex_lock(&power.lock);
    holding = true;
}

static void let_go(void)
{
    holding = false;
    pthread_mutex_unlock(&power.lock);
}

/* Without wrappers of our own, and without symbols of a certain libc. */
static ssize_t raw_pread(int fd, void *out, size_t len, off_t offset)
{
    return syscall(SYS_pread64, fd, out, len, offset);
}

static void raw_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    (void)!syscall(SYS_pwrite64, fd, data, len, offset);
}

static bool path_of(int fd, char path[PATH_SIZE])
{
    char link[64];

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_SIZE - 1);
    path[n > 0 ? n : 0] = '\0';
    return strncmp(path, power.root, strlen(power.root)) == 0;
}

static struct change *note(enum kind kind)
{
    struct change *c = calloc(1, sizeof(*c));

    if (!c)
        abort();
    c->kind = kind;
    c->fd = -1;
    c->serial = ++power.serial;
    c->older = power.newest;
    power.newest = c;
    return c;
}

static void drop(struct change **at)
{
    struct change *c = *at;

    *at = c->older;
    if (c->kind != RENAMED && c->other)
        (void)syscall(SYS_unlinkat, AT_FDCWD, c->other, 0);
    free(c->before);
    free(c->path);
    free(c->other);
    free(c);
}

/* ---- files --------------------------------------------------------------- */

static int own_fd(int fd, const struct stat *st)
{
    char link[64];
    struct file *f = power.files;

    while (f && (f->dev != st->st_dev || f->ino != st->st_ino))
        f = f->next;
    if (f)
        return f->fd;
    f = calloc(1, sizeof(*f));
    if (!f)
        abort();
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    f->dev = st->st_dev;
    f->ino = st->st_ino;
    f->fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC, 0);
    f->next = power.files;
    power.files = f;
    return f->fd;
}

static bool is_synced_fd(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & (O_DSYNC | O_SYNC)) != 0;
}

static void change_begin(int fd, off_t offset, size_t len)
{
    char path[PATH_SIZE];
    struct stat st;

    if (!power.on)
        return;
    hold();
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || !path_of(fd, path)) {
        let_go();
        errno = before_errno;
        return;
    }
    if (offset < 0)
        offset = lseek(fd, 0, SEEK_CUR);
    pending = note(WRITTEN);
    pending->dev = st.st_dev;
    pending->ino = st.st_ino;
    pending->fd = own_fd(fd, &st);
    pending->offset = offset;
    pending->size = st.st_size;
    pending->len = len;
    pending->before = calloc(1, len + 1);
    if (!pending->before)
        abort();
    (void)raw_pread(pending->fd, pending->before, len, offset);
    errno = before_errno;
}

void power_write_begin(int fd, off_t offset, size_t len)
{
    change_begin(fd, offset, len);
}

void power_resize_begin(int fd, off_t size)
{
    struct stat st;
    size_t len = 0;

    if (!power.on)
        return;
    if (fstat(fd, &st) == 0 && st.st_size > size)
        len =
            st.st_size - size < CUT_MAX ? (size_t)(st.st_size - size) : CUT_MAX;
    change_begin(fd, size, len);
}

/* What was written through such a descriptor is durable at once: older notes
 * must not take it back. */
static void make_durable(const struct change *c)
{
    uint8_t *now = malloc(c->len + 1);
    struct stat st;

    if (!now || raw_pread(c->fd, now, c->len, c->offset) != (ssize_t)c->len ||
        fstat(c->fd, &st) != 0)
        abort();
    for (struct change *o = power.newest; o; o = o->older) {
        if (o == c || o->kind != WRITTEN || o->dev != c->dev ||
            o->ino != c->ino)
            continue;
        for (size_t i = 0; i < o->len; i++) {
            off_t at = o->offset + (off_t)i - c->offset;
            if (at >= 0 && at < (off_t)c->len)
                o->before[i] = now[at];
        }
        if (o->size < c->offset + (off_t)c->len)
            o->size = c->offset + (off_t)c->len;
    }
    free(now);
}

void power_change_end(int fd, bool written)
{
    int errnum = errno;

    if (!holding)
        return;
    if (written && is_synced_fd(fd) && pending->len > 0) {
        make_durable(pending);
        written = false;
    }
    if (!written)
        drop(&power.newest);
    pending = NULL;
    let_go();
    errno = errnum;
}

/* ---- syncs --------------------------------------------------------------- */

unsigned long power_sync_begin(void)
{
    unsigned long serial;

    if (!power.on)
        return 0;
    hold();
    serial = power.serial;
    let_go();
    errno = before_errno;
    return serial;
}

void power_sync_end(int fd, unsigned long begun, bool synced)
{
    struct stat st;
    int errnum = errno;

    if (!power.on || !synced)
        return;
    hold();
    if (fstat(fd, &st) == 0) {
        struct change **at = &power.newest;
        while (*at) {
            struct change *c = *at;
            if (c->serial <= begun && c->dev == st.st_dev &&
                c->ino == st.st_ino)
                drop(at);
            else
                at = &c->older;
        }
    }
    let_go();
    errno = errnum;
}

/* ---- names --------------------------------------------------------------- */

static bool absolute(int dir, const char *path, char out[PATH_SIZE])
{
    char base[PATH_SIZE] = "";

    if (path[0] == '/')
        (void)snprintf(out, PATH_SIZE, "%s", path);
    else if (dir == AT_FDCWD)
        return false;
    else if (path_of(dir, base) &&
             snprintf(out, PATH_SIZE, "%s/%s", base, path) >= PATH_SIZE)
        abort();
    else if (!base[0])
        return false;
    return strncmp(out, power.root, strlen(power.root)) == 0;
}

static void note_directory(struct change *c, const char *path)
{
    char parent[PATH_SIZE];
    struct stat st;

    (void)snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    if (stat(parent, &st) == 0) {
        c->dev = st.st_dev;
        c->ino = st.st_ino;
    }
    c->path = strdup(path);
}

#define ATTIC_SIZE (PATH_SIZE + 64)

static void attic_name(char name[ATTIC_SIZE])
{
    (void)snprintf(name, ATTIC_SIZE, "%s/%d-%lu", power.attic, getpid(),
                   ++power.kept);
}

void power_name_begin(void)
{
    if (power.on)
        hold();
    if (power.on)
        errno = before_errno;
}

void power_name_end(bool done)
{
    int errnum = errno;

    if (!power.on)
        return;
    if (pending && !done)
        drop(&power.newest);
    pending = NULL;
    let_go();
    errno = errnum;
}

void power_created(int dir, const char *path)
{
    char full[PATH_SIZE];

    if (power.on && absolute(dir, path, full))
        note_directory(note(CREATED), full);
}

/* Keeps the file that is about to lose its name. */
static struct change *keep(const char *full)
{
    char name[ATTIC_SIZE];

    attic_name(name);
    if (syscall(SYS_linkat, AT_FDCWD, full, AT_FDCWD, name, 0) != 0)
        return NULL;
    struct change *c = note(UNLINKED);
    note_directory(c, full);
    c->other = strdup(name);
    return c;
}

void power_unlink_begin(int dir, const char *path)
{
    char full[PATH_SIZE];

    power_name_begin();
    if (power.on && absolute(dir, path, full))
        pending = keep(full);
    if (power.on)
        errno = before_errno;
}

void power_renamed(int from_dir, const char *from, int to_dir, const char *to,
                   bool done)
{
    char old[PATH_SIZE];
    char new[PATH_SIZE];

    if (!power.on || !done || !absolute(from_dir, from, old) ||
        !absolute(to_dir, to, new))
        return;
    struct change *c = note(RENAMED);
    note_directory(c, new);
    c->other = strdup(old);
}

/* ---- the loss ------------------------------------------------------------ */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 29)) * UINT64_C(0xBF58476D1CE4E5B9);
    return x ^ (x >> 32);
}

static bool is_lost(ino_t ino, uint64_t what)
{
    return power.seed == 0 ||
           mix(mix(power.seed) ^ mix((uint64_t)ino) ^ what) % 2 == 0;
}

static void restore(const struct change *c)
{
    for (size_t done = 0; done < c->len;) {
        uint64_t at = (uint64_t)c->offset + done;
        size_t n = PAGE - at % PAGE;
        if (n > c->len - done)
            n = c->len - done;
        if (is_lost(c->ino, at / PAGE + 1))
            raw_pwrite(c->fd, c->before + done, n, (off_t)at);
        done += n;
    }
}

static void undo_name(const struct change *c)
{
    char name[ATTIC_SIZE];

    attic_name(name);
    if (c->kind == CREATED)
        (void)syscall(SYS_renameat2, AT_FDCWD, c->path, AT_FDCWD, name, 0);
    else if (c->kind == RENAMED)
        (void)syscall(SYS_renameat2, AT_FDCWD, c->path, AT_FDCWD, c->other, 0);
    else
        (void)syscall(SYS_linkat, AT_FDCWD, c->other, AT_FDCWD, c->path, 0);
}

static void lose(void)
{
    unsigned long names = 0;
    unsigned long lost;

    for (const struct change *c = power.newest; c; c = c->older)
        if (c->kind == WRITTEN)
            restore(c);
        else
            names++;
    /* The oldest change of a file has its durable size, so it comes last. */
    for (const struct change *c = power.newest; c; c = c->older)
        if (c->kind == WRITTEN && is_lost(c->ino, 0))
            (void)syscall(SYS_ftruncate, c->fd, c->size);
    lost = power.seed == 0 ? names : mix(power.seed ^ 1) % (names + 1);
    for (const struct change *c = power.newest; c && lost > 0; c = c->older) {
        if (c->kind == WRITTEN)
            continue;
        undo_name(c);
        lost--;
        /* A rename over a file is one change: that one has its name again. */
        if (c->kind == RENAMED && c->older && c->older->kind == UNLINKED &&
            strcmp(c->older->path, c->path) == 0) {
            c = c->older;
            undo_name(c);
        }
    }
}

/* A child does it while the process stands still: files shrink that other
 * threads have mapped, and they must see nothing of it. */
void power_fail(void)
{
    struct timespec pause_time = {.tv_nsec = 5000000};
    pid_t victim = getpid();

    /* Nobody changes or has synced anything from here on. */
    hold();
    /* Without the handlers that libraries have for a fork. */
    if (syscall(SYS_fork) == 0) {
        (void)syscall(SYS_kill, victim, SIGSTOP);
        (void)nanosleep(&pause_time, NULL);
        lose();
        (void)syscall(SYS_kill, victim, SIGKILL);
        _exit(0);
    }
    for (;;)
        (void)pause();
}
