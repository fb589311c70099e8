/* A stream that we dial and receive on.
 *
 *   WAITING --redial--> DIALING --> ASKING --200--> STREAMING
 *      ^                   |           |                |
 *      `-------------------+-----------+----------------'
 *              can't, refused, ended, silent for too long
 */
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "chorad/base/queue.h"
#include "peers.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text of a refusal. */
#define TEXT_MAX ((size_t)512)
/* The same failure is told again after that long. */
#define TELL_AGAIN_MS 30000

static void on_data(void *arg, struct bytes in);
static void on_ended(void *arg, const char *why);

static const struct conn_events conn_events = {on_data, on_ended, NULL};

const char *frame_kind_name(enum frame_kind kind)
{
    return kind == FRAME_MSGAPP ? "stream MsgApp v2" : "stream Message";
}

static struct peers *peers_of(const struct inlet *inlet)
{
    return inlet->peer->peers;
}

/* ---- ending -------------------------------------------------------------- */

static void drop(struct inlet *inlet)
{
    struct peers *peers = peers_of(inlet);

    net_timer_stop(&peers->net, &inlet->redial);
    if (inlet->dial)
        dial_cancel(inlet->dial);
    if (inlet->conn)
        conn_close(inlet->conn, NULL, NULL);
    inlet->dial = NULL;
    inlet->conn = NULL;
    inlet->streaming = false;
}

/* Frees what a connection needed. Nothing of it may be on the stack. */
static void clear(struct inlet *inlet)
{
    wire_reader_close(&inlet->reader);
    frame_reader_close(&inlet->frames);
    inlet->text.len = 0;
}

static void tell(struct inlet *inlet, const char *why)
{
    uint64_t now = net_now_ms(&peers_of(inlet)->net);

    if (strncmp(inlet->told, why, sizeof(inlet->told) - 1) == 0 &&
        now - inlet->told_ms < TELL_AGAIN_MS)
        return;
    inlet->told_ms = now;
    (void)snprintf(inlet->told, sizeof(inlet->told), "%s", why);
    log_warn("could not open a TCP stream from remote peer",
             LOG_STR("stream-reader-type", frame_kind_name(inlet->kind)),
             LOG_HEX("remote-peer-id", inlet->peer->id), LOG_STR("error", why));
}

static void dial_later(struct inlet *inlet)
{
    struct peers *peers = peers_of(inlet);

    net_timer_set(&peers->net, &inlet->redial, peers->limits.redial_ms);
}

/* Whoever says what no member says would say it again at once. */
static void dial_much_later(struct inlet *inlet)
{
    struct peers *peers = peers_of(inlet);

    net_timer_set(&peers->net, &inlet->redial, peers->limits.refused_ms);
}

/* It couldn't be opened: another URL's turn. */
static void refuse(struct inlet *inlet, const char *why)
{
    tell(inlet, why);
    drop(inlet);
    peer_urls_rotate(&inlet->peer->urls, inlet->picked);
    peer_inactive(inlet->peer, "dial", frame_kind_name(inlet->kind), why);
    dial_later(inlet);
}

/* It was open. An orderly end says nothing yet: the redial will. */
static void lose(struct inlet *inlet, const char *why, bool orderly)
{
    log_warn("lost TCP streaming connection with remote peer",
             LOG_STR("stream-reader-type", frame_kind_name(inlet->kind)),
             LOG_HEX("remote-peer-id", inlet->peer->id), LOG_STR("error", why));
    drop(inlet);
    if (!orderly)
        peer_inactive(inlet->peer, "read", frame_kind_name(inlet->kind), why);
    dial_later(inlet);
}

/* ---- the answer ---------------------------------------------------------- */

static int on_head(void *arg)
{
    struct inlet *inlet = arg;
    struct peer *peer = inlet->peer;

    inlet->text.len = 0;
    if (inlet->reader.parser.status_code != 200)
        return 0;
    inlet->streaming = true;
    inlet->told[0] = '\0';
    peer_active(peer);
    log_info("established TCP streaming connection with remote peer",
             LOG_STR("stream-reader-type", frame_kind_name(inlet->kind)),
             LOG_HEX("remote-peer-id", peer->id));
    return 0;
}

static int on_message(void *arg, const struct raft_message *message)
{
    struct inlet *inlet = arg;

    inlet->delivered = true;
    if (peers_receive(peers_of(inlet), inlet->peer->id, message) != NULL)
        return ERR_INVALID;
    /* The node may have removed the peer meanwhile. */
    return inlet->conn ? 0 : ERR_CANCELED;
}

static int on_body(void *arg, struct bytes part)
{
    struct inlet *inlet = arg;

    if (inlet->streaming)
        return frame_read(&inlet->frames, part, NULL, on_message, inlet);
    if (part.len > TEXT_MAX - inlet->text.len)
        part.len = TEXT_MAX - inlet->text.len;
    buf_append(&inlet->text, part.data, part.len);
    return 0;
}

static int on_whole(void *arg)
{
    (void)arg;
    return 0;
}

static const struct wire_events wire_events = {on_head, on_body, on_whole};

