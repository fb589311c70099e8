/* The cluster's version: that of its oldest member. The leader asks all of them
 * every few seconds and proposes what has come of it (source: etcd's version
 * monitor). */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "node.h"
#include "raft_internal.pb-c.h"
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVERY_NS UINT64_C(4000000000)
#define ANSWER_MAX ((size_t)64 << 10)

struct version_ask {
    struct peers_call call;
    struct version_poll *poll;
};

struct version_poll {
    struct node *node;
    struct version_ask *asks;
    size_t n;
    size_t waiting;
    bool known; /* so far, all of them */
    struct cluster_semver lowest;
    struct cluster_semver highest;
};

/* ---- what follows ---- */

static void propose_version(struct node *node, struct cluster_semver version)
{
    Membershippb__ClusterVersionSetRequest req =
        MEMBERSHIPPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    char text[64];

    snprintf(text, sizeof(text), "%d.%d.0", (int)version.major,
             (int)version.minor);
    log_info("setting the cluster's version", LOG_STR("to", text));
    req.ver = text;
    node_propose_own(node, APPLY_CLUSTER_VERSION, &req.base, node->term);
}

/* All members are of the version that the downgrade was for. */
static bool downgrade_done(const struct version_poll *poll)
{
    const char *text = cluster_downgrade(poll->node->cluster);
    struct cluster_semver target;

    return text && cluster_semver_read(text, &target) == 0 && poll->known &&
           poll->lowest.major == target.major &&
           poll->lowest.minor == target.minor &&
           poll->highest.major == target.major &&
           poll->highest.minor == target.minor;
}

static void end_downgrade(struct node *node)
{
    Membershippb__DowngradeInfoSetRequest req =
        MEMBERSHIPPB__DOWNGRADE_INFO_SET_REQUEST__INIT;

    log_info("the cluster has been downgraded",
             LOG_STR("cluster-version", cluster_version(node->cluster)));
    node_propose_own(node, APPLY_DOWNGRADE_INFO, &req.base, node->term);
}

static void conclude(struct version_poll *poll)
{
    struct node *node = poll->node;
    struct cluster_version_view view = {
        .cluster = cluster_version(node->cluster),
        .lowest = poll->known ? &poll->lowest : NULL,
        .downgrade = cluster_downgrade(node->cluster),
    };
    struct cluster_semver version;

    node->version_poll = NULL;
    if (node->role == RAFT_LEADER && !node->stopping && !node->failed) {
        if (cluster_decide_version(&view, &version))
            propose_version(node, version);
        if (downgrade_done(poll))
            end_downgrade(node);
    }
    free(poll->asks);
    free(poll);
}

/* ---- asking ---- */

static void note(struct version_poll *poll, struct cluster_semver version)
{
    if (cluster_semver_compare(version, poll->lowest) < 0)
        poll->lowest = version;
    if (cluster_semver_compare(version, poll->highest) > 0)
        poll->highest = version;
}

static int read_server_version(struct bytes body, struct cluster_semver *out)
{
    json_tokener *tok = json_tokener_new();
    json_object *obj =
        json_tokener_parse_ex(tok, (const char *)body.data, (int)body.len);
    json_object *field;
    int rc = ERR_INVALID;

    json_tokener_free(tok);
    if (json_object_is_type(obj, json_type_object) &&
        json_object_object_get_ex(obj, "etcdserver", &field) &&
        json_object_is_type(field, json_type_string))
        rc = cluster_semver_read(json_object_get_string(field), out);
    json_object_put(obj);
    return rc;
}

static void answered(struct peers_call *call, int err, unsigned status,
                     struct bytes body)
{
    struct version_ask *ask = container_of(call, struct version_ask, call);
    struct version_poll *poll = ask->poll;
    struct cluster_semver version;

    if (err == 0 && status == 200 && body.len <= INT_MAX &&
        read_server_version(body, &version) == 0) {
        note(poll, version);
    } else {
        log_debug("failed to get version",
                  LOG_HEX("remote-member-id", call->to));
        poll->known = false;
    }
    if (--poll->waiting == 0)
        conclude(poll);
}

static void ask_all(struct node *node)
{
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);
    struct version_poll *poll = mem_zalloc(sizeof(*poll));

    poll->node = node;
    poll->asks = mem_zalloc((n + 1) * sizeof(*poll->asks));
    poll->known = true;
    (void)cluster_semver_read(CLUSTER_API_VERSION, &poll->lowest);
    poll->highest = poll->lowest;
    for (size_t i = 0; i < n; i++) {
        if (m[i].id == node->member_id)
            continue;
        poll->asks[poll->n] = (struct version_ask){
            .poll = poll,
            .call = {.to = m[i].id,
                     .method = "GET",
                     .path = "/version",
                     .answer_max = ANSWER_MAX,
                     .timeout_ms = node_request_timeout_ns(node) / 1000000,
                     .done = answered}};
        poll->n++;
    }
    node->version_poll = poll;
    poll->waiting = poll->n + 1;
    for (size_t i = 0; i < poll->n; i++)
        peers_call(node->peers, &poll->asks[i].call);
    if (--poll->waiting == 0)
        conclude(poll);
}

/* At once when the first entry of a leader's term is applied, then every few
 * seconds. */
void node_check_versions(struct node *node, uint64_t now_ns)
{
    if (node->version_due_ns > now_ns)
        return;
    node->version_due_ns = now_ns + EVERY_NS;
    if (!node->replacing && cluster_follow_version(node->cluster))
        store_mark(node->store, node->applied, node->applied_term);
    if (node->role == RAFT_LEADER && node->applied_term == node->term &&
        !node->version_poll)
        ask_all(node);
}
