/* What a leader knows of one member, and the window of appends that are under
 * way to it. */
#ifndef RAFT_PROGRESS_H
#define RAFT_PROGRESS_H

#include "chorad/raft.h"

struct inflight {
    uint64_t index; /* the last entry in the message */
    uint64_t bytes;
};

/* A ring of append messages that haven't been acknowledged, in order. It
 * grows up to `size`. */
struct inflights {
    size_t start;
    size_t count;
    uint64_t bytes;
    size_t size;
    uint64_t max_bytes; /* 0: no limit */
    struct inflight *ring;
    size_t ring_len;
};

void inflights_init(struct inflights *in, size_t size, uint64_t max_bytes);
void inflights_close(struct inflights *in);
/* Must not be full. */
void inflights_add(struct inflights *in, uint64_t index, uint64_t bytes);
/* Forgets messages whose last entry is at or below `index`. */
void inflights_free_to(struct inflights *in, uint64_t index);
bool inflights_full(const struct inflights *in);
void inflights_reset(struct inflights *in);

struct progress {
    uint64_t id;
    /* The log is known to be the leader's up to here. */
    uint64_t match;
    /* The next entry to send; those after match are under way. match < next */
    uint64_t next;
    /* The highest commit index that is under way. */
    uint64_t sent_commit;
    enum raft_progress_state state;
    /* SNAPSHOT: the index of the snapshot that was sent. */
    uint64_t pending_snapshot;
    /* Heard of since the last quorum check; always true for the leader. */
    bool recent_active;
    /* No append until a heartbeat is answered: probing, or window full. */
    bool flow_paused;
    bool is_learner;
    struct inflights inflights;
};

void progress_become_probe(struct progress *pr);
void progress_become_replicate(struct progress *pr);
void progress_become_snapshot(struct progress *pr, uint64_t index);
/* An append with `entries` entries of `bytes` payload bytes went out. */
void progress_sent_entries(struct progress *pr, size_t entries, uint64_t bytes);
/* Would sending this commit index tell the member something new? */
bool progress_can_bump_commit(const struct progress *pr, uint64_t commit);
/* The member has everything up to `index`: true if that is news. */
bool progress_update(struct progress *pr, uint64_t index);
/* The member refused an append after `rejected` and suggests `hint`: false if
 * the answer is stale. */
bool progress_decrease(struct progress *pr, uint64_t rejected, uint64_t hint);
bool progress_paused(const struct progress *pr);

/* "StateProbe match=0 next=1 ...", cut to the size; returns buf. */
const char *progress_text(const struct progress *pr, char *buf, size_t size);

#endif
