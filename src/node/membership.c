/* The membership: changes proposed, checked and applied. */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "node.h"
#include <stdlib.h>
#include <string.h>

/* A peer counts as reachable when it has been for that long (source: etcd's
 * HealthInterval). */
#define HEALTHY_NS UINT64_C(5000000000)
/* A removed member stops that long after the change (source: etcd). */
#define REMOVED_DELAY_NS UINT64_C(1000000000)

/* ---- strict reconfiguration (source: etcd's mayAddMember and others) ---- */

static bool is_connected_since(const struct node *node, uint64_t id,
                               uint64_t since_ns)
{
    uint64_t active_ns = peers_active_since(node->peers, id);

    return active_ns != 0 && active_ns < since_ns;
}

size_t node_connected_since(const struct node *node, uint64_t since_ns,
                            bool voters_only)
{
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);
    size_t connected = 0;

    for (size_t i = 0; i < n; i++)
        if (!(voters_only && m[i].is_learner) &&
            (m[i].id == node->member_id ||
             is_connected_since(node, m[i].id, since_ns)))
            connected++;
    return connected;
}

static size_t count_voters(const struct node *node)
{
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);
    size_t voters = 0;

    for (size_t i = 0; i < n; i++)
        voters += !m[i].is_learner;
    return voters;
}

static size_t healthy_voters(const struct node *node)
{
    uint64_t now_ns = clock_mono_ns();

    return node_connected_since(
        node, now_ns > HEALTHY_NS ? now_ns - HEALTHY_NS : 0, true);
}

static int may_add(const struct node *node, const struct cluster_member *member)
{
    size_t voters = count_voters(node);

    if (!node->config.strict_reconfig)
        return 0;
    if (!member->is_learner && !cluster_may_add_voter(node->cluster))
        return ERR_NOT_ENOUGH_STARTED;
    /* The new one counts as unreachable; one alone may always grow. */
    if (voters != 1 && healthy_voters(node) < (voters + 1) / 2 + 1) {
        log_warn("rejecting member add request; local member has not been "
                 "connected to majority peers, reconfigure breaks active "
                 "quorum",
                 LOG_HEX("local-member-id", node->member_id));
        return ERR_UNHEALTHY;
    }
    return 0;
}

static int may_remove(const struct node *node, uint64_t id)
{
    const struct cluster_member *member = cluster_find(node->cluster, id);
    size_t voters = count_voters(node);
    size_t active;

    if (!node->config.strict_reconfig || (member && member->is_learner))
        return 0;
    if (!cluster_may_remove_voter(node->cluster, id))
        return ERR_NOT_ENOUGH_STARTED;
    /* One that is down is no part of the active quorum. */
    if (id != node->member_id && peers_active_since(node->peers, id) == 0)
        return 0;
    active = healthy_voters(node);
    if (active < 1 || active - 1 < 1 + (voters - 1) / 2) {
        log_warn("rejecting member remove request; local member has not been "
                 "connected to all peers, reconfigure breaks active quorum",
                 LOG_HEX("local-member-id", node->member_id),
                 LOG_HEX("requested-member-remove", id),
                 LOG_U64("active-peers", active));
        return ERR_UNHEALTHY;
    }
    return 0;
}

/* ---- proposing ---- */

static void finish(struct node_change *change, int err)
{
    change->err = err;
    change->done(change);
}

static void change_applied(struct node_request *request)
{
    struct node_change *change =
        container_of(request, struct node_change, request);
    struct node *node = change->node;
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);

    if (request->err == 0) {
        change->members.members = mem_alloc((n + 1) * sizeof(*m));
        change->members.n = n;
        for (size_t i = 0; i < n; i++)
            change->members.members[i] = cluster_member_copy(&m[i]);
        log_info("applied a configuration change through raft",
                 LOG_HEX("local-member-id", node->member_id),
                 LOG_HEX("raft-conf-change-node-id", change->id));
    }
    finish(change, request->err);
}

void node_propose_change(struct node *node, struct node_change *change,
                         enum cluster_change_type type, char *context)
{
    struct node_request *request = &change->request;
    struct raft_conf_change cc = {
        .v1 = true,
        .id = node_next_id(node),
        .change_count = 1,
        .changes = {{(enum raft_conf_change_type)type, change->id}},
    };
    struct raft_entry entry;

    if (context)
        cc.context = bytes_of(context, strlen(context));
    entry = raft_conf_change_entry(&cc);
    free(context);
    *request = (struct node_request){
        .id = cc.id,
        .conf_change = true,
        .entry = entry.owner,
        .done = change_applied,
    };
    node_propose_now(node, request);
    node_pump(node);
}

