#include "rules.h"
#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"
#include "chorad/base/pb.h"
#include "chorad/watch.h"
#include "keys.h"
#include "nemesis.h"
#include "node/node.h"
#include <stdlib.h>
#include <string.h>

/* ---- the committed log -------------------------------------------------- */

struct committed {
    uint64_t term; /* 0: not known */
    uint32_t crc;
    /* After it; 0: not known. */
    int64_t revision;
    uint64_t conf;
};

static struct committed *entries; /* by index */
static size_t entry_cap;
static uint64_t newest;

static struct committed *committed_at(uint64_t index)
{
    if (index >= entry_cap) {
        size_t cap = entry_cap ? entry_cap : 256;
        while (cap <= index)
            cap *= 2;
        entries = mem_realloc(entries, cap * sizeof(*entries));
        memset(entries + entry_cap, 0, (cap - entry_cap) * sizeof(*entries));
        entry_cap = cap;
    }
    return &entries[index];
}

static uint32_t crc_of(const struct raft_entry *e)
{
    uint8_t type = (uint8_t)e->type;

    return crc32c(crc32c(0, &type, 1), e->data, e->len);
}

/* ---- entries by term and index ------------------------------------------ */

struct logged {
    uint64_t term;
    uint64_t index;
    uint32_t crc;
};

static struct logged *logged;
static size_t logged_cap;
static size_t logged_count;

static struct logged *logged_slot(struct logged *table, size_t cap,
                                  uint64_t term, uint64_t index)
{
    size_t at = (size_t)((term * UINT64_C(0x9e3779b97f4a7c15) + index) *
                             UINT64_C(0xff51afd7ed558ccd) >>
                         20);

    for (;; at++) {
        struct logged *slot = &table[at & (cap - 1)];
        if (slot->term == 0 || (slot->term == term && slot->index == index))
            return slot;
    }
}

static void grow_logged(void)
{
    size_t cap = logged_cap ? logged_cap * 2 : 1024;
    struct logged *table = mem_zalloc(cap * sizeof(*table));

    for (size_t i = 0; i < logged_cap; i++)
        if (logged[i].term != 0)
            *logged_slot(table, cap, logged[i].term, logged[i].index) =
                logged[i];
    free(logged);
    logged = table;
    logged_cap = cap;
}

static void check_logged(const struct raft_entry *e)
{
    struct logged *slot;

    if (logged_count * 2 >= logged_cap)
        grow_logged();
    slot = logged_slot(logged, logged_cap, e->term, e->index);
    if (slot->term == 0) {
        *slot = (struct logged){e->term, e->index, crc_of(e)};
        logged_count++;
    }
    SIM_RULE(slot->crc == crc_of(e),
             "two entries at term %" PRIu64 ", index %" PRIu64, e->term,
             e->index);
}

int __real_wal_append(struct wal *wal, const struct wal_batch *batch,
                      struct errmsg *msg);
int __wrap_wal_append(struct wal *wal, const struct wal_batch *batch,
                      struct errmsg *msg);

int __wrap_wal_append(struct wal *wal, const struct wal_batch *batch,
                      struct errmsg *msg)
{
    for (size_t i = 0; i < batch->entry_count; i++)
        check_logged(&batch->entries[i]);
    return __real_wal_append(wal, batch, msg);
}

/* ---- promises ----------------------------------------------------------- */

/* What a member has told others, or itself, that its disk has. */
struct promise {
    uint64_t term;
    uint64_t vote_term;
    uint64_t vote;
    uint64_t log_term;  /* as of that term ... */
    uint64_t log_index; /* ... its log goes that far */
};

static struct promise promises[SIM_SLOTS];

void rules_forget(unsigned slot)
{
    promises[slot] = (struct promise){0};
}

static void promise_term(unsigned slot, uint64_t term)
{
    if (promises[slot].term < term)
        promises[slot].term = term;
}

static void promise_log(unsigned slot, uint64_t term, uint64_t index)
{
    struct promise *p = &promises[slot];

    promise_term(slot, term);
    if (p->log_term == term && p->log_index >= index)
        return;
    p->log_term = term;
    p->log_index = index;
}

