/* Requests on their way into the log.
 *
 *   node_propose -> queue -> (held) -> proposed, waiting -> applied: answered
 *                              ^           |
 *                              '-----------' Raft doesn't take it now
 */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "node.h"
#include <stdlib.h>

/* Proposed to Raft in one go. What goes to another member travels as one
 * message. */
#define BATCH_MAX 1024
#define BATCH_BYTES ((size_t)1 << 20)

static void enqueue(struct node *node, struct node_request *request)
{
    struct apply_stamp stamp = {node_next_id(node), request->user,
                                request->auth_rev};

    request->owner = node;
    request->err = 0;
    request->body = (struct buf){0};
    request->id = stamp.id;
    request->entry = apply_wrap(&stamp, request->kind, request->payload);
    request->conf_change = false;
    request->queued_ns = clock_mono_ns();
    request->proposed_ns = 0;
    request->applied_ns = 0;
    if (queue_push(&node->requests, &request->node) &&
        !atomic_load(&node->batching))
        node_wake(node);
}

void node_propose(struct node *node, struct node_request *request)
{
    request->only_term = 0;
    enqueue(node, request);
}

void node_propose_in_term(struct node *node, struct node_request *request,
                          uint64_t term)
{
    request->only_term = term;
    enqueue(node, request);
}

/* While a member alone syncs its log nothing can be done about a request but
 * queue it, here or there. The end of the sync wakes the loop for all of them;
 * other members should rather get them at once. */
void node_set_batching(struct node *node)
{
    atomic_store(&node->batching, node->last_append != NULL &&
                                      node->conf.voters.count == 1 &&
                                      node->conf.voters_outgoing.count == 0 &&
                                      node->conf.learners.count == 0);
}

static void answer(struct node_request *request, int err)
{
    if (request->entry)
        shared_unref(request->entry);
    request->entry = NULL;
    request->err = err;
    request->done(request);
}

/* Which of the three texts a request that took too long is answered with
 * (source: etcd's parseProposeCtxErr). */
static int timeout_error(const struct node *node,
                         const struct node_request *request)
{
    uint64_t before_ns = 2 * node->config.election_ms * 1000000;
    uint64_t since_ns = request->proposed_ns;

    /* It may have been lost with the leader before this one. */
    if (node->leader_since_ns != 0 && since_ns < node->leader_since_ns &&
        since_ns + before_ns > node->leader_since_ns)
        return ERR_TIMEOUT_LEADER_FAIL;
    if (node->leader == RAFT_NONE)
        return ERR_TIMEOUT;
    if (node->leader == node->member_id) {
        size_t n;
        cluster_members(node->cluster, &n);
        return node_connected_since(node, since_ns, false) >= n / 2 + 1
                   ? ERR_TIMEOUT
                   : ERR_TIMEOUT_CONN_LOST;
    }
    uint64_t active_ns = peers_active_since(node->peers, node->leader);
    return active_ns != 0 && active_ns < since_ns ? ERR_TIMEOUT
                                                  : ERR_TIMEOUT_CONN_LOST;
}

uint64_t node_request_timeout_ns(const struct node *node)
{
    return REQUEST_TIMEOUT_NS + 2 * node->config.election_ms * 1000000;
}

/* ---- proposing ---- */

static void hold_behind(struct node *node, struct node_request *first,
                        struct node_request **last)
{
    *node->held_tail = first;
    node->held_tail = last;
}

/* In front of what is held: it came first. */
static void hold_before(struct node *node, struct node_request *first,
                        struct node_request **last)
{
    *last = node->held;
    if (!node->held)
        node->held_tail = last;
    node->held = first;
}

/* The next requests of the list that make a batch; those that must not be
 * proposed any more are answered. Of changes to the configuration there is one
 * at a time. */
static struct node_request *take_batch(struct node *node,
                                       struct node_request *request,
                                       struct node_request **first,
                                       struct node_request ***last)
{
    size_t bytes = 0;

    *last = first;
    *first = NULL;
    bool changes = false;
    for (size_t n = 0;
         request && n < BATCH_MAX && bytes < BATCH_BYTES && !changes;) {
        struct node_request *next = request->next;
        if (request->only_term != 0 &&
            (node->role != RAFT_LEADER || node->term != request->only_term)) {
            answer(request, ERR_NOT_LEADER);
        } else {
            **last = request;
            *last = &request->next;
            bytes += request->entry->len;
            changes = request->conf_change;
            n++;
        }
        request = next;
    }
    **last = NULL;
    return request;
}

static int propose_batch(struct node *node, struct node_request *first)
{
    struct raft_entry entries[BATCH_MAX];
    size_t n = 0;

    for (struct node_request *r = first; r; r = r->next)
        if (r->conf_change && raft_is_reconfiguring(node->raft))
            return ERR_AGAIN;
    for (struct node_request *r = first; r; r = r->next)
        entries[n++] = (struct raft_entry){
            .type = r->conf_change ? RAFT_ENTRY_CONF_CHANGE : RAFT_ENTRY_NORMAL,
            .data = r->entry->data,
            .len = r->entry->len,
            .owner = r->entry};
    return raft_propose(node->raft, entries, n);
}

