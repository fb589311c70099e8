#include "node.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double read_has_leader(void *arg)
{
    struct node *node = arg;
    return atomic_load(&node->status_leader) != 0;
}

static double read_is_leader(void *arg)
{
    struct node *node = arg;
    return atomic_load(&node->status_is_leader);
}

static double read_committed(void *arg)
{
    struct node *node = arg;
    return (double)atomic_load(&node->status_commit);
}

static double read_applied(void *arg)
{
    struct node *node = arg;
    return (double)atomic_load(&node->status_applied);
}

static double read_pending(void *arg)
{
    struct node *node = arg;
    return (double)node->waiting.count;
}

static double read_quota(void *arg)
{
    struct node *node = arg;
    return (double)node->quota_bytes;
}

static double read_is_learner(void *arg)
{
    struct node *node = arg;
    return atomic_load(&node->status_is_learner);
}

static double read_installing(void *arg)
{
    struct node *node = arg;
    return node->installing;
}

static const struct {
    enum metric_type type;
    const char *name;
    const char *help;
    metric_read_cb read;
} gauges[] = {
    {METRIC_GAUGE, "etcd_server_has_leader",
     "Whether or not a leader exists. 1 is existence, 0 is not.",
     read_has_leader},
    {METRIC_GAUGE, "etcd_server_is_leader",
     "Whether or not this member is a leader. 1 if is, 0 otherwise.",
     read_is_leader},
    {METRIC_GAUGE, "etcd_server_is_learner",
     "Whether or not this member is a learner. 1 if is, 0 otherwise.",
     read_is_learner},
    {METRIC_GAUGE, "etcd_server_proposals_committed_total",
     "The total number of consensus proposals committed.", read_committed},
    {METRIC_GAUGE, "etcd_server_proposals_applied_total",
     "The total number of consensus proposals applied.", read_applied},
    {METRIC_GAUGE, "etcd_server_proposals_pending",
     "The current number of pending proposals to commit.", read_pending},
    {METRIC_GAUGE, "etcd_server_quota_backend_bytes",
     "Current backend storage quota size in bytes.", read_quota},
    {METRIC_GAUGE, "etcd_server_snapshot_apply_in_progress_total",
     "1 if the server is applying the incoming snapshot. 0 if none.",
     read_installing},
};

/* ---- series that name members and versions ---- */

static void set_known(struct node *node, uint64_t id, bool known)
{
    char local[24];
    char remote[24];

    snprintf(local, sizeof(local), "%" PRIx64, node->member_id);
    snprintf(remote, sizeof(remote), "%" PRIx64, id);
    struct metric_label labels[] = {{"Local", local}, {"Remote", remote}};
    metric_set(metric_gauge("etcd_network_known_peers",
                            "The current number of known peers.", labels, 2),
               known);
}

/* "3.7.0" is shown as "3.7". */
static void set_cluster_version(const char *version, bool is)
{
    char text[32];
    const char *patch = strrchr(version, '.');

    snprintf(text, sizeof(text), "%.*s",
             (int)(patch ? patch - version : (ptrdiff_t)strlen(version)),
             version);
    struct metric_label label[] = {{"cluster_version", text}};
    metric_set(metric_gauge("etcd_cluster_version",
                            "Which version is running. 1 for "
                            "'cluster_version' label with current cluster "
                            "version",
                            label, 1),
               is);
}

static void note_version(struct node *node)
{
    const char *version = cluster_version(node->cluster);

    if (!version ||
        (node->shown_version && strcmp(node->shown_version, version) == 0))
        return;
    if (node->shown_version)
        set_cluster_version(node->shown_version, false);
    free(node->shown_version);
    node->shown_version = mem_strdup(version);
    set_cluster_version(version, true);
}

void node_metrics_members(struct node *node)
{
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);

    for (size_t i = 0; i < node->shown_ids.count; i++)
        if (!cluster_find(node->cluster, node->shown_ids.ids[i]))
            set_known(node, node->shown_ids.ids[i], false);
    for (size_t i = 0; i < n; i++) {
        set_known(node, m[i].id, true);
        raft_ids_add(&node->shown_ids, m[i].id);
    }
    note_version(node);
}

static void label_series(struct node *node)
{
    char id[24];

    snprintf(id, sizeof(id), "%" PRIx64, node->member_id);
    struct metric_label server[] = {{"server_id", id}};
    metric_set(metric_gauge("etcd_server_id",
                            "Server or member ID in hexadecimal format. 1 for "
                            "'server_id' label with current ID.",
                            server, 1),
               1);
    struct metric_label version[] = {{"server_version", CLUSTER_API_VERSION}};
    metric_set(metric_gauge("etcd_server_version",
                            "Which version is running. 1 for "
                            "'server_version' label with current version.",
                            version, 1),
               1);
    set_known(node, node->member_id, true);
}

void node_metrics_open(struct node *node)
{
    struct node_metrics *m = &node->metrics;

    m->leader_changes =
        metric_counter("etcd_server_leader_changes_seen_total",
                       "The number of leader changes seen.", NULL, 0);
    m->failed =
        metric_counter("etcd_server_proposals_failed_total",
                       "The total number of failed proposals seen.", NULL, 0);
    m->read_failed = metric_counter("etcd_server_read_indexes_failed_total",
                                    "The total number of failed read indexes "
                                    "seen.",
                                    NULL, 0);
    m->read_slow = metric_counter(
        "etcd_server_slow_read_indexes_total",
        "The total number of pending read indexes not in sync with leader's "
        "or timed out read index requests.",
        NULL, 0);
    m->late_heartbeats = metric_counter(
        "etcd_server_heartbeat_send_failures_total",
        "The total number of leader heartbeat send failures (likely overloaded "
        "from slow disk).",
        NULL, 0);
    m->promoted =
        metric_counter("etcd_server_learner_promote_successes",
                       "The total number of successful learner promotions "
                       "while this member is leader.",
                       NULL, 0);
    m->expired = metric_counter("etcd_debugging_server_lease_expired_total",
                                "The total number of expired leases.", NULL, 0);
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
        metric_read(gauges[i].type, gauges[i].name, gauges[i].help, NULL, 0,
                    gauges[i].read, node);
    label_series(node);
}

void node_metrics_close(struct node *node)
{
    free(node->shown_version);
    node->shown_version = NULL;
    raft_ids_close(&node->shown_ids);
    metric_forget(node);
}
