/* A lane is a connection of a pool:
 *
 *   DIALING --connected--> BUSY --answered--> IDLE --exchange--> BUSY
 *      | can't             | ended, silent     | ended, too long
 *      v                   v                   v
 *   the next URL        closed              closed
 *
 * A request that meets an idle connection just as the other side closes it has
 * done nothing yet: it is sent once more, over a new one. */
#include "exchange.h"
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/queue.h"
#include "conn.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Requests to one member at a time; more wait. */
#define LANES_MAX 64

struct lane {
    struct pool *pool;
    struct lane *next;
    struct exchange *x; /* NULL: idle */
    struct dial *dial;
    struct conn *conn;
    struct wire_reader reader;
    size_t picked;   /* the URL it was dialed by */
    char *authority; /* and its host and port */
    struct buf head;
    struct buf answer;
    bool reused;
    bool answered; /* a byte of the answer has come */
    bool closed;
    bool ending; /* its exchange's `done` is being called */
    int refused; /* the answer can't be taken */
};

static void on_data(void *arg, struct bytes in);
static void on_ended(void *arg, const char *why);
static void serve_waiting(struct pool *pool);

static const struct conn_events conn_events = {on_data, on_ended, NULL};

/* ---- lanes --------------------------------------------------------------- */

static void lane_free(void *arg)
{
    struct lane *lane = arg;

    wire_reader_close(&lane->reader);
    free(lane->authority);
    buf_close(&lane->head);
    buf_close(&lane->answer);
    free(lane);
}

/* Its exchange has been taken away from it, and it from the pool. It is gone at
 * once only when it has no connection. */
static void drop(struct lane *lane)
{
    CHECK(!lane->closed);
    lane->closed = true;
    if (lane->dial)
        dial_cancel(lane->dial);
    lane->dial = NULL;
    if (lane->conn)
        conn_close(lane->conn, lane_free, lane);
    else
        lane_free(lane);
}

static void lane_close(struct lane *lane)
{
    struct lane **at = &lane->pool->lanes;

    while (*at != lane)
        at = &(*at)->next;
    *at = lane->next;
    lane->pool->lane_count--;
    drop(lane);
}

static struct exchange *detach(struct lane *lane)
{
    struct exchange *x = lane->x;

    lane->x = NULL;
    x->lane = NULL;
    net_timer_stop(lane->pool->net, &x->timer);
    return x;
}

/* The exchange has failed, and its lane with it. */
static void fail(struct lane *lane, int err, const char *why)
{
    struct pool *pool = lane->pool;
    struct exchange *x = detach(lane);

    (void)snprintf(x->why, sizeof(x->why), "%s", why);
    lane_close(lane);
    x->done(x, err);
    serve_waiting(pool);
}

/* ---- the answer ---------------------------------------------------------- */

static int on_head(void *arg)
{
    struct lane *lane = arg;
    struct exchange *x = lane->x;

    x->status = lane->reader.parser.status_code;
    if (!wire_parse_id(wire_value(&lane->reader, WIRE_CLUSTER_ID),
                       &x->cluster_id))
        x->cluster_id = 0;
    return 0;
}

static int on_body(void *arg, struct bytes part)
{
    struct lane *lane = arg;

    if (part.len > lane->x->answer_max - lane->answer.len) {
        lane->refused = ERR_TOOBIG;
        return ERR_TOOBIG;
    }
    buf_append(&lane->answer, part.data, part.len);
    return 0;
}

static int on_whole(void *arg)
{
    (void)arg;
    return 0;
}

static const struct wire_events wire_events = {on_head, on_body, on_whole};

static void succeed(struct lane *lane, bool keep)
{
    struct pool *pool = lane->pool;
    struct exchange *x = detach(lane);

    x->answer = bytes_of(lane->answer.data, lane->answer.len);
    /* It must not be taken for an idle one before the answer has been seen. */
    lane->ending = true;
    x->done(x, 0);
    if (lane->closed)
        return;
    lane->ending = false;
    if (keep) {
        wire_next(&lane->reader);
        lane->answer.len = 0;
        conn_limit(lane->conn, pool->idle_ms, pool->idle_ms);
    } else {
        lane_close(lane);
    }
    serve_waiting(pool);
}

