#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/turn.h"
#include "node.h"
#include <stdlib.h>

/* ---- the log ---- */

/* The log's thread. */
static void append_written(struct wal_job *wal, int err,
                           const struct errmsg *msg)
{
    struct append_job *job = container_of(wal, struct append_job, wal);
    struct node *node = job->node;

    if (err < 0)
        node_fail(node, "writing the log", msg->text);
    job->wal.arg = err < 0 ? node : NULL;
    if (queue_push(&node->appended, &job->back))
        node_wake(node);
}

static bool only_commit(const struct raft_append *append)
{
    return append->entry_count == 0 && !append->snapshot && !append->must_sync;
}

static void submit(struct node *node, struct raft_append *append)
{
    struct append_job *job = mem_zalloc(sizeof(*job));

    job->node = node;
    job->append = append;
    if (only_commit(append)) {
        struct append_job **at = node->last_append ? &node->last_append->riders
                                                   : &node->idle_appends;
        while (*at)
            at = &(*at)->next_rider;
        *at = job;
        return;
    }
    job->wal.batch.snapshot = append->snapshot;
    job->wal.batch.entries = append->entries;
    job->wal.batch.entry_count = append->entry_count;
    if (append->has_hard_state)
        job->wal.batch.hard_state = &append->hard_state;
    /* Responses speak of what was appended before as well: jobs are done in
     * order. */
    job->wal.must_sync = append->must_sync || append->snapshot != NULL;
    if (append->snapshot)
        node->replacing = true;
    job->wal.done = append_written;
    node->last_append = job;
    node_set_batching(node);
    wal_writer_submit(node->writer, &job->wal);
}

static void finish_append(struct node *node, struct append_job *job,
                          bool failed)
{
    struct append_job *rider = job->riders;

    if (node->last_append == job)
        node->last_append = NULL;
    if (failed || node->failed || !node->raft)
        raft_append_close(job->append);
    else
        raft_append_done(node->raft, job->append);
    free(job);
    while (rider) {
        struct append_job *next = rider->next_rider;
        finish_append(node, rider, failed);
        rider = next;
    }
}

static void finish_idle_appends(struct node *node)
{
    while (node->idle_appends) {
        struct append_job *job = node->idle_appends;
        node->idle_appends = job->next_rider;
        finish_append(node, job, false);
    }
}

/* Appends are given back in order: those behind a snapshot that is being
 * installed wait. */
static void take_back(struct node *node, struct append_job *job)
{
    /* Without the transport the member is about to close. */
    bool failed = job->wal.arg != NULL || node->peers == NULL;

    if (node->installing) {
        job->next_rider = NULL;
        *node->behind_install_tail = job;
        node->behind_install_tail = &job->next_rider;
    } else if (job->append->snapshot && !failed && !node->failed &&
               node->raft) {
        node_install(node, job);
    } else {
        finish_append(node, job, failed);
    }
}

void node_take_appended(struct node *node)
{
    struct queue_node *queued = queue_take_all(&node->appended);

    while (queued) {
        struct append_job *job = container_of(queued, struct append_job, back);
        queued = queued->next;
        take_back(node, job);
    }
    node_set_batching(node);
}

void node_install_done(struct node *node, struct append_job *job, bool failed)
{
    struct append_job *behind = node->behind_install;

    finish_append(node, job, failed);
    node->behind_install = NULL;
    node->behind_install_tail = &node->behind_install;
    while (behind) {
        struct append_job *next = behind->next_rider;
        take_back(node, behind);
        behind = next;
    }
    node_pump(node);
}

/* ---- applying ---- */

/* A physical compaction is through: its answer goes out from the loop. */
struct compacted {
    struct node_task task;
    struct node_request *request;
    int err;
};

static void compacted_answer(struct node_task *task)
{
    struct compacted *c = container_of(task, struct compacted, task);

    c->request->err = c->err;
    c->request->done(c->request);
    free(c);
}

/* The store's thread. */
static void compacted_done(void *arg, int err)
{
    struct compacted *c = arg;

    c->err = err;
    node_run(c->request->owner, &c->task);
}

static void apply_normal(struct node *node, const struct raft_entry *entry,
                         uint64_t now_ns)
{
    uint64_t id = node->waiting.count ? apply_request_id(entry) : 0;
    struct node_request *request = id ? waiting_find(&node->waiting, id) : NULL;
    struct apply_result result = {0};
    struct compacted *c = NULL;
    int rc;

    if (request && request->kind == APPLY_COMPACTION) {
        c = mem_alloc(sizeof(*c));
        c->task.run = compacted_answer;
        c->request = request;
    }
    rc = apply_entry(node->apply, entry, now_ns, request != NULL,
                     c ? compacted_done : NULL, c, &result);
    if (rc < 0) {
        node_fail(node, "applying an entry", err_text(rc));
        free(c);
        return;
    }
    if (!result.deferred)
        free(c);
    if (result.over_quota)
        node_raise_alarm(node, ALARM_NOSPACE);
    if (result.membership)
        node_membership_changed(node);
    if (request)
        node_finish_request(node, request, &result);
    buf_close(&result.body);
}

