/* The log in memory: entries from a compaction point on, how far they are
 * committed, applied and on disk, and a snapshot that is being installed.
 *
 *            base      applied  applying committed       last
 *   ----------|-----------|--------|--------|---------------|
 *    compacted| entries[start]...                           |
 *             |<----- on disk ----->|offset                 |
 *                                   |being written|in_progress
 *
 * base <= applied <= applying <= committed <= last. Entries from `offset` on
 * aren't known to be on disk; those below `in_progress` have been handed to
 * the log writer. */
#ifndef RAFT_LOG_H
#define RAFT_LOG_H

#include "chorad/raft.h"
#include "say.h"

/* Entries handed out to be applied that haven't been reported yet. */
struct apply_batch {
    uint64_t last;
    uint64_t size;
    uint64_t payload;
};

struct rlog {
    struct raft_entry *entries;
    size_t start;
    size_t count;
    size_t cap;
    uint64_t base;
    uint64_t base_term;

    uint64_t committed;
    uint64_t applying;
    uint64_t applied;

    uint64_t offset;
    uint64_t in_progress;

    /* Received and not yet on disk; the log starts after it. */
    struct raft_snapshot *snapshot;
    bool snapshot_in_progress;

    /* Limits what is handed out to be applied at the same time. */
    uint64_t max_applying_size;
    uint64_t applying_size;
    bool applying_paused;
    struct apply_batch *batches;
    size_t batch_start;
    size_t batch_count;
    size_t batch_cap;

    const struct sayer *sayer;
};

struct entry_id {
    uint64_t term;
    uint64_t index;
};

/* A range of the log's own array, valid until the log changes. */
struct entry_span {
    const struct raft_entry *entries;
    size_t count;
};

/* Entries are copied with a reference each; all of them count as written. */
void rlog_init(struct rlog *log, const struct raft_init *init,
               uint64_t max_applying_size, const struct sayer *sayer);
void rlog_close(struct rlog *log);

static inline uint64_t rlog_first(const struct rlog *log)
{
    return log->base + 1;
}

static inline uint64_t rlog_last(const struct rlog *log)
{
    return log->base + log->count;
}

/* base <= index <= last, else false. */
bool rlog_term(const struct rlog *log, uint64_t index, uint64_t *term);
/* 0 where it isn't known. */
uint64_t rlog_term_or_zero(const struct rlog *log, uint64_t index);
struct entry_id rlog_last_id(const struct rlog *log);
bool rlog_matches(const struct rlog *log, struct entry_id id);
/* Is a log that ends with `last` at least as good as this one? */
bool rlog_up_to_date(const struct rlog *log, struct entry_id last);

/* NULL if it isn't there. */
const struct raft_entry *rlog_at(const struct rlog *log, uint64_t index);
/* Entries from `low` up to but not including `high`, cut before max_size
 * bytes are exceeded, at least one. base < low <= high <= last + 1. */
struct entry_span rlog_slice(const struct rlog *log, uint64_t low,
                             uint64_t high, uint64_t max_size);

/* Appends at entries[0].index, which may cut off a tail that isn't
 * committed. The references of the entries become the log's. */
void rlog_append(struct rlog *log, const struct raft_entry *entries,
                 size_t count);
/* A leader's entries after `prev`: false if the log doesn't have `prev`.
 * Takes references on what is new, and moves the commit index. */
bool rlog_try_append(struct rlog *log, struct entry_id prev,
                     const struct raft_entry *entries, size_t count,
                     uint64_t committed);
/* The largest entry at or below `index` whose term is at most `term`, so far
 * as terms are known (otherwise with term 0). */
struct entry_id rlog_find_conflict_by_term(const struct rlog *log,
                                           uint64_t index, uint64_t term);

void rlog_commit_to(struct rlog *log, uint64_t index);
/* Leader: commits `at` if it is news and of this log. */
bool rlog_try_commit(struct rlog *log, struct entry_id at);

/* Starts anew after a snapshot; takes a reference. */
void rlog_restore(struct rlog *log, struct raft_snapshot *snapshot);
/* base < index <= applied, and written. */
void rlog_compact(struct rlog *log, uint64_t index);

/* ---- towards the disk */

/* Entries to be written that haven't been handed out. */
struct entry_span rlog_next_unstable(const struct rlog *log);
bool rlog_has_unstable(const struct rlog *log);
/* The same for the snapshot; NULL for none. */
struct raft_snapshot *rlog_next_snapshot(const struct rlog *log);
/* All of that is being written now. */
void rlog_accept_unstable(struct rlog *log);
void rlog_stable_to(struct rlog *log, struct entry_id id);
void rlog_stable_snapshot_to(struct rlog *log, uint64_t index);

/* ---- towards the state machine */

/* Committed entries to hand out; without allow_unstable only such as are on
 * disk. */
struct entry_span rlog_next_committed(const struct rlog *log,
                                      bool allow_unstable);
bool rlog_has_committed(const struct rlog *log, bool allow_unstable);
void rlog_accept_applying(struct rlog *log, struct entry_span span,
                          bool allow_unstable);
/* Takes the oldest batch off if all of it is at or below `index`. */
bool rlog_pop_batch(struct rlog *log, uint64_t index, struct apply_batch *out);
void rlog_applied_to(struct rlog *log, uint64_t index, uint64_t size);

#endif
