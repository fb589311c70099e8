#include "download.h"
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/base/size.h"
#include "visit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Bytes that are written by one job, and twice as many that may wait. */
#define BATCH ((size_t)512 << 10)

struct download {
    struct peers *peers;
    uint64_t sender;
    const struct download_events *events; /* NULL: cancelled */
    void *arg;

    struct frame_reader head;
    bool has_message;
    struct raft_message message;
    struct snapshot_metrics metrics;
    uint64_t started_ns;
    uint64_t bytes;

    struct buf filling;
    bool holding;
    bool whole; /* the last byte has come */

    /* The job's, while it runs. */
    uv_work_t work;
    bool working;
    bool syncing;
    struct buf writing;
    int fd;
    char *tmp;  /* NULL: nothing to be removed */
    char *path; /* of what is whole */
    int err;
    struct errmsg msg;
    uint64_t sync_ns;
    /* Orders what the worker has written before what the loop reads, for
     * tools that can't see into libuv. */
    atomic_uint handed;
};

/* ---- the worker's part --------------------------------------------------- */

static int open_tmp(struct download *d)
{
    int rc = file_make_dirs(d->peers->snap_dir, &d->msg);

    if (rc < 0)
        return rc;
    d->tmp = mem_printf("%s/tmpXXXXXX", d->peers->snap_dir);
    d->fd = mkostemp(d->tmp, O_CLOEXEC);
    if (d->fd < 0) {
        rc = err_errno(&d->msg, errno, "create %s", d->tmp);
        free(d->tmp);
        d->tmp = NULL;
        return rc;
    }
    return 0;
}

static int make_durable(struct download *d)
{
    uint64_t before = clock_mono_ns();

    if (fdatasync(d->fd) != 0)
        return err_errno(&d->msg, errno, "fsync %s", d->tmp);
    d->sync_ns = clock_mono_ns() - before;
    d->path = d->tmp;
    d->tmp = NULL;
    return 0;
}

static void remove_tmp(struct download *d)
{
    if (d->fd >= 0)
        (void)close(d->fd);
    d->fd = -1;
    if (d->tmp)
        (void)unlink(d->tmp);
    free(d->tmp);
    d->tmp = NULL;
}

static void on_work(uv_work_t *work)
{
    struct download *d = work->data;
    int rc = 0;

    (void)atomic_load_explicit(&d->handed, memory_order_acquire);
    if (d->fd < 0)
        rc = open_tmp(d);
    if (rc == 0 && d->writing.len > 0)
        rc = file_write_all(d->fd, d->writing.data, d->writing.len, &d->msg);
    if (rc == 0 && d->syncing)
        rc = make_durable(d);
    if (rc < 0 || d->syncing)
        remove_tmp(d);
    d->err = rc;
    atomic_fetch_add_explicit(&d->handed, 1, memory_order_release);
}

static void on_remove(uv_work_t *work)
{
    struct download *d = work->data;

    (void)atomic_load_explicit(&d->handed, memory_order_acquire);
    remove_tmp(d);
    atomic_fetch_add_explicit(&d->handed, 1, memory_order_release);
}

/* ---- the loop's part ----------------------------------------------------- */

static void free_download(struct download *d)
{
    struct peers *peers = d->peers;

    if (d->has_message)
        metric_add(d->metrics.inflight, -1);
    frame_reader_close(&d->head);
    raft_message_close(&d->message);
    buf_close(&d->filling);
    buf_close(&d->writing);
    free(d->path);
    free(d);
    peers->download_count--;
    net_handle_closed(&peers->net);
}

static void tell_saved(const struct download *d)
{
    char *size = size_text(d->bytes);
    struct metric_histogram *sync = metric_histogram_exp(
        "etcd_snap_db_fsync_duration_seconds",
        "How long syncing a received database took.", 0.001, 2, 14, NULL, 0);
    struct metric_histogram *save = metric_histogram_exp(
        "etcd_snap_db_save_total_duration_seconds",
        "How long saving a received database took.", 0.1, 2, 10, NULL, 0);
    double took = (double)(clock_mono_ns() - d->started_ns) / 1e9;

    metric_observe(sync, (double)d->sync_ns / 1e9);
    metric_observe(save, took);
    metric_inc(d->metrics.success);
    metric_observe(d->metrics.seconds, took);
    log_info("received and saved database snapshot",
             LOG_HEX("remote-snapshot-sender-id", d->message.from),
             LOG_U64("incoming-snapshot-index", d->message.snapshot->index),
             LOG_U64("incoming-snapshot-size-bytes", d->bytes),
             LOG_STR("incoming-snapshot-size", size), LOG_STR("path", d->path),
             LOG_NS("download-took", clock_mono_ns() - d->started_ns));
    free(size);
}

static void finish(struct download *d)
{
    const struct download_events *events = d->events;

    d->events = NULL;
    if (d->err == 0) {
        tell_saved(d);
    } else {
        metric_inc(d->metrics.failures);
        log_warn("failed to save incoming database snapshot",
                 LOG_HEX("remote-snapshot-sender-id", d->message.from),
                 LOG_U64("incoming-snapshot-index", d->message.snapshot->index),
                 LOG_STR("error", d->msg.text));
    }
    events->done(d->arg, d->err, d->msg.text, &d->message, d->path);
    free_download(d);
}

static void on_worked(uv_work_t *work, int status);

