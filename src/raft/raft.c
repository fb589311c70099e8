/* Starting, stopping and looking at a member. */
#include "chorad/base/check.h"
#include "confchange.h"
#include "core.h"
#include <stdio.h>
#include <stdlib.h>

void raft_config_init(struct raft_config *config)
{
    *config = (struct raft_config){
        .election_tick = 10,
        .heartbeat_tick = 1,
        .max_size_per_msg = 512 * 1024,
        .max_inflight_msgs = 512,
        .max_uncommitted_size = UINT64_C(1) << 30,
        .check_quorum = true,
        .pre_vote = true,
        .async_storage = true,
        .log_level = RAFT_LOG_INFO,
    };
}

static int check_config(const struct raft_config *c, struct errmsg *msg)
{
    if (c->id == RAFT_NONE)
        return err_set(msg, ERR_INVALID, "cannot use none as id");
    if (c->id >= RAFT_APPLY_THREAD)
        return err_set(msg, ERR_INVALID, "cannot use local target as id");
    if (c->heartbeat_tick == 0)
        return err_set(msg, ERR_INVALID,
                       "heartbeat tick must be greater than 0");
    if (c->election_tick <= c->heartbeat_tick)
        return err_set(msg, ERR_INVALID,
                       "election tick must be greater than heartbeat tick");
    if (c->max_inflight_msgs == 0)
        return err_set(msg, ERR_INVALID,
                       "max inflight messages must be greater than 0");
    if (c->max_inflight_bytes != 0 &&
        c->max_inflight_bytes < c->max_size_per_msg)
        return err_set(msg, ERR_INVALID,
                       "max inflight bytes must be >= max message size");
    if (c->read_option == RAFT_READ_LEASE && !c->check_quorum)
        return err_set(msg, ERR_INVALID,
                       "CheckQuorum must be enabled when ReadOnlyOption is "
                       "ReadOnlyLeaseBased");
    return 0;
}

static int check_entries(const struct raft_init *init, struct errmsg *msg)
{
    uint64_t term = init->base_term;
    for (size_t i = 0; i < init->entry_count; i++) {
        const struct raft_entry *e = &init->entries[i];
        if (e->index != init->base_index + 1 + i)
            return err_set(msg, ERR_CORRUPT,
                           "log entry %" PRIu64 " where %" PRIu64 " should be",
                           e->index, init->base_index + 1 + i);
        if (e->term < term)
            return err_set(msg, ERR_CORRUPT,
                           "log entry %" PRIu64 " has term %" PRIu64
                           " after term %" PRIu64,
                           e->index, e->term, term);
        term = e->term;
    }
    return 0;
}

/* A commit index alone isn't synced, so the stored one may be behind what the
 * state machine or the compaction of the log prove to be committed. */
static uint64_t known_commit(const struct raft_init *init)
{
    uint64_t commit = init->hard_state.commit;
    if (commit < init->base_index)
        commit = init->base_index;
    return commit < init->applied ? init->applied : commit;
}

static int check_init(const struct raft_init *init, struct errmsg *msg)
{
    int rc = check_entries(init, msg);
    if (rc < 0)
        return rc;
    uint64_t last = init->base_index + init->entry_count;
    if (init->hard_state.commit > last)
        return err_set(msg, ERR_CORRUPT,
                       "commit index %" PRIu64
                       " is behind the end of the log at %" PRIu64,
                       init->hard_state.commit, last);
    if (init->applied != 0 &&
        (init->applied < init->base_index || init->applied > last))
        return err_set(msg, ERR_CORRUPT,
                       "applied index %" PRIu64
                       " is outside of the log from %" PRIu64 " to %" PRIu64,
                       init->applied, init->base_index, last);
    return 0;
}

static void say_started(struct raft *r)
{
    if (!say_enabled(&r->sayer, RAFT_LOG_INFO))
        return;
    struct buf peers = {0};
    for (size_t i = 0; i < r->trk.count; i++)
        if (tracker_is_voter(&r->trk, r->trk.progress[i].id))
            buf_printf(&peers, "%s%" PRIx64, peers.len > 0 ? "," : "",
                       r->trk.progress[i].id);
    buf_append(&peers, "", 1);
    struct entry_id last = rlog_last_id(&r->log);
    INFO(r,
         "newRaft %" PRIx64 " [peers: [%s], term: %" PRIu64 ", commit: %" PRIu64
         ", applied: %" PRIu64 ", lastindex: %" PRIu64 ", lastterm: %" PRIu64
         "]",
         r->id, (const char *)peers.data, r->term, r->log.committed,
         r->log.applied, last.index, last.term);
    buf_close(&peers);
}

static struct raft *make(const struct raft_config *config,
                         const struct raft_init *init)
{
    struct raft *r = mem_zalloc(sizeof(*r));
    r->id = config->id;
    r->config = *config;
    if (r->config.max_committed_size == 0)
        r->config.max_committed_size = config->max_size_per_msg;
    r->random.state = config->seed;
    r->sayer = (struct sayer){config->log, config->log_arg, config->log_level};
    rlog_init(&r->log, init, r->config.max_committed_size, &r->sayer);
    tracker_init(&r->trk, config->max_inflight_msgs,
                 config->max_inflight_bytes);
    if (init->snapshot)
        r->snapshot = raft_snapshot_ref(init->snapshot);
    return r;
}

