/* A request before there is a loop: on one of its own. */
#include "chorad/base/check.h"
#include "chorad/base/queue.h"
#include "chorad/peer.h"
#include "exchange.h"
#include <string.h>

struct fetch {
    struct net net;
    struct pool pool;
    struct urls urls;
    struct exchange x;
    struct net_timer end;
    int err;
    struct buf *body;
    struct errmsg *msg;
};

static void on_closed(struct net *net)
{
    (void)net;
}

/* The exchange is off the stack. */
static void on_end(struct net_timer *timer)
{
    struct fetch *f = container_of(timer, struct fetch, end);

    pool_close(&f->pool, ERR_CANCELED);
    net_close(&f->net, on_closed);
}

static void on_done(struct exchange *x, int err)
{
    struct fetch *f = container_of(x, struct fetch, x);

    f->err = err == ERR_MALFORMED ? ERR_IO : err;
    if (err == 0)
        buf_append(f->body, x->answer.data, x->answer.len);
    else
        (void)err_set(f->msg, f->err, "GET %s%s: %s", f->urls.list[0].text,
                      x->path, x->why[0] ? x->why : err_text(err));
    net_timer_set(&f->net, &f->end, 0);
}

int peer_fetch(const char *url, const char *path, struct bytes request,
               uint64_t timeout_ms, size_t answer_max, unsigned *status,
               uint64_t *cluster_id, struct buf *body, struct errmsg *msg)
{
    static const struct wire_identity nobody;
    struct fetch f = {.body = body, .msg = msg, .end = {.due = on_end}};
    struct url parsed;
    uv_loop_t loop;
    int rc = peer_url_parse(url, &parsed, msg);

    if (rc < 0)
        return rc;
    rc = uv_loop_init(&loop);
    if (rc < 0) {
        peer_url_close(&parsed);
        return err_set(msg, ERR_IO, "uv_loop_init: %s", uv_strerror(rc));
    }
    f.urls = (struct urls){.list = &parsed, .count = 1};
    net_init(&f.net, &loop);
    pool_init(&f.pool, &f.net, &nobody, &f.urls, timeout_ms, timeout_ms);
    f.x = (struct exchange){.method = "GET",
                            .path = path,
                            .content_type =
                                request.len > 0 ? "application/json" : NULL,
                            .body = request,
                            .answer_max = answer_max,
                            .timeout_ms = timeout_ms,
                            .done = on_done};
    exchange_start(&f.pool, &f.x);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop) == 0);
    peer_url_close(&parsed);
    *status = f.x.status;
    *cluster_id = f.x.cluster_id;
    return f.err;
}
