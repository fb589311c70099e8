/* Which protocol a connection speaks, from its first bytes.
 *
 *   accepted --readable--> some bytes --"PRI * HTTP/2"--> rpc
 *      |                      | ^  |
 *      |             too few  v |  `--anything else-----> http
 *      |                 looked at again, less and less often
 *      `--------- nothing in time: closed
 *
 * The bytes stay in the socket. A socket with too few of them stays
 * readable, so it isn't polled then but looked at by a timer. */
#include "front_private.h"

#include "chorad/base/check.h"
#include "chorad/base/mem.h"
#include "chorad/base/turn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* RFC 9113, 3.4: no HTTP/1 request begins like this. */
static const char preface[] = "PRI * HTTP/2";
#define PREFACE_LEN (sizeof(preface) - 1)

#define LOOK_FIRST_MS 5
#define LOOK_LAST_MS 1000

struct waiting {
    uv_poll_t poll;
    struct heap_node node;
    struct listener *listener;
    uint64_t until_ms; /* closed then */
    uint32_t look_ms;  /* how long until the next look; 0: polled */
    int fd;
};

enum verdict { IS_RPC, IS_HTTP, IS_PARTIAL, IS_EMPTY, IS_GONE };

/* The bytes that are there hide the end behind them. */
static bool peer_has_left(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};

    return poll(&poll_fd, 1, 0) > 0;
}

static enum verdict look(int fd)
{
    char bytes[PREFACE_LEN];
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR
                   ? IS_EMPTY
                   : IS_GONE;
    if (n == 0)
        return IS_GONE;
    if (memcmp(bytes, preface, (size_t)n) != 0)
        return IS_HTTP;
    if ((size_t)n == PREFACE_LEN)
        return IS_RPC;
    return peer_has_left(fd) ? IS_GONE : IS_PARTIAL;
}

static void hand_over(const struct listener *listener, int fd,
                      enum verdict verdict)
{
    const struct front_target *target = &listener->target;

    if (verdict == IS_RPC)
        target->rpc(target->arg, fd);
    else if (verdict == IS_HTTP)
        target->http(target->arg, fd);
    else
        (void)close(fd);
}

static void on_closed(uv_handle_t *handle)
{
    struct waiting *w = handle->data;

    front_handle_closed(w->listener->front);
    free(w);
}

static void on_look_timer(uv_timer_t *timer);

/* Sets the timer to the smallest of the heap. */
static void set_timer(struct front *front)
{
    struct heap_node *min = heap_min(&front->waiting);
    uint64_t at_ms = min != NULL ? min->key : UINT64_MAX;
    uint64_t now_ms = uv_now(front->config.loop);
    int rv;

    if (at_ms == front->look_at_ms)
        return;
    front->look_at_ms = at_ms;
    if (min == NULL) {
        (void)uv_timer_stop(&front->look);
        return;
    }
    rv = uv_timer_start(&front->look, on_look_timer,
                        at_ms > now_ms ? at_ms - now_ms : 0, 0);
    CHECK(rv == 0);
}

/* Ends the wait: the connection goes where the verdict says. */
static void settle(struct waiting *w, enum verdict verdict)
{
    struct front *front = w->listener->front;

    heap_remove(&front->waiting, &w->node);
    /* Out of epoll before somebody else has or closes the descriptor. */
    (void)uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_closed);
    hand_over(w->listener, w->fd, verdict);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void keep(struct waiting *w, bool partial)
{
    struct front *front = w->listener->front;
    uint64_t next_ms;
    int rv;

    if (!partial) {
        w->look_ms = 0;
        rv = uv_poll_start(&w->poll, UV_READABLE, on_readable);
        CHECK(rv == 0);
        heap_set(&front->waiting, &w->node, w->until_ms);
        return;
    }
    (void)uv_poll_stop(&w->poll);
    w->look_ms = w->look_ms == 0 ? LOOK_FIRST_MS : w->look_ms * 2;
    if (w->look_ms > LOOK_LAST_MS)
        w->look_ms = LOOK_LAST_MS;
    next_ms = uv_now(front->config.loop) + w->look_ms;
    heap_set(&front->waiting, &w->node,
             next_ms < w->until_ms ? next_ms : w->until_ms);
}

static void decide(struct waiting *w)
{
    enum verdict verdict = look(w->fd);

    if (verdict == IS_PARTIAL || verdict == IS_EMPTY)
        keep(w, verdict == IS_PARTIAL);
    else
        settle(w, verdict);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct waiting *w = poll->data;
    struct front *front = w->listener->front;
    enum turn_part before = turn_part(TURN_CONNECTIONS);

    (void)events;
    if (status != 0)
        settle(w, IS_GONE);
    else
        decide(w);
    set_timer(front);
    turn_part(before);
}

static void on_look_timer(uv_timer_t *timer)
{
    struct front *front = timer->data;
    uint64_t now_ms = uv_now(front->config.loop);
    struct heap_node *min;

    front->look_at_ms = UINT64_MAX;
    while ((min = heap_min(&front->waiting)) != NULL && min->key <= now_ms) {
        struct waiting *w = container_of(min, struct waiting, node);

        if (now_ms >= w->until_ms)
            settle(w, IS_GONE);
        else
            decide(w);
    }
    set_timer(front);
}

void sniff_init(struct front *front)
{
    int rv = uv_timer_init(front->config.loop, &front->look);

    CHECK(rv == 0);
    front->look.data = front;
    front->look_at_ms = UINT64_MAX;
    front->handles++;
}

void sniff_take(struct listener *listener, int fd)
{
    struct front *front = listener->front;
    enum verdict verdict = look(fd);
    struct waiting *w;

    if (verdict != IS_PARTIAL && verdict != IS_EMPTY) {
        hand_over(listener, fd, verdict);
        return;
    }
    if (front->waiting.len >= front->config.waiting_max)
        settle(container_of(heap_min(&front->waiting), struct waiting, node),
               IS_GONE);
    w = mem_zalloc(sizeof(*w));
    if (uv_poll_init(front->config.loop, &w->poll, fd) != 0) {
        (void)close(fd);
        free(w);
        return;
    }
    front->handles++;
    w->poll.data = w;
    w->listener = listener;
    w->fd = fd;
    w->until_ms = uv_now(front->config.loop) + front->config.first_bytes_ms;
    heap_node_init(&w->node);
    keep(w, verdict == IS_PARTIAL);
    set_timer(front);
}

void sniff_close_all(struct front *front)
{
    struct heap_node *min;

    while ((min = heap_min(&front->waiting)) != NULL)
        settle(container_of(min, struct waiting, node), IS_GONE);
}
