/* Members compared with each other while they run, by the one that leads, and
 * before a start.
 *
 *   every corrupt-check-time:       hash -> ask all -> barrier -> hash -> judge
 *   every compact-hash-check-time:  stored hash -> ask all -> judge -.
 *                                        ^---- not all had it -------'
 *
 * Hashing is a worker's job. */
#include "corrupt.h"
#include "chorad/base/log.h"
#include "node.h"
#include "raft_internal.pb-c.h"
#include <inttypes.h>
#include <stdlib.h>

#define HASHES_MAX 10
#define ANSWER_MAX ((size_t)4096)
#define PATH "/members/hashkv"

struct corrupt_ask {
    struct corrupt_check *check;
    struct peers_call call;
};

struct corrupt_check {
    struct node *node;
    bool compacted; /* of stored hashes */
    struct node_work work;
    struct node_barrier barrier;
    int err;
    struct mvcc_hash before; /* what the others are compared with */
    struct mvcc_hash after;
    int64_t revision;

    struct mvcc_hash stored[HASHES_MAX]; /* oldest first */
    size_t n_stored;

    struct buf body;
    struct corrupt_ask *asks;
    struct corrupt_answer *answers;
    size_t n;
    size_t waiting;
};

static void end(struct corrupt_check *c)
{
    struct node *node = c->node;

    if (c->compacted)
        node->compact_check = NULL;
    else
        node->corrupt_check = NULL;
    buf_close(&c->body);
    free(c->asks);
    free(c->answers);
    free(c);
}

static bool goes_on(const struct corrupt_check *c)
{
    const struct node *node = c->node;

    return node->role == RAFT_LEADER && !node->stopping && !node->failed;
}

static void raise_alarm(struct node *node, uint64_t id)
{
    Etcdserverpb__AlarmRequest req = ETCDSERVERPB__ALARM_REQUEST__INIT;

    req.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    req.memberid = id;
    req.alarm = ETCDSERVERPB__ALARM_TYPE__CORRUPT;
    node_propose_own(node, APPLY_ALARM, &req.base, 0);
}

/* ---- asking the others ---- */

static void all_answered(struct corrupt_check *c);

static void answered(struct peers_call *call, int err, unsigned status,
                     struct bytes body)
{
    struct corrupt_ask *ask = container_of(call, struct corrupt_ask, call);
    struct corrupt_check *c = ask->check;
    struct corrupt_answer *answer = &c->answers[ask - c->asks];

    if (err < 0 || status != 200 || corrupt_read_answer(body, answer) < 0)
        log_warn("failed hash kv request",
                 LOG_HEX("local-member-id", c->node->member_id),
                 LOG_HEX("remote-peer-id", answer->id),
                 LOG_I64("requested-revision", c->before.hash_rev),
                 LOG_U64("status", err < 0 ? 0 : status),
                 LOG_STR("error", err < 0 ? err_text(err) : ""));
    if (--c->waiting == 0)
        all_answered(c);
}

static void ask_all(struct corrupt_check *c)
{
    struct node *node = c->node;
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);

    c->body.len = 0;
    corrupt_put_request(&c->body, c->before.hash_rev);
    c->asks = mem_realloc(c->asks, (n + 1) * sizeof(*c->asks));
    c->answers = mem_realloc(c->answers, (n + 1) * sizeof(*c->answers));
    c->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (m[i].id == node->member_id)
            continue;
        c->answers[c->n] = (struct corrupt_answer){.id = m[i].id};
        c->asks[c->n++] = (struct corrupt_ask){
            .check = c,
            .call = {.to = m[i].id,
                     .method = "GET",
                     .path = PATH,
                     .content_type = "application/json",
                     .body = bytes_of(c->body.data, c->body.len),
                     .answer_max = ANSWER_MAX,
                     .timeout_ms = node_request_timeout_ns(node) / 1000000,
                     .done = answered}};
    }
    c->waiting = c->n + 1;
    for (size_t i = 0; i < c->n; i++)
        peers_call(node->peers, &c->asks[i].call);
    if (--c->waiting == 0)
        all_answered(c);
}

