/* Linearizable reads by ReadIndex (dissertation, 6.4): the leader notes its
 * commit index, proves that it still leads, and the read may be served once
 * that index is applied. */
#include "chorad/base/check.h"
#include "core.h"
#include <stdlib.h>
#include <string.h>

/* The context as bytes of their own: entries may point into large buffers. */
static struct shared *own_context(const struct raft_entry *e)
{
    if (e->owner && e->data == e->owner->data && e->len == e->owner->len)
        return shared_ref(e->owner);
    struct shared *context = shared_new(e->len);
    memcpy(context->data, e->data, e->len);
    return context;
}

void core_push_read(struct raft *r, uint64_t index, const struct raft_entry *e)
{
    if (r->read_count == r->read_cap) {
        r->read_cap = r->read_cap ? r->read_cap * 2 : 8;
        r->read_states =
            mem_realloc(r->read_states, r->read_cap * sizeof(*r->read_states));
    }
    r->read_states[r->read_count++] =
        (struct raft_read){.index = index, .context = own_context(e)};
}

static void answer(struct raft *r, const struct raft_message *request,
                   uint64_t index)
{
    if (request->from == RAFT_NONE || request->from == r->id) {
        core_push_read(r, index, &request->entries[0]);
        return;
    }
    struct raft_message m = {
        .type = RAFT_MSG_READ_INDEX_RESP,
        .to = request->from,
        .index = index,
        .entries = entries_copy(request->entries, request->entry_count),
        .entry_count = request->entry_count};
    core_send(r, m);
}

static bool committed_in_term(const struct raft *r)
{
    return rlog_term_or_zero(&r->log, r->log.committed) == r->term;
}

static void serve(struct raft *r, const struct raft_message *m)
{
    /* A single voter is its own quorum. */
    if (tracker_is_single(&r->trk) ||
        r->config.read_option == RAFT_READ_LEASE) {
        answer(r, m, r->log.committed);
        return;
    }
    struct raft_message request = raft_message_copy(m);
    struct shared *context = own_context(&request.entries[0]);
    raft_entry_unref(&request.entries[0]);
    request.entries[0].owner = context;
    request.entries[0].data = context->data;
    shared_ref(context);
    readonly_add(&r->reads, r->log.committed, request);
    readonly_ack(&r->reads, r->id, context->data, context->len);
    core_bcast_heartbeat(r, context);
    shared_unref(context);
}

void core_leader_read_index(struct raft *r, const struct raft_message *m)
{
    /* Until an entry of this term is committed the leader doesn't know how
     * far the log is: even a single voter may have acknowledged more than its
     * last hard state says. */
    if (!committed_in_term(r)) {
        readonly_add_early(&r->reads, m);
        return;
    }
    serve(r, m);
}

void core_release_reads(struct raft *r)
{
    size_t count = r->reads.early_count;
    if (count == 0 || !committed_in_term(r))
        return;
    for (size_t i = 0; i < count; i++) {
        serve(r, &r->reads.early[i]);
        raft_message_close(&r->reads.early[i]);
    }
    r->reads.early_count = 0;
}

/* Requests up to this one: who proves leadership for a later request proves it
 * for the earlier ones. */
static void answer_up_to(struct raft *r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        answer(r, &r->reads.items[i].message, r->reads.items[i].index);
    readonly_drop(&r->reads, count);
}

void core_read_acked(struct raft *r, const struct raft_message *m)
{
    struct read_request *request =
        readonly_ack(&r->reads, m->from, m->context->data, m->context->len);
    if (!request || tracker_vote_result(&r->trk, &request->acks) != VOTE_WON)
        return;
    answer_up_to(r, (size_t)(request - r->reads.items) + 1);
}

void core_reads_config_changed(struct raft *r)
{
    for (size_t n = r->reads.count; n > 0; n--) {
        if (tracker_vote_result(&r->trk, &r->reads.items[n - 1].acks) !=
            VOTE_WON)
            continue;
        answer_up_to(r, n);
        return;
    }
}

void raft_read_index(struct raft *r, const void *context, size_t len)
{
    CHECK(len > 0);
    struct raft_entry entry = raft_entry_new(RAFT_ENTRY_NORMAL, context, len);
    struct raft_message m = {
        .type = RAFT_MSG_READ_INDEX, .entries = &entry, .entry_count = 1};
    core_step(r, &m);
    raft_entry_unref(&entry);
}
