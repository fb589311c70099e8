/* The front's life: opened, given listeners, closed. */
#include "front_private.h"

#include "chorad/base/check.h"
#include "chorad/base/mem.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_BYTES_MS 120000
#define WAITING_MAX 32768

struct front *front_open(const struct front_config *config)
{
    struct front *front = mem_zalloc(sizeof(*front));

    front->config = *config;
    if (front->config.first_bytes_ms == 0)
        front->config.first_bytes_ms = FIRST_BYTES_MS;
    if (front->config.waiting_max == 0)
        front->config.waiting_max = WAITING_MAX;
    sniff_init(front);
    accept_init(front);
    return front;
}

int front_listen(struct front *front, const char *url,
                 const struct front_target *target, struct errmsg *msg)
{
    struct front_address address;
    struct listener *listener;
    int fd;
    int rv;

    CHECK(target->rpc != NULL || target->http != NULL);
    rv = front_address(url, &address, msg);
    if (rv != 0)
        return rv;
    fd = front_bind(&address, front->config.reuse_port,
                    front->config.reuse_address, msg);
    if (fd < 0)
        return fd;
    listener = mem_zalloc(sizeof(*listener));
    listener->front = front;
    listener->target = *target;
    listener->fd = fd;
    if (address.u.any.sa_family == AF_UNIX)
        listener->path = mem_strdup(address.text);
    rv = uv_poll_init(front->config.loop, &listener->poll, fd);
    CHECK(rv == 0);
    listener->poll.data = listener;
    front->handles++;
    front->listeners = mem_realloc(
        front->listeners, (front->listeners_n + 1) * sizeof(struct listener *));
    front->listeners[front->listeners_n++] = listener;
    if (!front->paused) {
        rv = accept_start(listener);
        CHECK(rv == 0);
    }
    return 0;
}

uint16_t front_port(const struct front *front, size_t n)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);

    CHECK(n < front->listeners_n);
    if (getsockname(front->listeners[n]->fd, (struct sockaddr *)&addr, &len) !=
        0)
        return 0;
    if (addr.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&addr)->sin_port);
    if (addr.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&addr)->sin6_port);
    return 0;
}

size_t front_waiting(const struct front *front)
{
    return front->waiting.len;
}

void front_handle_closed(struct front *front)
{
    if (--front->handles > 0 || front->closed == NULL)
        return;
    for (size_t i = 0; i < front->listeners_n; i++)
        free(front->listeners[i]);
    free(front->listeners);
    heap_close(&front->waiting);
    front->closed(front->closed_arg);
    free(front);
}

static void on_timer_closed(uv_handle_t *handle)
{
    front_handle_closed(handle->data);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;

    front_handle_closed(listener->front);
}

static void close_listener(struct listener *listener)
{
    (void)uv_poll_stop(&listener->poll);
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
    (void)close(listener->fd);
    if (listener->path != NULL)
        (void)unlink(listener->path);
    free(listener->path);
}

static void ignore(void *arg)
{
    (void)arg;
}

void front_close(struct front *front, void (*closed)(void *arg), void *arg)
{
    CHECK(front->closed == NULL);
    front->closed = closed != NULL ? closed : ignore;
    front->closed_arg = arg;
    for (size_t i = 0; i < front->listeners_n; i++)
        close_listener(front->listeners[i]);
    sniff_close_all(front);
    uv_close((uv_handle_t *)&front->look, on_timer_closed);
    uv_close((uv_handle_t *)&front->pause, on_timer_closed);
}