/* ---- all that is stored ---- */

static void hash_before(struct node_work *work)
{
    struct corrupt_check *c = container_of(work, struct corrupt_check, work);

    c->err = mvcc_hash_kv(c->node->mvcc, 0, &c->before);
}

static void hash_after(struct node_work *work)
{
    struct corrupt_check *c = container_of(work, struct corrupt_check, work);

    c->err = mvcc_hash_kv(c->node->mvcc, 0, &c->after);
    c->revision = mvcc_revision(c->node->mvcc);
}

static void hashed_before(struct node_work *work)
{
    struct corrupt_check *c = container_of(work, struct corrupt_check, work);

    if (c->err < 0 || !goes_on(c))
        end(c);
    else
        ask_all(c);
}

static void hashed_after(struct node_work *work)
{
    struct corrupt_check *c = container_of(work, struct corrupt_check, work);
    struct node *node = c->node;
    uint64_t id;

    if (c->err < 0 || !goes_on(c)) {
        end(c);
        return;
    }
    if (corrupt_find(node->member_id, &c->before, &c->after, c->revision,
                     c->answers, c->n, &id)) {
        log_error("found hash mismatch between members",
                  LOG_HEX("member-id", id),
                  LOG_I64("revision", c->before.hash_rev),
                  LOG_I64("compact-revision", c->before.compact_rev),
                  LOG_U64("leader-hash", c->before.hash));
        raise_alarm(node, id);
    }
    log_info("finished peer corruption check",
             LOG_U64("number-of-peers-checked", c->n));
    end(c);
}

static void barrier_passed(struct node_barrier *barrier)
{
    struct corrupt_check *c =
        container_of(barrier, struct corrupt_check, barrier);

    if (barrier->err < 0 || !goes_on(c)) {
        end(c);
        return;
    }
    c->work.run = hash_after;
    c->work.done = hashed_after;
    node_work(c->node, &c->work);
}

static void start_full(struct node *node)
{
    struct corrupt_check *c = mem_zalloc(sizeof(*c));

    c->node = node;
    node->corrupt_check = c;
    c->work.run = hash_before;
    c->work.done = hashed_before;
    node_work(node, &c->work);
}

/* ---- what is stored with compactions ---- */

/* The newest that has not been compared yet. */
static void next_stored(struct corrupt_check *c)
{
    if (c->n_stored == 0 ||
        c->stored[c->n_stored - 1].hash_rev <= c->node->compact_checked_rev) {
        log_info("finished compaction hash check");
        end(c);
        return;
    }
    c->before = c->stored[--c->n_stored];
    ask_all(c);
}

static void judge_stored(struct corrupt_check *c)
{
    struct node *node = c->node;
    uint64_t *ids = mem_alloc((c->n + 1) * sizeof(*ids));
    size_t n;
    enum corrupt_verdict verdict =
        corrupt_compare(node->member_id, &c->before, c->answers, c->n, ids, &n);

    if (verdict == CORRUPT_ALL_EQUAL)
        node->compact_checked_rev = c->before.hash_rev;
    if (verdict == CORRUPT_ANY) {
        ids[0] = 0;
        n = 1;
    }
    for (size_t i = 0; i < n; i++) {
        log_error("Detected compaction hash mismatch",
                  LOG_HEX("member-id", ids[i]),
                  LOG_I64("leader-revision", c->before.hash_rev),
                  LOG_I64("leader-compact-revision", c->before.compact_rev),
                  LOG_U64("leader-hash", c->before.hash));
        raise_alarm(node, ids[i]);
    }
    free(ids);
    if (verdict == CORRUPT_UNDECIDED) {
        next_stored(c);
        return;
    }
    log_info("finished compaction hash check");
    end(c);
}

