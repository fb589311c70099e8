/* Leases: renewed, looked at and let expire by the leader, on behalf of every
 * member. */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/pb.h"
#include "chorad/codec.h"
#include "lease.pb-c.h"
#include "node.h"
#include "raft_internal.pb-c.h"
#include <stdlib.h>

/* Leases are looked at twice a second, so many at a time (source: etcd's
 * lessor: 1000 revokes a second). */
#define EXPIRY_EVERY_NS UINT64_C(500000000)
#define EXPIRY_MAX 500
/* Checkpoints in one request, and requests at a time (source: etcd). */
#define CHECKPOINTS_MAX 1000
#define CHECKPOINT_REQUESTS 500

/* etcdserverpb.LeaseKeepAliveRequest and Response (proto/rpc_lease.proto). */
enum { KEEP_ALIVE_ID = 1, ALIVE_ID = 2, ALIVE_TTL = 3 };
#define KEEP_ALIVE_MAX 11
#define ALIVE_ANSWER_MAX ((size_t)64 << 10)
/* It may name every key of the lease (source: etcd). */
#define INFO_ANSWER_MAX ((size_t)100 << 20)

/* Others may have committed, and answered, what this member's own disk hasn't
 * got yet and it therefore hasn't applied: a lease that it doesn't know may
 * have been granted. True: `done` comes once all of that is applied. */
static bool await_committed(struct node *node, struct node_barrier *barrier,
                            void (*done)(struct node_barrier *barrier))
{
    uint64_t commit =
        atomic_load_explicit(&node->status_commit, memory_order_relaxed);

    if (node->applied >= commit)
        return false;
    barrier->done = done;
    node_await_index(node, barrier, commit);
    return true;
}

/* ---- renewing --------------------------------------------------------------
 *
 *   node_renew --leads--> (barrier) --> (clear) --> lessor --> done
 *        |                   ^  ^                     |
 *        |                   |  '--- unknown, once ---'
 *        '-- follows --> forward --(leads now)
 *
 * The barrier only where this member has been asleep, as it may lead no more,
 * or hasn't applied all that is committed; and before it calls a lease unknown,
 * which another leader may have granted. */

static void finish_renewal(struct node_renewal *renewal, int err, int64_t ttl_s)
{
    renewal->err = err;
    renewal->ttl_s = ttl_s;
    renewal->done(renewal);
}

static void forward_renewal(struct node_renewal *renewal);

static void not_primary(struct node_renewal *renewal)
{
    if (renewal->here_only)
        finish_renewal(renewal, ERR_NOT_PRIMARY, 0);
    else
        forward_renewal(renewal);
}

static void make_sure(struct node_renewal *renewal);

static void renewed(void *arg, int err, int64_t ttl_s)
{
    struct node_renewal *renewal = arg;

    renewal->with_lessor = false;
    if (err == ERR_NOT_LEADER)
        not_primary(renewal);
    else if (err == ERR_LEASE_NOT_FOUND && !renewal->sure)
        make_sure(renewal);
    else
        finish_renewal(renewal, err, ttl_s);
}

static void ask_lessor(struct node_renewal *renewal)
{
    struct node *node = renewal->node;

    renewal->with_lessor = true;
    lessor_renew(node->lessor, renewal->id, clock_mono_ns(), renewed, renewal);
}

struct clearing {
    struct own_request own;
    struct node_renewal *renewal;
};

static void cleared(struct node_request *request)
{
    struct clearing *c =
        container_of(node_own_done(request), struct clearing, own);
    struct node_renewal *renewal = c->renewal;

    free(c);
    renewal->held = false;
    if (renewal->canceled)
        finish_renewal(renewal, ERR_CANCELED, 0);
    else
        ask_lessor(renewal);
}

/* A checkpoint says less than the whole TTL: gone before the client is told of
 * that, so that another leader doesn't begin with it. */
static void clear_checkpoint(struct node_renewal *renewal)
{
    Etcdserverpb__LeaseCheckpointRequest req =
        ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    Etcdserverpb__LeaseCheckpoint checkpoint =
        ETCDSERVERPB__LEASE_CHECKPOINT__INIT;
    Etcdserverpb__LeaseCheckpoint *list[] = {&checkpoint};
    struct clearing *c = mem_zalloc(sizeof(*c));

    c->renewal = renewal;
    checkpoint.id = renewal->id;
    req.n_checkpoints = 1;
    req.checkpoints = list;
    renewal->held = true;
    node_own_propose(renewal->node, &c->own, APPLY_LEASE_CHECKPOINT, &req.base,
                     cleared);
}

