/* What no member says that keeps to the rules, whatever may have happened to it
 * and to the network: lost, late, doubled, reordered and old messages are all
 * ordinary. A check here stands in front of what the core holds for certain
 * (CHECK, say_fatal), and needs a reason why it can't be true of a healthy
 * member. */
#include "confchange.h"
#include "core.h"

/* Far beyond what counting up reaches, and far enough from the end for sums. */
#define NUMBER_MAX (UINT64_C(1) << 62)
/* Elections between two words from the others: one a millisecond for 34 years.
 * One message can't use up the terms that there are. */
#define TERMS_AHEAD_MAX (UINT64_C(1) << 40)
/* etcd's contexts have 8 bytes, or say "CampaignTransfer". A leader repeats
 * them in each heartbeat. */
#define CONTEXT_MAX 1024
/* Work on a configuration grows with the square of its members. */
#define MEMBERS_MAX 1024

static bool is_from_leader(enum raft_message_type type)
{
    return type == RAFT_MSG_APP || type == RAFT_MSG_HEARTBEAT ||
           type == RAFT_MSG_SNAP || type == RAFT_MSG_TIMEOUT_NOW ||
           type == RAFT_MSG_READ_INDEX_RESP;
}

/* These keep the member that made them as `from` when another passes them on,
 * even back to it. */
static bool is_passed_on(enum raft_message_type type)
{
    return type == RAFT_MSG_PROP || type == RAFT_MSG_READ_INDEX ||
           type == RAFT_MSG_TRANSFER_LEADER;
}

/* ---- of whatever term ---- */

static const char *wrong_envelope(const struct raft *r,
                                  const struct raft_message *m)
{
    if ((unsigned)m->type >= RAFT_MSG_TYPES)
        return "unknown-type";
    if (raft_message_is_local(m->type) || m->type == RAFT_MSG_FORGET_LEADER)
        return "local-type";
    if (m->to != r->id)
        return "wrong-receiver";
    if (m->from == RAFT_NONE || m->from >= RAFT_APPLY_THREAD)
        return "no-sender";
    if (m->from == r->id && !is_passed_on(m->type))
        return "own-message";
    return NULL;
}

static bool numbers_fit(const struct raft_message *m)
{
    if (m->term > NUMBER_MAX || m->log_term > NUMBER_MAX ||
        m->index > NUMBER_MAX || m->commit > NUMBER_MAX ||
        m->reject_hint > NUMBER_MAX)
        return false;
    return !m->snapshot || (m->snapshot->index <= NUMBER_MAX &&
                            m->snapshot->term <= NUMBER_MAX);
}

/* A forwarded request belongs to no term; whatever else is said belongs to
 * one. */
static const char *wrong_term(const struct raft *r,
                              const struct raft_message *m)
{
    if (m->type == RAFT_MSG_PROP || m->type == RAFT_MSG_READ_INDEX)
        return m->term != 0 ? "term-of-a-request" : NULL;
    if (m->term == 0 && m->type != RAFT_MSG_TRANSFER_LEADER)
        return "no-term";
    return m->term > r->term + TERMS_AHEAD_MAX ? "term-too-far" : NULL;
}

static const char *wrong_entries(const struct raft_message *m)
{
    uint64_t term = m->log_term;
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if ((unsigned)e->type > RAFT_ENTRY_CONF_CHANGE_V2)
            return "unknown-entry-type";
        if (m->type != RAFT_MSG_APP)
            continue;
        if (e->index != m->index + 1 + i || e->term < term)
            return "entries-out-of-order";
        term = e->term;
    }
    return m->type == RAFT_MSG_APP && term > m->term ? "log-ahead-of-term"
                                                     : NULL;
}

static const char *wrong_snapshot(const struct raft_message *m)
{
    const struct raft_snapshot *s = m->snapshot;
    if (!s || s->index == 0 || s->term == 0)
        return "no-snapshot";
    return s->term > m->term ? "log-ahead-of-term" : NULL;
}

