/* A stream that a member has dialed: what it is sent waits here until the loop
 * is about to poll, then all of it goes out by one writev(2), as one chunk. */
#include "chorad/base/log.h"
#include "peers.h"

static void on_data(void *arg, struct bytes in);
static void on_ended(void *arg, const char *why);
static void on_written(void *arg);

static const struct conn_events events = {on_data, on_ended, on_written};

void outlet_init(struct outlet *outlet, struct peer *peer, enum frame_kind kind)
{
    outlet->peer = peer;
    outlet->kind = kind;
}

static void count_sent(struct outlet *outlet)
{
    uint64_t bytes = outlet->writer.message_bytes;

    if (bytes == outlet->counted)
        return;
    metric_add(outlet->peer->metrics.sent_bytes,
               (double)(bytes - outlet->counted));
    outlet->counted = bytes;
}

/* Lets go of the connection and of all that waited for it. */
static bool drop(struct outlet *outlet)
{
    bool lost = outlet->busy || outlet->queue.count > 0;

    if (!outlet->conn)
        return false;
    conn_close(outlet->conn, NULL, NULL);
    outlet->conn = NULL;
    outlet->busy = false;
    out_reset(&outlet->out);
    mqueue_clear(&outlet->queue);
    return lost;
}

void outlet_close(struct outlet *outlet)
{
    (void)drop(outlet);
    out_close(&outlet->out);
    mqueue_close(&outlet->queue);
}

static void lose(struct outlet *outlet, const char *why)
{
    struct peer *peer = outlet->peer;

    log_warn("lost TCP streaming connection with remote peer",
             LOG_STR("stream-writer-type", frame_kind_name(outlet->kind)),
             LOG_HEX("remote-peer-id", peer->id), LOG_STR("error", why));
    if (drop(outlet)) {
        metric_inc(peer->metrics.sent_failures);
        peer_inactive(peer, "write", frame_kind_name(outlet->kind), why);
        peer_unreachable(peer);
    }
}

static void on_data(void *arg, struct bytes in)
{
    (void)arg;
    /* There is nothing to be said on this side of a stream. */
    (void)in;
}

static void on_ended(void *arg, const char *why)
{
    lose(arg, why);
}

/* ---- writing ------------------------------------------------------------- */

static void begin_chunk(struct outlet *outlet)
{
    uint8_t *p = out_reserve(&outlet->out, WIRE_CHUNK_HEAD);

    out_added(&outlet->out, p + WIRE_CHUNK_HEAD);
}

/* False when the connection is busy or gone. */
static bool write_chunk(struct outlet *outlet)
{
    struct peers *peers = outlet->peer->peers;
    struct out *out = &outlet->out;
    size_t n;
    int rc;

    wire_put_chunk_head(out->copied.data, out->len - WIRE_CHUNK_HEAD);
    out_append(out, WIRE_CHUNK_END, sizeof(WIRE_CHUNK_END) - 1);
    n = out_pieces(out, peers->pieces);
    count_sent(outlet);
    rc = conn_write(outlet->conn, peers->pieces, n);
    if (rc == 0) {
        out_reset(out);
        return true;
    }
    outlet->busy = true;
    if (rc < 0)
        lose(outlet, uv_strerror(rc));
    return false;
}

void outlet_flush(struct outlet *outlet)
{
    size_t written = 0;

    while (outlet->conn && !outlet->busy && outlet->queue.count > 0) {
        if (written >= OUTLET_TURN) {
            peers_flush_soon(outlet->peer->peers);
            return;
        }
        begin_chunk(outlet);
        while (outlet->queue.count > 0 &&
               !out_is_full(&outlet->out, OUTLET_BATCH)) {
            struct raft_message message;
            mqueue_pop(&outlet->queue, &message);
            frame_write(&outlet->writer, &outlet->out, &message);
            raft_message_close(&message);
        }
        written += outlet->out.len;
        if (!write_chunk(outlet))
            return;
    }
}

static void on_written(void *arg)
{
    struct outlet *outlet = arg;

    outlet->busy = false;
    out_reset(&outlet->out);
    outlet_flush(outlet);
}

void outlet_show_alive(struct outlet *outlet)
{
    /* What is on its way shows it as well. */
    if (!outlet->conn || outlet->busy || outlet->queue.count > 0)
        return;
    begin_chunk(outlet);
    frame_write_alive(&outlet->writer, &outlet->out);
    (void)write_chunk(outlet);
}

bool outlet_push(struct outlet *outlet, struct raft_message *message)
{
    const struct peers_limits *limits = &outlet->peer->peers->limits;

    if (outlet->queue.count >= limits->queue_messages ||
        outlet->queue.bytes >= limits->queue_bytes) {
        raft_message_close(message);
        return false;
    }
    mqueue_push(&outlet->queue, message);
    return true;
}

void outlet_attach(struct outlet *outlet, struct conn *conn)
{
    struct peer *peer = outlet->peer;
    const struct peers_limits *limits = &peer->peers->limits;
    struct out *out = &outlet->out;

    if (outlet->conn) {
        log_warn("closed TCP streaming connection with remote peer",
                 LOG_STR("stream-writer-type", frame_kind_name(outlet->kind)),
                 LOG_HEX("remote-peer-id", peer->id));
        if (drop(outlet))
            peer_unreachable(peer);
    }
    outlet->conn = conn;
    outlet->counted = 0;
    frame_writer_init(&outlet->writer, outlet->kind);
    conn_use(conn, &events, outlet);
    conn_limit(conn, 0, limits->write_ms);
    conn_user_timeout(conn, (unsigned)limits->write_ms);
    wire_put_stream_head(&out->copied, &peer->peers->self);
    out->len = out->copied.len;
    peer_active(peer);
    log_info("established TCP streaming connection with remote peer",
             LOG_STR("stream-writer-type", frame_kind_name(outlet->kind)),
             LOG_HEX("remote-peer-id", peer->id));
    /* The head, before there is anything to send. */
    uv_buf_t piece =
        uv_buf_init((char *)out->copied.data, (unsigned)out->copied.len);
    int rc = conn_write(conn, &piece, 1);
    if (rc == 0)
        out_reset(out);
    else
        outlet->busy = true;
    if (rc < 0)
        lose(outlet, uv_strerror(rc));
}
