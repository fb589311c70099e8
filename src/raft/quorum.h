/* Majorities, single and joint: what they have committed, how they voted. */
#ifndef RAFT_QUORUM_H
#define RAFT_QUORUM_H

#include "chorad/raft.h"

/* The index a voter has acknowledged, 0 if it hasn't been heard of. */
typedef uint64_t (*quorum_acked_cb)(const void *arg, uint64_t id);

/* The highest index a majority has acknowledged; UINT64_MAX for the empty
 * set, so that it adds nothing to a joint quorum. */
uint64_t quorum_committed(const struct raft_ids *voters, quorum_acked_cb acked,
                          const void *arg);
uint64_t quorum_joint_committed(const struct raft_ids *incoming,
                                const struct raft_ids *outgoing,
                                quorum_acked_cb acked, const void *arg);

struct vote {
    uint64_t id;
    bool granted;
};

/* Votes in the order they came, at most one per member. Zeroed memory is
 * empty. */
struct votes {
    struct vote *items;
    size_t count;
    size_t cap;
};

/* Only a member's first vote counts. */
void votes_record(struct votes *votes, uint64_t id, bool granted);
/* 1 granted, 0 rejected, -1 none. */
int votes_of(const struct votes *votes, uint64_t id);
void votes_clear(struct votes *votes);
void votes_close(struct votes *votes);

enum vote_result { VOTE_PENDING, VOTE_LOST, VOTE_WON };

/* The empty set is always won. */
enum vote_result quorum_vote(const struct raft_ids *voters,
                             const struct votes *votes);
enum vote_result quorum_joint_vote(const struct raft_ids *incoming,
                                   const struct raft_ids *outgoing,
                                   const struct votes *votes);

#endif