static const char *wrong_form(const struct raft_message *m)
{
    if (m->context && m->context->len > CONTEXT_MAX)
        return "context-too-long";
    switch (m->type) {
    case RAFT_MSG_PROP:
        return m->entry_count == 0 ? "no-entries" : wrong_entries(m);
    case RAFT_MSG_APP:
        return wrong_entries(m);
    case RAFT_MSG_SNAP:
        return wrong_snapshot(m);
    case RAFT_MSG_VOTE:
    case RAFT_MSG_PRE_VOTE:
        return m->log_term > m->term ? "log-ahead-of-term" : NULL;
    case RAFT_MSG_READ_INDEX:
    case RAFT_MSG_READ_INDEX_RESP:
        if (m->entry_count != 1 || m->entries[0].len == 0)
            return "no-context";
        return m->entries[0].len > CONTEXT_MAX ? "context-too-long" : NULL;
    default:
        return NULL;
    }
}

/* ---- of this term or a later one ---- */

/* A term has one leader, which a member that follows it has heard of
 * (dissertation, 3.4). */
static bool is_second_leader(const struct raft *r, const struct raft_message *m)
{
    return is_from_leader(m->type) && m->term == r->term &&
           r->leader != RAFT_NONE && m->from != r->leader;
}

/* Whoever leads in this term or later has all that is committed (dissertation,
 * 3.6.3). */
static bool contradicts(const struct raft *r, uint64_t index, uint64_t term)
{
    uint64_t ours;
    return index <= r->log.committed && rlog_term(&r->log, index, &ours) &&
           ours != term;
}

static const char *wrong_append(const struct raft *r,
                                const struct raft_message *m)
{
    if (contradicts(r, m->index, m->log_term))
        return "contradicts-committed";
    for (size_t i = 0;
         i < m->entry_count && m->entries[i].index <= r->log.committed; i++)
        if (contradicts(r, m->entries[i].index, m->entries[i].term))
            return "contradicts-committed";
    return NULL;
}

static bool conf_can_be(const struct raft *r, const struct raft_snapshot *s)
{
    const struct raft_conf_state *cs = &s->conf_state;
    const struct raft_ids *sets[] = {&cs->voters, &cs->learners,
                                     &cs->voters_outgoing, &cs->learners_next};
    size_t count = 0;
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        count += sets[i]->count;
        if (sets[i]->count > 0 &&
            sets[i]->ids[sets[i]->count - 1] >= RAFT_APPLY_THREAD)
            return false;
    }
    if (cs->voters.count == 0 || count > MEMBERS_MAX)
        return false;
    struct tracker trk;
    struct errmsg why;
    tracker_init(&trk, r->trk.max_inflight, r->trk.max_inflight_bytes);
    bool can = confchange_restore(&trk, s->index, cs, &why) == 0;
    tracker_close(&trk);
    return can;
}

static const char *wrong_restore(const struct raft *r,
                                 const struct raft_snapshot *s)
{
    /* An old one comes to nothing. */
    if (s->index <= r->log.committed)
        return contradicts(r, s->index, s->term) ? "contradicts-committed"
                                                 : NULL;
    if (s->term < rlog_term_or_zero(&r->log, r->log.committed))
        return "contradicts-committed";
    return conf_can_be(r, s) ? NULL : "no-configuration";
}

static const char *wrong_in_term(const struct raft *r,
                                 const struct raft_message *m)
{
    if (is_second_leader(r, m))
        return "second-leader";
    switch (m->type) {
    case RAFT_MSG_APP:
        return wrong_append(r, m);
    case RAFT_MSG_SNAP:
        return wrong_restore(r, m->snapshot);
    case RAFT_MSG_HEARTBEAT:
        /* Never beyond what this member has acknowledged, which is on its
         * disk, unless that has lost it. */
        return m->commit > rlog_last(&r->log) ? "commit-beyond-log" : NULL;
    case RAFT_MSG_APP_RESP:
        /* A leader's log only grows, and who answers has had it from there. */
        return r->role == RAFT_LEADER && m->term == r->term &&
                       m->index > rlog_last(&r->log)
                   ? "acknowledges-beyond-log"
                   : NULL;
    case RAFT_MSG_TIMEOUT_NOW:
        return m->from != r->leader && !tracker_find(&r->trk, m->from)
                   ? "stranger"
                   : NULL;
    default:
        return NULL;
    }
}

const char *raft_refusal(const struct raft *r, const struct raft_message *m)
{
    const char *why = wrong_envelope(r, m);
    if (!why && !numbers_fit(m))
        why = "number-too-large";
    if (!why)
        why = wrong_term(r, m);
    if (!why)
        why = wrong_form(m);
    if (!why && m->term >= r->term)
        why = wrong_in_term(r, m);
    return why;
}
