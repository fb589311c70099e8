/* Taking out what is to be done, and hearing that it is done. */
#include "chorad/base/check.h"
#include "core.h"
#include <stdlib.h>
#include <string.h>

static bool hard_state_equal(const struct raft_hard_state *a,
                             const struct raft_hard_state *b)
{
    return a->term == b->term && a->vote == b->vote && a->commit == b->commit;
}

static struct raft_hard_state hard_state(const struct raft *r)
{
    return (struct raft_hard_state){r->term, r->vote, r->log.committed};
}

static bool soft_state_changed(const struct raft *r)
{
    return r->prev_soft.leader != r->leader || r->prev_soft.role != r->role;
}

static bool hard_state_changed(const struct raft *r)
{
    struct raft_hard_state now = hard_state(r);
    struct raft_hard_state empty = {0};
    return !hard_state_equal(&now, &r->prev_hard) &&
           !hard_state_equal(&now, &empty);
}

/* What is applied in synchronous mode is durable by then, because the same
 * update says to persist it first. */
static bool allow_unstable(const struct raft *r)
{
    return !r->config.async_storage;
}

bool raft_has_update(const struct raft *r)
{
    return r->msgs.count > 0 || r->msgs_after_append.count > 0 ||
           r->log.in_progress <= rlog_last(&r->log) ||
           rlog_has_committed(&r->log, allow_unstable(r)) ||
           r->read_count > 0 || rlog_next_snapshot(&r->log) ||
           soft_state_changed(r) || hard_state_changed(r);
}

/* ---- appends */

static struct raft_append *new_append(struct raft *r)
{
    struct raft_append *append = r->spare;
    if (!append)
        return mem_zalloc(sizeof(*append));
    r->spare = append->next;
    r->spare_count--;
    append->next = NULL;
    return append;
}

static void *grow(void *array, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return array;
    while (*cap < need)
        *cap = *cap ? *cap * 2 : 8;
    return mem_realloc(array, *cap * size);
}

static void empty_append(struct raft_append *append)
{
    for (size_t i = 0; i < append->entry_count; i++)
        raft_entry_unref(&append->entries[i]);
    for (size_t i = 0; i < append->response_count; i++)
        raft_message_close(&append->responses[i]);
    raft_snapshot_unref(append->snapshot);
    append->snapshot = NULL;
    append->entry_count = 0;
    append->response_count = 0;
    append->has_hard_state = false;
    append->must_sync = false;
    append->hard_state = (struct raft_hard_state){0};
}

void raft_append_close(struct raft_append *append)
{
    if (!append)
        return;
    empty_append(append);
    free(append->entries);
    free(append->responses);
    free(append);
}

static void recycle(struct raft *r, struct raft_append *append)
{
    if (r->spare_count == SPARE_APPENDS) {
        raft_append_close(append);
        return;
    }
    empty_append(append);
    append->next = r->spare;
    r->spare = append;
    r->spare_count++;
}

static void put_entries(struct raft_append *append, struct entry_span span)
{
    append->entries = grow(append->entries, &append->entry_cap, span.count,
                           sizeof(*append->entries));
    if (span.count > 0)
        memcpy(append->entries, span.entries,
               span.count * sizeof(*append->entries));
    append->entry_count = span.count;
    for (size_t i = 0; i < span.count; i++)
        raft_entry_ref(&append->entries[i]);
}

static void put_response(struct raft_append *append,
                         const struct raft_message *m)
{
    append->responses =
        grow(append->responses, &append->response_cap,
             append->response_count + 1, sizeof(*append->responses));
    append->responses[append->response_count++] = *m;
}

/* The last of the responses: everything up to our last entry, as of this
 * term, is on disk. It tells the end of the whole log rather than that of this
 * append's entries, and comes with every append while anything is unstable:
 * responses of older terms are ignored, since a later append may be
 * overwriting what they speak of, and a newer one must make up for them. */
static void put_stable_response(struct raft *r, struct raft_append *append)
{
    bool unstable = rlog_has_unstable(&r->log);
    if (!unstable && !append->snapshot)
        return;
    struct raft_message m = {.type = RAFT_MSG_STORAGE_APPEND_RESP,
                             .to = r->id,
                             .from = RAFT_APPEND_THREAD,
                             .term = r->term};
    if (unstable) {
        struct entry_id last = rlog_last_id(&r->log);
        m.index = last.index;
        m.log_term = last.term;
    }
    if (append->snapshot)
        m.snapshot = raft_snapshot_ref(append->snapshot);
    put_response(append, &m);
}

/* Messages that wait for the disk go into the append; synchronously, those to
 * peers wait by being sent after it. */