static void renew_here(struct node_renewal *renewal)
{
    const struct node *node = renewal->node;

    if (node->config.lease_checkpoint &&
        lessor_is_checkpointed(node->lessor, renewal->id))
        clear_checkpoint(renewal);
    else
        ask_lessor(renewal);
}

static void barrier_passed(struct node_barrier *barrier)
{
    struct node_renewal *renewal =
        container_of(barrier, struct node_renewal, barrier);

    renewal->held = false;
    if (renewal->canceled)
        finish_renewal(renewal, ERR_CANCELED, 0);
    else if (barrier->err < 0 || renewal->node->role != RAFT_LEADER)
        finish_renewal(renewal, ERR_NOT_PRIMARY, 0);
    else
        renew_here(renewal);
}

static void sure(struct node_barrier *barrier)
{
    struct node_renewal *renewal =
        container_of(barrier, struct node_renewal, barrier);

    renewal->held = false;
    if (renewal->canceled)
        finish_renewal(renewal, ERR_CANCELED, 0);
    else if (barrier->err < 0 || !lessor_is_primary(renewal->node->lessor))
        not_primary(renewal);
    else
        ask_lessor(renewal);
}

static void make_sure(struct node_renewal *renewal)
{
    renewal->sure = true;
    renewal->held = true;
    renewal->barrier.done = sure;
    if (!node_barrier(renewal->node, &renewal->barrier))
        return;
    renewal->held = false;
    finish_renewal(renewal, ERR_LEASE_NOT_FOUND, 0);
}

static void all_applied(struct node_barrier *barrier)
{
    struct node_renewal *renewal =
        container_of(barrier, struct node_renewal, barrier);

    renewal->held = false;
    if (renewal->canceled)
        finish_renewal(renewal, ERR_CANCELED, 0);
    else if (barrier->err == ERR_TIMEOUT)
        finish_renewal(renewal, ERR_TIMEOUT_APPLIED, 0);
    else if (barrier->err < 0)
        finish_renewal(renewal, barrier->err, 0);
    else
        renew_here(renewal);
}

static void renew_applied(struct node_renewal *renewal)
{
    renewal->held = true;
    if (await_committed(renewal->node, &renewal->barrier, all_applied))
        return;
    renewal->held = false;
    renew_here(renewal);
}

void node_renew(struct node *node, struct node_renewal *renewal)
{
    renewal->node = node;
    renewal->forward = NULL;
    renewal->with_lessor = false;
    renewal->sure = false;
    renewal->held = false;
    renewal->canceled = false;
    if (node->role != RAFT_LEADER || !lessor_is_primary(node->lessor)) {
        not_primary(renewal);
        return;
    }
    if (node_in_doubt(node)) {
        renewal->barrier.done = barrier_passed;
        renewal->held = true;
        if (!node_barrier(node, &renewal->barrier))
            return;
        renewal->held = false;
    }
    renew_applied(renewal);
}

bool node_renew_cancel(struct node *node, struct node_renewal *renewal)
{
    if (renewal->held) {
        renewal->canceled = true;
        return false;
    }
    if (renewal->with_lessor)
        lessor_renew_cancel(node->lessor, renewal);
    if (renewal->forward) {
        node_forward_cancel(renewal->forward);
        node_forward_free(renewal->forward);
        renewal->forward = NULL;
    }
    return true;
}

/* ---- renewing by the leader ---- */

static struct node_renewal *end_forward(struct node_forward *forward)
{
    struct node_renewal *renewal = forward->arg;

    renewal->forward = NULL;
    node_forward_free(forward);
    return renewal;
}

static bool renew_local(struct node_forward *forward)
{
    struct node *node = forward->node;

    if (!lessor_is_primary(node->lessor))
        return false;
    renew_applied(end_forward(forward));
    return true;
}

