/* The transport as a whole: opened, closed, and the turn before the loop polls
 * in which everything that has queued up is written. */
#include "peers.h"
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "chorad/base/queue.h"
#include "chorad/base/turn.h"
#include "download.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- the turn before the loop polls -------------------------------------- */

static void free_gone(struct peers *peers)
{
    struct peer *peer;

    while ((peer = peers->gone) != NULL) {
        peers->gone = peer->gone_next;
        peer_free(peer);
    }
}

static void report(struct peers *peers)
{
    for (struct peer *peer = peers->list; peer; peer = peer->next) {
        if (!peer->unreachable || peer->gone)
            continue;
        peer->unreachable = false;
        if (!peer->remote)
            peers->config.unreachable(peers->config.arg, peer->id);
        if (peers->closing)
            return;
    }
}

static void flush(struct peers *peers)
{
    enum turn_part before;

    if (!peers->flush_due || peers->closing)
        return;
    before = turn_part(TURN_PEERS_WRITE);
    peers->flush_due = false;
    (void)uv_idle_stop(&peers->soon);
    free_gone(peers);
    for (struct peer *peer = peers->list; peer; peer = peer->next) {
        outlet_flush(&peer->outlets[FRAME_MESSAGE]);
        outlet_flush(&peer->outlets[FRAME_MSGAPP]);
        pipeline_flush(&peer->pipeline);
    }
    report(peers);
    turn_part(before);
}

static void on_before_poll(uv_prepare_t *prepare)
{
    flush(prepare->data);
}

static void on_soon(uv_idle_t *idle)
{
    flush(idle->data);
}

/* What is queued before the loop's own preparations are through goes out with
 * them; the idle handle keeps the loop from polling for long where something
 * is queued behind our own. */
void peers_flush_soon(struct peers *peers)
{
    int rc;

    if (peers->flush_due || peers->closing)
        return;
    peers->flush_due = true;
    rc = uv_idle_start(&peers->soon, on_soon);
    CHECK(rc == 0);
}

/* ---- sending ------------------------------------------------------------- */

static bool push(struct peer *peer, struct raft_message *message)
{
    struct outlet *msgapp = &peer->outlets[FRAME_MSGAPP];
    struct outlet *other = &peer->outlets[FRAME_MESSAGE];

    if (message->type == RAFT_MSG_APP && outlet_is_up(msgapp))
        return outlet_push(msgapp, message);
    if (outlet_is_up(other))
        return outlet_push(other, message);
    return pipeline_push(&peer->pipeline, message);
}

static void send_one(struct peers *peers, struct raft_message *message)
{
    struct peer *peer = peers_find(peers, message->to);
    enum raft_message_type type = message->type;

    if (!peer || type == RAFT_MSG_SNAP) {
        raft_message_close(message);
        return;
    }
    if (push(peer, message))
        return;
    metric_inc(peer->metrics.sent_failures);
    if (!peer->unreachable)
        log_warn("dropped internal Raft message since sending buffer is full",
                 LOG_STR("message-type", raft_message_type_name(type)),
                 LOG_HEX("remote-peer-id", peer->id),
                 LOG_BOOL("remote-peer-active", peer->active_since_ns != 0));
    peer->unreachable = true;
}

void peers_send(struct peers *peers, struct raft_message *messages,
                size_t count)
{
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        send_one(peers, &messages[i]);
    peers_flush_soon(peers);
}

static void on_alive(struct net_timer *timer)
{
    struct peers *peers = container_of(timer, struct peers, alive);

    for (struct peer *peer = peers->list; peer; peer = peer->next) {
        outlet_show_alive(&peer->outlets[FRAME_MSGAPP]);
        outlet_show_alive(&peer->outlets[FRAME_MESSAGE]);
    }
    net_timer_set(&peers->net, &peers->alive, peers->limits.alive_ms);
}

/* ---- life ---------------------------------------------------------------- */

/* Connections that nobody is known behind; each may hold some 100 KB of a head
 * and what comes behind it. */
#define VISITS_MAX 4096

/* No more than a quarter of the descriptors, either. */
static size_t visits_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    return limit.rlim_cur / 4 < VISITS_MAX ? (size_t)limit.rlim_cur / 4
                                           : VISITS_MAX;
}

