/* What a leader does with messages. */
#include "chorad/base/check.h"
#include "core.h"
#include <stdlib.h>

static void send_timeout_now(struct raft *r, uint64_t to)
{
    core_send(r, (struct raft_message){.type = RAFT_MSG_TIMEOUT_NOW, .to = to});
}

/* The member's log doesn't have the entry before an append. */
static void handle_rejection(struct raft *r, struct progress *pr,
                             const struct raft_message *m)
{
    DEBUG(r,
          "%" PRIx64 " received MsgAppResp(rejected, hint: (index %" PRIu64
          ", term %" PRIu64 ")) from %" PRIx64 " for index %" PRIu64,
          r->id, m->reject_hint, m->log_term, m->from, m->index);
    uint64_t next = m->reject_hint;
    /* The member's term at the hint is an upper bound for all before it, so
     * our entries with a higher term can't match there. Skipping them asks at
     * most once per term instead of once per entry. */
    if (m->log_term > 0)
        next = rlog_find_conflict_by_term(&r->log, m->reject_hint, m->log_term)
                   .index;
    if (!progress_decrease(pr, m->index, next))
        return;
    char text[256];
    DEBUG(r, "%" PRIx64 " decreased progress of %" PRIx64 " to [%s]", r->id,
          m->from, progress_text(pr, text, sizeof(text)));
    if (pr->state == RAFT_PROGRESS_REPLICATE)
        progress_become_probe(pr);
    core_send_append(r, pr, true);
}

static void update_state(struct raft *r, struct progress *pr, uint64_t index)
{
    char text[256];
    switch (pr->state) {
    case RAFT_PROGRESS_PROBE:
        progress_become_replicate(pr);
        break;
    case RAFT_PROGRESS_SNAPSHOT:
        /* Whatever snapshot it got, and from whom: what counts is that the
         * log goes on from there. */
        if (pr->match + 1 < rlog_first(&r->log))
            break;
        DEBUG(r,
              "%" PRIx64 " recovered from needing snapshot, resumed sending "
              "replication messages to %" PRIx64 " [%s]",
              r->id, pr->id, progress_text(pr, text, sizeof(text)));
        progress_become_probe(pr);
        progress_become_replicate(pr);
        break;
    case RAFT_PROGRESS_REPLICATE:
        inflights_free_to(&pr->inflights, index);
        break;
    }
}

static void handle_append_response(struct raft *r, struct progress *pr,
                                   const struct raft_message *m)
{
    pr->recent_active = true;
    if (m->reject) {
        handle_rejection(r, pr, m);
        return;
    }
    /* An answer without news can still prove a probed member's position. */
    if (!progress_update(pr, m->index) &&
        !(pr->match == m->index && pr->state == RAFT_PROGRESS_PROBE))
        return;
    update_state(r, pr, m->index);
    bool self = m->from == r->id;
    if (core_try_commit(r)) {
        core_release_reads(r);
        core_bcast_append(r);
    } else if (!self && progress_can_bump_commit(pr, r->log.committed)) {
        core_send_append(r, pr, true);
    }
    /* The window may have opened by more than one message. */
    if (!self)
        while (core_send_append(r, pr, false))
            continue;
    if (m->from == r->lead_transferee && pr->match == rlog_last(&r->log)) {
        INFO(r,
             "%" PRIx64 " sent MsgTimeoutNow to %" PRIx64
             " after received MsgAppResp",
             r->id, m->from);
        send_timeout_now(r, m->from);
    }
}

static void handle_heartbeat_response(struct raft *r, struct progress *pr,
                                      const struct raft_message *m)
{
    pr->recent_active = true;
    pr->flow_paused = false;
    /* If appends were lost, this one brings the member back; a probed one is
     * asked again even if it should have everything. */
    if (pr->match < rlog_last(&r->log) || pr->state == RAFT_PROGRESS_PROBE)
        core_send_append(r, pr, true);
    if (r->config.read_option == RAFT_READ_SAFE && m->context &&
        m->context->len > 0)
        core_read_acked(r, m);
}

static void handle_snapshot_status(struct raft *r, struct progress *pr,
                                   bool failed)
{
    if (pr->state != RAFT_PROGRESS_SNAPSHOT)
        return;
    /* Probing starts behind a snapshot only if it arrived. */
    if (failed)
        pr->pending_snapshot = 0;
    progress_become_probe(pr);
    char text[256];
    DEBUG(r,
          "%" PRIx64 " snapshot %s, resumed sending replication messages to "
          "%" PRIx64 " [%s]",
          r->id, failed ? "failed" : "succeeded", pr->id,
          progress_text(pr, text, sizeof(text)));
    /* Its own answer, or the next heartbeat's, comes before the next append. */
    pr->flow_paused = true;
}

