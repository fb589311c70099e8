/* Accepting, and what happens when there are no more file descriptors. */
#include "front_private.h"

#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "chorad/base/turn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

/* Connections taken in one turn, so that a flood of them doesn't keep the
 * loop from its other work. */
#define ACCEPT_TURN 64
#define PAUSE_MS 100
#define TELL_MS 10000
/* A client that vanished without a word is found out after about that. */
#define KEEPALIVE_S 30

static void on_readable(uv_poll_t *poll, int status, int events);

int accept_start(struct listener *listener)
{
    return uv_poll_start(&listener->poll, UV_READABLE, on_readable);
}

static void set_options(int fd)
{
    int on = 1;
    int seconds = KEEPALIVE_S;

    /* Each of them fails on a unix socket, which needs none. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
}

static void deal(struct listener *listener, int fd)
{
    const struct front_target *target = &listener->target;

    set_options(fd);
    if (target->http == NULL)
        target->rpc(target->arg, fd);
    else if (target->rpc == NULL)
        target->http(target->arg, fd);
    else
        sniff_take(listener, fd);
}

static void on_pause_over(uv_timer_t *timer)
{
    struct front *front = timer->data;

    front->paused = false;
    for (size_t i = 0; i < front->listeners_n; i++) {
        int rv = accept_start(front->listeners[i]);

        CHECK(rv == 0);
    }
}

/* The sockets stay in the backlog meanwhile: trying again at once would only
 * turn the loop hot. */
static void pause_accepting(struct front *front, int error)
{
    uint64_t now_ms = uv_now(front->config.loop);
    int rv;

    if (front->told_ms == 0 || now_ms - front->told_ms >= TELL_MS) {
        front->told_ms = now_ms;
        log_warn("failed to accept, pausing", LOG_STR("error", strerror(error)),
                 LOG_U64("waiting-connections", front->waiting.len));
    }
    front->paused = true;
    for (size_t i = 0; i < front->listeners_n; i++)
        (void)uv_poll_stop(&front->listeners[i]->poll);
    rv = uv_timer_start(&front->pause, on_pause_over, PAUSE_MS, 0);
    CHECK(rv == 0);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = poll->data;

    (void)status;
    (void)events;
    for (unsigned i = 0; i < ACCEPT_TURN && !listener->front->paused; i++) {
        int fd =
            accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            enum turn_part before = turn_part(TURN_CONNECTIONS);

            deal(listener, fd);
            turn_part(before);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
            errno == ENOMEM)
            pause_accepting(listener->front, errno);
        /* Anything else is the one connection's own trouble. */
    }
}

void accept_init(struct front *front)
{
    int rv = uv_timer_init(front->config.loop, &front->pause);

    CHECK(rv == 0);
    front->pause.data = front;
    front->handles++;
}
