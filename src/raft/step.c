/* What happens to every message: checks, terms, and who handles it. */
#include "chorad/base/check.h"
#include "core.h"
#include <string.h>

static bool is_vote_request(enum raft_message_type type)
{
    return type == RAFT_MSG_VOTE || type == RAFT_MSG_PRE_VOTE;
}

static bool is_vote_response(enum raft_message_type type)
{
    return type == RAFT_MSG_VOTE_RESP || type == RAFT_MSG_PRE_VOTE_RESP;
}

/* A promise (an entry is stored, a vote is given) must outlive a crash, so it
 * waits for the disk (dissertation, 3.8). So does the candidate's request: the
 * votes are for this log in this term. */
static bool waits_for_disk(const struct raft *r, enum raft_message_type type)
{
    return type == RAFT_MSG_APP_RESP || is_vote_response(type) ||
           (type == RAFT_MSG_VOTE && !r->config.early_vote_requests);
}

void core_send(struct raft *r, struct raft_message m)
{
    if (m.from == RAFT_NONE)
        m.from = r->id;
    if (is_vote_request(m.type) || is_vote_response(m.type)) {
        /* These may be about another term than ours. */
        CHECK(m.term != 0);
    } else if (m.type != RAFT_MSG_PROP && m.type != RAFT_MSG_READ_INDEX) {
        m.term = r->term;
    }
    if (waits_for_disk(r, m.type)) {
        messages_push(&r->msgs_after_append, &m);
        return;
    }
    CHECK(m.to != r->id);
    messages_push(&r->msgs, &m);
}

/* Whoever has heard of a leader lately doesn't listen to others who want to
 * be it, so that a member that was cut off, or removed, can't disturb. */
static bool ignored_for_lease(struct raft *r, const struct raft_message *m)
{
    if (!is_vote_request(m->type))
        return false;
    static const char force[] = CAMPAIGN_TRANSFER_CONTEXT;
    bool forced = m->context && m->context->len == sizeof(force) - 1 &&
                  memcmp(m->context->data, force, sizeof(force) - 1) == 0;
    bool in_lease = r->config.check_quorum && r->leader != RAFT_NONE &&
                    r->election_elapsed < r->config.election_tick;
    if (forced || !in_lease)
        return false;
    struct entry_id last = rlog_last_id(&r->log);
    INFO(r,
         "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 ", vote: %" PRIx64
         "] ignored %s from %" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64
         "] at term %" PRIu64 ": lease is not expired (remaining ticks: %u)",
         r->id, last.term, last.index, r->vote, raft_message_type_name(m->type),
         m->from, m->log_term, m->index, r->term,
         r->config.election_tick - r->election_elapsed);
    return true;
}

/* False: the message ends here. */
static bool step_higher_term(struct raft *r, const struct raft_message *m)
{
    if (ignored_for_lease(r, m))
        return false;
    /* Pre-votes are about a term that nobody has entered yet. */
    if (m->type == RAFT_MSG_PRE_VOTE ||
        (m->type == RAFT_MSG_PRE_VOTE_RESP && !m->reject))
        return true;
    INFO(r,
         "%" PRIx64 " [term: %" PRIu64
         "] received a %s message with higher term from %" PRIx64
         " [term: %" PRIu64 "]",
         r->id, r->term, raft_message_type_name(m->type), m->from, m->term);
    bool from_leader = m->type == RAFT_MSG_APP ||
                       m->type == RAFT_MSG_HEARTBEAT ||
                       m->type == RAFT_MSG_SNAP;
    core_become_follower(r, m->term, from_leader ? m->from : RAFT_NONE);
    return true;
}

static void stable_snapshot(struct raft *r, const struct raft_message *m)
{
    if (!m->snapshot)
        return;
    rlog_stable_snapshot_to(&r->log, m->snapshot->index);
    core_applied_to(r, m->snapshot->index, 0);
}

static void reject_old_pre_vote(struct raft *r, const struct raft_message *m)
{
    /* An answer, lest a candidate with a lower term and a longer log waits
     * for ever. */
    struct entry_id last = rlog_last_id(&r->log);
    INFO(r,
         "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 ", vote: %" PRIx64
         "] rejected %s from %" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64
         "] at term %" PRIu64,
         r->id, last.term, last.index, r->vote, raft_message_type_name(m->type),
         m->from, m->log_term, m->index, r->term);
    core_send(r, (struct raft_message){.type = RAFT_MSG_PRE_VOTE_RESP,
                                       .to = m->from,
                                       .term = r->term,
                                       .reject = true});
}

