#include "conn.h"
#include "chorad/base/address.h"
#include "chorad/base/check.h"
#include "chorad/base/queue.h"
#include "chorad/base/turn.h"
#include "conn_private.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A host that has vanished without a word is noticed within some 25 s. */
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 3

static void end(struct conn *conn, const char *why)
{
    const struct conn_events *events = conn->events;

    if (!events || conn->ended)
        return;
    conn->ended = true;
    (void)uv_read_stop((uv_stream_t *)&conn->tcp);
    net_timer_stop(conn->net, &conn->timer);
    events->ended(conn->arg, why);
}

/* ---- limits -------------------------------------------------------------- */

static void set_timer(struct conn *conn)
{
    uint64_t at = UINT64_MAX;
    uint64_t now = net_now_ms(conn->net);

    if (conn->read_ms != 0 && conn->reading)
        at = conn->read_at_ms;
    if (conn->write_ms != 0 && conn->writing && conn->write_at_ms < at)
        at = conn->write_at_ms;
    if (at != UINT64_MAX && !conn->ended)
        net_timer_set(conn->net, &conn->timer, at > now ? at - now : 0);
}

/* The loop may have stood still while the bytes lay there. */
static bool has_unread(const struct conn *conn)
{
    uv_os_fd_t fd;
    int n = 0;

    return uv_fileno((const uv_handle_t *)&conn->tcp, &fd) == 0 &&
           ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

static bool has_room(const struct conn *conn)
{
    struct pollfd poll_fd = {.events = POLLOUT};

    return uv_fileno((const uv_handle_t *)&conn->tcp, &poll_fd.fd) == 0 &&
           poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & POLLOUT) != 0;
}

/* libuv keeps how much of what was lent is left. Or it is us who haven't
 * written. */
static bool write_moves(struct conn *conn)
{
    size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);
    bool moves = left != conn->write_left;

    conn->write_left = left;
    return moves || has_room(conn);
}

static void on_timer(struct net_timer *timer)
{
    struct conn *conn = container_of(timer, struct conn, timer);
    uint64_t now = net_now_ms(conn->net);
    char why[64];

    if (conn->read_ms != 0 && conn->reading && now >= conn->read_at_ms) {
        if (!has_unread(conn)) {
            (void)snprintf(why, sizeof(why), "no bytes for %llu ms",
                           (unsigned long long)conn->read_ms);
            end(conn, why);
            return;
        }
        conn->read_at_ms = now + conn->read_ms;
    }
    if (conn->write_ms != 0 && conn->writing && now >= conn->write_at_ms) {
        if (!write_moves(conn)) {
            (void)snprintf(why, sizeof(why), "takes no bytes for %llu ms",
                           (unsigned long long)conn->write_ms);
            end(conn, why);
            return;
        }
        conn->write_at_ms = now + conn->write_ms;
    }
    set_timer(conn);
}

void conn_limit(struct conn *conn, uint64_t read_ms, uint64_t write_ms)
{
    uint64_t now = net_now_ms(conn->net);

    net_timer_stop(conn->net, &conn->timer);
    conn->read_ms = read_ms;
    conn->write_ms = write_ms;
    conn->read_at_ms = now + read_ms;
    conn->write_at_ms = now + write_ms;
    set_timer(conn);
}

static void set_option(struct conn *conn, int level, int option, int value)
{
    uv_os_fd_t fd;

    /* Not every socket has each; none is worth to fail for. */
    if (uv_fileno((const uv_handle_t *)&conn->tcp, &fd) == 0)
        (void)setsockopt(fd, level, option, &value, sizeof(value));
}

void conn_user_timeout(struct conn *conn, unsigned ms)
{
    set_option(conn, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)ms);
}

/* ---- reading ------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    const struct conn *conn = handle->data;

    (void)suggested;
    /* Read and handled before anybody else reads. */
    *buf = uv_buf_init((char *)conn->net->scratch, NET_SCRATCH);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *conn = stream->data;
    enum turn_part before = turn_part(TURN_PEERS_READ);

    if (n > 0) {
        if (conn->read_ms != 0) {
            conn->read_at_ms = net_now_ms(conn->net) + conn->read_ms;
            if (!net_timer_is_set(&conn->timer))
                set_timer(conn);
        }
        conn->events->data(conn->arg, bytes_of(buf->base, (size_t)n));
    } else if (n == UV_EOF) {
        end(conn, CONN_EOF);
    } else if (n < 0) {
        end(conn, uv_strerror((int)n));
    }
    turn_part(before);
}

