/* Elections: who stands, who gets a vote (dissertation 3.4, 3.6, 9.6). */
#include "chorad/base/check.h"
#include "core.h"
#include <string.h>

/* A committed configuration change that isn't applied could mean that this
 * member has no vote any more. */
static bool has_unapplied_conf_change(const struct raft *r)
{
    for (uint64_t i = r->log.applied + 1; i <= r->log.committed; i++)
        if (rlog_at(&r->log, i)->type != RAFT_ENTRY_NORMAL)
            return true;
    return false;
}

static enum raft_message_type response_to(enum raft_message_type type)
{
    return type == RAFT_MSG_VOTE ? RAFT_MSG_VOTE_RESP : RAFT_MSG_PRE_VOTE_RESP;
}

static void ask_for_vote(struct raft *r, uint64_t id, uint64_t term,
                         enum raft_message_type type, enum campaign campaign)
{
    if (id == r->id) {
        /* Its own vote counts once it is on disk, like anybody's. */
        core_send(r, (struct raft_message){
                         .type = response_to(type), .to = id, .term = term});
        return;
    }
    struct entry_id last = rlog_last_id(&r->log);
    INFO(r,
         "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64
         "] sent %s request to %" PRIx64 " at term %" PRIu64,
         r->id, last.term, last.index, raft_message_type_name(type), id,
         r->term);
    struct shared *context = NULL;
    if (campaign == CAMPAIGN_TRANSFER) {
        static const char force[] = CAMPAIGN_TRANSFER_CONTEXT;
        context = shared_new(sizeof(force) - 1);
        memcpy(context->data, force, sizeof(force) - 1);
    }
    core_send(r, (struct raft_message){.type = type,
                                       .to = id,
                                       .term = term,
                                       .index = last.index,
                                       .log_term = last.term,
                                       .context = context});
}

static void campaign_now(struct raft *r, enum campaign campaign)
{
    uint64_t term;
    enum raft_message_type type;
    if (campaign == CAMPAIGN_PRE) {
        core_become_pre_candidate(r);
        type = RAFT_MSG_PRE_VOTE;
        term = r->term + 1;
    } else {
        core_become_candidate(r);
        type = RAFT_MSG_VOTE;
        term = r->term;
    }
    for (size_t i = 0; i < r->trk.count; i++) {
        uint64_t id = r->trk.progress[i].id;
        if (tracker_is_voter(&r->trk, id))
            ask_for_vote(r, id, term, type, campaign);
    }
}

void core_hup(struct raft *r, enum campaign campaign)
{
    if (r->role == RAFT_LEADER) {
        DEBUG(r, "%" PRIx64 " ignoring MsgHup because already leader", r->id);
        return;
    }
    if (!core_promotable(r)) {
        WARN(r, "%" PRIx64 " is unpromotable and can not campaign", r->id);
        return;
    }
    if (has_unapplied_conf_change(r)) {
        WARN(r,
             "%" PRIx64 " cannot campaign at term %" PRIu64
             " since there are still pending configuration changes to apply",
             r->id, r->term);
        return;
    }
    INFO(r, "%" PRIx64 " is starting a new election at term %" PRIu64, r->id,
         r->term);
    campaign_now(r, campaign);
}

void raft_campaign(struct raft *r)
{
    core_hup(r, r->config.pre_vote ? CAMPAIGN_PRE : CAMPAIGN_ELECTION);
}

static void say_vote(struct raft *r, const struct raft_message *m,
                     const char *what, const char *preposition)
{
    struct entry_id last = rlog_last_id(&r->log);
    INFO(r,
         "%" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64 ", vote: %" PRIx64
         "] %s %s %s %" PRIx64 " [logterm: %" PRIu64 ", index: %" PRIu64
         "] at term %" PRIu64,
         r->id, last.term, last.index, r->vote, what,
         raft_message_type_name(m->type), preposition, m->from, m->log_term,
         m->index, r->term);
}

void core_handle_vote(struct raft *r, const struct raft_message *m)
{
    /* The same vote again, or none given and no leader known, or a pre-vote
     * for a term still to come. Learners vote too: the candidate may know
     * better whether they are learners. */
    bool can_vote = r->vote == m->from ||
                    (r->vote == RAFT_NONE && r->leader == RAFT_NONE) ||
                    (m->type == RAFT_MSG_PRE_VOTE && m->term > r->term);
    struct entry_id theirs = {m->log_term, m->index};
    if (!can_vote || !rlog_up_to_date(&r->log, theirs)) {
        say_vote(r, m, "rejected", "from");
        /* In term 0, where nothing has happened, there is nothing to tell. */
        if (r->term == 0)
            return;
        core_send(r, (struct raft_message){.type = response_to(m->type),
                                           .to = m->from,
                                           .term = r->term,
                                           .reject = true});
        return;
    }
    say_vote(r, m, "cast", "for");
    /* The answer carries the term that was asked for: a pre-candidate whose
     * term is ahead would drop anything older. */
    core_send(r, (struct raft_message){.type = response_to(m->type),
                                       .to = m->from,
                                       .term = m->term});
    if (m->type == RAFT_MSG_VOTE) {
        r->election_elapsed = 0;
        r->vote = m->from;
    }
}

static void handle_vote_response(struct raft *r, const struct raft_message *m)
{
    const char *name = raft_message_type_name(m->type);
    INFO(r, "%" PRIx64 " received %s%s from %" PRIx64 " at term %" PRIu64,
         r->id, name, m->reject ? " rejection" : "", m->from, r->term);
    votes_record(&r->trk.votes, m->from, !m->reject);
    unsigned granted;
    unsigned rejected;
    enum vote_result result = tracker_tally(&r->trk, &granted, &rejected);
    INFO(r, "%" PRIx64 " has received %u %s votes and %u vote rejections",
         r->id, granted, name, rejected);
    if (result == VOTE_LOST) {
        core_become_follower(r, r->term, RAFT_NONE);
    } else if (result == VOTE_WON && r->role == RAFT_PRE_CANDIDATE) {
        campaign_now(r, CAMPAIGN_ELECTION);
    } else if (result == VOTE_WON) {
        core_become_leader(r);
        core_bcast_append(r);
    }
}

int core_step_candidate(struct raft *r, const struct raft_message *m)
{
    enum raft_message_type mine = r->role == RAFT_PRE_CANDIDATE
                                      ? RAFT_MSG_PRE_VOTE_RESP
                                      : RAFT_MSG_VOTE_RESP;
    if (m->type == mine) {
        handle_vote_response(r, m);
        return 0;
    }
    switch (m->type) {
    case RAFT_MSG_PROP:
        INFO(r, "%" PRIx64 " no leader at term %" PRIu64 "; dropping proposal",
             r->id, r->term);
        return ERR_AGAIN;
    case RAFT_MSG_APP:
        core_become_follower(r, m->term, m->from);
        core_handle_append(r, m);
        return 0;
    case RAFT_MSG_HEARTBEAT:
        core_become_follower(r, m->term, m->from);
        core_handle_heartbeat(r, m);
        return 0;
    case RAFT_MSG_SNAP:
        core_become_follower(r, m->term, m->from);
        core_handle_snapshot(r, m);
        return 0;
    case RAFT_MSG_TIMEOUT_NOW:
        DEBUG(r,
              "%" PRIx64 " [term %" PRIu64
              " state %s] ignored MsgTimeoutNow from %" PRIx64,
              r->id, r->term, raft_role_name(r->role), m->from);
        return 0;
    default:
        return 0;
    }
}
