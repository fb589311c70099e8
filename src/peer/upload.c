#include "upload.h"
#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/queue.h"
#include "chorad/base/size.h"
#include "chorad/raftpb.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX ((size_t)4096)

struct upload {
    struct peers *peers;
    struct peer *peer; /* NULL: there is no such member, or it has been told */
    struct upload *next;
    uint64_t to;
    uint64_t index;
    const atomic_bool *complete;
    struct snapshot_metrics metrics;
    uint64_t started_ns;
    uint64_t bytes;

    struct source source;
    uint8_t *room; /* chunk head, UPLOAD_CHUNK bytes, chunk end */
    size_t filled; /* bytes of the image in it that aren't sent */
    bool at_end;   /* of the image */

    struct dial *dial;
    struct conn *conn;
    struct wire_reader reader;
    struct buf head; /* of the request, and the message */
    struct buf answer;
    struct net_timer timer; /* the answer's */
    bool sent_all;
    bool ended;
    bool conn_closed;
    bool source_freed;
};

static void on_data(void *arg, struct bytes in);
static void on_ended(void *arg, const char *why);
static void on_written(void *arg);

static const struct conn_events conn_events = {on_data, on_ended, on_written};

/* ---- the end ------------------------------------------------------------- */

static void free_upload(struct upload *u)
{
    struct upload **at = &u->peers->uploads;

    if (!u->conn_closed || !u->source_freed)
        return;
    while (*at != u)
        at = &(*at)->next;
    *at = u->next;
    wire_reader_close(&u->reader);
    buf_close(&u->head);
    buf_close(&u->answer);
    free(u->room);
    free(u);
}

static void on_conn_closed(void *arg)
{
    struct upload *u = arg;

    u->conn_closed = true;
    free_upload(u);
}

static void on_source_freed(void *arg)
{
    struct upload *u = arg;

    u->source_freed = true;
    free_upload(u);
}

static void let_go(struct upload *u)
{
    struct net *net = &u->peers->net;

    net_timer_stop(net, &u->timer);
    if (u->dial)
        dial_cancel(u->dial);
    u->dial = NULL;
    if (u->conn)
        conn_close(u->conn, on_conn_closed, u);
    else
        u->conn_closed = true;
    u->conn = NULL;
    source_close(&u->source);
}

static void tell(const struct upload *u, int err, const char *why)
{
    char *size = size_text(u->bytes);

    if (err == 0)
        log_info("sent database snapshot", LOG_U64("snapshot-index", u->index),
                 LOG_HEX("remote-peer-id", u->to), LOG_U64("bytes", u->bytes),
                 LOG_STR("size", size),
                 LOG_NS("took", clock_mono_ns() - u->started_ns));
    else
        log_warn("failed to send database snapshot",
                 LOG_U64("snapshot-index", u->index),
                 LOG_HEX("remote-peer-id", u->to), LOG_U64("bytes", u->bytes),
                 LOG_STR("size", size), LOG_STR("error", why));
    free(size);
}

static void end(struct upload *u, int err, const char *why)
{
    struct peers *peers = u->peers;
    struct peer *peer = u->peer;

    if (u->ended)
        return;
    u->ended = true;
    u->peer = NULL;
    tell(u, err, why);
    metric_add(u->metrics.inflight, -1);
    if (peer)
        peer->upload = NULL;
    if (err == 0) {
        metric_inc(u->metrics.success);
        metric_observe(u->metrics.seconds,
                       (double)(clock_mono_ns() - u->started_ns) / 1e9);
    } else {
        metric_inc(u->metrics.failures);
    }
    if (peer && !peer->gone && err == 0) {
        metric_add(peer->metrics.sent_bytes, (double)u->bytes);
        peer_active(peer);
    } else if (peer && !peer->gone) {
        metric_inc(peer->metrics.sent_failures);
        peer_inactive(peer, "post", "sendMsgSnap", why);
        peer_unreachable(peer);
    }
    let_go(u);
    if (!peers->closing)
        peers->config.snapshot_sent(peers->config.arg, u->to, err == 0);
}