static void read_on(struct conn *conn)
{
    int rc;

    if (conn->reading || conn->ended)
        return;
    conn->reading = true;
    conn->read_at_ms = net_now_ms(conn->net) + conn->read_ms;
    rc = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    CHECK(rc == 0);
    set_timer(conn);
}

void conn_pause(struct conn *conn, bool pause)
{
    if (!pause) {
        read_on(conn);
        return;
    }
    conn->reading = false;
    (void)uv_read_stop((uv_stream_t *)&conn->tcp);
}

/* ---- writing ------------------------------------------------------------- */

static void on_written(uv_write_t *write, int status)
{
    struct conn *conn = write->handle->data;
    const struct conn_events *events = conn->events;

    conn->writing = false;
    if (!events || conn->ended)
        return;
    if (status < 0)
        end(conn, uv_strerror(status));
    else if (events->written)
        events->written(conn->arg);
}

int conn_write(struct conn *conn, uv_buf_t *pieces, size_t count)
{
    uv_stream_t *stream = (uv_stream_t *)&conn->tcp;
    size_t done;
    int rc;

    CHECK(!conn->writing);
    rc = uv_try_write(stream, pieces, (unsigned)count);
    if (rc < 0 && rc != UV_EAGAIN)
        return rc;
    done = rc > 0 ? (size_t)rc : 0;
    while (count > 0 && done >= pieces[0].len) {
        done -= pieces[0].len;
        pieces++;
        count--;
    }
    if (count == 0)
        return 0;
    pieces[0].base += done;
    pieces[0].len -= done;
    rc = uv_write(&conn->write, stream, pieces, (unsigned)count, on_written);
    if (rc < 0)
        return rc;
    conn->writing = true;
    conn->write_left = uv_stream_get_write_queue_size(stream);
    conn->write_at_ms = net_now_ms(conn->net) + conn->write_ms;
    set_timer(conn);
    return 1;
}

bool conn_is_writing(const struct conn *conn)
{
    return conn->writing;
}

void conn_finish(struct conn *conn)
{
    uv_os_fd_t fd;

    if (uv_fileno((const uv_handle_t *)&conn->tcp, &fd) == 0)
        (void)shutdown(fd, SHUT_WR);
}

/* ---- life ---------------------------------------------------------------- */

struct conn *conn_alloc(struct net *net)
{
    struct conn *conn = mem_zalloc(sizeof(*conn));
    int rc = uv_tcp_init(net->loop, &conn->tcp);

    CHECK(rc == 0);
    net_handle_opened(net);
    conn->net = net;
    conn->tcp.data = conn;
    conn->timer.due = on_timer;
    return conn;
}

void conn_set_up(struct conn *conn)
{
    struct sockaddr_storage address = {0};
    int len = sizeof(address);

    set_option(conn, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(conn, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(conn, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    set_option(conn, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    set_option(conn, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    (void)uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &len);
    (void)address_text(&address, conn->remote, sizeof(conn->remote));
}

struct conn *conn_new(struct net *net, int fd)
{
    struct conn *conn = conn_alloc(net);

    if (uv_tcp_open(&conn->tcp, fd) != 0) {
        (void)close(fd);
        conn_close(conn, NULL, NULL);
        return NULL;
    }
    conn_set_up(conn);
    return conn;
}

void conn_use(struct conn *conn, const struct conn_events *events, void *arg)
{
    conn->events = events;
    conn->arg = arg;
    read_on(conn);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    struct net *net = conn->net;

    if (conn->then)
        conn->then(conn->arg);
    free(conn);
    net_handle_closed(net);
}

void conn_close(struct conn *conn, void (*then)(void *arg), void *arg)
{
    conn->events = NULL;
    conn->ended = true;
    conn->then = then;
    conn->arg = arg;
    net_timer_stop(conn->net, &conn->timer);
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

const char *conn_remote(const struct conn *conn)
{
    return conn->remote;
}
