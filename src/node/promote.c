/* Promoting a learner: the leader alone knows how far it is. */
#include "chorad/base/log.h"
#include "node.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A learner has to have so much of the leader's log (source: etcd's
 * readyPercentThreshold). */
#define READY_PERCENT 90
#define ANSWER_MAX ((size_t)1 << 20)

static int ready(const struct node *node, uint64_t id)
{
    struct raft_progress_status progress[RAFT_CONF_CHANGES_MAX];
    size_t n = raft_progress(node->raft, progress, RAFT_CONF_CHANGES_MAX);
    uint64_t own = 0;
    uint64_t match = 0;
    bool found = false;

    for (size_t i = 0; i < n && i < RAFT_CONF_CHANGES_MAX; i++) {
        if (progress[i].id == node->member_id)
            own = progress[i].match;
        if (progress[i].id == id) {
            match = progress[i].match;
            found = true;
        }
    }
    if (!found)
        return ERR_MEMBER_NOT_FOUND;
    if ((double)match * 100 < (double)own * READY_PERCENT) {
        log_warn("rejecting promote learner: learner is not ready",
                 LOG_HEX("member-id", id), LOG_U64("learner-match", match),
                 LOG_U64("leader-match", own));
        return ERR_LEARNER_NOT_READY;
    }
    return 0;
}

static int may_promote(const struct node *node, uint64_t id)
{
    int rc = ready(node, id);

    if (rc == 0 && node->config.strict_reconfig &&
        !cluster_may_promote(node->cluster))
        rc = ERR_NOT_ENOUGH_STARTED;
    return rc;
}

static void count_failure(int err)
{
    struct metric_label label[] = {{"Reason", err_text(err)}};

    metric_inc(metric_counter("etcd_server_learner_promote_failures",
                              "The total number of failed learner promotions "
                              "(likely learner not ready) while this member is "
                              "leader.",
                              label, 1));
}

static void promote_here(struct node *node, struct node_change *change)
{
    int rc = may_promote(node, change->id);

    if (rc == 0) {
        metric_inc(node->metrics.promoted);
        node_propose_change(node, change, CLUSTER_ADD,
                            cluster_promote_json(change->id));
        return;
    }
    count_failure(rc);
    change->err = rc;
    change->done(change);
}

/* ---- by the leader ---- */

static void finish(struct node_forward *forward, int err)
{
    struct node_change *change = forward->arg;

    node_forward_free(forward);
    change->forward = NULL;
    change->err = err;
    change->done(change);
}

static bool on_local(struct node_forward *forward)
{
    struct node_change *change = forward->arg;
    struct node *node = forward->node;

    node_forward_free(forward);
    change->forward = NULL;
    promote_here(node, change);
    return true;
}

/* Longer than the other, and it begins alike. */
#define NOT_READY "can only promote a learner member which is in sync"
#define NOT_LEARNER "can only promote a learner member"

static bool contains(struct bytes body, const char *text)
{
    return body.len >= strlen(text) &&
           memmem(body.data, body.len, text, strlen(text)) != NULL;
}

/* Other answers than these may come from a leader that is none any more. */
static bool on_answered(struct node_forward *forward, unsigned status,
                        struct bytes body)
{
    struct node_change *change = forward->arg;
    int err = 1;

    if (status == 200 && cluster_list_read(body, &change->members) == 0)
        err = 0;
    else if (status == 404)
        err = ERR_MEMBER_NOT_FOUND;
    else if (status == 412 && contains(body, NOT_READY))
        err = ERR_LEARNER_NOT_READY;
    else if (status == 412 && contains(body, NOT_LEARNER))
        err = ERR_NOT_LEARNER;
    if (err > 0)
        return false;
    finish(forward, err);
    return true;
}

static void on_failed(struct node_forward *forward, int err)
{
    finish(forward, err);
}

void node_promote(struct node *node, struct node_change *change)
{
    struct node_forward *forward;
    char path[64];

    if (node->role == RAFT_LEADER) {
        promote_here(node, change);
        return;
    }
    snprintf(path, sizeof(path), "/members/promote/%" PRIu64, change->id);
    forward = node_forward_new(node, "POST", path);
    forward->authorization = change->authorization;
    forward->answer_max = ANSWER_MAX;
    forward->arg = change;
    forward->local = on_local;
    forward->answered = on_answered;
    forward->failed = on_failed;
    change->forward = forward;
    node_forward_start(forward);
}
