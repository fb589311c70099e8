/* What all connections of one loop share: timers, a buffer to read into, and
 * the count of what has to be closed before the loop can end. */
#ifndef CHORAD_PEER_NET_H
#define CHORAD_PEER_NET_H

#include "chorad/base/heap.h"
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* What one read takes at most. */
#define NET_SCRATCH ((size_t)64 << 10)

/* Embedded in its owner; zeroed but for `due` before its first use. */
struct net_timer {
    struct heap_node node;
    uint64_t at_ms; /* later than the heap's key when it was put off */
    bool inside;
    void (*due)(struct net_timer *timer);
};

struct net {
    uv_loop_t *loop;
    uv_timer_t clock; /* the heap's smallest */
    struct heap timers;
    uint8_t *scratch;
    unsigned handles; /* libuv handles that are still open */
    bool closing;
    void (*closed)(struct net *net);
};

void net_init(struct net *net, uv_loop_t *loop);
/* All connections must have been closed, timers stopped but for those that are
 * due in this turn; `closed` comes from the loop when their handles are gone,
 * and `net` is free to go. */
void net_close(struct net *net, void (*closed)(struct net *net));

/* A handle of somebody else's has been opened or closed. */
static inline void net_handle_opened(struct net *net)
{
    net->handles++;
}
void net_handle_closed(struct net *net);

static inline uint64_t net_now_ms(const struct net *net)
{
    return uv_now(net->loop);
}

/* Due once, in so many ms from now. Putting off a timer that is set costs
 * nothing. */
void net_timer_set(struct net *net, struct net_timer *timer, uint64_t in_ms);
void net_timer_stop(struct net *net, struct net_timer *timer);
static inline bool net_timer_is_set(const struct net_timer *timer)
{
    return timer->inside;
}

#endif
