#include "chorad/base/be.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "node.h"

/* An unanswered round is asked for again after that (source: etcd). */
#define ROUND_RETRY_NS UINT64_C(500000000)
#define SLOW_ROUND_NS UINT64_C(1000000000)
/* Who waits for an index waits for a member that is only just behind. */
#define AWAIT_NS UINT64_C(1000000000)

static void queue_barrier(struct node *node, struct node_barrier *barrier)
{
    barrier->err = 0;
    if (queue_push(&node->barriers, &barrier->node))
        node_wake(node);
}

bool node_barrier(struct node *node, struct node_barrier *barrier)
{
    if (atomic_load_explicit(&node->reads_free, memory_order_acquire))
        return true;
    barrier->awaits = false;
    queue_barrier(node, barrier);
    return false;
}

void node_await_index(struct node *node, struct node_barrier *barrier,
                      uint64_t index)
{
    barrier->awaits = true;
    barrier->index = index;
    queue_barrier(node, barrier);
}

static void answer_list(struct node_barrier *barrier, int err)
{
    while (barrier) {
        struct node_barrier *next = barrier->next;
        barrier->err = err;
        barrier->done(barrier);
        barrier = next;
    }
}

static void ask(struct node *node)
{
    uint8_t context[8];

    node->round_started_ns = clock_mono_ns();
    be_put_u64(context, node->round_id);
    raft_read_index(node->raft, context, sizeof(context));
}

/* One round serves all that wait: those who come while it is under way form
 * the next one. */
static void start_round(struct node *node)
{
    if (node->reads_round || !node->reads_next)
        return;
    node->reads_round = node->reads_next;
    node->reads_next = NULL;
    node->round_id = node_next_id(node);
    ask(node);
}

void node_ask_again(struct node *node)
{
    if (node->reads_round)
        ask(node);
}

void node_take_barriers(struct node *node)
{
    struct queue_node *queued = queue_take_all(&node->barriers);
    uint64_t now_ns = clock_mono_ns();
    uint64_t timeout_ns =
        now_ns + REQUEST_TIMEOUT_NS + 2 * node->config.election_ms * 1000000;

    while (queued) {
        struct node_barrier *barrier =
            container_of(queued, struct node_barrier, node);
        queued = queued->next;
        if (node->stopping || node->failed) {
            barrier->next = NULL;
            answer_list(barrier, ERR_STOPPED);
            continue;
        }
        if (barrier->awaits) {
            barrier->timeout_ns = now_ns + AWAIT_NS;
            barrier->next = node->reads_index;
            node->reads_index = barrier;
            continue;
        }
        barrier->timeout_ns = timeout_ns;
        barrier->next = node->reads_next;
        node->reads_next = barrier;
    }
    node_release_barriers(node);
    start_round(node);
}

void node_reads_ready(struct node *node, const struct raft_read *reads,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct raft_read *read = &reads[i];
        struct node_barrier *barrier = node->reads_round;

        if (!barrier || read->context->len != 8 ||
            be_get_u64(read->context->data) != node->round_id)
            continue;
        if (clock_mono_ns() - node->round_started_ns > SLOW_ROUND_NS)
            metric_inc(node->metrics.read_slow);
        node->reads_round = NULL;
        while (barrier) {
            struct node_barrier *next = barrier->next;
            barrier->index = read->index;
            barrier->next = node->reads_index;
            node->reads_index = barrier;
            barrier = next;
        }
    }
    node_release_barriers(node);
    start_round(node);
}

void node_release_barriers(struct node *node)
{
    struct node_barrier **at = &node->reads_index;
    struct node_barrier *ready = NULL;

    while (*at) {
        struct node_barrier *barrier = *at;
        if (barrier->index > node->applied) {
            at = &barrier->next;
            continue;
        }
        *at = barrier->next;
        barrier->next = ready;
        ready = barrier;
    }
    answer_list(ready, 0);
}

static struct node_barrier *take_expired(struct node_barrier **list,
                                         uint64_t now_ns,
                                         struct node_barrier *expired)
{
    while (*list) {
        struct node_barrier *barrier = *list;
        if (barrier->timeout_ns > now_ns) {
            list = &barrier->next;
            continue;
        }
        *list = barrier->next;
        barrier->next = expired;
        expired = barrier;
    }
    return expired;
}

void node_expire_barriers(struct node *node, uint64_t now_ns)
{
    struct node_barrier *expired = NULL;

    expired = take_expired(&node->reads_round, now_ns, expired);
    expired = take_expired(&node->reads_next, now_ns, expired);
    expired = take_expired(&node->reads_index, now_ns, expired);
    for (struct node_barrier *b = expired; b; b = b->next)
        if (!b->awaits)
            metric_inc(node->metrics.read_failed);
    answer_list(expired, ERR_TIMEOUT);
    if (node->reads_round && now_ns - node->round_started_ns > ROUND_RETRY_NS)
        ask(node);
    start_round(node);
}

void node_fail_barriers(struct node *node, int err)
{
    struct node_barrier *lists[] = {node->reads_round, node->reads_next,
                                    node->reads_index};

    node->reads_round = NULL;
    node->reads_next = NULL;
    node->reads_index = NULL;
    for (size_t i = 0; i < 3; i++)
        answer_list(lists[i], err);
}
