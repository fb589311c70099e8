/* What a follower does with messages. */
#include "chorad/base/check.h"
#include "confchange.h"
#include "core.h"

static void send_append_response(struct raft *r, uint64_t to, uint64_t index)
{
    core_send(r, (struct raft_message){
                     .type = RAFT_MSG_APP_RESP, .to = to, .index = index});
}

void core_handle_append(struct raft *r, const struct raft_message *m)
{
    if (m->index < r->log.committed) {
        send_append_response(r, m->from, r->log.committed);
        return;
    }
    struct entry_id prev = {m->log_term, m->index};
    if (rlog_try_append(&r->log, prev, m->entries, m->entry_count, m->commit)) {
        send_append_response(r, m->from, m->index + m->entry_count);
        return;
    }
    DEBUG(r,
          "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64
          "] rejected MsgApp [logterm: %" PRIu64 ", index: %" PRIu64
          "] from %" PRIx64,
          r->id, rlog_term_or_zero(&r->log, m->index), m->index, m->log_term,
          m->index, m->from);
    /* The logs can't agree where our term is above the leader's, as its
     * terms before this entry are no higher. The leader is told the last
     * place where they may. */
    uint64_t last = rlog_last(&r->log);
    struct entry_id hint = rlog_find_conflict_by_term(
        &r->log, m->index < last ? m->index : last, m->log_term);
    core_send(r, (struct raft_message){.type = RAFT_MSG_APP_RESP,
                                       .to = m->from,
                                       .index = m->index,
                                       .reject = true,
                                       .reject_hint = hint.index,
                                       .log_term = hint.term});
}

void core_handle_heartbeat(struct raft *r, const struct raft_message *m)
{
    rlog_commit_to(&r->log, m->commit);
    core_send(r, (struct raft_message){
                     .type = RAFT_MSG_HEARTBEAT_RESP,
                     .to = m->from,
                     .context = m->context ? shared_ref(m->context) : NULL});
}

static bool in_conf_state(const struct raft_conf_state *cs, uint64_t id)
{
    return raft_ids_has(&cs->voters, id) || raft_ids_has(&cs->learners, id) ||
           raft_ids_has(&cs->voters_outgoing, id);
}

static bool snapshot_is_useful(struct raft *r,
                               const struct raft_snapshot *snapshot)
{
    if (snapshot->index <= r->log.committed)
        return false;
    CHECK(r->role == RAFT_FOLLOWER);
    if (!in_conf_state(&snapshot->conf_state, r->id)) {
        WARN(r,
             "%" PRIx64 " attempted to restore snapshot but it is not in the "
             "ConfState; should never happen",
             r->id);
        return false;
    }
    struct entry_id id = {snapshot->term, snapshot->index};
    if (rlog_matches(&r->log, id)) {
        struct entry_id last = rlog_last_id(&r->log);
        INFO(r,
             "%" PRIx64 " [commit: %" PRIu64 ", lastindex: %" PRIu64
             ", lastterm: %" PRIu64
             "] fast-forwarded commit to snapshot [index: %" PRIu64
             ", term: %" PRIu64 "]",
             r->id, r->log.committed, last.index, last.term, id.index, id.term);
        rlog_commit_to(&r->log, id.index);
        return false;
    }
    return true;
}

static bool restore(struct raft *r, struct raft_snapshot *snapshot)
{
    if (!snapshot_is_useful(r, snapshot))
        return false;
    struct tracker trk;
    struct errmsg why;
    tracker_init(&trk, r->trk.max_inflight, r->trk.max_inflight_bytes);
    if (confchange_restore(&trk, snapshot->index, &snapshot->conf_state, &why) <
        0) {
        WARN(r, "%" PRIx64 " unable to restore config of snapshot: %s", r->id,
             why.text);
        tracker_close(&trk);
        return false;
    }
    rlog_restore(&r->log, snapshot);
    tracker_close(&r->trk);
    r->trk = trk;
    core_config_changed(r);
    struct entry_id last = rlog_last_id(&r->log);
    INFO(r,
         "%" PRIx64 " [commit: %" PRIu64 ", lastindex: %" PRIu64
         ", lastterm: %" PRIu64 "] restored snapshot [index: %" PRIu64
         ", term: %" PRIu64 "]",
         r->id, r->log.committed, last.index, last.term, snapshot->index,
         snapshot->term);
    return true;
}