void rules_sent(const struct life *life, const struct raft_message *m)
{
    struct promise *p = &promises[life->slot];

    if (m->type == RAFT_MSG_APP_RESP && !m->reject && m->index > 0) {
        promise_log(life->slot, m->term, m->index);
    } else if (m->type == RAFT_MSG_VOTE_RESP && !m->reject) {
        promise_term(life->slot, m->term);
        SIM_RULE(p->vote_term != m->term || p->vote == m->to,
                 "%u votes twice in term %" PRIu64, life->slot, m->term);
        p->vote_term = m->term;
        p->vote = m->to;
    } else if (m->type == RAFT_MSG_VOTE) {
        promise_term(life->slot, m->term);
        nemesis_moment(life);
    }
}

void rules_booted(struct life *life)
{
    const struct promise *p = &promises[life->slot];
    struct raft_status st;

    raft_status(life->node->raft, &st);
    SIM_RULE(st.term >= p->term,
             "%u has been in term %" PRIu64 ", now knows of %" PRIu64,
             life->slot, p->term, st.term);
    SIM_RULE(st.term != p->vote_term || st.vote == p->vote,
             "%u has forgotten its vote in term %" PRIu64, life->slot, st.term);
    SIM_RULE(st.term != p->log_term ||
                 raft_last_index(life->node->raft) >= p->log_index,
             "%u has acknowledged index %" PRIu64 " in term %" PRIu64
             ", its log ends at %" PRIu64,
             life->slot, p->log_index, p->log_term,
             raft_last_index(life->node->raft));
}

/* ---- every step --------------------------------------------------------- */

#define TERMS_MAX 4096

static uint64_t leaders[TERMS_MAX];
static uint64_t elections;

/* How far each life has been looked at. */
static struct {
    const struct life *life;
    uint64_t commit;
    uint64_t applied;
    uint64_t led;
    uint64_t led_commit;
} seen[SIM_SLOTS];

void rules_init(void)
{
    memset(seen, 0, sizeof(seen));
}

uint64_t rules_elections(void)
{
    return elections;
}

uint64_t rules_committed(void)
{
    return newest;
}

/* What an older term has left is committed by an entry of the leader's own only
 * (dissertation, 3.6.2). */
static void check_rule(const struct life *life, const struct raft_status *st)
{
    uint64_t *before = &seen[life->slot].led_commit;
    uint64_t term;

    SIM_RULE(seen[life->slot].led != st->term || *before >= st->commit ||
                 raft_term_at(life->node->raft, st->commit, &term) < 0 ||
                 term == st->term,
             "%u, leading in term %" PRIu64 ", commits up to %" PRIu64
             ", an entry of term %" PRIu64,
             life->slot, st->term, st->commit, term);
    *before = st->commit;
}

static void check_leader(const struct life *life, const struct raft_status *st)
{
    struct raft_progress_status progress[16];
    size_t n = raft_progress(life->node->raft, progress, 16);
    uint64_t *leader = &leaders[st->term];
    uint64_t term;

    SIM_RULE(st->term < TERMS_MAX, "too many elections");
    SIM_RULE(*leader == 0 || *leader == st->id,
             "two leaders in term %" PRIu64 ": %" PRIx64 " and %" PRIx64,
             st->term, *leader, st->id);
    for (size_t i = 0; i < n && i < 16; i++)
        if (progress[i].id == st->id)
            promise_log(life->slot, st->term, progress[i].match);
    check_rule(life, st);
    if (seen[life->slot].led == st->term)
        return;
    seen[life->slot].led = st->term;
    *leader = st->id;
    elections++;
    sim_say("%u leads in term %" PRIu64, life->slot, st->term);
    nemesis_moment(life);
    /* It may be a leader that others have left behind already. */
    uint64_t index = newest;
    while (index > 0 && committed_at(index)->term >= st->term)
        index--;
    SIM_RULE(index == 0 || (raft_term_at(life->node->raft, index, &term) == 0 &&
                            term == committed_at(index)->term),
             "%u leads in term %" PRIu64
             " without the committed entry at %" PRIu64,
             life->slot, st->term, index);
}

static void check_committed(const struct life *life, uint64_t commit)
{
    uint64_t *at = &seen[life->slot].commit;
    uint64_t first = raft_first_index(life->node->raft);

    if (*at + 1 < first)
        *at = first - 1;
    while (*at < commit) {
        const struct raft_entry *e = raft_entry_at(life->node->raft, *at + 1);
        if (!e)
            return;
        struct committed *c = committed_at(e->index);
        SIM_RULE(c->term == 0 || (c->term == e->term && c->crc == crc_of(e)),
                 "%u has committed another entry at %" PRIu64
                 ": of term %" PRIu64 " instead of %" PRIu64,
                 life->slot, e->index, e->term, c->term);
        c->term = e->term;
        c->crc = crc_of(e);
        if (newest < e->index)
            newest = e->index;
        ++*at;
    }
}

