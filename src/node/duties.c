/* What a member does by the clock, and what it raises by itself. */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/turn.h"
#include "node.h"
#include "raft_internal.pb-c.h"
#include <stdlib.h>

/* A member that has just come up and reaches the others need not wait for the
 * whole of an election timeout (source: etcd's adjustTicks). */
#define SETTLE_NS UINT64_C(5000000000)
#define TOKENS_EVERY_NS UINT64_C(1000000000)

/* A request of the member's own, and what it was for. */
struct duty {
    struct own_request own;
    struct node *node;
    enum alarm_type alarm;
};

static struct duty *duty_new(struct node *node)
{
    struct duty *duty = mem_zalloc(sizeof(*duty));

    duty->node = node;
    return duty;
}

static struct duty *duty_done(struct node_request *request)
{
    return container_of(node_own_done(request), struct duty, own);
}

/* ---- publishing oneself ---- */

static void published(struct node_request *request)
{
    struct duty *duty = duty_done(request);
    struct node *node = duty->node;
    int err = request->err;

    free(duty);
    if (err == ERR_STOPPED)
        return;
    if (err < 0) {
        log_warn("failed to publish local member to cluster through raft",
                 LOG_HEX("local-member-id", node->member_id),
                 LOG_STR("error", err_text(err)));
        node_publish(node);
        return;
    }
    log_info("published local member to cluster through raft",
             LOG_HEX("local-member-id", node->member_id),
             LOG_HEX("cluster-id", node->cluster_id));
    atomic_store(&node->published, true);
    if (node->config.ready)
        node->config.ready(node->config.arg);
}

void node_publish(struct node *node)
{
    Membershippb__ClusterMemberAttrSetRequest req =
        MEMBERSHIPPB__CLUSTER_MEMBER_ATTR_SET_REQUEST__INIT;
    Membershippb__Attributes attr = MEMBERSHIPPB__ATTRIBUTES__INIT;
    const char *const *urls = node->config.client_urls;

    while (urls && urls[attr.n_client_urls])
        attr.n_client_urls++;
    attr.name = (char *)(uintptr_t)node->config.name;
    attr.client_urls = (char **)(uintptr_t)urls;
    req.member_id = node->member_id;
    req.member_attributes = &attr;
    node_own_propose(node, &duty_new(node)->own, APPLY_MEMBER_ATTR, &req.base,
                     published);
}

/* ---- alarms ---- */

static void alarm_raised(struct node_request *request)
{
    struct duty *duty = duty_done(request);

    atomic_fetch_and(&duty->node->alarm_raising, ~(1u << duty->alarm));
    free(duty);
}

void node_raise_alarm(struct node *node, enum alarm_type type)
{
    Etcdserverpb__AlarmRequest req = ETCDSERVERPB__ALARM_REQUEST__INIT;
    unsigned bit = 1u << type;
    struct duty *duty;

    if (alarms_active(node->alarms, type) ||
        (atomic_fetch_or(&node->alarm_raising, bit) & bit))
        return;
    log_warn("raising an alarm",
             LOG_STR("alarm", type == ALARM_NOSPACE ? "NOSPACE" : "CORRUPT"),
             LOG_HEX("member-id", node->member_id));
    req.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    req.memberid = node->member_id;
    req.alarm = (Etcdserverpb__AlarmType)type;
    duty = duty_new(node);
    duty->alarm = type;
    node_own_propose(node, &duty->own, APPLY_ALARM, &req.base, alarm_raised);
}

/* ---- tokens ---- */

static void expire_tokens(struct node *node, uint64_t now_ns)
{
    if (!auth_enabled(node->auth) ||
        now_ns - node->last_tokens_ns < TOKENS_EVERY_NS)
        return;
    node->last_tokens_ns = now_ns;
    auth_expire_tokens(node->auth, now_ns);
}

/* ---- compaction ---- */

static void compacted(struct node_request *request)
{
    struct duty *duty = duty_done(request);
    bool ok = request->err == 0 || request->err == ERR_COMPACTED;

    node_compactor_done(duty->node->compactor, ok);
    if (ok)
        log_info("completed auto compaction");
    else if (request->err != ERR_STOPPED)
        log_warn("auto compaction failed, trying again later",
                 LOG_STR("error", err_text(request->err)));
    free(duty);
}

static void auto_compact(struct node *node, uint64_t now_ns)
{
    Etcdserverpb__CompactionRequest req =
        ETCDSERVERPB__COMPACTION_REQUEST__INIT;

    req.revision =
        node_compactor_due(node->compactor, now_ns, mvcc_revision(node->mvcc));
    /* Those who follow note revisions as well, to go on with when they lead. */
    if (req.revision <= 0 || node->role != RAFT_LEADER)
        return;
    log_info("starting auto compaction", LOG_I64("revision", req.revision));
    node_own_propose(node, &duty_new(node)->own, APPLY_COMPACTION, &req.base,
                     compacted);
}

/* ---- by the clock ---- */

static void settle_ticks(struct node *node, uint64_t now_ns)
{
    unsigned ticks =
        (unsigned)(node->config.election_ms / node->config.heartbeat_ms);

    if (node->ticks_settled)
        return;
    if (!node->config.election_tick_advance || node->leader != RAFT_NONE ||
        now_ns - node->opened_ns > SETTLE_NS) {
        node->ticks_settled = true;
        return;
    }
    if (node->conf.voters.count < 2 ||
        node_active_peers(node) + 1 < node->conf.voters.count / 2 + 1)
        return;
    node->ticks_settled = true;
    log_info("initialized peer connections; fast-forwarding election ticks",
             LOG_HEX("local-member-id", node->member_id),
             LOG_U64("forward-ticks", ticks - 2),
             LOG_U64("active-remote-members", node_active_peers(node)));
    for (unsigned i = 0; i + 2 < ticks; i++)
        raft_tick(node->raft);
}

void node_duties(struct node *node, uint64_t now_ns)
{
    settle_ticks(node, now_ns);
    node_check_stall(node);
    node_settle_doubt(node);
    node_release_strays(node);
    node_expire_strays(node, now_ns);
    node_release_held(node);
    node_expire_requests(node, now_ns);
    node_expire_barriers(node, now_ns);
    expire_tokens(node, now_ns);
    node_forwards_tick(node, now_ns);
    node_check_transfers(node, now_ns);
    node_check_removed(node, now_ns);
    node_check_versions(node, now_ns);
    node_check_corruption(node, now_ns);
    auto_compact(node, now_ns);
    turn_part(TURN_LEASES);
    if (node->role == RAFT_LEADER)
        node_revoke_expired(node, now_ns);
    turn_part(TURN_DUTIES);
}