/* The member has answered with something else than a stream. */
static void refused(struct inlet *inlet)
{
    struct peer *peer = inlet->peer;
    unsigned status = inlet->reader.parser.status_code;
    char why[160];
    int len = (int)inlet->text.len;

    while (len > 0 && inlet->text.data[len - 1] == '\n')
        len--;
    if (status == 404)
        (void)snprintf(why, sizeof(why),
                       "peer %" PRIx64 " failed to find local node %" PRIx64,
                       peer->id, peer->peers->self.member_id);
    else
        (void)snprintf(why, sizeof(why), "http status %u: %.*s", status,
                       len < 80 ? len : 80,
                       inlet->text.data ? (const char *)inlet->text.data : "");
    refuse(inlet, why);
    if (status == 410)
        peers_tell_removed(peer->peers, peer->id);
}

/* ---- the connection ------------------------------------------------------ */

static void tell_node(struct inlet *inlet)
{
    struct peers *peers = peers_of(inlet);
    uint64_t bytes = inlet->frames.message_bytes;

    if (bytes != inlet->counted)
        metric_add(inlet->peer->metrics.received_bytes,
                   (double)(bytes - inlet->counted));
    inlet->counted = bytes;
    if (!inlet->delivered)
        return;
    inlet->delivered = false;
    if (!peers->closing)
        peers->config.received_all(peers->config.arg);
}

/* What came is no message, or none that a member sends. */
static void end_refused(struct inlet *inlet, int err)
{
    const char *why = err == ERR_INVALID  ? "a message was refused"
                      : err == ERR_TOOBIG ? "a message is too large"
                                          : "damaged stream";

    /* Refused ones have been noted. */
    if (err != ERR_INVALID)
        peers_refused(peers_of(inlet), "no-message", inlet->peer->id, NULL,
                      why);
    lose(inlet, why, false);
    dial_much_later(inlet);
}

static void on_data(void *arg, struct bytes in)
{
    struct inlet *inlet = arg;
    const struct conn *conn = inlet->conn;
    size_t used;
    int rc = wire_read(&inlet->reader, in, &used);

    tell_node(inlet);
    /* Closed by what the node did. */
    if (inlet->conn != conn)
        return;
    if (rc < 0 && inlet->streaming)
        end_refused(inlet, rc);
    else if (rc < 0)
        refuse(inlet, "malformed answer");
    else if (inlet->reader.whole && inlet->streaming)
        lose(inlet, "the other side has ended the stream", true);
    else if (inlet->reader.whole)
        refused(inlet);
}

static void on_ended(void *arg, const char *why)
{
    struct inlet *inlet = arg;

    if (inlet->streaming)
        lose(inlet, why, strcmp(why, CONN_EOF) == 0);
    else
        refuse(inlet, why);
}

static void on_dialed(void *arg, struct conn *conn, const char *why)
{
    struct inlet *inlet = arg;
    struct peers *peers = peers_of(inlet);
    struct peer *peer = inlet->peer;
    const struct url *url = peer_urls_pick(&peer->urls);
    char path[64];
    int rc;

    inlet->dial = NULL;
    if (!conn || !url) {
        if (conn)
            conn_close(conn, NULL, NULL);
        refuse(inlet, conn ? "no URL" : why);
        return;
    }
    (void)snprintf(path, sizeof(path), "/raft/stream/%s/%" PRIx64,
                   inlet->kind == FRAME_MSGAPP ? "msgapp" : "message",
                   peers->self.member_id);
    struct wire_request request = {.method = "GET",
                                   .host = url->authority,
                                   .path = path,
                                   .raft_to = peer->id,
                                   .body_len = WIRE_NO_BODY};
    inlet->conn = conn;
    wire_reader_init(&inlet->reader, HTTP_RESPONSE, &wire_events, inlet);
    frame_reader_init(&inlet->frames, inlet->kind, peers->self.member_id,
                      peer->id);
    inlet->counted = 0;
    conn_use(conn, &conn_events, inlet);
    conn_limit(conn, peers->limits.read_ms, peers->limits.write_ms);
    wire_put_request(&inlet->text, &peers->self, &request);
    uv_buf_t piece =
        uv_buf_init((char *)inlet->text.data, (unsigned)inlet->text.len);
    rc = conn_write(conn, &piece, 1);
    if (rc < 0)
        refuse(inlet, uv_strerror(rc));
}

static void on_redial(struct net_timer *timer)
{
    struct inlet *inlet = container_of(timer, struct inlet, redial);
    struct peers *peers = peers_of(inlet);
    const struct url *url = peer_urls_pick(&inlet->peer->urls);

    clear(inlet);
    if (!url) {
        dial_later(inlet);
        return;
    }
    inlet->picked = inlet->peer->urls.picked;
    inlet->dial = dial_start(&peers->net, url->host, url->port,
                             peers->limits.dial_ms, on_dialed, inlet);
}

void inlet_open(struct inlet *inlet, struct peer *peer, enum frame_kind kind)
{
    inlet->peer = peer;
    inlet->kind = kind;
    inlet->redial.due = on_redial;
    net_timer_set(&peer->peers->net, &inlet->redial, 0);
}

void inlet_close(struct inlet *inlet)
{
    drop(inlet);
}

void inlet_free(struct inlet *inlet)
{
    clear(inlet);
    buf_close(&inlet->text);
}
