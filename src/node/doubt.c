/* Has this member missed something? One that was asleep, or follows a leader it
 * has just heard of, doesn't know how far behind it is, nor whether it reaches
 * who it believes to lead. What it proposed could get lost on a connection that
 * is none any more, or come back to it inside a snapshot, where nobody can say
 * what became of it; what it knows of leases may be old. So it waits for a read
 * barrier first: then it has been answered, and has applied all there was.
 *
 *   SURE -- slept, or another leads --> IN DOUBT <-- the barrier failed --.
 *     ^                                   |  (at a tick)                  |
 *     '---------- passed ------------- barrier ---------------------------'
 */
#include "chorad/base/clock.h"
#include "node.h"

/* Longer than a leader may be silent. */
static bool slept(const struct node *node)
{
    return clock_mono_ns() - node->last_tick_ns >
           3 * node->config.heartbeat_ms * 1000000;
}

void node_doubt(struct node *node)
{
    node->doubts++;
}

bool node_in_doubt(const struct node *node)
{
    /* The next tick makes it last. */
    return node->doubts != node->doubts_settled || slept(node);
}

void node_check_sleep(struct node *node)
{
    if (!slept(node))
        return;
    node->awake_since_ns = clock_mono_ns();
    node_doubt(node);
}

static void settled(struct node_barrier *barrier)
{
    struct node *node = container_of(barrier, struct node, doubt_barrier);

    node->doubt_asked = false;
    if (barrier->err < 0)
        return;
    node->doubts_settled = node->doubts_asked;
    node_settle_doubt(node);
    node_release_held(node);
}

void node_settle_doubt(struct node *node)
{
    if (node->doubts == node->doubts_settled || node->doubt_asked ||
        node->leader == RAFT_NONE || node->stopping || node->failed)
        return;
    node->doubt_asked = true;
    node->doubts_asked = node->doubts;
    node->doubt_barrier.done = settled;
    if (!node_barrier(node, &node->doubt_barrier))
        return;
    node->doubt_barrier.err = 0;
    settled(&node->doubt_barrier);
}