static void set_limits(struct peers *peers)
{
    const struct peers_config *config = &peers->config;
    uint64_t read_ms = config->read_timeout_ms ? config->read_timeout_ms : 5000;
    uint64_t write_ms =
        config->write_timeout_ms ? config->write_timeout_ms : 5000;

    peers->limits = (struct peers_limits){
        .read_ms = read_ms,
        .write_ms = write_ms,
        .alive_ms = read_ms / 3,
        .refused_ms = 5000,
        .redial_ms = 100,
        .dial_ms = 1000 + config->election_ms,
        .probe_ms = 4000,
        .probe_first_ms = 1000,
        .idle_ms = read_ms,
        .pool_idle_ms = 4500,
        .head_ms = 10000,
        .linger_ms = 1000,
        .upload_stall_ms = 60000,
        .upload_answer_ms = UINT64_C(60) * 60 * 1000,
        .queue_messages = 4096,
        .queue_bytes = (size_t)256 << 20,
        .pipeline_messages = 64,
        .visits_max = visits_max(),
        .visits_of_one_max = 32,
        .downloads_max = 4,
        .remotes_max = 16,
    };
}

static void set_identity(struct peers *peers)
{
    const struct peers_config *config = &peers->config;
    struct wire_identity *self = &peers->self;
    struct buf urls = {0};

    self->member_id = config->member_id;
    self->cluster_id = config->cluster_id;
    (void)snprintf(self->version, sizeof(self->version), "%s", config->version);
    (void)snprintf(self->min_version, sizeof(self->min_version), "%s",
                   config->min_cluster_version);
    for (size_t i = 0; config->peer_urls && config->peer_urls[i]; i++)
        buf_printf(&urls, "%s%s", i > 0 ? "," : "", config->peer_urls[i]);
    if (urls.len > 0)
        self->peer_urls = mem_printf("%.*s", (int)urls.len, urls.data);
    buf_close(&urls);
}

struct peers *peers_open(const struct peers_config *config)
{
    struct peers *peers = mem_zalloc(sizeof(*peers));
    int rc;

    peers->config = *config;
    peers->snap_dir = mem_strdup(config->snap_dir);
    set_limits(peers);
    set_identity(peers);
    net_init(&peers->net, config->loop);
    rc = uv_prepare_init(config->loop, &peers->before_poll);
    CHECK(rc == 0);
    peers->before_poll.data = peers;
    net_handle_opened(&peers->net);
    rc = uv_prepare_start(&peers->before_poll, on_before_poll);
    CHECK(rc == 0);
    rc = uv_idle_init(config->loop, &peers->soon);
    CHECK(rc == 0);
    peers->soon.data = peers;
    net_handle_opened(&peers->net);
    peers->alive.due = on_alive;
    net_timer_set(&peers->net, &peers->alive, peers->limits.alive_ms);
    downloads_clean(peers->snap_dir);
    return peers;
}

static void on_all_closed(struct net *net)
{
    struct peers *peers = container_of(net, struct peers, net);
    void (*closed)(void *) = peers->closed;
    void *arg = peers->closed_arg;

    free_gone(peers);
    free(peers->self.peer_urls);
    free(peers->snap_dir);
    free(peers);
    closed(arg);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct peers *peers = handle->data;

    net_handle_closed(&peers->net);
}

void peers_close(struct peers *peers, void (*closed)(void *arg), void *arg)
{
    CHECK(!peers->closing);
    /* The last words, e.g. to whom leadership is handed on. */
    for (struct peer *peer = peers->list; peer; peer = peer->next) {
        outlet_flush(&peer->outlets[FRAME_MESSAGE]);
        outlet_flush(&peer->outlets[FRAME_MSGAPP]);
    }
    peers->closing = true;
    peers->closed = closed;
    peers->closed_arg = arg;
    net_timer_stop(&peers->net, &peers->alive);
    uploads_close(peers);
    while (peers->list)
        peer_close(peers->list, ERR_STOPPED);
    calls_close(peers);
    visits_close(peers);
    uv_close((uv_handle_t *)&peers->before_poll, on_handle_closed);
    uv_close((uv_handle_t *)&peers->soon, on_handle_closed);
    net_close(&peers->net, on_all_closed);
}