static void wait_for(struct node *node, struct node_request *request)
{
    uint64_t now_ns = clock_mono_ns();
    uint64_t timeout_ns = node_request_timeout_ns(node);

    while (request) {
        struct node_request *next = request->next;
        request->entry = NULL; /* Raft's */
        request->proposed_ns = now_ns;
        request->timeout_ns = request->queued_ns + timeout_ns;
        waiting_add(&node->waiting, request);
        request = next;
    }
}

/* What Raft doesn't take (leadership is just being handed on, the configuration
 * just changed, too much is uncommitted) is in no log: it is tried again a
 * little later. */
static void propose_list(struct node *node, struct node_request *request)
{
    while (request) {
        struct node_request *first;
        struct node_request **last;

        request = take_batch(node, request, &first, &last);
        if (!first)
            continue;
        if (propose_batch(node, first) == 0) {
            wait_for(node, first);
            continue;
        }
        *last = request;
        while (*last)
            last = &(*last)->next;
        hold_before(node, first, last);
        return;
    }
}

/* Requests wait for a leader, until this member is sure of being up to date,
 * and for the disk where very much is queued. */
static bool may_propose(const struct node *node)
{
    return node->leader != RAFT_NONE && !node_in_doubt(node) &&
           store_pending_bytes(node->store) <= PENDING_BYTES_MAX;
}

/* Committed and not applied: beyond that nothing new is taken. */
static int refusal(const struct node *node, const struct node_request *request,
                   uint64_t behind)
{
    uint64_t max =
        node->config.priority_requests && request->kind == APPLY_LEASE_REVOKE
            ? APPLY_BEHIND_PRIORITY_MAX
            : APPLY_BEHIND_MAX;

    if (node->stopping || node->failed)
        return ERR_STOPPED;
    return behind > max ? ERR_TOO_MANY_REQUESTS : 0;
}

static uint64_t apply_behind(const struct node *node)
{
    struct raft_status status;

    raft_status(node->raft, &status);
    return status.commit - node->applied;
}

static struct node_request *request_of(struct queue_node *queued)
{
    return container_of(queued, struct node_request, node);
}

void node_take_requests(struct node *node)
{
    struct queue_node *queued = queue_take_all(&node->requests);
    struct node_request *first = NULL;
    struct node_request **last = &first;
    uint64_t behind;

    if (!queued)
        return;
    behind = node->raft ? apply_behind(node) : 0;
    while (queued) {
        struct node_request *request = request_of(queued);
        int refuse = refusal(node, request, behind);
        queued = queued->next;
        if (refuse) {
            answer(request, refuse);
            continue;
        }
        request->next = NULL;
        *last = request;
        last = &request->next;
    }
    if (!first)
        return;
    if (node->held || !may_propose(node))
        hold_behind(node, first, last);
    else
        propose_list(node, first);
}

void node_propose_now(struct node *node, struct node_request *request)
{
    request->owner = node;
    request->next = NULL;
    request->queued_ns = clock_mono_ns();
    if (node->stopping || node->failed)
        answer(request, ERR_STOPPED);
    else if (node->held || !may_propose(node))
        hold_behind(node, request, &request->next);
    else
        propose_list(node, request);
}

void node_release_held(struct node *node)
{
    struct node_request *first = node->held;

    if (!first || !may_propose(node))
        return;
    node->held = NULL;
    node->held_tail = &node->held;
    propose_list(node, first);
}

/* ---- the end of waiting ---- */

/* The list is in the order of coming but for what was put back. */
static void expire_held(struct node *node, uint64_t now_ns)
{
    uint64_t timeout_ns = node_request_timeout_ns(node);

    while (node->held && node->held->queued_ns + timeout_ns <= now_ns) {
        struct node_request *request = node->held;
        node->held = request->next;
        if (!node->held)
            node->held_tail = &node->held;
        metric_inc(node->metrics.failed);
        answer(request, ERR_DEADLINE);
    }
}

void node_expire_requests(struct node *node, uint64_t now_ns)
{
    while (node->waiting.first && node->waiting.first->timeout_ns <= now_ns) {
        struct node_request *request = node->waiting.first;
        waiting_remove(&node->waiting, request);
        metric_inc(node->metrics.failed);
        answer(request, timeout_error(node, request));
    }
    expire_held(node, now_ns);
}

void node_fail_requests(struct node *node, int err)
{
    while (node->waiting.first) {
        struct node_request *request = node->waiting.first;
        waiting_remove(&node->waiting, request);
        answer(request, err);
    }
    while (node->held) {
        struct node_request *request = node->held;
        node->held = request->next;
        answer(request, err);
    }
    node->held_tail = &node->held;
}

void node_finish_request(struct node *node, struct node_request *request,
                         struct apply_result *result)
{
    waiting_remove(&node->waiting, request);
    request->applied_ns = clock_mono_ns();
    request->body = result->body;
    result->body = (struct buf){0};
    if (!result->deferred)
        answer(request, result->err);
}