static void put_waiting_messages(struct raft *r, struct raft_append *append)
{
    for (size_t i = 0; i < r->msgs_after_append.count; i++) {
        struct raft_message *m = &r->msgs_after_append.items[i];
        if (r->config.async_storage || m->to == r->id)
            put_response(append, m);
        else
            messages_push(&r->msgs, m);
    }
    r->msgs_after_append.count = 0;
}

static struct raft_append *take_append(struct raft *r)
{
    struct entry_span span = rlog_next_unstable(&r->log);
    struct raft_snapshot *snapshot = rlog_next_snapshot(&r->log);
    bool hard_changed = hard_state_changed(r);
    if (span.count == 0 && !snapshot && !hard_changed &&
        r->msgs_after_append.count == 0 &&
        (r->config.async_storage || !rlog_has_unstable(&r->log)))
        return NULL;
    struct raft_hard_state now = hard_state(r);
    struct raft_append *append = new_append(r);
    append->must_sync = span.count > 0 || now.term != r->prev_hard.term ||
                        now.vote != r->prev_hard.vote;
    append->has_hard_state = hard_changed;
    if (hard_changed) {
        append->hard_state = now;
        r->prev_hard = now;
    }
    if (snapshot)
        append->snapshot = raft_snapshot_ref(snapshot);
    put_entries(append, span);
    put_waiting_messages(r, append);
    put_stable_response(r, append);
    rlog_accept_unstable(&r->log);
    return append;
}

static void drop_shown(struct raft *r)
{
    messages_clear(&r->shown_msgs);
    for (size_t i = 0; i < r->shown_read_count; i++)
        shared_unref(r->shown_reads[i].context);
    r->shown_read_count = 0;
}

static void show_messages(struct raft *r, struct raft_update *update)
{
    struct messages empty = r->shown_msgs;
    r->shown_msgs = r->msgs;
    r->msgs = empty;
    update->messages = r->shown_msgs.items;
    update->message_count = r->shown_msgs.count;
}

static void show_reads(struct raft *r, struct raft_update *update)
{
    struct raft_read *reads = r->shown_reads;
    size_t cap = r->shown_read_cap;
    r->shown_reads = r->read_states;
    r->shown_read_count = r->read_count;
    r->shown_read_cap = r->read_cap;
    r->read_states = reads;
    r->read_count = 0;
    r->read_cap = cap;
    update->reads = r->shown_reads;
    update->read_count = r->shown_read_count;
}

void raft_update(struct raft *r, struct raft_update *update)
{
    CHECK(!r->advance_due);
    drop_shown(r);
    memset(update, 0, sizeof(*update));
    if (soft_state_changed(r)) {
        r->prev_soft = (struct raft_soft_state){r->leader, r->role};
        update->has_soft_state = true;
        update->soft_state = r->prev_soft;
    }
    struct entry_span committed =
        rlog_next_committed(&r->log, allow_unstable(r));
    update->append = take_append(r);
    show_messages(r, update);
    show_reads(r, update);
    if (committed.count > 0) {
        update->committed = committed.entries;
        update->committed_count = committed.count;
        rlog_accept_applying(&r->log, committed, allow_unstable(r));
    }
    if (!r->config.async_storage) {
        r->advance_due = true;
        r->advance_append = update->append;
        r->advance_applied = committed.count > 0 ? r->log.applying : 0;
    }
}

/* ---- reports */

static void deliver(struct raft *r, struct raft_append *append)
{
    for (size_t i = 0; i < append->response_count; i++) {
        struct raft_message *m = &append->responses[i];
        if (m->to == r->id) {
            /* Only forwarded proposals can be refused. */
            int rc = core_step(r, m);
            CHECK(rc == 0);
        } else {
            messages_push(&r->msgs, m);
            memset(m, 0, sizeof(*m));
        }
    }
}

void raft_append_done(struct raft *r, struct raft_append *append)
{
    CHECK(r->config.async_storage);
    deliver(r, append);
    recycle(r, append);
}

static void report_applied(struct raft *r, uint64_t index)
{
    struct apply_batch batch;
    while (rlog_pop_batch(&r->log, index, &batch)) {
        core_applied_to(r, batch.last, batch.size);
        core_reduce_uncommitted(r, batch.payload);
    }
}

void raft_applied(struct raft *r, uint64_t index)
{
    CHECK(r->config.async_storage);
    report_applied(r, index);
}

void raft_advance(struct raft *r)
{
    CHECK(!r->config.async_storage && r->advance_due);
    r->advance_due = false;
    struct raft_append *append = r->advance_append;
    r->advance_append = NULL;
    if (append) {
        deliver(r, append);
        recycle(r, append);
    }
    if (r->advance_applied > 0)
        report_applied(r, r->advance_applied);
}
