/* The other members: who they are, what comes from them and what goes to
 * them. */
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "node.h"
#include <stdlib.h>

/* ---- what comes ---- */

static const char *on_received(void *arg, const struct raft_message *message)
{
    return node_hear(arg, message);
}

static void on_received_all(void *arg)
{
    node_pump(arg);
}

static const char *on_announced(void *arg, const struct raft_message *message)
{
    return node_refusal(arg, message);
}

static void on_snapshot(void *arg, struct peers_request *request,
                        const struct raft_message *message, const char *path)
{
    node_prepare_install(arg, request, message, path);
}

static void on_unreachable(void *arg, uint64_t id)
{
    struct node *node = arg;

    if (node->raft)
        raft_report_unreachable(node->raft, id);
}

static void on_snapshot_sent(void *arg, uint64_t id, bool ok)
{
    struct node *node = arg;

    node_snapshot_sent(node, id, ok);
    if (!node->raft)
        return;
    raft_report_snapshot(node->raft, id, ok);
    node_pump(node);
}

static bool on_is_removed(void *arg, uint64_t id)
{
    struct node *node = arg;

    return cluster_is_removed(node->cluster, id);
}

/* The others have applied it; whether this one will is not certain. */
static void on_removed(void *arg)
{
    node_was_removed(arg);
}

/* ---- what goes ---- */

/* A leader that was late with its heartbeats is overloaded, or its disk is; the
 * others may elect another one (source: etcd's contention detector). Those that
 * carry the context of a read count as well: they keep followers quiet all the
 * same, and while reads are under way a tick's own carry one. */
static void watch_heartbeat(struct node *node,
                            const struct raft_message *message, uint64_t now_ns)
{
    uint64_t allowed_ns = 2 * node->config.heartbeat_ms * 1000000;
    uint64_t since_ns = now_ns - node->last_beat_ns;

    if (node->last_beat_ns == 0 || since_ns <= allowed_ns)
        return;
    metric_inc(node->metrics.late_heartbeats);
    log_warn("leader failed to send out heartbeat on time; took too long, "
             "leader is overloaded likely from slow disk",
             LOG_HEX("to", message->to),
             LOG_NS("heartbeat-interval", allowed_ns / 2),
             LOG_NS("expected-duration", allowed_ns),
             LOG_NS("exceeded-duration", since_ns - allowed_ns));
}

void node_send(struct node *node, struct raft_message *messages, size_t n)
{
    uint64_t now_ns = 0;
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (messages[i].type == RAFT_MSG_SNAP) {
            node_send_snapshot(node, &messages[i]);
            continue;
        }
        if (messages[i].type == RAFT_MSG_HEARTBEAT) {
            if (now_ns == 0)
                now_ns = clock_mono_ns();
            watch_heartbeat(node, &messages[i], now_ns);
        }
        messages[kept++] = messages[i];
    }
    if (now_ns != 0)
        node->last_beat_ns = now_ns;
    if (kept > 0)
        peers_send(node->peers, messages, kept);
    /* Raft closes what is left of its messages. */
    for (size_t i = kept; i < n; i++)
        messages[i] = (struct raft_message){0};
}

/* ---- who they are ---- */

void node_know_peer(struct node *node, const struct cluster_member *member)
{
    if (member->id == node->member_id || !node->peers)
        return;
    raft_ids_add(&node->peer_ids, member->id);
    peers_add(node->peers, member->id,
              (const char *const *)(uintptr_t)member->peer_urls);
}

void node_forget_peer(struct node *node, uint64_t id)
{
    if (!raft_ids_has(&node->peer_ids, id) || !node->peers)
        return;
    raft_ids_remove(&node->peer_ids, id);
    peers_remove(node->peers, id);
}

void node_know_peers(struct node *node)
{
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);

    for (size_t i = node->peer_ids.count; i-- > 0;)
        if (!cluster_find(node->cluster, node->peer_ids.ids[i]))
            node_forget_peer(node, node->peer_ids.ids[i]);
    for (size_t i = 0; i < n; i++)
        node_know_peer(node, &m[i]);
}

/* ---- open and close ---- */

void node_net_open(struct node *node, const struct cluster_start *start)
{
    struct peers_config config = {
        .loop = node->loop,
        .member_id = node->member_id,
        .cluster_id = node->cluster_id,
        .peer_urls = node->config.peer_urls,
        .version = CLUSTER_API_VERSION,
        .min_cluster_version = CLUSTER_MIN_VERSION,
        .heartbeat_ms = node->config.heartbeat_ms,
        .election_ms = node->config.election_ms,
        .read_timeout_ms = node->config.peer_read_timeout_ms,
        .write_timeout_ms = node->config.peer_write_timeout_ms,
        .snap_dir = node->snap_dir,
        .routes = node_routes,
        .received = on_received,
        .received_all = on_received_all,
        .snapshot_announced = on_announced,
        .snapshot_received = on_snapshot,
        .unreachable = on_unreachable,
        .snapshot_sent = on_snapshot_sent,
        .is_removed = on_is_removed,
        .removed = on_removed,
        .arg = node,
    };

    node->peers = peers_open(&config);
    /* The membership comes with the log: until then the member knows them from
     * where it begins. */
    for (size_t i = 0; i < start->list.n; i++)
        node_know_peer(node, &start->list.members[i]);
    if (start->list.n == 0)
        node_know_peers(node);
}

void node_add_peer_connection(struct node *node, int fd)
{
    peers_add_connection(node->peers, fd);
}

size_t node_active_peers(const struct node *node)
{
    size_t active = 0;

    for (size_t i = 0; i < node->peer_ids.count; i++)
        active += peers_active_since(node->peers, node->peer_ids.ids[i]) != 0;
    return active;
}
