/* Waking the loop.
 *
 *            other thread: node_wake          loop: before it polls
 *   AWAKE  ------------------------> PENDING
 *   AWAKE  <------------------------------------------ a turn begins
 *   AWAKE  -----------------------------------------> ASLEEP
 *   ASLEEP ---- writes the eventfd -> PENDING
 *
 * libuv's own wake-up writes each time, and whoever is preempted between its
 * write and its last step keeps the loop spinning on the other core. Here a
 * loop that is at work isn't written to: it looks once more before it sleeps.
 */
#include "chorad/base/check.h"
#include "node.h"
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { AWAKE, PENDING, ASLEEP };

/* Turns in a row before other descriptors and timers are looked at. */
#define TURNS_MAX 4

static void write_event(const struct node *node)
{
    uint64_t one = 1;
    ssize_t n;

    do
        n = write(node->wake_fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
    /* EAGAIN: the counter is full, so the loop is woken anyway. */
    CHECK(n == (ssize_t)sizeof(one) || errno == EAGAIN);
}

void node_wake(struct node *node)
{
    if (atomic_exchange(&node->wake_state, PENDING) == ASLEEP)
        write_event(node);
}

static void turn(struct node *node)
{
    /* What is queued from here on makes it PENDING again. */
    atomic_store(&node->wake_state, AWAKE);
    node_turn(node);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct node *node = poll->data;
    uint64_t count;

    (void)status;
    (void)events;
    /* EAGAIN: somebody wrote for a sleep that had ended by itself. */
    if (read(node->wake_fd, &count, sizeof(count)) < 0)
        CHECK(errno == EAGAIN || errno == EINTR);
    turn(node);
}

static void before_poll(uv_prepare_t *prepare)
{
    struct node *node = prepare->data;

    for (int i = 0; i < TURNS_MAX; i++) {
        unsigned state = AWAKE;
        /* ASLEEP already: something else has ended the last poll. */
        if (atomic_compare_exchange_strong(&node->wake_state, &state, ASLEEP) ||
            state == ASLEEP)
            return;
        turn(node);
    }
    /* Whatever the state is: the poll returns at once, and a turn follows. */
    write_event(node);
}

int node_wake_open(struct node *node, struct errmsg *msg)
{
    node->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return node->wake_fd < 0 ? err_errno(msg, errno, "eventfd") : 0;
}

void node_wake_start(struct node *node)
{
    CHECK(uv_poll_init(node->loop, &node->wake, node->wake_fd) == 0);
    node->wake.data = node;
    CHECK(uv_poll_start(&node->wake, UV_READABLE, on_event) == 0);
    CHECK(uv_prepare_init(node->loop, &node->before_poll) == 0);
    node->before_poll.data = node;
    CHECK(uv_prepare_start(&node->before_poll, before_poll) == 0);
}

void node_wake_close(struct node *node)
{
    if (node->wake_fd >= 0)
        CHECK(close(node->wake_fd) == 0);
}
