#include "progress.h"
#include "chorad/base/check.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void inflights_init(struct inflights *in, size_t size, uint64_t max_bytes)
{
    *in = (struct inflights){.size = size, .max_bytes = max_bytes};
}

void inflights_close(struct inflights *in)
{
    free(in->ring);
    *in = (struct inflights){0};
}

bool inflights_full(const struct inflights *in)
{
    return in->count == in->size ||
           (in->max_bytes != 0 && in->bytes >= in->max_bytes);
}

/* The ring only wraps at `size`, so it grows at its end and nothing moves. */
static void grow(struct inflights *in)
{
    size_t len = in->ring_len ? in->ring_len * 2 : 8;
    if (len > in->size)
        len = in->size;
    in->ring = mem_realloc(in->ring, len * sizeof(*in->ring));
    in->ring_len = len;
}

void inflights_add(struct inflights *in, uint64_t index, uint64_t bytes)
{
    CHECK(!inflights_full(in));
    size_t at = in->start + in->count;
    if (at >= in->size)
        at -= in->size;
    if (at >= in->ring_len)
        grow(in);
    in->ring[at] = (struct inflight){.index = index, .bytes = bytes};
    in->count++;
    in->bytes += bytes;
}

void inflights_free_to(struct inflights *in, uint64_t index)
{
    while (in->count > 0 && in->ring[in->start].index <= index) {
        in->bytes -= in->ring[in->start].bytes;
        in->count--;
        if (++in->start >= in->size)
            in->start = 0;
    }
    if (in->count == 0)
        in->start = 0;
}

void inflights_reset(struct inflights *in)
{
    in->start = 0;
    in->count = 0;
    in->bytes = 0;
}

static void reset_state(struct progress *pr, enum raft_progress_state state)
{
    pr->flow_paused = false;
    pr->pending_snapshot = 0;
    pr->state = state;
    inflights_reset(&pr->inflights);
}

void progress_become_probe(struct progress *pr)
{
    /* After a snapshot that arrived, go on behind it. */
    uint64_t snapshot =
        pr->state == RAFT_PROGRESS_SNAPSHOT ? pr->pending_snapshot : 0;
    reset_state(pr, RAFT_PROGRESS_PROBE);
    pr->next = max_u64(pr->match, snapshot) + 1;
    pr->sent_commit = min_u64(pr->sent_commit, pr->next - 1);
}

void progress_become_replicate(struct progress *pr)
{
    reset_state(pr, RAFT_PROGRESS_REPLICATE);
    pr->next = pr->match + 1;
}

void progress_become_snapshot(struct progress *pr, uint64_t index)
{
    reset_state(pr, RAFT_PROGRESS_SNAPSHOT);
    pr->pending_snapshot = index;
    pr->next = index + 1;
    pr->sent_commit = index;
}

void progress_sent_entries(struct progress *pr, size_t entries, uint64_t bytes)
{
    CHECK(pr->state != RAFT_PROGRESS_SNAPSHOT);
    if (pr->state == RAFT_PROGRESS_PROBE) {
        if (entries > 0)
            pr->flow_paused = true;
        return;
    }
    if (entries > 0) {
        pr->next += entries;
        inflights_add(&pr->inflights, pr->next - 1, bytes);
    }
    /* With a full window this message was a probe: the next one waits for a
     * heartbeat's answer. */
    pr->flow_paused = inflights_full(&pr->inflights);
}

bool progress_can_bump_commit(const struct progress *pr, uint64_t commit)
{
    return commit > pr->sent_commit && pr->sent_commit < pr->next - 1;
}

bool progress_update(struct progress *pr, uint64_t index)
{
    if (index <= pr->match)
        return false;
    pr->match = index;
    pr->next = max_u64(pr->next, index + 1);
    pr->flow_paused = false;
    return true;
}

bool progress_decrease(struct progress *pr, uint64_t rejected, uint64_t hint)
{
    if (pr->state == RAFT_PROGRESS_REPLICATE) {
        if (rejected <= pr->match)
            return false;
        pr->next = pr->match + 1;
        pr->sent_commit = min_u64(pr->sent_commit, pr->next - 1);
        return true;
    }
    /* A probing member is asked one thing at a time, so an answer to anything
     * else is old. */
    if (pr->next - 1 != rejected)
        return false;
    pr->next = max_u64(min_u64(rejected, hint + 1), pr->match + 1);
    pr->sent_commit = min_u64(pr->sent_commit, pr->next - 1);
    pr->flow_paused = false;
    return true;
}

bool progress_paused(const struct progress *pr)
{
    return pr->state == RAFT_PROGRESS_SNAPSHOT || pr->flow_paused;
}

const char *raft_progress_state_name(enum raft_progress_state state)
{
    static const char *const names[] = {"StateProbe", "StateReplicate",
                                        "StateSnapshot"};
    return names[state];
}

const char *progress_text(const struct progress *pr, char *buf, size_t size)
{
    char pending[40] = "";
    char inflight[40] = "";
    if (pr->pending_snapshot > 0)
        snprintf(pending, sizeof(pending), " pendingSnap=%" PRIu64,
                 pr->pending_snapshot);
    if (pr->inflights.count > 0)
        snprintf(inflight, sizeof(inflight), " inflight=%zu%s",
                 pr->inflights.count,
                 inflights_full(&pr->inflights) ? "[full]" : "");
    snprintf(buf, size, "%s match=%" PRIu64 " next=%" PRIu64 "%s%s%s%s%s",
             raft_progress_state_name(pr->state), pr->match, pr->next,
             pr->is_learner ? " learner" : "",
             progress_paused(pr) ? " paused" : "", pending,
             pr->recent_active ? "" : " inactive", inflight);
    return buf;
}
