/* The active configuration, the progress of its members and their votes. */
#ifndef RAFT_TRACKER_H
#define RAFT_TRACKER_H

#include "progress.h"
#include "quorum.h"

struct tracker {
    struct raft_conf_state conf;
    /* One per voter (incoming or outgoing) and learner, sorted by id. */
    struct progress *progress;
    size_t count;
    struct votes votes;
    size_t max_inflight;
    uint64_t max_inflight_bytes;
};

void tracker_init(struct tracker *trk, size_t max_inflight,
                  uint64_t max_inflight_bytes);
void tracker_close(struct tracker *trk);

/* NULL if the id isn't a member. */
struct progress *tracker_find(const struct tracker *trk, uint64_t id);
/* A voter of either half? */
bool tracker_is_voter(const struct tracker *trk, uint64_t id);
/* One voter, not joint? */
bool tracker_is_single(const struct tracker *trk);
static inline bool tracker_is_joint(const struct tracker *trk)
{
    return trk->conf.voters_outgoing.count > 0;
}
/* The index that the voters have committed by now. */
uint64_t tracker_committed(const struct tracker *trk);
/* Has a quorum been heard of lately? */
bool tracker_quorum_active(const struct tracker *trk);
/* The result for a set of votes in this configuration. */
enum vote_result tracker_vote_result(const struct tracker *trk,
                                     const struct votes *votes);
/* The same for trk->votes, with numbers for the log. */
enum vote_result tracker_tally(const struct tracker *trk, unsigned *granted,
                               unsigned *rejected);

/* "(1 2 3)" */
void ids_text(const struct raft_ids *ids, struct buf *out);
/* "voters=(1 2 3)&&(1) learners=(4) autoleave", zero-terminated; the caller
 * closes `out`. */
const char *conf_text(const struct raft_conf_state *conf, struct buf *out);

#endif
