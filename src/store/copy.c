/* The compact copy of the file, made at a pace that leaves disk and processor
 * to others: the raft log waits for the disk with every write. On one thread
 * LMDB writes into a pipe; another carries on from there in small pieces and
 * past the page cache, so that nothing piles up for a sync to wait for. */
#include "internal.h"

#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/thread.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)64 << 10)
#define BLOCK_BYTES ((size_t)4096)
/* With so much queued behind the copy there are no pauses any more: it is
 * memory, and the node takes no proposals once there is very much of it. */
#define HURRY_BYTES ((uint64_t)64 << 20)
#define SAY_EVERY_NS ((uint64_t)5 * 1000000000u)

struct copy {
    struct store *store;
    int pipe[2];
    int out;
    bool direct;
    uint8_t *piece;
    uint64_t at;
    uint64_t expected; /* about as long as it will be */
    uint64_t said_ns;
    int read_rc; /* LMDB's */
    int err;
    struct errmsg msg;
};

static void *read_store(void *arg)
{
    struct copy *c = arg;

    thread_stand_back();
    c->read_rc =
        mdb_env_copyfd2(c->store->env->mdb, c->pipe[1], MDB_CP_COMPACT);
    close(c->pipe[1]);
    return NULL;
}

/* A whole piece, less at the end only. */
static int fill_piece(struct copy *c, size_t *len)
{
    *len = 0;
    while (*len < PIECE_BYTES) {
        ssize_t n = read(c->pipe[0], c->piece + *len, PIECE_BYTES - *len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(&c->msg, errno, "read the copy");
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    return 0;
}

static void set_direct(struct copy *c, bool direct)
{
    int flags = fcntl(c->out, F_GETFL);
    int wanted = direct ? flags | O_DIRECT : flags & ~O_DIRECT;

    c->direct = flags >= 0 && fcntl(c->out, F_SETFL, wanted) == 0 && direct;
}

static int write_piece(struct copy *c, size_t len)
{
    size_t done = 0;

    if (len % BLOCK_BYTES != 0 && c->direct)
        set_direct(c, false);
    while (done < len) {
        ssize_t n =
            pwrite(c->out, c->piece + done, len - done, (off_t)(c->at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL && c->direct) {
            /* The device's blocks are larger than ours. */
            set_direct(c, false);
            continue;
        }
        if (n < 0)
            return err_errno(&c->msg, errno, "write");
        done += (size_t)n;
    }
    /* Errors of this show at the file's sync. */
    if (!c->direct && !c->store->config.no_sync)
        (void)sync_file_range(c->out, (off_t)c->at, (off_t)len,
                              SYNC_FILE_RANGE_WRITE |
                                  SYNC_FILE_RANGE_WAIT_AFTER);
    c->at += len;
    return 0;
}

/* As long as the piece took the disk is left alone. */
static void keep_pace(const struct copy *c, uint64_t took_ns)
{
    struct timespec ts = {
        .tv_sec = (time_t)(took_ns / 1000000000u),
        .tv_nsec = (long)(took_ns % 1000000000u),
    };

    if (!c->store->config.no_sync &&
        store_pending_bytes(c->store) < HURRY_BYTES)
        (void)nanosleep(&ts, NULL);
}

static void say(struct copy *c, uint64_t now_ns)
{
    uint64_t all = c->expected > c->at ? c->expected : c->at;

    if (now_ns - c->said_ns < SAY_EVERY_NS)
        return;
    c->said_ns = now_ns;
    log_info("defragmenting", LOG_STR("path", c->store->dir),
             LOG_U64("copied-bytes", c->at), LOG_U64("of-bytes", all),
             LOG_U64("percent", all == 0 ? 100 : c->at * 100 / all));
}

static void *carry(void *arg)
{
    struct copy *c = arg;
    size_t len = PIECE_BYTES;

    thread_stand_back();
    while (c->err == 0 && len == PIECE_BYTES) {
        uint64_t began;
        uint64_t now;

        c->err = fill_piece(c, &len);
        began = clock_mono_ns();
        if (c->err == 0 && len > 0)
            c->err = write_piece(c, len);
        now = clock_mono_ns();
        if (c->err == 0 && len == PIECE_BYTES)
            keep_pace(c, now - began);
        say(c, now);
    }
    /* After an error this ends LMDB's writing as well. */
    close(c->pipe[0]);
    return NULL;
}

/* Blocks for all of it, so that a disk without the room is found now. */
static int allocate(struct copy *c)
{
    if (c->expected == 0 || fallocate(c->out, 0, 0, (off_t)c->expected) == 0 ||
        errno == EOPNOTSUPP || errno == ENOSYS)
        return 0;
    return err_errno(&c->msg, errno, "allocate %llu bytes",
                     (unsigned long long)c->expected);
}

static int start_thread(struct copy *c, pthread_t *thread,
                        void *(*run)(void *arg), const char *name)
{
    int rc = pthread_create(thread, NULL, run, c);

    if (rc != 0)
        return err_errno(&c->msg, rc, "start a thread");
    (void)pthread_setname_np(*thread, name);
    return 0;
}

/* Both threads end when either does: the pipe breaks. */
static int run_threads(struct copy *c)
{
    pthread_t reader;
    pthread_t carrier;
    int err;

    if (pipe2(c->pipe, O_CLOEXEC) != 0)
        return err_errno(&c->msg, errno, "make a pipe");
    err = start_thread(c, &reader, read_store, "defrag-read");
    if (err != 0) {
        close(c->pipe[0]);
        close(c->pipe[1]);
        return err;
    }
    err = start_thread(c, &carrier, carry, "defrag-write");
    if (err != 0)
        close(c->pipe[0]);
    else
        pthread_join(carrier, NULL);
    pthread_join(reader, NULL);
    if (err == 0)
        err = c->err;
    return err != 0 ? err : store_err(&c->msg, c->read_rc, "copy the store");
}

static int copy_to(struct copy *c)
{
    int err = allocate(c);

    if (err != 0)
        return err;
    set_direct(c, true);
    c->piece = aligned_alloc(BLOCK_BYTES, PIECE_BYTES);
    if (c->piece == NULL)
        return err_set(&c->msg, ERR_NOMEM, "no memory");
    err = run_threads(c);
    free(c->piece);
    if (err == 0 && ftruncate(c->out, (off_t)c->at) != 0)
        err = err_errno(&c->msg, errno, "truncate");
    if (err == 0 && !c->store->config.no_sync && fsync(c->out) != 0)
        err = err_errno(&c->msg, errno, "sync");
    return err;
}

int store_copy(struct store *store, const char *path, uint64_t expected,
               struct errmsg *msg)
{
    struct copy c = {
        .store = store,
        .expected = expected,
        .said_ns = clock_mono_ns(),
    };
    int err;

    c.out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (c.out < 0)
        return err_errno(msg, errno, "%s", path);
    err = copy_to(&c);
    if (err != 0)
        err = err_set(msg, err, "%s: %s", path, c.msg.text);
    if (close(c.out) != 0 && err == 0)
        err = err_errno(msg, errno, "%s", path);
    return err;
}