static uint64_t ids_hash(uint64_t hash, const struct raft_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++)
        hash = (hash ^ ids->ids[i]) * UINT64_C(0x9e3779b97f4a7c15);
    return hash * 31 + ids->count;
}

static uint64_t conf_hash(const struct raft_conf_state *conf)
{
    return ids_hash(ids_hash(1, &conf->voters), &conf->learners) | 1;
}

static void check_applied(const struct life *life)
{
    const struct node *node = life->node;
    struct committed *c;
    int64_t revision;

    if (seen[life->slot].applied == node->applied)
        return;
    seen[life->slot].applied = node->applied;
    c = committed_at(node->applied);
    revision = mvcc_revision(node->mvcc);
    SIM_RULE(c->revision == 0 || c->revision == revision,
             "%u is at revision %" PRId64 " after entry %" PRIu64
             ", others were at %" PRId64,
             life->slot, revision, node->applied, c->revision);
    c->revision = revision;
    uint64_t conf = conf_hash(raft_conf_state(node->raft));
    SIM_RULE(c->conf == 0 || c->conf == conf,
             "%u has another configuration after entry %" PRIu64
             " than the others",
             life->slot, node->applied);
    c->conf = conf;
}

void rules_step(struct life *life)
{
    struct raft_status st;

    if (!life || life->dead || !life->up || !life->node->raft ||
        life->node->failed)
        return;
    if (seen[life->slot].life != life) {
        memset(&seen[life->slot], 0, sizeof(seen[0]));
        seen[life->slot].life = life;
    }
    raft_status(life->node->raft, &st);
    if (st.role == RAFT_LEADER)
        check_leader(life, &st);
    check_committed(life, st.commit);
    check_applied(life);
}

/* ---- changes ------------------------------------------------------------ */

struct revision {
    uint32_t crc;
    bool known;
};

static struct revision *revisions; /* by revision */
static size_t revision_cap;
static int64_t revision_newest = 1;

static struct history_event *events;
static size_t event_count;
static size_t event_cap;

static void keep_event(int64_t rev, struct bytes encoded)
{
    struct mvcc_fields f;
    bool tombstone = false;

    if (event_count == event_cap) {
        event_cap = event_cap ? event_cap * 2 : 256;
        events = mem_realloc(events, event_cap * sizeof(*events));
    }
    struct bytes record = watch_event_record(encoded);
    CHECK(mvcc_decode(record, &f) == 0);
    tombstone = f.version == 0;
    events[event_count++] = (struct history_event){
        .rev = rev,
        .key = keys_number(f.key),
        .value = tombstone ? 0 : keys_value(f.value),
        .create_rev = f.create_rev,
        .mod_rev = f.mod_rev,
        .version = f.version,
        .lease = f.lease,
        .seen_ns = sim.now_ns,
    };
}

/* The `events` fields one after the other. */
static void keep_events(int64_t rev, struct bytes all)
{
    struct pb_reader r = pb_over(all);
    const uint8_t *start = r.at;
    struct pb_field f;

    while (pb_next(&r, &f) > 0) {
        keep_event(rev, bytes_of(start, (size_t)(r.at - start)));
        start = r.at;
    }
}

void rules_changes(const struct life *life, int64_t rev, struct bytes all)
{
    struct revision *r;
    uint32_t crc = crc32c(0, all.data, all.len);

    if ((size_t)rev >= revision_cap) {
        size_t cap = revision_cap ? revision_cap * 2 : 1024;
        while (cap <= (size_t)rev)
            cap *= 2;
        revisions = mem_realloc(revisions, cap * sizeof(*revisions));
        memset(revisions + revision_cap, 0,
               (cap - revision_cap) * sizeof(*revisions));
        revision_cap = cap;
    }
    r = &revisions[rev];
    if (r->known) {
        SIM_RULE(r->crc == crc, "%u shows other changes at revision %" PRId64,
                 life->slot, rev);
        return;
    }
    SIM_RULE(rev == revision_newest + 1,
             "%u shows revision %" PRId64 " before %" PRId64 " was shown",
             life->slot, rev, revision_newest + 1);
    *r = (struct revision){crc, true};
    revision_newest = rev;
    keep_events(rev, all);
}

const struct history_event *rules_events(size_t *n)
{
    *n = event_count;
    return events;
}

int64_t rules_revision(void)
{
    return revision_newest;
}