static void load_state(struct raft *r, const struct raft_init *init)
{
    r->term = init->hard_state.term;
    r->vote = init->hard_state.vote;
    r->log.committed = known_commit(init);
    if (init->applied > 0)
        rlog_applied_to(&r->log, init->applied, 0);
}

int raft_new(struct raft **out, const struct raft_config *config,
             const struct raft_init *init, struct errmsg *msg)
{
    int rc = check_config(config, msg);
    if (rc == 0)
        rc = check_init(init, msg);
    if (rc < 0)
        return rc;
    struct raft *r = make(config, init);
    struct raft_conf_state empty = {0};
    rc = confchange_restore(&r->trk, rlog_last(&r->log),
                            init->conf_state ? init->conf_state : &empty, msg);
    if (rc < 0) {
        raft_free(r);
        return err_wrap(msg, ERR_CORRUPT, "stored configuration");
    }
    core_config_changed(r);
    load_state(r, init);
    core_become_follower(r, r->term, RAFT_NONE);
    say_started(r);
    r->prev_soft = (struct raft_soft_state){r->leader, r->role};
    r->prev_hard = (struct raft_hard_state){r->term, r->vote, r->log.committed};
    *out = r;
    return 0;
}

void raft_free(struct raft *r)
{
    if (!r)
        return;
    rlog_close(&r->log);
    tracker_close(&r->trk);
    readonly_close(&r->reads);
    messages_close(&r->msgs);
    messages_close(&r->msgs_after_append);
    messages_close(&r->shown_msgs);
    for (size_t i = 0; i < r->read_count; i++)
        shared_unref(r->read_states[i].context);
    for (size_t i = 0; i < r->shown_read_count; i++)
        shared_unref(r->shown_reads[i].context);
    free(r->read_states);
    free(r->shown_reads);
    raft_append_close(r->advance_append);
    while (r->spare) {
        struct raft_append *append = r->spare;
        r->spare = append->next;
        raft_append_close(append);
    }
    raft_snapshot_unref(r->snapshot);
    free(r);
}

int raft_bootstrap(struct raft *r, const struct raft_conf_change *changes,
                   size_t count)
{
    if (count == 0 || rlog_last(&r->log) != 0)
        return ERR_INVALID;
    /* Empty, so that the first update persists the new one. */
    r->prev_hard = (struct raft_hard_state){0};
    core_become_follower(r, 1, RAFT_NONE);
    for (size_t i = 0; i < count; i++) {
        struct raft_entry entry = raft_conf_change_entry(&changes[i]);
        entry.term = 1;
        entry.index = i + 1;
        rlog_append(&r->log, &entry, 1);
    }
    r->log.committed = count;
    for (size_t i = 0; i < count; i++) {
        int rc = raft_apply_conf_change(r, &changes[i], NULL);
        if (rc < 0)
            return rc;
    }
    return 0;
}

uint64_t raft_first_index(const struct raft *r)
{
    return rlog_first(&r->log);
}

uint64_t raft_last_index(const struct raft *r)
{
    return rlog_last(&r->log);
}

int raft_term_at(const struct raft *r, uint64_t index, uint64_t *term)
{
    return rlog_term(&r->log, index, term) ? 0 : ERR_NOTFOUND;
}

const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index)
{
    return rlog_at(&r->log, index);
}

int raft_compact(struct raft *r, uint64_t index)
{
    if (index < rlog_first(&r->log) || index > r->log.applied ||
        index >= r->log.offset)
        return ERR_INVALID;
    rlog_compact(&r->log, index);
    return 0;
}

void raft_set_snapshot(struct raft *r, struct raft_snapshot *snapshot)
{
    raft_snapshot_unref(r->snapshot);
    r->snapshot = snapshot;
}

void raft_status(const struct raft *r, struct raft_status *status)
{
    *status = (struct raft_status){
        .id = r->id,
        .term = r->term,
        .vote = r->vote,
        .commit = r->log.committed,
        .applied = r->log.applied,
        .leader = r->leader,
        .lead_transferee = r->lead_transferee,
        .role = r->role,
        .is_learner = r->is_learner,
        .uncommitted_size = r->uncommitted_size,
    };
}

const struct raft_conf_state *raft_conf_state(const struct raft *r)
{
    return &r->trk.conf;
}

size_t raft_progress(const struct raft *r, struct raft_progress_status *out,
                     size_t max)
{
    if (r->role != RAFT_LEADER)
        return 0;
    for (size_t i = 0; i < r->trk.count && i < max; i++) {
        const struct progress *pr = &r->trk.progress[i];
        out[i] = (struct raft_progress_status){
            .id = pr->id,
            .match = pr->match,
            .next = pr->next,
            .state = pr->state,
            .pending_snapshot = pr->pending_snapshot,
            .inflight_msgs = pr->inflights.count,
            .inflight_full = inflights_full(&pr->inflights),
            .recent_active = pr->recent_active,
            .is_learner = pr->is_learner,
            .paused = progress_paused(pr),
        };
    }
    return r->trk.count;
}