static void queue(struct download *d, void (*job)(uv_work_t *work))
{
    int rc;

    d->working = true;
    d->work.data = d;
    atomic_fetch_add_explicit(&d->handed, 1, memory_order_release);
    rc = uv_queue_work(d->peers->net.loop, &d->work, job, on_worked);
    CHECK(rc == 0);
}

/* Closing and removing a large file takes its time. */
static void discard(struct download *d)
{
    if (d->tmp)
        queue(d, on_remove);
    else
        free_download(d);
}

static void work_on(struct download *d);

static void on_worked(uv_work_t *work, int status)
{
    struct download *d = work->data;

    (void)status;
    (void)atomic_load_explicit(&d->handed, memory_order_acquire);
    d->working = false;
    if (!d->events) {
        if (d->path != NULL) {
            d->tmp = d->path;
            d->path = NULL;
        }
        discard(d);
        return;
    }
    if (d->err < 0 || d->syncing) {
        finish(d);
        return;
    }
    work_on(d);
}

/* Gives the worker what has come; lets more come where there is room. */
static void work_on(struct download *d)
{
    struct buf empty = d->writing;

    if (d->working || (!d->whole && d->filling.len < BATCH))
        return;
    empty.len = 0;
    d->writing = d->filling;
    d->filling = empty;
    d->syncing = d->whole;
    queue(d, on_work);
    if (d->holding) {
        d->holding = false;
        d->events->hold(d->arg, false);
    }
}

static int on_message(void *arg, const struct raft_message *message)
{
    struct download *d = arg;

    d->message = raft_message_copy(message);
    d->has_message = true;
    return 1;
}

static unsigned check_message(struct download *d, const char **text)
{
    struct peers *peers = d->peers;
    const struct raft_message *m = &d->message;
    bool known = peers_find_member(peers, m->from) != NULL;
    uint64_t sender = d->sender != RAFT_NONE ? d->sender : m->from;
    uint64_t index = m->snapshot ? m->snapshot->index : 0;
    const char *why;

    metrics_of_receiving(&d->metrics, known ? m->from : RAFT_NONE);
    metric_add(d->metrics.inflight, 1);
    *text = NULL;
    if (m->type != RAFT_MSG_SNAP || index == 0) {
        *text = "wrong raft message type";
        return 400;
    }
    if (peers->config.is_removed(peers->config.arg, m->from)) {
        *text = VISIT_FROM_REMOVED;
        return 403;
    }
    if (m->to != peers->self.member_id) {
        *text = "cannot process message to mismatch member";
        return 500;
    }
    why = peers_wrong_sender(peers, sender, m);
    if (why == NULL && peers->config.snapshot_announced)
        why = peers->config.snapshot_announced(peers->config.arg, m);
    if (why != NULL) {
        peers_refused(peers, why, sender, m, "");
        *text = "no member sends such a message";
        return 400;
    }
    log_info("receiving database snapshot",
             LOG_HEX("remote-snapshot-sender-id", m->from),
             LOG_U64("incoming-snapshot-index", index));
    return 0;
}

static unsigned take_head(struct download *d, struct bytes *in,
                          const char **text)
{
    size_t used;
    int rc = frame_read(&d->head, *in, &used, on_message, d);

    *in = bytes_of(in->data + used, in->len - used);
    if (rc < 0) {
        peers_refused(d->peers, "no-message", d->sender, NULL, "a snapshot's");
        *text = "failed to decode raft message";
        return 400;
    }
    return d->has_message ? check_message(d, text) : 0;
}

unsigned download_take(struct download *d, struct bytes in, const char **text)
{
    if (!d->has_message) {
        unsigned status = take_head(d, &in, text);
        if (status != 0 || !d->has_message)
            return status;
    }
    buf_append(&d->filling, in.data, in.len);
    d->bytes += in.len;
    work_on(d);
    if (d->working && d->filling.len >= BATCH && !d->holding) {
        d->holding = true;
        d->events->hold(d->arg, true);
    }
    return 0;
}

unsigned download_finish(struct download *d, const char **text)
{
    if (!d->has_message) {
        *text = "failed to decode raft message (unexpected EOF)";
        return 400;
    }
    d->whole = true;
    work_on(d);
    return 0;
}

struct download *download_start(struct peers *peers, uint64_t sender,
                                const struct download_events *events, void *arg)
{
    struct download *d = mem_zalloc(sizeof(*d));

    d->peers = peers;
    d->sender = sender;
    d->events = events;
    d->arg = arg;
    d->fd = -1;
    d->started_ns = clock_mono_ns();
    frame_reader_init(&d->head, FRAME_MESSAGE, 0, 0);
    d->head.max = FRAME_SNAPSHOT_MAX;
    peers->download_count++;
    net_handle_opened(&peers->net);
    return d;
}

void download_cancel(struct download *d)
{
    d->events = NULL;
    if (d->has_message && d->metrics.failures)
        metric_inc(d->metrics.failures);
    if (!d->working)
        discard(d);
}

void downloads_clean(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    struct errmsg msg;

    if (!d)
        return;
    while ((entry = readdir(d)) != NULL) {
        if (strncmp(entry->d_name, "tmp", 3) != 0)
            continue;
        char *path = mem_printf("%s/%s", dir, entry->d_name);
        if (file_remove_tree(path, &msg) < 0)
            log_warn("failed to remove a leftover", LOG_STR("path", path),
                     LOG_STR("error", msg.text));
        free(path);
    }
    (void)closedir(d);
}
