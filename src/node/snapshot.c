/* Taking the log back: a snapshot is a point of the log that the store has on
 * disk; the record in the log says that nothing before it is needed to start
 * again. */
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "node.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what isn't needed any more ---- */

struct purge {
    struct node_work work;
    struct node *node;
    uint64_t index;
};

/* Images from a leader which a crash has left behind. */
static void purge_images(const struct node *node, uint64_t before)
{
    DIR *dir = opendir(node->snap_dir);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir)) != NULL) {
        uint64_t index;
        char rest[16];

        if (sscanf(entry->d_name, "%16" SCNx64 "%15s", &index, rest) == 2 &&
            strcmp(rest, ".snap.db") == 0 && index < before &&
            unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            log_warn("failed to remove an old snapshot",
                     LOG_STR("path", entry->d_name),
                     LOG_STR("error", strerror(errno)));
    }
    if (dir)
        CHECK(closedir(dir) == 0);
}

/* A worker: the file system frees the blocks at once. */
static void purge(struct node_work *work)
{
    const struct purge *p = container_of(work, struct purge, work);
    struct errmsg msg;

    if (wal_purge(p->node->wal, p->node->config.max_wals, &msg) < 0)
        log_warn("failed to remove old log segments",
                 LOG_STR("error", msg.text));
    purge_images(p->node, p->index);
}

static void purged(struct node_work *work)
{
    free(container_of(work, struct purge, work));
}

void node_release_log(struct node *node, uint64_t index)
{
    struct purge *p = mem_zalloc(sizeof(*p));

    wal_release(node->wal, index);
    p->node = node;
    p->index = index;
    p->work.run = purge;
    p->work.done = purged;
    node_work(node, &p->work);
}

/* ---- the record ---- */

struct snapshot_job {
    struct node *node;
    struct node_task task;
    struct wal_job wal;
    struct raft_snapshot *snapshot;
    struct raft_hard_state hard_state;
    int err;
};

static void snapshot_end(struct snapshot_job *job)
{
    job->node->snapshot_under_way = false;
    job->node->works--;
    raft_snapshot_unref(job->snapshot);
    free(job);
}

/* The loop: the record is durable. */
static void snapshot_recorded(struct node_task *task)
{
    struct snapshot_job *job = container_of(task, struct snapshot_job, task);
    struct node *node = job->node;
    uint64_t index = job->snapshot->index;

    if (job->err == 0 && !node->failed && node->wal) {
        node->snapshot_index = index;
        node_release_log(node, index);
        log_info("saved snapshot to the log", LOG_U64("snapshot-index", index));
    }
    snapshot_end(job);
}

/* The log's thread. */
static void snapshot_written(struct wal_job *wal, int err,
                             const struct errmsg *msg)
{
    struct snapshot_job *job = container_of(wal, struct snapshot_job, wal);

    job->err = err;
    if (err < 0)
        node_fail(job->node, "writing the log", msg->text);
    job->task.run = snapshot_recorded;
    node_run(job->node, &job->task);
}

/* The loop: all that was applied when it began is on disk. */
static void snapshot_flushed(struct node_task *task)
{
    struct snapshot_job *job = container_of(task, struct snapshot_job, task);
    struct node *node = job->node;
    uint64_t index = store_flushed_index(node->store);
    struct raft_status status;
    uint64_t term;

    if (job->err < 0 || node->stopping || node->failed || node->replacing ||
        index <= node->snapshot_index || index < node->conf_index ||
        raft_term_at(node->raft, index, &term) < 0) {
        snapshot_end(job);
        return;
    }
    raft_status(node->raft, &status);
    job->snapshot = raft_snapshot_new(index, term, &node->conf, NULL);
    job->hard_state =
        (struct raft_hard_state){status.term, status.vote, status.commit};
    job->wal.batch.snapshot = job->snapshot;
    job->wal.batch.hard_state = &job->hard_state;
    job->wal.must_sync = true;
    job->wal.done = snapshot_written;
    wal_writer_submit(node->writer, &job->wal);
}

/* The store's thread. */
static void flush_done(void *arg, int err)
{
    struct snapshot_job *job = arg;

    job->err = err;
    job->task.run = snapshot_flushed;
    node_run(job->node, &job->task);
}

/* Memory for entries that nobody needs is given back in steps. */
#define COMPACT_STEP 256

/* Whoever needs older entries is sent a snapshot, in the place of this one, by
 * snapshot_send.c. */
static void set_snapshot(struct node *node)
{
    raft_set_snapshot(node->raft,
                      raft_snapshot_new(node->applied, node->applied_term,
                                        &node->conf, NULL));
}

static void compact_memory(struct node *node)
{
    uint64_t keep = node->config.catchup_entries;
    uint64_t first = raft_first_index(node->raft);

    /* The term of the flushed index has to stay known for the snapshot. */
    uint64_t upto = store_flushed_index(node->store);
    if (upto > node->applied)
        upto = node->applied;
    if (upto <= keep || upto - keep < first + COMPACT_STEP ||
        node_snapshot_holds(node))
        return;
    set_snapshot(node);
    (void)raft_compact(node->raft, upto - keep);
}

void node_maybe_snapshot(struct node *node)
{
    struct snapshot_job *job;

    if (node->stopping || node->failed || node->replacing)
        return;
    compact_memory(node);
    if (node->snapshot_under_way ||
        node->applied - node->snapshot_index < node->config.snapshot_count)
        return;
    job = mem_zalloc(sizeof(*job));
    job->node = node;
    node->snapshot_under_way = true;
    node->works++;
    store_flush(node->store, flush_done, job);
}
