/* One connection: its socket on the loop, its turns, its end.
 *
 *   open --finish--> finishing --all sent--> lingering --.
 *    |                   |                               v
 *    `---- abort, peer gone, error ----------------> aborted -> buried
 *
 * Lingering: the socket is shut for sending and what still comes in is thrown
 * away for a moment. A socket closed with bytes unread would reset the
 * connection, and the reset would overtake what was sent last. */
#include "internal.h"

#include "chorad/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_NS UINT64_C(1000000000)
/* Bytes thrown away while lingering. */
#define LINGER_READS 16

static void on_events(uv_poll_t *poll, int status, int events);

/* ---- life ------------------------------------------------------------ */

static void set_events(struct connection *c)
{
    int events = 0;

    if (c->aborted)
        return;
    if (c->lingering || (!c->paused && !c->finishing && !c->peer_ended))
        events |= UV_READABLE;
    else if (!c->end_told)
        events |= UV_DISCONNECT;
    if (c->blocked)
        events |= UV_WRITABLE;
    if (events == c->events)
        return;
    c->events = events;
    if (events == 0)
        (void)uv_poll_stop(&c->poll);
    else if (uv_poll_start(&c->poll, events, on_events) != 0)
        connection_abort(c);
}

static void link_all(struct connection *c)
{
    struct shard *shard = c->shard;

    c->next = shard->all;
    c->prev = &shard->all;
    if (c->next != NULL)
        c->next->prev = &c->next;
    shard->all = c;
    shard->all_n++;
}

static void unlink_all(struct connection *c)
{
    *c->prev = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->shard->all_n--;
}

static void linger_over(struct shard_timer *timer)
{
    connection_abort(container_of(timer, struct connection, linger));
}

void connection_open(struct shard *shard, int fd,
                     const struct connection_protocol *protocol, void *arg)
{
    struct connection *c = mem_zalloc(sizeof(*c));

    c->shard = shard;
    c->fd = fd;
    c->protocol = protocol;
    c->input_ns = shard->now_ns;
    shard_timer_init(&c->linger, linger_over);
    if (uv_poll_init(&shard->loop, &c->poll, fd) != 0) {
        (void)close(fd);
        free(c);
        return;
    }
    c->poll.data = c;
    link_all(c);
    c->state = protocol->open(c, arg);
    if (c->state == NULL)
        connection_abort(c);
    set_events(c);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;

    free(c->peer);
    free(c);
}

static void bury(struct connection *c)
{
    shard_timer_clear(c->shard, &c->linger);
    if (c->state != NULL)
        c->protocol->closed(c->state);
    output_close(&c->out, c->shard);
    unlink_all(c);
    /* Out of epoll before somebody else has the descriptor. */
    (void)uv_poll_stop(&c->poll);
    (void)close(c->fd);
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
}

/* `closed` may abort others. None of them may be in the list of the dirty any
 * more when its memory goes. */
void connection_bury(struct shard *shard)
{
    struct connection **at = &shard->dying;

    while (*at != NULL) {
        struct connection *c = *at;

        if (c->dirty) {
            at = &c->next_dying;
            continue;
        }
        *at = c->next_dying;
        bury(c);
    }
}

void connection_abort(struct connection *c)
{
    if (c->aborted)
        return;
    c->aborted = true;
    (void)uv_poll_stop(&c->poll);
    c->next_dying = c->shard->dying;
    c->shard->dying = c;
}

void connection_finish(struct connection *c)
{
    if (c->finishing)
        return;
    c->finishing = true;
    connection_want_output(c);
    set_events(c);
}

/* ---- in -------------------------------------------------------------- */

/* Once: at the last byte, or when the peer is seen to have left while nobody
 * reads. */
static void tell_end(struct connection *c)
{
    if (c->protocol->end == NULL || c->finishing) {
        connection_abort(c);
    } else if (!c->end_told) {
        c->end_told = true;
        c->protocol->end(c->state);
    }
    set_events(c);
}

static void peer_ended(struct connection *c)
{
    c->peer_ended = true;
    tell_end(c);
}