static void fail(struct upload *u, const char *why)
{
    end(u, ERR_IO, why);
}

/* ---- the answer ---------------------------------------------------------- */

static int on_head(void *arg)
{
    (void)arg;
    return 0;
}

static int on_body(void *arg, struct bytes part)
{
    struct upload *u = arg;

    if (part.len > ANSWER_MAX - u->answer.len)
        return ERR_TOOBIG;
    buf_append(&u->answer, part.data, part.len);
    return 0;
}

static int on_whole(void *arg)
{
    (void)arg;
    return 0;
}

static const struct wire_events wire_events = {on_head, on_body, on_whole};

static void answered(struct upload *u)
{
    unsigned status = u->reader.parser.status_code;
    struct errmsg msg;

    if (status == 204 && !u->sent_all) {
        fail(u, "answered before all was sent");
        return;
    }
    if (pipeline_check_answer(u->peers, u->to, status,
                              bytes_of(u->answer.data, u->answer.len),
                              &msg) < 0)
        fail(u, msg.text);
    else
        end(u, 0, NULL);
}

static void on_data(void *arg, struct bytes in)
{
    struct upload *u = arg;
    size_t used;
    int rc = wire_read(&u->reader, in, &used);

    if (rc < 0)
        fail(u, "malformed answer");
    else if (u->reader.whole)
        answered(u);
}

static void on_ended(void *arg, const char *why)
{
    fail(arg, why);
}

static void on_no_answer(struct net_timer *timer)
{
    struct upload *u = container_of(timer, struct upload, timer);

    fail(u, "no answer");
}

/* ---- sending ------------------------------------------------------------- */

static void send_filled(struct upload *u);

/* What was to be written is: on with the image. */
static void on_written(void *arg)
{
    struct upload *u = arg;
    struct peers *peers = u->peers;

    if (u->sent_all) {
        conn_limit(u->conn, 0, 0);
        net_timer_set(&peers->net, &u->timer, peers->limits.upload_answer_ms);
        return;
    }
    /* The first piece has been waiting while the head was sent. */
    if (u->filled > 0 || u->at_end)
        send_filled(u);
    else
        source_read(&u->source);
}

static void write_room(struct upload *u, uint8_t *data, size_t len)
{
    uv_buf_t piece = uv_buf_init((char *)data, (unsigned)len);
    int rc = conn_write(u->conn, &piece, 1);

    if (rc < 0)
        fail(u, uv_strerror(rc));
    else if (rc == 0)
        on_written(u);
}

/* One chunk, or the end of them. */
static void send_filled(struct upload *u)
{
    uint8_t *end = u->room + WIRE_CHUNK_HEAD + u->filled;
    size_t len = WIRE_CHUNK_HEAD + u->filled + sizeof(WIRE_CHUNK_END) - 1;

    if (u->filled == 0 && u->complete && !atomic_load(u->complete)) {
        /* Without the last chunk it can't be taken for a whole one. */
        fail(u, "the image is incomplete");
        return;
    }
    if (u->filled == 0) {
        u->sent_all = true;
        len = sizeof(WIRE_CHUNKS_END) - 1;
        memcpy(u->room, WIRE_CHUNKS_END, len);
    } else {
        wire_put_chunk_head(u->room, u->filled);
        memcpy(end, WIRE_CHUNK_END, sizeof(WIRE_CHUNK_END) - 1);
        u->bytes += u->filled;
        u->filled = 0;
    }
    write_room(u, u->room, len);
}

static void send_head(struct upload *u)
{
    conn_use(u->conn, &conn_events, u);
    conn_limit(u->conn, 0, u->peers->limits.upload_stall_ms);
    conn_user_timeout(u->conn, (unsigned)u->peers->limits.upload_stall_ms);
    write_room(u, u->head.data, u->head.len);
}

static void on_dialed(void *arg, struct conn *conn, const char *why)
{
    struct upload *u = arg;

    u->dial = NULL;
    u->conn = conn;
    if (conn)
        send_head(u);
    else
        fail(u, why);
}

/* The request's head, whose host is known only now; the message's chunk is
 * behind it. */