void node_change_members(struct node *node, struct node_change *change)
{
    int rc = 0;

    change->node = node;
    change->err = 0;
    change->text.text[0] = '\0';
    change->members = (struct cluster_list){0};
    change->forward = NULL;
    if (node->stopping || node->failed)
        rc = ERR_STOPPED;
    else if (change->kind == NODE_ADD_MEMBER)
        rc = may_add(node, change->member);
    else if (change->kind == NODE_REMOVE_MEMBER)
        rc = may_remove(node, change->id);
    if (rc < 0) {
        finish(change, rc);
        return;
    }
    switch (change->kind) {
    case NODE_ADD_MEMBER:
        node_propose_change(node, change,
                            change->member->is_learner ? CLUSTER_ADD_LEARNER
                                                       : CLUSTER_ADD,
                            cluster_member_json(change->member));
        break;
    case NODE_REMOVE_MEMBER:
        node_propose_change(node, change, CLUSTER_REMOVE, NULL);
        break;
    case NODE_UPDATE_MEMBER:
        node_propose_change(node, change, CLUSTER_UPDATE,
                            cluster_member_json(change->member));
        break;
    case NODE_PROMOTE_MEMBER:
        node_promote(node, change);
        break;
    }
}

/* ---- applying ---- */

void node_save_conf_state(struct node *node)
{
    cluster_save_conf_state(node->cluster, node->conf.voters.ids,
                            node->conf.voters.count, node->conf.learners.ids,
                            node->conf.learners.count);
}

static void change_peers(struct node *node, const struct cluster_change *change)
{
    const struct cluster_member *member =
        cluster_find(node->cluster, change->id);

    if (member)
        node_know_peer(node, member);
    else
        node_forget_peer(node, change->id);
}

/* Etcd's members refuse the same changes for the same reasons, so that all
 * have the same configuration. */
static int apply_change(struct node *node, const struct raft_conf_change *cc)
{
    struct cluster_change change = {
        .type = (enum cluster_change_type)cc->changes[0].type,
        .id = cc->changes[0].node_id,
        .context = cc->context,
    };
    struct raft_conf_state conf = {0};
    int rc = cluster_check(node->cluster, &change, node->config.max_learners);

    if (rc == 0)
        rc = raft_apply_conf_change(node->raft, cc, &conf);
    if (rc < 0) {
        log_error("Validation on configuration change failed",
                  LOG_HEX("member-id", change.id),
                  LOG_STR("error", err_text(rc)));
        return rc;
    }
    raft_conf_state_close(&node->conf);
    node->conf = conf;
    cluster_apply(node->cluster, &change);
    node_save_conf_state(node);
    change_peers(node, &change);
    node_membership_changed(node);
    if (change.type == CLUSTER_REMOVE && change.id == node->member_id)
        node_was_removed(node);
    return 0;
}

void node_apply_conf_change(struct node *node, const struct raft_entry *entry)
{
    struct raft_conf_change cc;
    struct apply_result result = {0};
    int rc = raft_conf_change_decode(&cc, entry->type, entry->data, entry->len);

    if (rc == 0 && (!cc.v1 || cc.change_count != 1))
        rc = ERR_UNSUPPORTED;
    if (rc < 0) {
        node_fail(node, "applying a configuration change", err_text(rc));
        return;
    }
    result.err = apply_change(node, &cc);
    node->conf_index = entry->index;
    store_mark(node->store, entry->index, entry->term);

    struct node_request *request = waiting_find(&node->waiting, cc.id);
    if (request)
        node_finish_request(node, request, &result);
}

void node_membership_changed(struct node *node)
{
    const struct cluster_member *self =
        cluster_find(node->cluster, node->member_id);

    atomic_store(&node->status_is_learner, self && self->is_learner);
    node_metrics_members(node);
}

/* ---- no member any more ---- */

void node_was_removed(struct node *node)
{
    if (node->removed)
        return;
    node->removed = true;
    node->removed_ns = clock_mono_ns();
    log_warn("this member has been permanently removed from the cluster; its "
             "data directory must be removed before it can join again",
             LOG_HEX("local-member-id", node->member_id),
             LOG_STR("data-dir", node->config.data_dir));
}

void node_check_removed(struct node *node, uint64_t now_ns)
{
    if (!node->removed || node->removed_told ||
        now_ns - node->removed_ns < REMOVED_DELAY_NS)
        return;
    node->removed_told = true;
    if (node->config.removed)
        node->config.removed(node->config.arg);
}