static void handle_unreachable(struct raft *r, struct progress *pr)
{
    /* What was sent without waiting is most likely lost. */
    if (pr->state == RAFT_PROGRESS_REPLICATE)
        progress_become_probe(pr);
    char text[256];
    DEBUG(r,
          "%" PRIx64 " failed to send message to %" PRIx64
          " because it is unreachable [%s]",
          r->id, pr->id, progress_text(pr, text, sizeof(text)));
}

static void start_transfer(struct raft *r, struct progress *pr)
{
    uint64_t to = pr->id;
    INFO(r,
         "%" PRIx64 " [term %" PRIu64 "] starts to transfer leadership to "
         "%" PRIx64,
         r->id, r->term, to);
    /* It has one election timeout to take over (dissertation, 3.10). */
    r->election_elapsed = 0;
    r->lead_transferee = to;
    if (pr->match == rlog_last(&r->log)) {
        send_timeout_now(r, to);
        INFO(r,
             "%" PRIx64 " sends MsgTimeoutNow to %" PRIx64
             " immediately as %" PRIx64 " already has up-to-date log",
             r->id, to, to);
    } else {
        core_send_append(r, pr, true);
    }
}

static void handle_transfer(struct raft *r, struct progress *pr)
{
    if (pr->is_learner) {
        DEBUG(r, "%" PRIx64 " is learner. Ignored transferring leadership",
              r->id);
        return;
    }
    uint64_t before = r->lead_transferee;
    if (before == pr->id) {
        INFO(r,
             "%" PRIx64 " [term %" PRIu64 "] transfer leadership to %" PRIx64
             " is in progress, ignores request to same node %" PRIx64,
             r->id, r->term, pr->id, pr->id);
        return;
    }
    if (before != RAFT_NONE) {
        r->lead_transferee = RAFT_NONE;
        INFO(r,
             "%" PRIx64 " [term %" PRIu64
             "] abort previous transferring leadership to %" PRIx64,
             r->id, r->term, before);
    }
    if (pr->id == r->id) {
        DEBUG(r,
              "%" PRIx64
              " is already leader. Ignored transferring leadership to self",
              r->id);
        return;
    }
    start_transfer(r, pr);
}

/* A follower's proposal: the message stays the caller's, so the log gets
 * references of its own. */
static int propose_copies(struct raft *r, const struct raft_message *m)
{
    struct raft_entry *entries = entries_copy(m->entries, m->entry_count);
    int rc = core_propose(r, entries, m->entry_count);
    if (rc < 0)
        for (size_t i = 0; i < m->entry_count; i++)
            raft_entry_unref(&entries[i]);
    free(entries);
    return rc;
}

int core_step_leader(struct raft *r, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_MSG_PROP:
        return propose_copies(r, m);
    case RAFT_MSG_READ_INDEX:
        core_leader_read_index(r, m);
        return 0;
    case RAFT_MSG_FORGET_LEADER:
        return 0;
    default:
        break;
    }
    struct progress *pr = tracker_find(&r->trk, m->from);
    if (!pr) {
        DEBUG(r, "%" PRIx64 " no progress available for %" PRIx64, r->id,
              m->from);
        return 0;
    }
    switch (m->type) {
    case RAFT_MSG_APP_RESP:
        handle_append_response(r, pr, m);
        break;
    case RAFT_MSG_HEARTBEAT_RESP:
        handle_heartbeat_response(r, pr, m);
        break;
    case RAFT_MSG_SNAP_STATUS:
        handle_snapshot_status(r, pr, m->reject);
        break;
    case RAFT_MSG_UNREACHABLE:
        handle_unreachable(r, pr);
        break;
    case RAFT_MSG_TRANSFER_LEADER:
        handle_transfer(r, pr);
        break;
    default:
        break;
    }
    return 0;
}

/* These only mean something to a leader. */
static void tell_leader(struct raft *r, const struct raft_message *m)
{
    if (r->role == RAFT_LEADER)
        core_step_leader(r, m);
}

void raft_report_unreachable(struct raft *r, uint64_t id)
{
    tell_leader(
        r, &(struct raft_message){.type = RAFT_MSG_UNREACHABLE, .from = id});
}

void raft_report_snapshot(struct raft *r, uint64_t id, bool ok)
{
    tell_leader(r, &(struct raft_message){.type = RAFT_MSG_SNAP_STATUS,
                                          .from = id,
                                          .reject = !ok});
}

void raft_transfer_leader(struct raft *r, uint64_t to)
{
    core_step(r, &(struct raft_message){.type = RAFT_MSG_TRANSFER_LEADER,
                                        .from = to});
}

void raft_step_down(struct raft *r)
{
    if (r->role == RAFT_LEADER)
        core_become_follower(r, r->term, RAFT_NONE);
}