static int read_alive(struct bytes body, int64_t id, int64_t *ttl_s)
{
    struct pb_reader r = pb_over(body);
    struct pb_field field;
    int64_t got = 0;
    int rc;

    *ttl_s = 0;
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.wire == PB_VARINT && field.number == ALIVE_ID)
            got = (int64_t)field.value;
        else if (field.wire == PB_VARINT && field.number == ALIVE_TTL)
            *ttl_s = (int64_t)field.value;
    }
    return rc == 0 && got == id ? 0 : ERR_MALFORMED;
}

static bool renewal_answered(struct node_forward *forward, unsigned status,
                             struct bytes body)
{
    struct node_renewal *renewal = forward->arg;
    int64_t ttl_s;

    if (status == 404)
        finish_renewal(end_forward(forward), ERR_LEASE_NOT_FOUND, 0);
    else if (status == 200 && read_alive(body, renewal->id, &ttl_s) == 0)
        finish_renewal(end_forward(forward), 0, ttl_s);
    else
        return false;
    return true;
}

static void renewal_failed(struct node_forward *forward, int err)
{
    finish_renewal(end_forward(forward), err, 0);
}

static void forward_renewal(struct node_renewal *renewal)
{
    struct node_forward *forward =
        node_forward_new(renewal->node, "POST", "/leases");
    uint8_t *at = buf_reserve(&forward->body, KEEP_ALIVE_MAX);
    uint8_t *end = pb_put_u64(at, KEEP_ALIVE_ID, (uint64_t)renewal->id);

    forward->body.len = (size_t)(end - at);
    forward->content_type = "application/protobuf";
    forward->answer_max = ALIVE_ANSWER_MAX;
    forward->arg = renewal;
    forward->local = renew_local;
    forward->answered = renewal_answered;
    forward->failed = renewal_failed;
    renewal->forward = forward;
    node_forward_start(forward);
}

/* ---- looking at one ---- */

static int look(const struct node *node, struct node_lease_query *query)
{
    struct lease_info info;
    int rc;

    if (!lessor_is_primary(node->lessor))
        return ERR_NOT_PRIMARY;
    rc = lessor_info(node->lessor, query->id, clock_mono_ns(), &info);
    if (rc < 0)
        return rc;
    query->ttl_s = info.remaining_ns / 1000000000;
    query->granted_s = info.granted_s;
    query->key_count = 0;
    return query->keys ? lessor_keys(node->lessor, query->id, query->arena,
                                     &query->key_list, &query->key_count)
                       : 0;
}

static void finish_query(struct node_lease_query *query, int err)
{
    query->err = err;
    query->done(query);
}

static void look_applied(struct node_barrier *barrier);

static void look_here(struct node_lease_query *query)
{
    int err = look(query->node, query);

    if (err == ERR_LEASE_NOT_FOUND && !query->sure) {
        query->sure = true;
        query->barrier.done = look_applied;
        if (!node_barrier(query->node, &query->barrier))
            return;
    }
    finish_query(query, err);
}

static void look_applied(struct node_barrier *barrier)
{
    struct node_lease_query *query =
        container_of(barrier, struct node_lease_query, barrier);

    if (barrier->err == ERR_TIMEOUT)
        finish_query(query, ERR_TIMEOUT_APPLIED);
    else if (barrier->err < 0)
        finish_query(query, barrier->err);
    else
        look_here(query);
}

void node_lease_info_here(struct node *node, struct node_lease_query *query)
{
    query->node = node;
    query->sure = false;
    query->barrier.done = look_applied;
    if (node_in_doubt(node)
            ? !node_barrier(node, &query->barrier)
            : await_committed(node, &query->barrier, look_applied))
        return;
    look_here(query);
}

static struct node_lease_query *end_query(struct node_forward *forward)
{
    struct node_lease_query *query = forward->arg;

    query->forward = NULL;
    node_forward_free(forward);
    return query;
}

static bool query_local(struct node_forward *forward)
{
    struct node *node = forward->node;

    if (!lessor_is_primary(node->lessor))
        return false;
    node_lease_info_here(node, end_query(forward));
    return true;
}

