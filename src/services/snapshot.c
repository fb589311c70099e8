/* The stream of a snapshot: pieces from its maker to the client. */
#include "snapshot.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/pb.h"
#include "chorad/base/size.h"
#include "chorad/base/thread.h"

#include <stdlib.h>
#include <time.h>

/* etcdserverpb.SnapshotResponse (proto/rpc_maintenance.proto). */
enum { RESPONSE_REMAINING = 2, RESPONSE_BLOB = 3, RESPONSE_VERSION = 4 };

/* ---- all of them ----------------------------------------------------------
 */

void snapshots_open(struct services *services)
{
    CHECK(pthread_mutex_init(&services->snapshots_lock, NULL) == 0);
    CHECK(pthread_cond_init(&services->snapshots_ended, NULL) == 0);
    services->snapshot_took = metric_histogram_exp(
        "etcd_disk_backend_snapshot_duration_seconds",
        "Time a snapshot of the store takes.", 0.01, 2, 17, NULL, 0);
}

void snapshots_close(struct services *services)
{
    pthread_mutex_lock(&services->snapshots_lock);
    while (services->snapshots > 0)
        pthread_cond_wait(&services->snapshots_ended,
                          &services->snapshots_lock);
    pthread_mutex_unlock(&services->snapshots_lock);
    pthread_cond_destroy(&services->snapshots_ended);
    pthread_mutex_destroy(&services->snapshots_lock);
}

/* ---- its memory -----------------------------------------------------------
 */

static struct snapshot *new_snapshot(struct rpc_call *call)
{
    struct snapshot *s = mem_zalloc(sizeof(*s));
    pthread_condattr_t attr;

    s->services = services_of(call);
    s->shard = call->shard;
    s->call = call;
    s->refs = 1;
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attr) == 0);
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&s->changed, &attr) == 0);
    pthread_condattr_destroy(&attr);
    return s;
}

