/* Who leads: the transitions between the four roles.
 *
 *                 +-- a leader or a higher term shows up --+
 *                 v                                        |
 *   start --> follower --timeout--> pre-candidate --> candidate --> leader
 *                 ^  (without pre-vote: straight to candidate)        |
 *                 +---------- higher term, quorum lost ---------------+ */
#include "chorad/base/check.h"
#include "core.h"

static void reset_progress(struct raft *r)
{
    uint64_t last = rlog_last(&r->log);
    for (size_t i = 0; i < r->trk.count; i++) {
        struct progress *pr = &r->trk.progress[i];
        struct inflights inflights = pr->inflights;
        inflights_reset(&inflights);
        *pr = (struct progress){
            .id = pr->id,
            .match = pr->id == r->id ? last : 0,
            .next = last + 1,
            .is_learner = pr->is_learner,
            .inflights = inflights,
        };
    }
}

static void reset(struct raft *r, uint64_t term)
{
    if (r->term != term) {
        r->term = term;
        r->vote = RAFT_NONE;
    }
    r->leader = RAFT_NONE;
    r->election_elapsed = 0;
    r->heartbeat_elapsed = 0;
    r->election_timeout =
        r->config.election_tick +
        (unsigned)prng_below(&r->random, r->config.election_tick);
    r->lead_transferee = RAFT_NONE;
    votes_clear(&r->trk.votes);
    reset_progress(r);
    r->pending_conf_index = 0;
    r->uncommitted_size = 0;
    readonly_clear(&r->reads);
}

void core_become_follower(struct raft *r, uint64_t term, uint64_t leader)
{
    reset(r, term);
    r->leader = leader;
    r->role = RAFT_FOLLOWER;
    INFO(r, "%" PRIx64 " became follower at term %" PRIu64, r->id, r->term);
}

void core_become_candidate(struct raft *r)
{
    CHECK(r->role != RAFT_LEADER);
    reset(r, r->term + 1);
    r->vote = r->id;
    r->role = RAFT_CANDIDATE;
    INFO(r, "%" PRIx64 " became candidate at term %" PRIu64, r->id, r->term);
}

void core_become_pre_candidate(struct raft *r)
{
    CHECK(r->role != RAFT_LEADER);
    /* Term and vote stay: only asking whether an election could be won. */
    votes_clear(&r->trk.votes);
    r->leader = RAFT_NONE;
    r->role = RAFT_PRE_CANDIDATE;
    INFO(r, "%" PRIx64 " became pre-candidate at term %" PRIu64, r->id,
         r->term);
}

void core_become_leader(struct raft *r)
{
    CHECK(r->role != RAFT_FOLLOWER);
    reset(r, r->term);
    r->leader = r->id;
    r->role = RAFT_LEADER;
    struct progress *pr = tracker_find(&r->trk, r->id);
    CHECK(pr);
    progress_become_replicate(pr);
    pr->recent_active = true;
    /* There may be a configuration change anywhere in what isn't applied
     * yet. Waiting for all of it is cheaper than looking. */
    r->pending_conf_index = rlog_last(&r->log);
    /* Entries of earlier terms commit along with one of this term. */
    struct raft_entry empty = {.type = RAFT_ENTRY_NORMAL};
    CHECK(core_append(r, &empty, 1));
    INFO(r, "%" PRIx64 " became leader at term %" PRIu64, r->id, r->term);
}

bool core_promotable(const struct raft *r)
{
    const struct progress *pr = tracker_find(&r->trk, r->id);
    return pr && !pr->is_learner && !r->log.snapshot;
}

static void tick_follower(struct raft *r)
{
    r->election_elapsed++;
    if (core_promotable(r) && r->election_elapsed >= r->election_timeout) {
        r->election_elapsed = 0;
        raft_campaign(r);
    }
}

static void check_quorum(struct raft *r)
{
    if (!tracker_quorum_active(&r->trk)) {
        WARN(r,
             "%" PRIx64 " stepped down to follower since quorum is not active",
             r->id);
        core_become_follower(r, r->term, RAFT_NONE);
    }
    for (size_t i = 0; i < r->trk.count; i++)
        if (r->trk.progress[i].id != r->id)
            r->trk.progress[i].recent_active = false;
}

static void tick_leader(struct raft *r)
{
    r->heartbeat_elapsed++;
    r->election_elapsed++;
    if (r->election_elapsed >= r->config.election_tick) {
        r->election_elapsed = 0;
        if (r->config.check_quorum)
            check_quorum(r);
        /* The other one had its time to take over. */
        r->lead_transferee = RAFT_NONE;
    }
    if (r->role == RAFT_LEADER &&
        r->heartbeat_elapsed >= r->config.heartbeat_tick) {
        r->heartbeat_elapsed = 0;
        const struct raft_entry *last = readonly_last(&r->reads);
        struct shared *context = last ? last->owner : NULL;
        core_bcast_heartbeat(r, context);
    }
}

void raft_tick(struct raft *r)
{
    if (r->role == RAFT_LEADER)
        tick_leader(r);
    else
        tick_follower(r);
}
