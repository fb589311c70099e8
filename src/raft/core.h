/* The state of a member and the steps its parts share. */
#ifndef RAFT_CORE_H
#define RAFT_CORE_H

#include "chorad/base/clock.h"
#include "log.h"
#include "readonly.h"
#include "say.h"
#include "tracker.h"
#include "types.h"

/* Appends kept for the next update. */
#define SPARE_APPENDS 4

struct raft {
    uint64_t id;
    uint64_t term;
    uint64_t vote;
    enum raft_role role;
    uint64_t leader;
    uint64_t lead_transferee;
    bool is_learner;
    /* At or above the last configuration change in the log that may not have
     * been applied; only one may be under way. */
    uint64_t pending_conf_index;
    /* Payload bytes proposed here and not applied yet; a leader's. */
    uint64_t uncommitted_size;

    struct rlog log;
    struct tracker trk;
    struct readonly reads;

    /* Ticks: since an election or a word of the leader; since a heartbeat. */
    unsigned election_elapsed;
    unsigned heartbeat_elapsed;
    unsigned election_timeout; /* randomized */

    /* To peers, at once; and once all that is unstable now is durable. */
    struct messages msgs;
    struct messages msgs_after_append;
    struct raft_read *read_states;
    size_t read_count;
    size_t read_cap;

    /* What the last update showed, alive until the next one. */
    struct messages shown_msgs;
    struct raft_read *shown_reads;
    size_t shown_read_count;
    size_t shown_read_cap;
    struct raft_soft_state prev_soft;
    struct raft_hard_state prev_hard;
    struct raft_append *spare;
    size_t spare_count;
    /* Synchronous mode: what raft_advance() finishes. */
    bool advance_due;
    struct raft_append *advance_append;
    uint64_t advance_applied;

    struct raft_snapshot *snapshot;
    struct prng random;
    struct raft_config config;
    struct sayer sayer;
};

#define DEBUG(r, ...) SAY(&(r)->sayer, RAFT_LOG_DEBUG, __VA_ARGS__)
#define INFO(r, ...) SAY(&(r)->sayer, RAFT_LOG_INFO, __VA_ARGS__)
#define WARN(r, ...) SAY(&(r)->sayer, RAFT_LOG_WARN, __VA_ARGS__)

enum campaign { CAMPAIGN_PRE, CAMPAIGN_ELECTION, CAMPAIGN_TRANSFER };
/* The context of a vote request that a leader asked for: it is granted even
 * while that leader is heard of. */
#define CAMPAIGN_TRANSFER_CONTEXT "CampaignTransfer"

/* step.c: any message, local ones included; it isn't checked any more. */
int core_step(struct raft *r, const struct raft_message *m);
/* Fills in sender and term, queues, and takes over what the message owns. */
void core_send(struct raft *r, struct raft_message m);

/* role.c */
void core_become_follower(struct raft *r, uint64_t term, uint64_t leader);
void core_become_candidate(struct raft *r);
void core_become_pre_candidate(struct raft *r);
void core_become_leader(struct raft *r);
/* May this member stand for election? */
bool core_promotable(const struct raft *r);

/* election.c */
void core_hup(struct raft *r, enum campaign campaign);
void core_handle_vote(struct raft *r, const struct raft_message *m);
int core_step_candidate(struct raft *r, const struct raft_message *m);

/* leader.c */
int core_step_leader(struct raft *r, const struct raft_message *m);

/* propose.c */
/* Terms and indexes are written into the array; its references become the
 * log's on success. */
int core_propose(struct raft *r, struct raft_entry *entries, size_t count);
bool core_append(struct raft *r, struct raft_entry *entries, size_t count);
void core_reduce_uncommitted(struct raft *r, uint64_t size);

/* replicate.c */
void core_bcast_append(struct raft *r);
void core_bcast_heartbeat(struct raft *r, struct shared *context);
/* True if something was sent. */
bool core_send_append(struct raft *r, struct progress *pr, bool if_empty);
/* Commits what a quorum has; true if that is news. */
bool core_try_commit(struct raft *r);

/* follower.c */
int core_step_follower(struct raft *r, const struct raft_message *m);
void core_handle_append(struct raft *r, const struct raft_message *m);
void core_handle_heartbeat(struct raft *r, const struct raft_message *m);
void core_handle_snapshot(struct raft *r, const struct raft_message *m);

/* read.c */
void core_leader_read_index(struct raft *r, const struct raft_message *m);
void core_read_acked(struct raft *r, const struct raft_message *m);
/* The first entry of the term is committed: answer who waited for it. */
void core_release_reads(struct raft *r);
/* A quorum may have become smaller: some requests may be proven now. */
void core_reads_config_changed(struct raft *r);
/* The request's context came back with an index. */
void core_push_read(struct raft *r, uint64_t index, const struct raft_entry *e);

/* member.c */
/* Reacts to a configuration that has just become active. */
void core_config_changed(struct raft *r);
void core_applied_to(struct raft *r, uint64_t index, uint64_t size);

#endif