static void on_data(void *arg, struct bytes in)
{
    struct lane *lane = arg;
    size_t used;
    int rc;

    if (!lane->x) {
        /* Nothing has been asked. */
        lane_close(lane);
        return;
    }
    lane->answered = true;
    rc = wire_read(&lane->reader, in, &used);
    if (rc < 0)
        fail(lane, lane->refused ? lane->refused : ERR_MALFORMED,
             lane->refused ? "the answer is too long" : "malformed answer");
    else if (lane->reader.whole)
        succeed(lane, lane->reader.keep_alive && used == in.len &&
                          !conn_is_writing(lane->conn));
}

/* ---- the request --------------------------------------------------------- */

static void send_request(struct lane *lane)
{
    struct exchange *x = lane->x;
    bool has_body = x->body.len > 0 || strcmp(x->method, "POST") == 0;
    struct wire_request request = {
        .method = x->method,
        .host = lane->authority,
        .path = x->path,
        .content_type = x->content_type,
        .authorization = x->authorization,
        .body_len = has_body ? (int64_t)x->body.len : WIRE_NO_BODY,
    };
    uv_buf_t pieces[2];
    int rc;

    lane->head.len = 0;
    lane->answered = false;
    wire_put_request(&lane->head, lane->pool->self, &request);
    pieces[0] = uv_buf_init((char *)lane->head.data, (unsigned)lane->head.len);
    /* libuv only reads from what it writes. */
    pieces[1] =
        (uv_buf_t){.base = (char *)(uintptr_t)x->body.data, .len = x->body.len};
    conn_limit(lane->conn, 0, 0);
    x->sent_ns = clock_mono_ns();
    rc = conn_write(lane->conn, pieces, x->body.len > 0 ? 2 : 1);
    /* Its end comes by the connection's event as well, but perhaps later than
     * the next exchange. */
    if (rc < 0)
        on_ended(lane, uv_strerror(rc));
}

static void on_dialed(void *arg, struct conn *conn, const char *why);

static void dial(struct lane *lane)
{
    struct pool *pool = lane->pool;
    struct exchange *x = lane->x;
    const struct url *url = peer_urls_pick(pool->urls);
    uint64_t now = net_now_ms(pool->net);
    uint64_t left = x->until_ms > now ? x->until_ms - now : 1;
    size_t to_try =
        pool->urls->count > x->tries ? pool->urls->count - x->tries : 1;
    uint64_t share = left / to_try;

    if (!url) {
        x->failed = ERR_NOTFOUND;
        net_timer_set(pool->net, &x->timer, 0);
        return;
    }
    if (share == 0)
        share = 1;
    lane->picked = pool->urls->picked;
    free(lane->authority);
    lane->authority = mem_strdup(url->authority);
    lane->dial = dial_start(pool->net, url->host, url->port,
                            share < pool->dial_ms ? share : pool->dial_ms,
                            on_dialed, lane);
}

static void on_dialed(void *arg, struct conn *conn, const char *why)
{
    struct lane *lane = arg;
    struct pool *pool = lane->pool;

    lane->dial = NULL;
    if (conn) {
        lane->conn = conn;
        conn_use(conn, &conn_events, lane);
        send_request(lane);
        return;
    }
    peer_urls_rotate(pool->urls, lane->picked);
    if (++lane->x->tries < pool->urls->count)
        dial(lane);
    else
        fail(lane, ERR_IO, why);
}

static void start_new(struct pool *pool, struct exchange *x)
{
    struct lane *lane = mem_zalloc(sizeof(*lane));

    lane->pool = pool;
    lane->x = x;
    x->lane = lane;
    wire_reader_init(&lane->reader, HTTP_RESPONSE, &wire_events, lane);
    lane->next = pool->lanes;
    pool->lanes = lane;
    pool->lane_count++;
    dial(lane);
}

static void start_on(struct lane *lane, struct exchange *x)
{
    lane->x = x;
    x->lane = lane;
    lane->reused = true;
    send_request(lane);
}

static void on_ended(void *arg, const char *why)
{
    struct lane *lane = arg;
    struct pool *pool = lane->pool;

    if (lane->closed)
        return;
    if (!lane->x) {
        lane_close(lane);
        return;
    }
    wire_read_end(&lane->reader);
    if (lane->reader.whole) {
        succeed(lane, false);
    } else if (lane->reused && !lane->answered) {
        struct exchange *x = lane->x;
        lane->x = NULL;
        x->lane = NULL;
        lane_close(lane);
        start_new(pool, x);
    } else {
        fail(lane, ERR_IO, why);
    }
}