static void dial(struct upload *u)
{
    struct peers *peers = u->peers;
    const struct url *url = u->peer ? peer_urls_pick(&u->peer->urls) : NULL;
    struct buf message = u->head;
    struct wire_request request = {.method = "POST",
                                   .path = "/raft/snapshot",
                                   .content_type = "application/octet-stream",
                                   .body_len = WIRE_CHUNKED};

    if (!url) {
        fail(u, u->peer ? "no URL" : "no such member");
        return;
    }
    request.host = url->authority;
    u->head = (struct buf){0};
    wire_put_request(&u->head, &peers->self, &request);
    buf_append(&u->head, message.data, message.len);
    buf_close(&message);
    u->dial = dial_start(&peers->net, url->host, url->port,
                         peers->limits.dial_ms, on_dialed, u);
}

static void on_got(void *arg, ssize_t n)
{
    struct upload *u = arg;

    if (n < 0) {
        fail(u, uv_strerror((int)n));
        return;
    }
    u->filled = (size_t)n;
    u->at_end = n == 0;
    if (u->conn)
        send_filled(u);
    else
        dial(u);
}

/* ---- life ---------------------------------------------------------------- */

static void put_message(struct buf *out, const struct raft_message *m)
{
    size_t size = raftpb_message_size(m);
    uint8_t *p = buf_reserve(out, WIRE_CHUNK_HEAD + 8 + size);

    wire_put_chunk_head(p, 8 + size);
    p += WIRE_CHUNK_HEAD;
    be_put_u64(p, size);
    (void)raftpb_message_put(p + 8, m);
    out->len += WIRE_CHUNK_HEAD + 8 + size;
    buf_append(out, WIRE_CHUNK_END, sizeof(WIRE_CHUNK_END) - 1);
}

/* From the loop: the node isn't called from inside of what it calls. */
static void on_refused(struct net_timer *timer)
{
    struct upload *u = container_of(timer, struct upload, timer);

    fail(u, u->peer ? "another snapshot is being sent" : "no such member");
}

static void on_start(struct net_timer *timer)
{
    struct upload *u = container_of(timer, struct upload, timer);

    timer->due = on_no_answer;
    source_read(&u->source);
}

void peers_send_snapshot(struct peers *peers, struct raft_message *message,
                         int fd, const atomic_bool *complete)
{
    struct upload *u = mem_zalloc(sizeof(*u));
    struct peer *peer = peers_find_member(peers, message->to);

    u->peers = peers;
    u->to = message->to;
    u->index = message->snapshot ? message->snapshot->index : 0;
    u->complete = complete;
    u->started_ns = clock_mono_ns();
    u->room = mem_alloc(WIRE_CHUNK_HEAD + UPLOAD_CHUNK + 2);
    u->next = peers->uploads;
    peers->uploads = u;
    metrics_of_sending(&u->metrics, peer ? u->to : RAFT_NONE);
    metric_add(u->metrics.inflight, 1);
    put_message(&u->head, message);
    raft_message_close(message);
    wire_reader_init(&u->reader, HTTP_RESPONSE, &wire_events, u);
    u->source =
        (struct source){.got = on_got, .freed = on_source_freed, .arg = u};
    source_open(&u->source, &peers->net, fd, u->room + WIRE_CHUNK_HEAD);
    u->timer.due = peer && !peer->upload ? on_start : on_refused;
    net_timer_set(&peers->net, &u->timer, 0);
    if (peer && !peer->upload) {
        u->peer = peer;
        peer->upload = u;
    }
    log_info("sending database snapshot", LOG_U64("snapshot-index", u->index),
             LOG_HEX("remote-peer-id", u->to));
}

void upload_cancel(struct upload *u)
{
    u->peer->upload = NULL;
    u->peer = NULL;
    net_timer_stop(&u->peers->net, &u->timer);
    u->timer.due = on_refused;
    net_timer_set(&u->peers->net, &u->timer, 0);
}

void uploads_close(struct peers *peers)
{
    struct upload *next;

    for (struct upload *u = peers->uploads; u; u = next) {
        next = u->next;
        end(u, ERR_STOPPED, "the member is stopping");
    }
}
