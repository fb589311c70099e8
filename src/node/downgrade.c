/* Going back one version, as far as the cluster itself is concerned: announced,
 * taken back, and ended by version.c when all members have gone (source: etcd's
 * version manager). */
#include "chorad/base/log.h"
#include "node.h"
#include "raft_internal.pb-c.h"
#include <stdio.h>
#include <stdlib.h>

static void finish(struct node_downgrade *downgrade, int err)
{
    if (err < 0 && downgrade->action == NODE_DOWNGRADE_CANCEL) {
        /* As etcd has it: what there is nothing to be taken back of is no
         * error. */
        log_warn("failed to cancel downgrade", LOG_STR("error", err_text(err)));
        err = 0;
    }
    downgrade->err = err;
    downgrade->done(downgrade);
}

struct proposal {
    struct own_request own;
    struct node_downgrade *downgrade;
};

static void proposed(struct node_request *request)
{
    struct proposal *p =
        container_of(node_own_done(request), struct proposal, own);
    struct node_downgrade *downgrade = p->downgrade;
    int err = request->err;

    free(p);
    finish(downgrade, err);
}

static void propose(struct node_downgrade *downgrade, bool enable)
{
    Membershippb__DowngradeInfoSetRequest req =
        MEMBERSHIPPB__DOWNGRADE_INFO_SET_REQUEST__INIT;
    struct proposal *p = mem_zalloc(sizeof(*p));
    char version[64];

    p->downgrade = downgrade;
    if (enable) {
        snprintf(version, sizeof(version), "%d.%d.0",
                 (int)downgrade->target.major, (int)downgrade->target.minor);
        req.enabled = true;
        req.ver = version;
    }
    node_own_propose(downgrade->node, &p->own, APPLY_DOWNGRADE_INFO, &req.base,
                     proposed);
}

static int check(const struct node_downgrade *downgrade)
{
    const struct cluster *cluster = downgrade->node->cluster;

    if (downgrade->action == NODE_DOWNGRADE_CANCEL)
        return cluster_downgrade(cluster) ? 0 : ERR_NO_DOWNGRADE;
    if (!cluster_downgrade_allowed(cluster_version(cluster), downgrade->target))
        return ERR_DOWNGRADE_TARGET;
    return cluster_downgrade(cluster) ? ERR_DOWNGRADE_RUNNING : 0;
}

/* What has been decided before is known here. */
static void barrier_passed(struct node_barrier *barrier)
{
    struct node_downgrade *downgrade =
        container_of(barrier, struct node_downgrade, barrier);
    int err = barrier->err < 0 ? barrier->err : check(downgrade);

    if (err < 0 || downgrade->action == NODE_DOWNGRADE_VALIDATE)
        finish(downgrade, err);
    else
        propose(downgrade, downgrade->action == NODE_DOWNGRADE_ENABLE);
}

void node_downgrade(struct node *node, struct node_downgrade *downgrade)
{
    int err = 0;

    downgrade->node = node;
    if (node->stopping || node->failed)
        err = ERR_STOPPED;
    else if (downgrade->action != NODE_DOWNGRADE_CANCEL)
        err = cluster_downgrade_read(downgrade->version, &downgrade->target);
    if (err == 0 && !cluster_version(node->cluster))
        err = ERR_NO_CLUSTER_VERSION;
    if (err < 0) {
        finish(downgrade, err);
        return;
    }
    downgrade->barrier.done = barrier_passed;
    if (node_barrier(node, &downgrade->barrier))
        barrier_passed(&downgrade->barrier);
}
