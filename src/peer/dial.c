/* Connecting: a name to addresses, one address after the other.
 *
 *   RESOLVING --addresses--> CONNECTING --> done
 *        |                     ^    | refused, out of time
 *        `-- none: done        `----' next address; none left: done
 */
#include "chorad/base/check.h"
#include "chorad/base/queue.h"
#include "conn_private.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define ADDRESSES_MAX 8

struct dial {
    struct net *net;
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct conn *conn; /* being connected */
    struct net_timer timer;
    uint64_t until_ms;
    struct sockaddr_un path;
    union address {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } addresses[ADDRESSES_MAX];
    size_t address_count;
    size_t next;
    /* A callback of libuv's is still to come. */
    bool resolving;
    bool connecting;
    char why[96];
    void (*done)(void *arg, struct conn *conn, const char *why);
    void *arg;
};

/* Frees it as soon as no callback of libuv's can come any more. */
static void let_go(struct dial *dial)
{
    dial->done = NULL;
    net_timer_stop(dial->net, &dial->timer);
    if (!dial->resolving && !dial->connecting)
        free(dial);
}

static void finish(struct dial *dial, struct conn *conn)
{
    void (*done)(void *, struct conn *, const char *) = dial->done;
    void *arg = dial->arg;
    char why[sizeof(dial->why)];

    memcpy(why, dial->why, sizeof(why));
    let_go(dial);
    done(arg, conn, conn ? NULL : why);
}

static void try_next(struct dial *dial);

static void on_connect(uv_connect_t *connect, int status)
{
    struct dial *dial = container_of(connect, struct dial, connect);
    struct conn *conn = dial->conn;

    dial->connecting = false;
    dial->conn = NULL;
    if (!dial->done) {
        let_go(dial);
        return;
    }
    if (!conn) {
        /* Out of time, and closed for it. */
        try_next(dial);
        return;
    }
    if (status == 0) {
        conn_set_up(conn);
        finish(dial, conn);
        return;
    }
    (void)snprintf(dial->why, sizeof(dial->why), "connect: %s",
                   uv_strerror(status));
    conn_close(conn, NULL, NULL);
    try_next(dial);
}

/* An address gets its share of what is left of the time. */
static void on_timer(struct net_timer *timer)
{
    struct dial *dial = container_of(timer, struct dial, timer);

    if (dial->connecting) {
        (void)snprintf(dial->why, sizeof(dial->why), "connect: i/o timeout");
        conn_close(dial->conn, NULL, NULL);
        dial->conn = NULL;
        return;
    }
    (void)snprintf(dial->why, sizeof(dial->why), "lookup: i/o timeout");
    finish(dial, NULL);
}

static void try_next(struct dial *dial)
{
    while (dial->next < dial->address_count) {
        uint64_t now = net_now_ms(dial->net);
        uint64_t left = dial->until_ms > now ? dial->until_ms - now : 1;
        uint64_t share = left / (dial->address_count - dial->next);
        const union address *address = &dial->addresses[dial->next++];
        struct conn *conn = conn_alloc(dial->net);
        int rc = uv_tcp_connect(&dial->connect, &conn->tcp, &address->any,
                                on_connect);
        if (rc == 0) {
            dial->conn = conn;
            dial->connecting = true;
            net_timer_stop(dial->net, &dial->timer);
            net_timer_set(dial->net, &dial->timer, share > 0 ? share : 1);
            return;
        }
        (void)snprintf(dial->why, sizeof(dial->why), "connect: %s",
                       uv_strerror(rc));
        conn_close(conn, NULL, NULL);
    }
    finish(dial, NULL);
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status,
                        struct addrinfo *info)
{
    struct dial *dial = container_of(resolve, struct dial, resolve);

    dial->resolving = false;
    for (const struct addrinfo *at = info;
         at && status == 0 && dial->address_count < ADDRESSES_MAX;
         at = at->ai_next) {
        if (at->ai_addrlen <= sizeof(dial->addresses[0]))
            memcpy(&dial->addresses[dial->address_count++], at->ai_addr,
                   at->ai_addrlen);
    }
    uv_freeaddrinfo(info);
    if (!dial->done) {
        /* Given up long ago, and perhaps its net is gone. */
        free(dial);
        return;
    }
    if (status != 0)
        (void)snprintf(dial->why, sizeof(dial->why), "lookup: %s",
                       uv_strerror(status));
    try_next(dial);
}

/* Done at once, or not at all. */
static struct conn *connect_unix(struct dial *dial)
{
    const struct sockaddr *address = (const void *)&dial->path;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, address, sizeof(dial->path)) == 0)
        return conn_new(dial->net, fd);
    (void)snprintf(dial->why, sizeof(dial->why), "connect: %s",
                   uv_strerror(uv_translate_sys_error(errno)));
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

static void on_start_unix(struct net_timer *timer)
{
    struct dial *dial = container_of(timer, struct dial, timer);

    finish(dial, connect_unix(dial));
}

static void on_start(struct net_timer *timer)
{
    struct dial *dial = container_of(timer, struct dial, timer);

    timer->due = on_timer;
    try_next(dial);
}

/* From the loop: `done` must not be called from inside. */
static void start_soon(struct dial *dial, void (*start)(struct net_timer *))
{
    dial->timer.due = start;
    net_timer_set(dial->net, &dial->timer, 0);
}

static void resolve(struct dial *dial, const char *host, const char *port,
                    uint64_t timeout_ms)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    union address *address = &dial->addresses[0];
    int number = (int)strtoul(port, NULL, 10);
    int rc;

    if (uv_ip4_addr(host, number, &address->in4) == 0 ||
        uv_ip6_addr(host, number, &address->in6) == 0) {
        dial->address_count = 1;
        start_soon(dial, on_start);
        return;
    }
    rc = uv_getaddrinfo(dial->net->loop, &dial->resolve, on_resolved, host,
                        port, &hints);
    if (rc < 0) {
        (void)snprintf(dial->why, sizeof(dial->why), "lookup: %s",
                       uv_strerror(rc));
        start_soon(dial, on_start);
        return;
    }
    dial->resolving = true;
    dial->timer.due = on_timer;
    net_timer_set(dial->net, &dial->timer, timeout_ms);
}

struct dial *dial_start(
    struct net *net, const char *host, const char *port, uint64_t timeout_ms,
    void (*done)(void *arg, struct conn *conn, const char *why), void *arg)
{
    struct dial *dial = mem_zalloc(sizeof(*dial));

    dial->net = net;
    dial->done = done;
    dial->arg = arg;
    dial->until_ms = net_now_ms(net) + timeout_ms;
    if (port == NULL) {
        dial->path.sun_family = AF_UNIX;
        (void)snprintf(dial->path.sun_path, sizeof(dial->path.sun_path), "%s",
                       host);
        start_soon(dial, on_start_unix);
    } else {
        resolve(dial, host, port, timeout_ms);
    }
    return dial;
}

void dial_cancel(struct dial *dial)
{
    struct conn *conn = dial->conn;

    dial->conn = NULL;
    if (dial->resolving)
        (void)uv_cancel((uv_req_t *)&dial->resolve);
    let_go(dial);
    if (conn)
        conn_close(conn, NULL, NULL);
}
