/* Requests that the node makes of other members. */
#include "chorad/base/check.h"
#include "chorad/base/queue.h"
#include "peers.h"
#include <stdlib.h>

/* Freed in a turn of its own, when neither the exchange nor the pool it was in
 * are on the stack. */
struct call {
    struct peers *peers;
    struct call *next;
    struct peers_call *call; /* NULL: it has been told */
    struct exchange x;
    /* For a call that names an URL. */
    struct urls urls;
    struct pool pool;
    bool own_pool;
    int refused;
    struct net_timer end;
};

static void tell(struct call *c, int err, unsigned status, struct bytes body)
{
    struct peers_call *call = c->call;

    c->call = NULL;
    call->inner = NULL;
    call->done(call, err == ERR_MALFORMED ? ERR_IO : err, status, body);
}

static void on_end(struct net_timer *timer)
{
    struct call *c = container_of(timer, struct call, end);
    struct call **at = &c->peers->calls;

    if (c->call)
        tell(c, c->refused, 0, bytes_of(NULL, 0));
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    peer_urls_close(&c->urls);
    free(c);
}

static void on_done(struct exchange *x, int err)
{
    struct call *c = container_of(x, struct call, x);

    tell(c, err, x->status, err == 0 ? x->answer : bytes_of(NULL, 0));
    if (c->own_pool)
        pool_close(&c->pool, ERR_CANCELED);
    net_timer_set(&c->peers->net, &c->end, 0);
}

/* From the loop: `done` must not be called from inside. */
static void refuse(struct call *c, int err)
{
    c->refused = err;
    net_timer_set(&c->peers->net, &c->end, 0);
}

static int find_pool(struct call *c, struct pool **pool)
{
    struct peers *peers = c->peers;
    struct peer *peer =
        c->call->to ? peers_find_member(peers, c->call->to) : NULL;

    if (peers->closing)
        return ERR_STOPPED;
    if (c->call->to != 0) {
        *pool = peer ? &peer->pool : NULL;
        return peer ? 0 : ERR_NOTFOUND;
    }
    peer_urls_init(&c->urls, (const char *const[]){c->call->url, NULL});
    pool_init(&c->pool, &peers->net, &peers->self, &c->urls,
              peers->limits.dial_ms, peers->limits.pool_idle_ms);
    c->own_pool = true;
    *pool = &c->pool;
    return c->urls.count > 0 ? 0 : ERR_IO;
}

void peers_call(struct peers *peers, struct peers_call *call)
{
    struct call *c = mem_zalloc(sizeof(*c));
    struct pool *pool = NULL;
    int rc;

    c->peers = peers;
    c->call = call;
    c->end.due = on_end;
    c->next = peers->calls;
    peers->calls = c;
    call->inner = c;
    rc = find_pool(c, &pool);
    if (rc < 0) {
        refuse(c, rc);
        return;
    }
    c->x = (struct exchange){.method = call->method,
                             .path = call->path,
                             .content_type = call->content_type,
                             .authorization = call->authorization,
                             .body = call->body,
                             .answer_max = call->answer_max,
                             .timeout_ms = call->timeout_ms,
                             .done = on_done};
    exchange_start(pool, &c->x);
}

void peers_call_cancel(struct peers *peers, struct peers_call *call)
{
    struct call *c = call->inner;

    CHECK(c && c->peers == peers);
    if (c->refused)
        tell(c, ERR_CANCELED, 0, bytes_of(NULL, 0));
    else
        exchange_cancel(&c->x, ERR_CANCELED);
}

/* Calls to members have ended with their pools. */
void calls_close(struct peers *peers)
{
    struct call *next;

    for (struct call *c = peers->calls; c; c = next) {
        next = c->next;
        if (c->call && !c->refused)
            exchange_cancel(&c->x, ERR_STOPPED);
    }
}
