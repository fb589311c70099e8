/* etcd_network_*: the names, labels and buckets are etcd's. */
#include "peers.h"
#include <inttypes.h>
#include <stdio.h>

struct id_text {
    char text[17];
};

/* Whoever isn't a member may say any id; each would be a series for good. */
static struct id_text id_text(uint64_t id)
{
    struct id_text t;

    if (id == RAFT_NONE)
        (void)snprintf(t.text, sizeof(t.text), "unknown");
    else
        (void)snprintf(t.text, sizeof(t.text), "%" PRIx64, id);
    return t;
}

static struct metric *counter(const char *name, const char *help,
                              const char *label, uint64_t id)
{
    struct id_text text = id_text(id);
    struct metric_label labels[] = {{label, text.text}};

    return metric_counter(name, help, labels, 1);
}

void metrics_of_peer(struct peer_metrics *m, uint64_t local, uint64_t id)
{
    struct id_text from = id_text(local);
    struct id_text to = id_text(id);
    struct metric_label both[] = {{"Local", from.text}, {"Remote", to.text}};
    struct metric_label one[] = {{"To", to.text}};

    m->active =
        metric_gauge("etcd_network_active_peers",
                     "The current number of active peer connections.", both, 2);
    m->disconnected =
        metric_counter("etcd_network_disconnected_peers_total",
                       "The total number of disconnected peers.", both, 2);
    m->sent_bytes =
        counter("etcd_network_peer_sent_bytes_total",
                "The total number of bytes sent to peers.", "To", id);
    m->received_bytes = counter("etcd_network_peer_received_bytes_total",
                                "The total number of bytes received from "
                                "peers.",
                                "From", id);
    m->sent_failures =
        counter("etcd_network_peer_sent_failures_total",
                "The total number of send failures to peers.", "To", id);
    m->received_failures = counter("etcd_network_peer_received_failures_total",
                                   "The total number of receive failures "
                                   "from peers.",
                                   "From", id);
    m->round_trip = metric_histogram_exp(
        "etcd_network_peer_round_trip_time_seconds",
        "Round-trip times between peers.", 0.0001, 2, 16, one, 1);
}

void metrics_of_sending(struct snapshot_metrics *m, uint64_t to)
{
    struct id_text text = id_text(to);
    struct metric_label labels[] = {{"To", text.text}};

    m->inflight = metric_gauge("etcd_network_snapshot_send_inflights_total",
                               "Snapshots that are being sent.", labels, 1);
    m->success = metric_counter("etcd_network_snapshot_send_success",
                                "Snapshots that have been sent.", labels, 1);
    m->failures =
        metric_counter("etcd_network_snapshot_send_failures",
                       "Snapshots that could not be sent.", labels, 1);
    m->seconds = metric_histogram_exp(
        "etcd_network_snapshot_send_total_duration_seconds",
        "How long sending a snapshot took.", 0.1, 2, 10, labels, 1);
}

void metrics_of_receiving(struct snapshot_metrics *m, uint64_t from)
{
    struct id_text text = id_text(from);
    struct metric_label labels[] = {{"From", text.text}};

    m->inflight = metric_gauge("etcd_network_snapshot_receive_inflights_total",
                               "Snapshots that are being received.", labels, 1);
    m->success =
        metric_counter("etcd_network_snapshot_receive_success",
                       "Snapshots that have been received.", labels, 1);
    m->failures =
        metric_counter("etcd_network_snapshot_receive_failures",
                       "Snapshots that could not be received.", labels, 1);
    m->seconds = metric_histogram_exp(
        "etcd_network_snapshot_receive_total_duration_seconds",
        "How long receiving a snapshot took.", 0.1, 2, 10, labels, 1);
}
