/* Who leads: what changes with it, and handing it on. */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "node.h"
#include <stdlib.h>

#define MS_NS UINT64_C(1000000)

static uint64_t election_ns(const struct node *node)
{
    return node->config.election_ms * MS_NS;
}

/* ---- changes ---- */

static void became_leader(struct node *node)
{
    log_info("this member leads", LOG_HEX("member-id", node->member_id),
             LOG_U64("term", node->term));
    node->version_due_ns = 0;
    node->last_beat_ns = 0;
}

static void lost_lead(struct node *node)
{
    lessor_demote(node->lessor);
}

static void leader_changed(struct node *node, uint64_t leader, bool self)
{
    uint64_t before = node->leader;

    node->leader = leader;
    if (leader == RAFT_NONE) {
        log_warn("lost leader", LOG_HEX("former-leader-id", before),
                 LOG_HEX("local-member-id", node->member_id));
        return;
    }
    metric_inc(node->metrics.leader_changes);
    log_info("the cluster has a leader", LOG_HEX("leader-id", leader),
             LOG_HEX("local-member-id", node->member_id));
    if (self)
        node->leader_since_ns = clock_mono_ns();
    else
        node_doubt(node);
}

void node_note_leader(struct node *node, const struct raft_soft_state *soft)
{
    bool led = node->role == RAFT_LEADER;
    bool leads = soft->role == RAFT_LEADER;

    node->role = soft->role;
    if (leads && !led)
        became_leader(node);
    else if (!leads && led)
        lost_lead(node);
    if (soft->leader != node->leader)
        leader_changed(node, soft->leader, leads);
}

void node_follow_leader(struct node *node)
{
    if (node->leader != RAFT_NONE) {
        node_settle_doubt(node);
        node_release_strays(node);
        node_release_held(node);
        node_ask_again(node);
    }
    node_check_transfers(node, clock_mono_ns());
}

/* Only now the lessor has all leases that were granted: before, it might call
 * one unknown that was acknowledged (source: etcd promotes it here as well). */
void node_caught_up_leader(struct node *node)
{
    lessor_promote(node->lessor, clock_mono_ns(), election_ns(node));
    node->version_due_ns = 0;
}

/* ---- handing it on ---- */

uint64_t node_longest_connected(const struct node *node)
{
    uint64_t longest = RAFT_NONE;
    uint64_t oldest_ns = UINT64_MAX;

    for (size_t i = 0; i < node->conf.voters.count; i++) {
        uint64_t id = node->conf.voters.ids[i];
        uint64_t since_ns =
            id == node->member_id ? 0 : peers_active_since(node->peers, id);
        if (since_ns != 0 && since_ns < oldest_ns) {
            oldest_ns = since_ns;
            longest = id;
        }
    }
    return longest;
}

static void finish(struct node_transfer *transfer, int err)
{
    transfer->err = err;
    transfer->done(transfer);
}

static void start(struct node *node, struct node_transfer *transfer,
                  uint64_t timeout_ns)
{
    log_info("leadership transfer starting",
             LOG_HEX("local-member-id", node->member_id),
             LOG_HEX("transferee-member-id", transfer->to));
    transfer->timeout_ns = clock_mono_ns() + timeout_ns;
    transfer->next = node->transfers;
    node->transfers = transfer;
    raft_transfer_leader(node->raft, transfer->to);
    node_pump(node);
}

void node_move_leader(struct node *node, struct node_transfer *transfer)
{
    const struct cluster_member *to = cluster_find(node->cluster, transfer->to);

    if (node->stopping || node->failed)
        finish(transfer, ERR_STOPPED);
    else if (node->role != RAFT_LEADER)
        finish(transfer, ERR_NOT_LEADER);
    else if (!to || to->is_learner)
        finish(transfer, ERR_BAD_TRANSFEREE);
    else if (transfer->to == node->member_id)
        finish(transfer, 0);
    else
        start(node, transfer, node_request_timeout_ns(node));
}

