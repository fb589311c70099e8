#include "net.h"
#include "chorad/base/check.h"
#include "chorad/base/mem.h"
#include "chorad/base/queue.h"
#include <stdlib.h>

static void on_clock(uv_timer_t *clock);

static void on_clock_closed(uv_handle_t *handle)
{
    net_handle_closed(handle->data);
}

/* The clock goes when nothing is due any more; true if it has gone. */
static bool close_clock(struct net *net)
{
    if (!net->closing || net->timers.len > 0)
        return false;
    if (!uv_is_closing((uv_handle_t *)&net->clock))
        uv_close((uv_handle_t *)&net->clock, on_clock_closed);
    return true;
}

static void set_clock(struct net *net)
{
    const struct heap_node *min = heap_min(&net->timers);
    uint64_t now = net_now_ms(net);
    int rc;

    if (!min) {
        (void)uv_timer_stop(&net->clock);
        return;
    }
    rc = uv_timer_start(&net->clock, on_clock,
                        min->key > now ? min->key - now : 0, 0);
    CHECK(rc == 0);
}

static void on_clock(uv_timer_t *clock)
{
    struct net *net = clock->data;
    uint64_t now = net_now_ms(net);
    struct heap_node *min;

    while ((min = heap_min(&net->timers)) != NULL && min->key <= now) {
        struct net_timer *timer = container_of(min, struct net_timer, node);
        if (timer->at_ms > now) {
            heap_set(&net->timers, min, timer->at_ms);
            continue;
        }
        heap_remove(&net->timers, min);
        timer->inside = false;
        timer->due(timer);
    }
    if (!close_clock(net))
        set_clock(net);
}

void net_init(struct net *net, uv_loop_t *loop)
{
    int rc;

    *net = (struct net){.loop = loop};
    net->scratch = mem_alloc(NET_SCRATCH);
    rc = uv_timer_init(loop, &net->clock);
    CHECK(rc == 0);
    net->clock.data = net;
    net->handles = 1;
}

void net_close(struct net *net, void (*closed)(struct net *net))
{
    CHECK(!net->closing);
    net->closing = true;
    net->closed = closed;
    (void)close_clock(net);
}

void net_handle_closed(struct net *net)
{
    CHECK(net->handles > 0);
    if (--net->handles > 0)
        return;
    CHECK(net->closing && net->timers.len == 0);
    heap_close(&net->timers);
    free(net->scratch);
    net->scratch = NULL;
    net->closed(net);
}

void net_timer_set(struct net *net, struct net_timer *timer, uint64_t in_ms)
{
    timer->at_ms = net_now_ms(net) + in_ms;
    if (timer->inside && timer->at_ms >= timer->node.key)
        return;
    if (!timer->inside)
        heap_node_init(&timer->node);
    timer->inside = true;
    heap_set(&net->timers, &timer->node, timer->at_ms);
    if (heap_min(&net->timers) == &timer->node)
        set_clock(net);
}

void net_timer_stop(struct net *net, struct net_timer *timer)
{
    if (!timer->inside)
        return;
    heap_remove(&net->timers, &timer->node);
    timer->inside = false;
}
