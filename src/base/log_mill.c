/* The full files of a log: which go, and their compression, in a thread that
 * nobody waits for. */
#include "log_file.h"

#include "chorad/base/clock.h"
#include "chorad/base/mem.h"
#include "chorad/base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)
#define MS_NS UINT64_C(1000000)
#define WORD_NS UINT64_C(60000000000)
#define CHUNK 65536

/* One log is rotated in a process: a request that comes while the thread is at
 * work makes it look once more. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static bool running;
static char *wanted; /* a path, or NULL */
static struct log_rotation wanted_rotation;
static uint64_t next_word_ns; /* the thread's own */

static void complain(const char *msg, const char *path, int err)
{
    uint64_t now = clock_mono_ns();

    if (now < next_word_ns)
        return;
    next_word_ns = now + WORD_NS;
    log_warn(msg, LOG_STR("path", path), LOG_STR("error", err_text(err)));
}

/* Only the name goes: whoever still reads the file reads it to its end. */
static int remove_backup(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(NULL, errno, "%s", path);
    return 0;
}

/* ---- compression ---- */

/* 0 or an error; the end of the input ends it. */
static int pump(int in, gzFile out)
{
    char *chunk = mem_alloc(CHUNK);
    int err = 0;

    for (;;) {
        ssize_t n = read(in, chunk, CHUNK);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = err_errno(NULL, errno, "read");
        if (n <= 0)
            break;
        if (gzwrite(out, chunk, (unsigned)n) != (int)n) {
            err = ERR_IO;
            break;
        }
    }
    free(chunk);
    return err;
}

/* The copy is on disk before the file goes. */
static int write_gz(int in, int fd)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    gzFile out = own < 0 ? NULL : gzdopen(own, "wb");
    int err;

    if (out == NULL) {
        if (own >= 0)
            (void)close(own);
        return ERR_IO;
    }
    err = pump(in, out);
    if (gzclose(out) != Z_OK && err == 0)
        err = ERR_IO;
    if (err == 0 && fsync(fd) != 0)
        err = err_errno(NULL, errno, "fsync");
    return err;
}

static int compress_to(int in, const char *path)
{
    struct stat st;
    int err;
    int fd;

    if (fstat(in, &st) != 0)
        return err_errno(NULL, errno, "%s", path);
    /* What a process that ended left half done is written anew. */
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(NULL, errno, "%s", path);
    (void)fchmod(fd, st.st_mode & 0777);
    if (fchown(fd, st.st_uid, st.st_gid) != 0)
        errno = 0; /* then it is for the one who runs the server */
    err = write_gz(in, fd);
    (void)close(fd);
    if (err < 0)
        (void)unlink(path);
    return err;
}

static void compress_backup(const char *path)
{
    char *gz = mem_printf("%s.gz", path);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    int err = in < 0 ? err_errno(NULL, errno, "%s", path) : compress_to(in, gz);

    if (in >= 0)
        (void)close(in);
    if (err == 0)
        err = remove_backup(path);
    if (err < 0)
        complain("a full log file could not be compressed", path, err);
    free(gz);
}

/* ---- which go ---- */

static bool is_too_old(const struct log_backup *backup,
                       const struct log_rotation *rotation)
{
    int64_t now = (int64_t)(clock_wall_ns() / MS_NS);

    return rotation->max_age_days > 0 &&
           backup->time_ms < now - (int64_t)rotation->max_age_days * DAY_MS;
}

static void mill(const char *path, const struct log_rotation *rotation)
{
    struct log_backup *backups;
    uint64_t kept = 0;
    size_t n;
    int err = log_backups_list(path, rotation->local_time, &backups, &n);

    if (err < 0)
        complain("the full files of the log could not be listed", path, err);
    for (size_t i = 0; i < n; i++) {
        const struct log_backup *b = &backups[i];

        /* A file and its compressed copy are one backup. */
        if (i == 0 || b->time_ms != backups[i - 1].time_ms)
            kept++;
        if ((rotation->max_backups > 0 && kept > rotation->max_backups) ||
            is_too_old(b, rotation)) {
            err = remove_backup(b->path);
            if (err < 0)
                complain("a full log file could not be removed", b->path, err);
        } else if (rotation->compress && !b->compressed) {
            compress_backup(b->path);
        }
    }
    log_backups_free(backups, n);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    (void)arg;
    thread_stand_back();
    pthread_mutex_lock(&lock);
    while (wanted != NULL) {
        char *path = wanted;
        struct log_rotation rotation = wanted_rotation;

        wanted = NULL;
        pthread_mutex_unlock(&lock);
        mill(path, &rotation);
        free(path);
        pthread_mutex_lock(&lock);
    }
    running = false;
    pthread_cond_broadcast(&idle);
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* Signals are for the threads that wait for them. */
static bool start_thread(void)
{
    pthread_t thread;
    sigset_t all;
    sigset_t old;
    bool started;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    started = pthread_create(&thread, NULL, run, NULL) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (started)
        (void)pthread_detach(thread);
    return started;
}

void log_mill_start(const char *path, const struct log_rotation *rotation)
{
    if (rotation->max_backups == 0 && rotation->max_age_days == 0 &&
        !rotation->compress)
        return;
    pthread_mutex_lock(&lock);
    free(wanted);
    wanted = mem_strdup(path);
    wanted_rotation = *rotation;
    /* Without a thread the next rotation tries again. */
    if (!running)
        running = start_thread();
    pthread_mutex_unlock(&lock);
}

void log_mill_wait(void)
{
    pthread_mutex_lock(&lock);
    while (running)
        pthread_cond_wait(&idle, &lock);
    pthread_mutex_unlock(&lock);
}