static void free_snapshot(struct snapshot *s)
{
    for (; s->n > 0; s->n--, s->first++)
        shared_unref(s->pieces[s->first % SNAPSHOT_WAITING].blob);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Lets go of the lock and of one reference. */
static void unlock_unref(struct snapshot *s)
{
    bool last = --s->refs == 0;

    pthread_mutex_unlock(&s->lock);
    if (last)
        free_snapshot(s);
}

/* ---- the maker's side ------------------------------------------------------
 */

/* With the lock held. After `over` nothing is posted, so that the shard may
 * be gone then. */
static void post_turn(struct snapshot *s)
{
    if (s->posted || s->over)
        return;
    s->posted = true;
    s->refs++;
    rpc_post(s->shard, &s->turn);
}

int snapshot_give(struct snapshot *s, struct shared *blob, uint64_t remaining)
{
    uint64_t until_ns = clock_mono_ns() + SNAPSHOT_STALL_NS;
    struct timespec until = {(time_t)(until_ns / 1000000000),
                             (long)(until_ns % 1000000000)};
    int err = 0;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    while (s->n == SNAPSHOT_WAITING && !s->over && rc == 0)
        rc = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    if (s->over) {
        err = ERR_CANCELED;
    } else if (s->n == SNAPSHOT_WAITING) {
        err = ERR_TIMEOUT;
    } else {
        s->pieces[(s->first + s->n++) % SNAPSHOT_WAITING] =
            (struct snapshot_piece){blob, remaining};
        post_turn(s);
    }
    pthread_mutex_unlock(&s->lock);
    if (err != 0)
        shared_unref(blob);
    return err;
}

/* The flush thread, perhaps long after everybody else has left. */
static void on_flushed(void *arg, int err)
{
    struct snapshot *s = arg;

    pthread_mutex_lock(&s->lock);
    s->flushed = true;
    s->flush_err = err;
    pthread_cond_broadcast(&s->changed);
    unlock_unref(s);
}

int snapshot_wait_flush(struct snapshot *s)
{
    int err;

    pthread_mutex_lock(&s->lock);
    s->refs++;
    pthread_mutex_unlock(&s->lock);
    store_flush(node_store(s->services->node), on_flushed, s);
    pthread_mutex_lock(&s->lock);
    while (!s->flushed && !s->over)
        pthread_cond_wait(&s->changed, &s->lock);
    err = s->over ? ERR_CANCELED : s->flush_err;
    pthread_mutex_unlock(&s->lock);
    return err;
}

static void *run_maker(void *arg)
{
    struct snapshot *s = arg;
    struct services *services = s->services;
    int err;

    (void)pthread_setname_np(pthread_self(), "snapshot");
    thread_stand_back();
    err = snapshot_make(s);
    if (err != 0 && err != ERR_CANCELED)
        log_warn("failed to send database snapshot to client",
                 LOG_STR("error", err == ERR_TIMEOUT
                                      ? "the client takes nothing"
                                      : err_text(err)));
    pthread_mutex_lock(&s->lock);
    s->made = true;
    s->err = err;
    post_turn(s);
    unlock_unref(s);
    pthread_mutex_lock(&services->snapshots_lock);
    services->snapshots--;
    pthread_cond_broadcast(&services->snapshots_ended);
    pthread_mutex_unlock(&services->snapshots_lock);
    return NULL;
}

static int start_maker(struct snapshot *s)
{
    struct services *services = s->services;
    pthread_attr_t attr;
    pthread_t thread;
    int err = ERR_TOO_MANY_REQUESTS;

    CHECK(pthread_attr_init(&attr) == 0);
    CHECK(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
    pthread_mutex_lock(&services->snapshots_lock);
    s->refs++;
    if (services->snapshots < SNAPSHOTS_MAX &&
        pthread_create(&thread, &attr, run_maker, s) == 0) {
        services->snapshots++;
        err = 0;
    } else {
        s->refs--;
    }
    pthread_mutex_unlock(&services->snapshots_lock);
    pthread_attr_destroy(&attr);
    return err;
}

/* ---- the shard's side ------------------------------------------------------
 */

static void send_piece(struct snapshot *s, const struct snapshot_piece *piece)
{
    struct bytes version = bytes_of(s->version, strlen(s->version));
    struct rpc_piece parts[3];
    uint8_t head[24];
    uint8_t tail[SNAPSHOT_VERSION_MAX + 4];
    uint8_t *end = pb_put_u64(head, RESPONSE_REMAINING, piece->remaining);

    end = pb_put_len(end, RESPONSE_BLOB, piece->blob->len);
    parts[0] = (struct rpc_piece){bytes_of(head, (size_t)(end - head)), NULL};
    parts[1] = (struct rpc_piece){bytes_of(piece->blob->data, piece->blob->len),
                                  piece->blob};
    end = pb_put_bytes(tail, RESPONSE_VERSION, version);
    parts[2] = (struct rpc_piece){bytes_of(tail, (size_t)(end - tail)), NULL};
    rpc_send(s->call, parts, 3);
    shared_unref(piece->blob);
}

static bool is_full(const struct rpc_call *call)
{
    return rpc_queued_bytes(call) >= RPC_DRAIN_BYTES ||
           rpc_queued_messages(call) >= RPC_DRAIN_MESSAGES;
}

static bool take_piece(struct snapshot *s, struct snapshot_piece *piece)
{
    bool there;

    pthread_mutex_lock(&s->lock);
    there = s->n > 0;
    if (there) {
        *piece = s->pieces[s->first];
        s->first = (s->first + 1) % SNAPSHOT_WAITING;
        s->n--;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return there;
}

static void log_sent(const struct snapshot *s)
{
    char *size = size_text(s->total);
    uint64_t took_ns = clock_mono_ns() - s->began_ns;

    log_info("successfully sent database snapshot to client",
             LOG_U64("total-bytes", s->total), LOG_STR("size", size),
             LOG_NS("took", took_ns), LOG_STR("storage-version", s->version));
    free(size);
    metric_observe(s->services->snapshot_took, (double)took_ns / 1e9);
}

static void finish(struct snapshot *s, int err)
{
    s->finished = true;
    if (err == 0)
        log_sent(s);
    rpc_finish(s->call, err);
}

/* Sends what there is and the client has room for. A failure doesn't wait for
 * that room. */
static void pump(struct snapshot *s)
{
    struct snapshot_piece piece;
    bool made;
    int err;

    /* Looked at first: what was made before is there. */
    pthread_mutex_lock(&s->lock);
    made = s->made;
    err = s->err;
    pthread_mutex_unlock(&s->lock);
    if (made && err != 0) {
        finish(s, err);
        return;
    }
    while (!is_full(s->call) && take_piece(s, &piece))
        send_piece(s, &piece);
    if (made && !is_full(s->call))
        finish(s, 0);
}

static void run_turn(struct rpc_task *task)
{
    struct snapshot *s = container_of(task, struct snapshot, turn);

    pthread_mutex_lock(&s->lock);
    s->posted = false;
    pthread_mutex_unlock(&s->lock);
    if (!s->over && !s->finished)
        pump(s);
    pthread_mutex_lock(&s->lock);
    unlock_unref(s);
}

void snapshot_open(struct rpc_call *call)
{
    struct snapshot *s = new_snapshot(call);
    int err;

    call->state = s;
    s->turn.run = run_turn;
    if (service_unpack(call, &etcdserverpb__snapshot_request__descriptor) ==
            NULL ||
        !access_all(call, &s->access))
        return;
    err = start_maker(s);
    if (err != 0)
        rpc_finish(call, err);
}

void snapshot_drained(struct rpc_call *call)
{
    pump(call->state);
}

void snapshot_done(struct rpc_call *call)
{
    struct snapshot *s = call->state;

    pthread_mutex_lock(&s->lock);
    s->over = true;
    s->call = NULL;
    pthread_cond_broadcast(&s->changed);
    unlock_unref(s);
}
