/* Requests to whoever leads.
 *
 *   WAITING -- a leader is known --> CALLING -- answered --> over
 *      ^  \                             |
 *      |   '- this member leads: local  | no answer, or one that isn't final
 *      '--------- a tick later ---------'
 */
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "node.h"
#include <stdio.h>
#include <stdlib.h>

static void link_in(struct node_forward *forward)
{
    struct node *node = forward->node;

    forward->next = node->forwards;
    forward->prev = &node->forwards;
    if (forward->next)
        forward->next->prev = &forward->next;
    node->forwards = forward;
}

static void link_out(struct node_forward *forward)
{
    *forward->prev = forward->next;
    if (forward->next)
        forward->next->prev = forward->prev;
}

struct node_forward *node_forward_new(struct node *node, const char *method,
                                      const char *path)
{
    struct node_forward *forward = mem_zalloc(sizeof(*forward));

    forward->node = node;
    forward->method = method;
    CHECK((size_t)snprintf(forward->path, sizeof(forward->path), "%s", path) <
          sizeof(forward->path));
    forward->timeout_ns = clock_mono_ns() + node_request_timeout_ns(node);
    return forward;
}

/* Out of the list while its owner decides: it may be freed. */
static void called(struct peers_call *call, int err, unsigned status,
                   struct bytes body)
{
    struct node_forward *forward =
        container_of(call, struct node_forward, call);

    forward->calling = false;
    if (forward->canceled || err < 0)
        return;
    link_out(forward);
    if (!forward->answered(forward, status, body))
        link_in(forward);
}

static void call_leader(struct node_forward *forward, uint64_t now_ns)
{
    struct node *node = forward->node;

    forward->calling = true;
    forward->call = (struct peers_call){
        .to = node->leader,
        .method = forward->method,
        .path = forward->path,
        .content_type = forward->content_type,
        .authorization = forward->authorization,
        .body = bytes_of(forward->body.data, forward->body.len),
        .answer_max = forward->answer_max,
        .timeout_ms = (forward->timeout_ns - now_ns) / 1000000 + 1,
        .done = called,
    };
    peers_call(node->peers, &forward->call);
}

/* May end it. */
static void advance(struct node_forward *forward, uint64_t now_ns)
{
    struct node *node = forward->node;

    /* Whoever leads no more may not even be there to say so. */
    if (forward->calling && node->leader != RAFT_NONE &&
        forward->call.to != node->leader)
        peers_call_cancel(node->peers, &forward->call);
    if (forward->calling)
        return;
    if (forward->timeout_ns <= now_ns) {
        link_out(forward);
        forward->failed(forward, node->leader == RAFT_NONE ? ERR_NO_LEADER
                                                           : ERR_TIMEOUT);
    } else if (node->role == RAFT_LEADER) {
        link_out(forward);
        if (!forward->local(forward))
            link_in(forward);
    } else if (node->leader != RAFT_NONE &&
               raft_ids_has(&node->peer_ids, node->leader)) {
        call_leader(forward, now_ns);
    }
}

void node_forward_start(struct node_forward *forward)
{
    struct node *node = forward->node;

    link_in(forward);
    if (node->stopping || node->failed) {
        link_out(forward);
        forward->failed(forward, ERR_STOPPED);
        return;
    }
    advance(forward, clock_mono_ns());
}

void node_forward_cancel(struct node_forward *forward)
{
    link_out(forward);
    forward->canceled = true;
    if (forward->calling)
        peers_call_cancel(forward->node->peers, &forward->call);
}

void node_forward_free(struct node_forward *forward)
{
    buf_close(&forward->body);
    free(forward);
}

void node_forwards_tick(struct node *node, uint64_t now_ns)
{
    struct node_forward *next;

    for (struct node_forward *f = node->forwards; f; f = next) {
        next = f->next;
        advance(f, now_ns);
    }
}

void node_fail_forwards(struct node *node, int err)
{
    while (node->forwards) {
        struct node_forward *forward = node->forwards;
        node_forward_cancel(forward);
        forward->failed(forward, err);
    }
}