void node_hand_over(struct node *node, struct node_transfer *transfer)
{
    transfer->to = node_longest_connected(node);
    if (node->stopping || node->failed || node->role != RAFT_LEADER)
        finish(transfer, ERR_NOT_LEADER);
    else if (transfer->to == RAFT_NONE)
        finish(transfer, ERR_UNHEALTHY);
    else
        start(node, transfer, election_ns(node));
}

/* 1: goes on. */
static int transfer_state(const struct node *node,
                          const struct node_transfer *transfer, uint64_t now_ns)
{
    if (node->stopping || node->failed)
        return ERR_STOPPED;
    if (node->leader == transfer->to)
        return 0;
    return transfer->timeout_ns <= now_ns ? ERR_TIMEOUT_TRANSFER : 1;
}

void node_check_transfers(struct node *node, uint64_t now_ns)
{
    struct node_transfer **at = &node->transfers;
    struct node_transfer *ended = NULL;

    while (*at) {
        struct node_transfer *transfer = *at;
        transfer->err = transfer_state(node, transfer, now_ns);
        if (transfer->err > 0) {
            at = &transfer->next;
            continue;
        }
        *at = transfer->next;
        transfer->next = ended;
        ended = transfer;
    }
    while (ended) {
        struct node_transfer *transfer = ended;
        ended = transfer->next;
        log_info(
            "leadership transfer finished",
            LOG_HEX("local-member-id", node->member_id),
            LOG_HEX("new-leader-member-id", node->leader),
            LOG_STR("error", transfer->err < 0 ? err_text(transfer->err) : ""));
        transfer->done(transfer);
    }
}

/* ---- a log that stalls ---- */

/* Time in which the whole member stood still says nothing about its disk. */
static uint64_t stalled_ns(const struct node *node)
{
    uint64_t stalled = wal_writer_stalled_ns(node->writer);
    uint64_t awake = clock_mono_ns() - node->awake_since_ns;

    return stalled < awake ? stalled : awake;
}

static bool stalls(const struct node *node)
{
    return stalled_ns(node) > election_ns(node);
}

/* The follower that is nearest to the end of the log; 0: none is there. */
static uint64_t best_follower(const struct node *node, bool *has_all)
{
    struct raft_progress_status progress[RAFT_CONF_CHANGES_MAX];
    size_t n = raft_progress(node->raft, progress, RAFT_CONF_CHANGES_MAX);
    const struct raft_progress_status *best = NULL;

    for (size_t i = 0; i < n && i < RAFT_CONF_CHANGES_MAX; i++)
        if (progress[i].id != node->member_id && !progress[i].is_learner &&
            progress[i].recent_active &&
            (!best || progress[i].match > best->match))
            best = &progress[i];
    *has_all = best && best->match == raft_last_index(node->raft);
    return best ? best->id : RAFT_NONE;
}

/* A follower that has all of the log takes over at once. Under load there is
 * always something on its way: then the leader takes nothing more until the
 * next tick, and the follower gets there. Without one the others notice after
 * an election timeout. */
void node_check_stall(struct node *node)
{
    bool begun = node->gives_up;
    bool has_all;
    uint64_t to;

    node->gives_up = false;
    if (node->role != RAFT_LEADER || node->conf.voters.count < 2 ||
        !stalls(node))
        return;
    if (!begun) {
        to = best_follower(node, &has_all);
        log_warn("writing the log stalls: this member gives up leadership",
                 LOG_HEX("local-member-id", node->member_id),
                 LOG_HEX("transferee-member-id", to),
                 LOG_NS("stalled-for", stalled_ns(node)));
        if (to != RAFT_NONE)
            raft_transfer_leader(node->raft, to);
        if (to != RAFT_NONE && !has_all) {
            node->gives_up = true;
            return;
        }
    }
    raft_step_down(node->raft);
}

/* Who can't write its log can't lead, and should not disturb those who can. */
bool node_may_tick(const struct node *node)
{
    return node->role == RAFT_LEADER || node->conf.voters.count < 2 ||
           !stalls(node);
}
