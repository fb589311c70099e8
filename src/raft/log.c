#include "log.h"
#include "chorad/base/check.h"
#include <stdlib.h>
#include <string.h>

/* Room that is kept when a log has been emptied. */
#define MIN_CAP 64

void rlog_init(struct rlog *log, const struct raft_init *init,
               uint64_t max_applying_size, const struct sayer *sayer)
{
    *log = (struct rlog){
        .base = init->base_index,
        .base_term = init->base_term,
        .committed = init->base_index,
        .applying = init->base_index,
        .applied = init->base_index,
        .offset = init->base_index + 1,
        .in_progress = init->base_index + 1,
        .max_applying_size = max_applying_size,
        .sayer = sayer,
    };
    for (size_t i = 0; i < init->entry_count; i++)
        raft_entry_ref(&init->entries[i]);
    if (init->entry_count > 0)
        rlog_append(log, init->entries, init->entry_count);
    log->offset = rlog_last(log) + 1;
    log->in_progress = log->offset;
}

static void unref_range(struct rlog *log, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        raft_entry_unref(&log->entries[i]);
}

void rlog_close(struct rlog *log)
{
    unref_range(log, log->start, log->start + log->count);
    free(log->entries);
    free(log->batches);
    raft_snapshot_unref(log->snapshot);
    *log = (struct rlog){0};
}

static const struct raft_entry *entry_ptr(const struct rlog *log,
                                          uint64_t index)
{
    return &log->entries[log->start + (size_t)(index - log->base - 1)];
}

bool rlog_term(const struct rlog *log, uint64_t index, uint64_t *term)
{
    if (index < log->base || index > rlog_last(log))
        return false;
    *term = index == log->base ? log->base_term : entry_ptr(log, index)->term;
    return true;
}

uint64_t rlog_term_or_zero(const struct rlog *log, uint64_t index)
{
    uint64_t term = 0;
    return rlog_term(log, index, &term) ? term : 0;
}

struct entry_id rlog_last_id(const struct rlog *log)
{
    uint64_t last = rlog_last(log);
    return (struct entry_id){.term = rlog_term_or_zero(log, last),
                             .index = last};
}

bool rlog_matches(const struct rlog *log, struct entry_id id)
{
    uint64_t term;
    return rlog_term(log, id.index, &term) && term == id.term;
}

bool rlog_up_to_date(const struct rlog *log, struct entry_id last)
{
    struct entry_id ours = rlog_last_id(log);
    return last.term > ours.term ||
           (last.term == ours.term && last.index >= ours.index);
}

const struct raft_entry *rlog_at(const struct rlog *log, uint64_t index)
{
    if (index <= log->base || index > rlog_last(log))
        return NULL;
    return entry_ptr(log, index);
}

struct entry_span rlog_slice(const struct rlog *log, uint64_t low,
                             uint64_t high, uint64_t max_size)
{
    CHECK(low > log->base && low <= high && high <= rlog_last(log) + 1);
    if (low == high)
        return (struct entry_span){0};
    struct entry_span span = {entry_ptr(log, low), (size_t)(high - low)};
    if (max_size == RAFT_NO_LIMIT)
        return span;
    uint64_t size = raft_entry_size(&span.entries[0]);
    for (size_t i = 1; i < span.count; i++) {
        size += raft_entry_size(&span.entries[i]);
        if (size > max_size) {
            span.count = i;
            break;
        }
    }
    return span;
}

/* Room for `extra` entries behind the last one. The front that compaction
 * left free is used again before the array grows. */
static void make_room(struct rlog *log, size_t extra)
{
    if (log->start + log->count + extra <= log->cap)
        return;
    if (log->count + extra <= log->cap - log->cap / 4) {
        memmove(log->entries, log->entries + log->start,
                log->count * sizeof(*log->entries));
        log->start = 0;
        return;
    }
    size_t cap = log->cap ? log->cap : MIN_CAP;
    while (cap < (log->count + extra) * 2)
        cap *= 2;
    struct raft_entry *entries = mem_alloc(cap * sizeof(*entries));
    if (log->count > 0)
        memcpy(entries, log->entries + log->start,
               log->count * sizeof(*entries));
    free(log->entries);
    log->entries = entries;
    log->start = 0;
    log->cap = cap;
}

/* Cuts off everything from `index` on and sets the marks back. */
static void truncate_from(struct rlog *log, uint64_t index)
{
    if (index <= log->offset) {
        SAY(log->sayer, RAFT_LOG_INFO,
            "replace the unstable entries from index %" PRIu64, index);
        log->offset = index;
        log->in_progress = index;
    } else {
        SAY(log->sayer, RAFT_LOG_INFO,
            "truncate the unstable entries before index %" PRIu64, index);
        if (log->in_progress > index)
            log->in_progress = index;
    }
    size_t keep = (size_t)(index - log->base - 1);
    unref_range(log, log->start + keep, log->start + log->count);
    log->count = keep;
}