static void start_stored(struct node *node)
{
    struct corrupt_check *c = mem_zalloc(sizeof(*c));

    c->node = node;
    c->compacted = true;
    node->compact_check = c;
    c->n_stored = mvcc_hashes(node->mvcc, c->stored, HASHES_MAX);
    next_stored(c);
}

static void all_answered(struct corrupt_check *c)
{
    if (!goes_on(c)) {
        end(c);
    } else if (c->compacted) {
        judge_stored(c);
    } else {
        c->barrier.done = barrier_passed;
        c->barrier.err = 0;
        if (node_barrier(c->node, &c->barrier))
            barrier_passed(&c->barrier);
    }
}

/* ---- by the clock ---- */

static bool is_due(uint64_t *due_ns, uint64_t every_ns, uint64_t now_ns)
{
    bool due = *due_ns != 0 && *due_ns <= now_ns;

    if (*due_ns == 0 || due)
        *due_ns = now_ns + every_ns;
    return due;
}

void node_check_corruption(struct node *node, uint64_t now_ns)
{
    const struct node_config *config = &node->config;

    if (config->corrupt_check_ns > 0 &&
        is_due(&node->corrupt_due_ns, config->corrupt_check_ns, now_ns) &&
        node->role == RAFT_LEADER && !node->corrupt_check)
        start_full(node);
    if (config->compact_check_ns > 0 &&
        is_due(&node->compact_due_ns, config->compact_check_ns, now_ns) &&
        node->role == RAFT_LEADER && !node->compact_check)
        start_stored(node);
}

/* ---- before a start ---- */

static void ask_peer(const struct node *node,
                     const struct cluster_member *member, struct bytes request,
                     struct corrupt_answer *answer)
{
    uint64_t timeout_ms = node_request_timeout_ns(node) / 1000000;

    for (char **url = member->peer_urls; *url && !answer->known; url++) {
        struct buf body = {0};
        struct errmsg why = {""};
        unsigned status = 0;
        uint64_t id;
        int rc = peer_fetch(*url, PATH, request, timeout_ms, ANSWER_MAX,
                            &status, &id, &body, &why);

        if (rc < 0 || status != 200 || id != node->cluster_id ||
            corrupt_read_answer(bytes_of(body.data, body.len), answer) < 0)
            log_warn("cannot fetch hash from remote peer",
                     LOG_HEX("remote-peer-id", member->id),
                     LOG_STR("remote-peer-endpoint", *url),
                     LOG_U64("status", status), LOG_STR("error", why.text));
        buf_close(&body);
    }
}

int node_check_initially(struct node *node, struct errmsg *msg)
{
    struct mvcc_hash own;
    struct buf request = {0};
    size_t differing = 0;
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);
    int rc = mvcc_hash_kv(node->mvcc, 0, &own);

    if (rc < 0)
        return err_set(msg, rc, "hashing what is stored: %s", err_text(rc));
    log_info("starting initial corruption check",
             LOG_HEX("local-member-id", node->member_id));
    corrupt_put_request(&request, own.hash_rev);
    for (size_t i = 0; i < n; i++) {
        struct corrupt_answer answer = {.id = m[i].id};

        if (m[i].id == node->member_id)
            continue;
        ask_peer(node, &m[i], bytes_of(request.data, request.len), &answer);
        if (!corrupt_differs(&own, &answer))
            continue;
        log_warn("found different hash values from remote peer",
                 LOG_HEX("remote-peer-id", m[i].id),
                 LOG_I64("revision", own.hash_rev),
                 LOG_U64("local-member-hash", own.hash),
                 LOG_U64("remote-peer-hash", answer.hash.hash));
        differing++;
    }
    buf_close(&request);
    if (differing > 0)
        return err_set(msg, ERR_CORRUPT,
                       "%" PRIx64 " found data inconsistency with peers",
                       node->member_id);
    log_info("initial corruption checking passed; no corruption",
             LOG_HEX("local-member-id", node->member_id));
    return 0;
}