/* What comes now is for nobody. */
static void throw_away(struct connection *c)
{
    for (unsigned i = 0; i < LINGER_READS; i++) {
        ssize_t n = read(c->fd, c->shard->input, INPUT_BYTES);

        if (n > 0)
            continue;
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            connection_abort(c);
        return;
    }
}

/* Reads again only while the buffer comes back full: a socket that has more
 * is found ready in the next turn, after the others have had theirs. */
static void read_some(struct connection *c)
{
    for (unsigned i = 0; i < INPUT_READS; i++) {
        ssize_t n = read(c->fd, c->shard->input, INPUT_BYTES);

        if (n > 0) {
            c->input_ns = c->shard->now_ns;
            c->protocol->input(c->state, c->shard->input, (size_t)n);
            if ((size_t)n < INPUT_BYTES || c->paused || c->finishing ||
                c->aborted)
                return;
            continue;
        }
        if (n == 0)
            peer_ended(c);
        else if (errno != EAGAIN && errno != EINTR)
            connection_abort(c);
        return;
    }
}

static void on_events(uv_poll_t *poll, int status, int events)
{
    struct connection *c = poll->data;

    if (c->aborted)
        return;
    if (status != 0) {
        connection_abort(c);
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        c->blocked = false;
        set_events(c);
        connection_want_output(c);
    }
    if ((events & UV_DISCONNECT) != 0 && (c->events & UV_READABLE) == 0) {
        tell_end(c);
        return;
    }
    if ((events & UV_READABLE) == 0)
        return;
    if (c->lingering)
        throw_away(c);
    else if (!c->paused && !c->finishing)
        read_some(c);
}

void connection_pause(struct connection *c)
{
    c->paused = true;
    set_events(c);
}

void connection_resume(struct connection *c)
{
    c->paused = false;
    set_events(c);
}

/* ---- out ------------------------------------------------------------- */

void connection_want_output(struct connection *c)
{
    struct shard *shard = c->shard;

    if (c->dirty || c->aborted || c->blocked)
        return;
    c->dirty = true;
    c->next_dirty = NULL;
    *shard->dirty_tail = c;
    shard->dirty_tail = &c->next_dirty;
}

static void all_sent(struct connection *c)
{
    if (!c->finishing || c->lingering)
        return;
    if (c->peer_ended || shutdown(c->fd, SHUT_WR) != 0) {
        connection_abort(c);
        return;
    }
    c->lingering = true;
    shard_timer_set(c->shard, &c->linger, c->shard->now_ns + LINGER_NS);
    set_events(c);
}

bool connection_flush(struct connection *c)
{
    bool more = false;
    int error;

    if (c->aborted || c->lingering)
        return false;
    if (!c->finishing && c->protocol->output != NULL)
        more = c->protocol->output(c->state);
    if (c->aborted)
        return false;
    error = output_write(&c->out, c->shard, c->fd);
    if (error == EAGAIN) {
        c->blocked = true;
        set_events(c);
        return false;
    }
    if (error != 0) {
        connection_abort(c);
        return false;
    }
    /* `output` may have said that this was all, and finished. */
    if (c->finishing)
        all_sent(c);
    return more && !c->finishing;
}

/* ---- all of a shard's ------------------------------------------------ */

void shard_drain_connections(struct shard *shard)
{
    struct connection *next;

    shard->draining = true;
    for (struct connection *c = shard->all; c != NULL; c = next) {
        next = c->next;
        if (c->aborted || c->finishing)
            continue;
        if (c->protocol->drain != NULL)
            c->protocol->drain(c->state);
        else
            connection_finish(c);
    }
}

void shard_abort_connections(struct shard *shard)
{
    for (struct connection *c = shard->all; c != NULL; c = c->next)
        connection_abort(c);
}

/* ---- the small ones -------------------------------------------------- */

struct shard *connection_shard(const struct connection *c)
{
    return c->shard;
}

void *connection_state(const struct connection *c)
{
    return c->state;
}

uint64_t connection_last_input_ns(const struct connection *c)
{
    return c->input_ns;
}