void rlog_append(struct rlog *log, const struct raft_entry *entries,
                 size_t count)
{
    uint64_t first = entries[0].index;
    CHECK(first <= rlog_last(log) + 1);
    if (first <= log->committed)
        say_fatal(log->sayer,
                  "after(%" PRIu64 ") is out of range [committed(%" PRIu64 ")]",
                  first - 1, log->committed);
    if (first <= rlog_last(log))
        truncate_from(log, first);
    make_room(log, count);
    memcpy(log->entries + log->start + log->count, entries,
           count * sizeof(*entries));
    log->count += count;
}

/* The first given entry that the log doesn't have, or `count`. */
static size_t find_conflict(const struct rlog *log,
                            const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct entry_id id = {entries[i].term, entries[i].index};
        if (rlog_matches(log, id))
            continue;
        if (id.index <= rlog_last(log))
            SAY(log->sayer, RAFT_LOG_INFO,
                "found conflict at index %" PRIu64 " [existing term: %" PRIu64
                ", conflicting term: %" PRIu64 "]",
                id.index, rlog_term_or_zero(log, id.index), id.term);
        return i;
    }
    return count;
}

bool rlog_try_append(struct rlog *log, struct entry_id prev,
                     const struct raft_entry *entries, size_t count,
                     uint64_t committed)
{
    if (!rlog_matches(log, prev))
        return false;
    uint64_t last_new = prev.index + count;
    size_t at = find_conflict(log, entries, count);
    if (at < count) {
        if (entries[at].index <= log->committed)
            say_fatal(log->sayer,
                      "entry %" PRIu64
                      " conflict with committed entry [committed(%" PRIu64 ")]",
                      entries[at].index, log->committed);
        for (size_t i = at; i < count; i++)
            raft_entry_ref(&entries[i]);
        rlog_append(log, entries + at, count - at);
    }
    rlog_commit_to(log, committed < last_new ? committed : last_new);
    return true;
}

struct entry_id rlog_find_conflict_by_term(const struct rlog *log,
                                           uint64_t index, uint64_t term)
{
    for (; index > 0; index--) {
        uint64_t ours;
        if (!rlog_term(log, index, &ours))
            return (struct entry_id){.term = 0, .index = index};
        if (ours <= term)
            return (struct entry_id){.term = ours, .index = index};
    }
    return (struct entry_id){0};
}

void rlog_commit_to(struct rlog *log, uint64_t index)
{
    if (index <= log->committed)
        return;
    if (index > rlog_last(log))
        say_fatal(log->sayer,
                  "tocommit(%" PRIu64 ") is out of range [lastIndex(%" PRIu64
                  ")]. Was the raft log corrupted, truncated, or lost?",
                  index, rlog_last(log));
    log->committed = index;
}

bool rlog_try_commit(struct rlog *log, struct entry_id at)
{
    /* Only entries of the leader's own term are committed by counting
     * (dissertation, 3.6.2); older ones go along with them. */
    if (at.term == 0 || at.index <= log->committed || !rlog_matches(log, at))
        return false;
    rlog_commit_to(log, at.index);
    return true;
}

void rlog_restore(struct rlog *log, struct raft_snapshot *snapshot)
{
    SAY(log->sayer, RAFT_LOG_INFO,
        "log [committed=%" PRIu64 ", applied=%" PRIu64 ", applying=%" PRIu64
        ", unstable.offset=%" PRIu64 ", unstable.offsetInProgress=%" PRIu64
        ", len(unstable.Entries)=%" PRIu64 "] starts to restore snapshot "
        "[index: %" PRIu64 ", term: %" PRIu64 "]",
        log->committed, log->applied, log->applying, log->offset,
        log->in_progress, rlog_last(log) + 1 - log->offset, snapshot->index,
        snapshot->term);
    unref_range(log, log->start, log->start + log->count);
    log->start = 0;
    log->count = 0;
    log->base = snapshot->index;
    log->base_term = snapshot->term;
    log->committed = snapshot->index;
    log->offset = snapshot->index + 1;
    log->in_progress = log->offset;
    raft_snapshot_unref(log->snapshot);
    log->snapshot = raft_snapshot_ref(snapshot);
    log->snapshot_in_progress = false;
}

void rlog_compact(struct rlog *log, uint64_t index)
{
    CHECK(index > log->base && index <= log->applied && index < log->offset);
    size_t drop = (size_t)(index - log->base);
    log->base_term = entry_ptr(log, index)->term;
    unref_range(log, log->start, log->start + drop);
    log->start += drop;
    log->count -= drop;
    log->base = index;
    if (log->count == 0)
        log->start = 0;
}