/* ---- exchanges ----------------------------------------------------------- */

static void unlink_waiting(struct exchange *x)
{
    struct pool *pool = x->pool;
    struct exchange **at = &pool->waiting;

    while (*at && *at != x)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = x->next;
    if (!*at)
        pool->waiting_end = at;
}

/* Takes it from wherever it is and ends it. */
static void end(struct exchange *x, int err)
{
    struct pool *pool = x->pool;
    struct lane *lane = x->lane;

    net_timer_stop(pool->net, &x->timer);
    if (lane) {
        (void)detach(lane);
        lane_close(lane);
    } else {
        unlink_waiting(x);
    }
    if (err == ERR_DEADLINE)
        (void)snprintf(x->why, sizeof(x->why), "no answer within %llu ms",
                       (unsigned long long)x->timeout_ms);
    x->done(x, err);
}

static void on_timer(struct net_timer *timer)
{
    struct exchange *x = container_of(timer, struct exchange, timer);
    struct pool *pool = x->pool;

    end(x, x->failed ? x->failed : ERR_DEADLINE);
    serve_waiting(pool);
}

static struct lane *idle_lane(const struct pool *pool)
{
    for (struct lane *lane = pool->lanes; lane; lane = lane->next) {
        if (!lane->x && !lane->ending)
            return lane;
    }
    return NULL;
}

static bool place(struct pool *pool, struct exchange *x)
{
    struct lane *idle = idle_lane(pool);

    if (idle)
        start_on(idle, x);
    else if (pool->lane_count < pool->lanes_max)
        start_new(pool, x);
    else
        return false;
    return true;
}

static void serve_waiting(struct pool *pool)
{
    while (pool->waiting && !pool->closed) {
        struct exchange *x = pool->waiting;
        pool->waiting = x->next;
        if (!pool->waiting)
            pool->waiting_end = &pool->waiting;
        x->next = NULL;
        if (place(pool, x))
            continue;
        x->next = pool->waiting;
        pool->waiting = x;
        if (!x->next)
            pool->waiting_end = &x->next;
        return;
    }
}

void exchange_start(struct pool *pool, struct exchange *x)
{
    x->pool = pool;
    x->lane = NULL;
    x->next = NULL;
    x->tries = 0;
    x->failed = 0;
    x->status = 0;
    x->why[0] = '\0';
    x->timer = (struct net_timer){.due = on_timer};
    x->until_ms = net_now_ms(pool->net) + x->timeout_ms;
    if (pool->closed || pool->urls->count == 0) {
        x->failed = pool->closed ? ERR_STOPPED : ERR_NOTFOUND;
        net_timer_set(pool->net, &x->timer, 0);
        return;
    }
    net_timer_set(pool->net, &x->timer, x->timeout_ms);
    if (place(pool, x))
        return;
    *pool->waiting_end = x;
    pool->waiting_end = &x->next;
}

void exchange_cancel(struct exchange *x, int err)
{
    struct pool *pool = x->pool;

    end(x, err);
    serve_waiting(pool);
}

/* ---- pools --------------------------------------------------------------- */

void pool_init(struct pool *pool, struct net *net,
               const struct wire_identity *self, struct urls *urls,
               uint64_t dial_ms, uint64_t idle_ms)
{
    *pool = (struct pool){.net = net,
                          .self = self,
                          .urls = urls,
                          .dial_ms = dial_ms,
                          .idle_ms = idle_ms,
                          .lanes_max = LANES_MAX};
    pool->waiting_end = &pool->waiting;
}

void pool_forget(struct pool *pool)
{
    struct lane *next;

    for (struct lane *lane = pool->lanes; lane; lane = next) {
        next = lane->next;
        if (!lane->x && !lane->ending)
            lane_close(lane);
    }
}

void pool_close(struct pool *pool, int err)
{
    pool->closed = true;
    while (pool->waiting)
        end(pool->waiting, err);
    while (pool->lanes) {
        struct lane *lane = pool->lanes;
        struct exchange *x = lane->x ? detach(lane) : NULL;
        pool->lanes = lane->next;
        pool->lane_count--;
        drop(lane);
        if (x)
            x->done(x, err);
    }
}
