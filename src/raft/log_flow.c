/* How entries leave the log: to the disk and to the state machine. */
#include "chorad/base/check.h"
#include "log.h"
#include <string.h>

struct entry_span rlog_next_unstable(const struct rlog *log)
{
    uint64_t last = rlog_last(log);
    if (log->in_progress > last)
        return (struct entry_span){0};
    return rlog_slice(log, log->in_progress, last + 1, RAFT_NO_LIMIT);
}

bool rlog_has_unstable(const struct rlog *log)
{
    return rlog_last(log) >= log->offset;
}

struct raft_snapshot *rlog_next_snapshot(const struct rlog *log)
{
    return log->snapshot_in_progress ? NULL : log->snapshot;
}

void rlog_accept_unstable(struct rlog *log)
{
    if (rlog_has_unstable(log))
        log->in_progress = rlog_last(log) + 1;
    if (log->snapshot)
        log->snapshot_in_progress = true;
}

void rlog_stable_to(struct rlog *log, struct entry_id id)
{
    if (id.index < log->offset || id.index > rlog_last(log)) {
        bool snapshot = log->snapshot && log->snapshot->index == id.index;
        SAY(log->sayer, RAFT_LOG_INFO,
            "entry at index %" PRIu64 " %s; ignoring", id.index,
            snapshot ? "matched unstable snapshot"
                     : "missing from unstable log");
        return;
    }
    uint64_t term = rlog_at(log, id.index)->term;
    if (term != id.term) {
        /* It was replaced between being handed out and being on disk. */
        SAY(log->sayer, RAFT_LOG_INFO,
            "entry at (index,term)=(%" PRIu64 ",%" PRIu64
            ") mismatched with entry at (%" PRIu64 ",%" PRIu64
            ") in unstable log; ignoring",
            id.index, id.term, id.index, term);
        return;
    }
    log->offset = id.index + 1;
    if (log->in_progress < log->offset)
        log->in_progress = log->offset;
}

void rlog_stable_snapshot_to(struct rlog *log, uint64_t index)
{
    if (!log->snapshot || log->snapshot->index != index)
        return;
    raft_snapshot_unref(log->snapshot);
    log->snapshot = NULL;
    log->snapshot_in_progress = false;
}

static uint64_t max_appliable(const struct rlog *log, bool allow_unstable)
{
    if (!allow_unstable && log->committed >= log->offset)
        return log->offset - 1;
    return log->committed;
}

bool rlog_has_committed(const struct rlog *log, bool allow_unstable)
{
    /* A snapshot goes first: entries after it mean nothing to a state machine
     * that doesn't have it yet. */
    return !log->applying_paused && !log->snapshot &&
           log->applying < max_appliable(log, allow_unstable);
}

struct entry_span rlog_next_committed(const struct rlog *log,
                                      bool allow_unstable)
{
    if (!rlog_has_committed(log, allow_unstable))
        return (struct entry_span){0};
    uint64_t room = RAFT_NO_LIMIT;
    if (log->max_applying_size != RAFT_NO_LIMIT)
        room = log->max_applying_size - log->applying_size;
    return rlog_slice(log, log->applying + 1,
                      max_appliable(log, allow_unstable) + 1, room);
}

static void push_batch(struct rlog *log, struct apply_batch batch)
{
    if (log->batch_start > 0 &&
        log->batch_start + log->batch_count == log->batch_cap) {
        memmove(log->batches, log->batches + log->batch_start,
                log->batch_count * sizeof(batch));
        log->batch_start = 0;
    }
    if (log->batch_count == log->batch_cap) {
        log->batch_cap = log->batch_cap ? log->batch_cap * 2 : 8;
        log->batches =
            mem_realloc(log->batches, log->batch_cap * sizeof(batch));
    }
    log->batches[log->batch_start + log->batch_count++] = batch;
}

void rlog_accept_applying(struct rlog *log, struct entry_span span,
                          bool allow_unstable)
{
    struct apply_batch batch = {.last = span.entries[span.count - 1].index};
    CHECK(batch.last <= log->committed);
    for (size_t i = 0; i < span.count; i++) {
        batch.size += raft_entry_size(&span.entries[i]);
        batch.payload += span.entries[i].len;
    }
    push_batch(log, batch);
    log->applying = batch.last;
    log->applying_size += batch.size;
    /* Pause when the limit is reached, or would be with the next entry, which
     * shows in that not everything was handed out. */
    log->applying_paused = log->applying_size >= log->max_applying_size ||
                           batch.last < max_appliable(log, allow_unstable);
}

bool rlog_pop_batch(struct rlog *log, uint64_t index, struct apply_batch *out)
{
    if (log->batch_count == 0 || log->batches[log->batch_start].last > index)
        return false;
    *out = log->batches[log->batch_start++];
    if (--log->batch_count == 0)
        log->batch_start = 0;
    return true;
}

void rlog_applied_to(struct rlog *log, uint64_t index, uint64_t size)
{
    if (index > log->committed || index < log->applied)
        say_fatal(log->sayer,
                  "applied(%" PRIu64 ") is out of range [prevApplied(%" PRIu64
                  "), committed(%" PRIu64 ")]",
                  index, log->applied, log->committed);
    log->applied = index;
    if (log->applying < index)
        log->applying = index;
    log->applying_size -= size < log->applying_size ? size : log->applying_size;
    log->applying_paused = log->applying_size >= log->max_applying_size;
}