static void step_lower_term(struct raft *r, const struct raft_message *m)
{
    if ((r->config.check_quorum || r->config.pre_vote) &&
        (m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_APP)) {
        /* With leases this member can't make the leader of an older term step
         * down by campaigning; an answer with its higher term does. */
        core_send(
            r, (struct raft_message){.type = RAFT_MSG_APP_RESP, .to = m->from});
    } else if (m->type == RAFT_MSG_PRE_VOTE) {
        reject_old_pre_vote(r, m);
    } else if (m->type == RAFT_MSG_STORAGE_APPEND_RESP) {
        /* Appends of a later term may be overwriting what was written, so
         * it doesn't count as stable yet; a snapshot always does. */
        if (m->index != 0)
            INFO(r,
                 "%" PRIx64 " [term: %" PRIu64
                 "] ignored entry appends from a %s message with lower term "
                 "[term: %" PRIu64 "]",
                 r->id, r->term, raft_message_type_name(m->type), m->term);
        stable_snapshot(r, m);
    } else {
        INFO(r,
             "%" PRIx64 " [term: %" PRIu64
             "] ignored a %s message with lower term from %" PRIx64
             " [term: %" PRIu64 "]",
             r->id, r->term, raft_message_type_name(m->type), m->from, m->term);
    }
}

static int dispatch(struct raft *r, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_MSG_STORAGE_APPEND_RESP:
        if (m->index != 0)
            rlog_stable_to(&r->log, (struct entry_id){m->log_term, m->index});
        stable_snapshot(r, m);
        return 0;
    case RAFT_MSG_VOTE:
    case RAFT_MSG_PRE_VOTE:
        core_handle_vote(r, m);
        return 0;
    default:
        break;
    }
    if (r->role == RAFT_LEADER)
        return core_step_leader(r, m);
    if (r->role == RAFT_FOLLOWER)
        return core_step_follower(r, m);
    return core_step_candidate(r, m);
}

int core_step(struct raft *r, const struct raft_message *m)
{
    /* Term 0: local, or forwarded, which is as good as local. */
    if (m->term > r->term && !step_higher_term(r, m))
        return 0;
    if (m->term != 0 && m->term < r->term) {
        step_lower_term(r, m);
        return 0;
    }
    return dispatch(r, m);
}

static bool entries_follow(const struct raft_message *m)
{
    uint64_t term = m->log_term;
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i].index != m->index + 1 + i ||
            m->entries[i].term < term)
            return false;
        term = m->entries[i].term;
    }
    return term <= m->term;
}

/* A member hears from itself what it promised, once that is durable. What it
 * forwarded may be forwarded back, if it leads by then; and it may be whom
 * leadership is to be handed to. */
static bool may_be_own(enum raft_message_type type)
{
    return type == RAFT_MSG_APP_RESP || is_vote_response(type) ||
           type == RAFT_MSG_PROP || type == RAFT_MSG_READ_INDEX ||
           type == RAFT_MSG_TRANSFER_LEADER;
}

static bool types_known(const struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++)
        if ((unsigned)m->entries[i].type > RAFT_ENTRY_CONF_CHANGE_V2)
            return false;
    return true;
}

static bool well_formed(const struct raft *r, const struct raft_message *m)
{
    if ((unsigned)m->type >= RAFT_MSG_TYPES || m->from == RAFT_NONE ||
        (m->from == r->id && !may_be_own(m->type)) || !types_known(m))
        return false;
    switch (m->type) {
    case RAFT_MSG_PROP:
        return m->entry_count > 0;
    case RAFT_MSG_APP:
        return m->term > 0 && entries_follow(m);
    case RAFT_MSG_SNAP:
        return m->term > 0 && m->snapshot;
    case RAFT_MSG_VOTE:
    case RAFT_MSG_PRE_VOTE:
    case RAFT_MSG_HEARTBEAT:
        return m->term > 0;
    case RAFT_MSG_READ_INDEX:
    case RAFT_MSG_READ_INDEX_RESP:
        return m->entry_count == 1 && m->entries[0].len > 0;
    default:
        return true;
    }
}

int raft_step(struct raft *r, const struct raft_message *m)
{
    bool from_disk = m->type == RAFT_MSG_STORAGE_APPEND_RESP &&
                     m->from == RAFT_APPEND_THREAD;
    if (raft_message_is_local(m->type) && !from_disk)
        return ERR_INVALID;
    if (!well_formed(r, m))
        return ERR_INVALID;
    if (message_is_response(m->type) && !from_disk &&
        !tracker_find(&r->trk, m->from))
        return ERR_MEMBER_NOT_FOUND;
    return core_step(r, m);
}
