/* What a leader sends: appends, snapshots, heartbeats. */
#include "chorad/base/check.h"
#include "core.h"

static bool send_snapshot(struct raft *r, struct progress *pr)
{
    if (!pr->recent_active) {
        DEBUG(r,
              "ignore sending snapshot to %" PRIx64
              " since it is not recently active",
              pr->id);
        return false;
    }
    struct raft_snapshot *snapshot =
        r->log.snapshot ? r->log.snapshot : r->snapshot;
    if (!snapshot || snapshot->index == 0) {
        DEBUG(r,
              "%" PRIx64 " failed to send snapshot to %" PRIx64
              " because snapshot is temporarily unavailable",
              r->id, pr->id);
        return false;
    }
    char text[256];
    DEBUG(r,
          "%" PRIx64 " [firstindex: %" PRIu64 ", commit: %" PRIu64
          "] sent snapshot[index: %" PRIu64 ", term: %" PRIu64 "] to %" PRIx64
          " [%s]",
          r->id, rlog_first(&r->log), r->log.committed, snapshot->index,
          snapshot->term, pr->id, progress_text(pr, text, sizeof(text)));
    progress_become_snapshot(pr, snapshot->index);
    DEBUG(r,
          "%" PRIx64 " paused sending replication messages to %" PRIx64 " [%s]",
          r->id, pr->id, progress_text(pr, text, sizeof(text)));
    core_send(r,
              (struct raft_message){.type = RAFT_MSG_SNAP,
                                    .to = pr->id,
                                    .snapshot = raft_snapshot_ref(snapshot)});
    return true;
}

bool core_send_append(struct raft *r, struct progress *pr, bool if_empty)
{
    if (progress_paused(pr))
        return false;
    uint64_t prev = pr->next - 1;
    uint64_t prev_term;
    if (!rlog_term(&r->log, prev, &prev_term))
        return send_snapshot(r, pr);
    struct entry_span span = {0};
    /* With a full window only empty appends go out: if everything in the
     * window was lost, their answers get things going again. */
    if (pr->state != RAFT_PROGRESS_REPLICATE || !inflights_full(&pr->inflights))
        span = rlog_slice(&r->log, pr->next, rlog_last(&r->log) + 1,
                          r->config.max_size_per_msg);
    if (span.count == 0 && !if_empty)
        return false;
    uint64_t bytes = 0;
    for (size_t i = 0; i < span.count; i++)
        bytes += span.entries[i].len;
    core_send(r, (struct raft_message){
                     .type = RAFT_MSG_APP,
                     .to = pr->id,
                     .index = prev,
                     .log_term = prev_term,
                     .entries = entries_copy(span.entries, span.count),
                     .entry_count = span.count,
                     .commit = r->log.committed});
    progress_sent_entries(pr, span.count, bytes);
    pr->sent_commit = r->log.committed;
    return true;
}

void core_bcast_append(struct raft *r)
{
    for (size_t i = 0; i < r->trk.count; i++)
        if (r->trk.progress[i].id != r->id)
            core_send_append(r, &r->trk.progress[i], true);
}

void core_bcast_heartbeat(struct raft *r, struct shared *context)
{
    for (size_t i = 0; i < r->trk.count; i++) {
        struct progress *pr = &r->trk.progress[i];
        if (pr->id == r->id)
            continue;
        /* Never a commit index beyond what the member is known to have: what
         * it has there may be another leader's. */
        uint64_t commit =
            pr->match < r->log.committed ? pr->match : r->log.committed;
        core_send(r, (struct raft_message){
                         .type = RAFT_MSG_HEARTBEAT,
                         .to = pr->id,
                         .commit = commit,
                         .context = context ? shared_ref(context) : NULL});
        pr->sent_commit = commit;
    }
}

bool core_try_commit(struct raft *r)
{
    return rlog_try_commit(
        &r->log, (struct entry_id){r->term, tracker_committed(&r->trk)});
}