static void apply_committed(struct node *node, const struct raft_update *update)
{
    uint64_t now_ns = clock_mono_ns();

    for (size_t i = 0; i < update->committed_count && !node->failed; i++) {
        const struct raft_entry *entry = &update->committed[i];
        /* An image may hold more than its message says. */
        if (entry->index <= node->applied)
            continue;
        if (entry->type == RAFT_ENTRY_NORMAL)
            apply_normal(node, entry, now_ns);
        else
            node_apply_conf_change(node, entry);
        node->applied = entry->index;
        node->applied_term = entry->term;
        if (entry->len == 0 && node->role == RAFT_LEADER &&
            entry->term == node->term && !lessor_is_primary(node->lessor))
            node_caught_up_leader(node);
    }
}

/* ---- what Raft tells ---- */

/* What other threads look at. */
static void publish_status(struct node *node)
{
    struct raft_status status;
    bool leads;

    raft_status(node->raft, &status);
    if (status.term != node->term) {
        node->term = status.term;
        apply_set_term(node->apply, status.term);
    }
    leads = status.role == RAFT_LEADER;
    atomic_store_explicit(&node->status_term, status.term,
                          memory_order_relaxed);
    atomic_store_explicit(&node->status_commit, status.commit,
                          memory_order_relaxed);
    atomic_store_explicit(&node->status_applied, node->applied,
                          memory_order_relaxed);
    atomic_store_explicit(&node->status_leader, status.leader,
                          memory_order_relaxed);
    atomic_store_explicit(&node->status_is_leader, leads, memory_order_relaxed);
    atomic_store_explicit(&node->reads_free,
                          leads && !node->failed && !node->stopping &&
                              node->conf.voters.count == 1 &&
                              node->conf.voters_outgoing.count == 0 &&
                              node->applied_term == status.term,
                          memory_order_release);
}

/* A cluster of one has nobody to wait for: it votes as soon as all is applied
 * that changes the configuration. */
static bool campaign_alone(struct node *node)
{
    if (node->campaigned || node->failed || node->stopping || !node->raft ||
        node->conf.voters.count != 1 ||
        node->conf.voters.ids[0] != node->member_id ||
        node->leader != RAFT_NONE ||
        node->applied < atomic_load(&node->status_commit))
        return false;
    node->campaigned = true;
    raft_campaign(node->raft);
    return true;
}

/* What Raft's update holds but for what is committed. */
static void carry_out(struct node *node, struct raft_update *update)
{
    raft_update(node->raft, update);
    publish_status(node);
    if (update->has_soft_state)
        node_note_leader(node, &update->soft_state);
    /* A leader's entries travel while they are written here. */
    if (update->message_count > 0)
        node_send(node, update->messages, update->message_count);
    turn_part(TURN_LOG);
    if (update->append)
        submit(node, update->append);
}

void node_pump(struct node *node)
{
    struct raft_update update;
    enum turn_part before;

    /* Without the transport the member is about to close: what the log's thread
     * still gives back comes to nothing. */
    if (node->pumping || node->failed || !node->raft || !node->peers)
        return;
    node->pumping = true;
    before = turn_part(TURN_RAFT);
    while (!node->failed && raft_has_update(node->raft)) {
        turn_part(TURN_RAFT);
        carry_out(node, &update);
        if (update.committed_count > 0) {
            uint64_t last = update.committed[update.committed_count - 1].index;
            turn_part(TURN_APPLY);
            apply_committed(node, &update);
            if (node->failed)
                break;
            turn_part(TURN_WATCH_FEED);
            watch_feed_flush(node->feed);
            turn_part(TURN_READS);
            node_reads_ready(node, update.reads, update.read_count);
            raft_applied(node->raft, last);
            /* Who joins right after the start wants to know. */
            if (node->version_due_ns == 0)
                node_check_versions(node, clock_mono_ns());
            node_release_strays(node);
            node_release_held(node);
        } else {
            node_reads_ready(node, update.reads, update.read_count);
        }
        finish_idle_appends(node);
        if (update.has_soft_state)
            node_follow_leader(node);
    }
    publish_status(node);
    turn_part(TURN_READS);
    node_release_barriers(node);
    turn_part(TURN_SNAPSHOT);
    node_maybe_snapshot(node);
    turn_part(before);
    node->pumping = false;
    /* A barrier may have let proposals through. */
    if (campaign_alone(node) || raft_has_update(node->raft))
        node_pump(node);
}