void core_handle_snapshot(struct raft *r, const struct raft_message *m)
{
    bool restored = restore(r, m->snapshot);
    INFO(r,
         "%" PRIx64 " [commit: %" PRIu64 "] %s snapshot [index: %" PRIu64
         ", term: %" PRIu64 "]",
         r->id, r->log.committed, restored ? "restored" : "ignored",
         m->snapshot->index, m->snapshot->term);
    send_append_response(r, m->from,
                         restored ? rlog_last(&r->log) : r->log.committed);
}

static void forward(struct raft *r, const struct raft_message *m)
{
    struct raft_message copy = raft_message_copy(m);
    copy.to = r->leader;
    copy.term = 0;
    core_send(r, copy);
}

static int handle_proposal(struct raft *r, const struct raft_message *m)
{
    if (r->leader == RAFT_NONE) {
        INFO(r, "%" PRIx64 " no leader at term %" PRIu64 "; dropping proposal",
             r->id, r->term);
        return ERR_AGAIN;
    }
    if (r->config.disable_proposal_forwarding) {
        INFO(r,
             "%" PRIx64 " not forwarding to leader %" PRIx64 " at term %" PRIu64
             "; dropping proposal",
             r->id, r->leader, r->term);
        return ERR_AGAIN;
    }
    forward(r, m);
    return 0;
}

static void heard_of_leader(struct raft *r, uint64_t id)
{
    r->election_elapsed = 0;
    r->leader = id;
}

static void handle_read_index(struct raft *r, const struct raft_message *m)
{
    if (r->leader == RAFT_NONE) {
        INFO(r,
             "%" PRIx64 " no leader at term %" PRIu64
             "; dropping index reading msg",
             r->id, r->term);
        return;
    }
    forward(r, m);
}

static void handle_transfer(struct raft *r, const struct raft_message *m)
{
    if (r->leader == RAFT_NONE) {
        INFO(r,
             "%" PRIx64 " no leader at term %" PRIu64
             "; dropping leader transfer msg",
             r->id, r->term);
        return;
    }
    forward(r, m);
}

static void handle_timeout_now(struct raft *r, const struct raft_message *m)
{
    INFO(r,
         "%" PRIx64 " [term %" PRIu64 "] received MsgTimeoutNow from %" PRIx64
         " and starts an election to get leadership.",
         r->id, r->term, m->from);
    /* No pre-vote: the leader itself says that this is not a partition. */
    core_hup(r, CAMPAIGN_TRANSFER);
}

void raft_forget_leader(struct raft *r)
{
    if (r->role != RAFT_FOLLOWER)
        return;
    if (r->config.read_option == RAFT_READ_LEASE) {
        SAY(&r->sayer, RAFT_LOG_ERROR,
            "ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
        return;
    }
    if (r->leader != RAFT_NONE) {
        INFO(r, "%" PRIx64 " forgetting leader %" PRIx64 " at term %" PRIu64,
             r->id, r->leader, r->term);
        r->leader = RAFT_NONE;
    }
}

int core_step_follower(struct raft *r, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_MSG_PROP:
        return handle_proposal(r, m);
    case RAFT_MSG_APP:
        heard_of_leader(r, m->from);
        core_handle_append(r, m);
        break;
    case RAFT_MSG_HEARTBEAT:
        heard_of_leader(r, m->from);
        core_handle_heartbeat(r, m);
        break;
    case RAFT_MSG_SNAP:
        heard_of_leader(r, m->from);
        core_handle_snapshot(r, m);
        break;
    case RAFT_MSG_TRANSFER_LEADER:
        handle_transfer(r, m);
        break;
    case RAFT_MSG_FORGET_LEADER:
        raft_forget_leader(r);
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        handle_timeout_now(r, m);
        break;
    case RAFT_MSG_READ_INDEX:
        handle_read_index(r, m);
        break;
    case RAFT_MSG_READ_INDEX_RESP:
        core_push_read(r, m->index, &m->entries[0]);
        break;
    default:
        break;
    }
    return 0;
}