static int read_info(struct node_lease_query *query, struct bytes body)
{
    const Leasepb__LeaseInternalResponse *answer = (const void *)codec_unpack(
        &leasepb__lease_internal_response__descriptor, query->arena, body);
    const Etcdserverpb__LeaseTimeToLiveResponse *info =
        answer ? answer->leasetimetoliveresponse : NULL;

    if (!info || info->id != query->id)
        return ERR_MALFORMED;
    query->ttl_s = info->ttl;
    query->granted_s = info->grantedttl;
    query->key_count = info->n_keys;
    query->key_list =
        arena_alloc(query->arena, (info->n_keys + 1) * sizeof(struct bytes));
    for (size_t i = 0; i < info->n_keys; i++)
        query->key_list[i] = bytes_of(
            arena_dup(query->arena, info->keys[i].data, info->keys[i].len),
            info->keys[i].len);
    return 0;
}

static bool query_answered(struct node_forward *forward, unsigned status,
                           struct bytes body)
{
    struct node_lease_query *query = forward->arg;

    if (status == 404)
        finish_query(end_query(forward), ERR_LEASE_NOT_FOUND);
    else if (status == 200 && read_info(query, body) == 0)
        finish_query(end_query(forward), 0);
    else
        return false;
    return true;
}

static void query_failed(struct node_forward *forward, int err)
{
    finish_query(end_query(forward), err);
}

static void forward_query(struct node_lease_query *query)
{
    struct node_forward *forward =
        node_forward_new(query->node, "POST", "/leases/internal");
    Leasepb__LeaseInternalRequest request =
        LEASEPB__LEASE_INTERNAL_REQUEST__INIT;
    Etcdserverpb__LeaseTimeToLiveRequest inner =
        ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;

    inner.id = query->id;
    inner.keys = query->keys;
    request.leasetimetoliverequest = &inner;
    codec_pack(&forward->body, &request.base);
    forward->content_type = "application/protobuf";
    forward->answer_max = INFO_ANSWER_MAX;
    forward->arg = query;
    forward->local = query_local;
    forward->answered = query_answered;
    forward->failed = query_failed;
    query->forward = forward;
    node_forward_start(forward);
}

void node_lease_info(struct node *node, struct node_lease_query *query)
{
    query->node = node;
    query->forward = NULL;
    if (node->role == RAFT_LEADER && lessor_is_primary(node->lessor))
        node_lease_info_here(node, query);
    else
        forward_query(query);
}

/* ---- expiry ---- */

/* Never through another leader's log, who may have renewed them. */
static void revoke_lease(struct node *node, int64_t id)
{
    Etcdserverpb__LeaseRevokeRequest req =
        ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;

    req.id = id;
    metric_inc(node->metrics.expired);
    node_propose_own(node, APPLY_LEASE_REVOKE, &req.base, node->term);
}

/* True: there may be more. */
static bool write_checkpoints(struct node *node, uint64_t now_ns)
{
    struct lease_checkpoint due[CHECKPOINTS_MAX];
    Etcdserverpb__LeaseCheckpoint list[CHECKPOINTS_MAX];
    Etcdserverpb__LeaseCheckpoint *pointers[CHECKPOINTS_MAX];
    Etcdserverpb__LeaseCheckpointRequest req =
        ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    size_t n = lessor_checkpoints(node->lessor, now_ns, due, CHECKPOINTS_MAX);

    for (size_t i = 0; i < n; i++) {
        etcdserverpb__lease_checkpoint__init(&list[i]);
        list[i].id = due[i].id;
        list[i].remaining_ttl = due[i].remaining_s;
        pointers[i] = &list[i];
    }
    req.n_checkpoints = n;
    req.checkpoints = pointers;
    if (n > 0)
        node_propose_own(node, APPLY_LEASE_CHECKPOINT, &req.base, node->term);
    return n == CHECKPOINTS_MAX;
}

void node_revoke_expired(struct node *node, uint64_t now_ns)
{
    int64_t ids[EXPIRY_MAX];
    size_t n;

    if (now_ns - node->last_expiry_ns < EXPIRY_EVERY_NS)
        return;
    node->last_expiry_ns = now_ns;
    n = lessor_expired(node->lessor, now_ns, ids, EXPIRY_MAX);
    for (size_t i = 0; i < n; i++)
        revoke_lease(node, ids[i]);
    for (int i = 0; i < CHECKPOINT_REQUESTS; i++)
        if (!write_checkpoints(node, now_ns))
            break;
}
