#include "view.h"
#include <stdlib.h>
#include <string.h>

int apply_check_range(const Etcdserverpb__RangeRequest *req)
{
    if (req->key.len == 0)
        return ERR_EMPTY_KEY;
    if (req->sort_order < ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE ||
        req->sort_order > ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND ||
        req->sort_target < ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY ||
        req->sort_target > ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE)
        return ERR_BAD_SORT;
    return 0;
}

int apply_check_put(const Etcdserverpb__PutRequest *req)
{
    if (req->key.len == 0)
        return ERR_EMPTY_KEY;
    if (req->ignore_value && req->value.len != 0)
        return ERR_VALUE_PROVIDED;
    if (req->ignore_lease && req->lease != 0)
        return ERR_LEASE_PROVIDED;
    return 0;
}

int apply_check_delete(const Etcdserverpb__DeleteRangeRequest *req)
{
    return req->key.len == 0 ? ERR_EMPTY_KEY : 0;
}

static int check_op(const Etcdserverpb__RequestOp *op, int64_t budget)
{
    /* Bytes that name the member but hold no message don't decode, so the
     * pointers are set where the case is. */
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return apply_check_range(op->request_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        return apply_check_put(op->request_put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return apply_check_delete(op->request_delete_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN: {
        const Etcdserverpb__TxnRequest *txn = op->request_txn;
        int64_t most = (int64_t)txn->n_compare;
        int rc = 0;

        if (most < (int64_t)txn->n_success)
            most = (int64_t)txn->n_success;
        if (most < (int64_t)txn->n_failure)
            most = (int64_t)txn->n_failure;
        if (most > budget)
            return ERR_TOO_MANY_OPS;
        for (size_t i = 0; i < txn->n_compare; i++)
            if (txn->compare[i]->key.len == 0)
                return ERR_EMPTY_KEY;
        for (size_t i = 0; i < txn->n_success && rc == 0; i++)
            rc = check_op(txn->success[i], budget - most);
        for (size_t i = 0; i < txn->n_failure && rc == 0; i++)
            rc = check_op(txn->failure[i], budget - most);
        return rc;
    }
    default:
        return ERR_KEY_NOT_FOUND;
    }
}

/* ---- keys that are written twice ------------------------------------------
 */

/* A put key or a deleted interval of one branch and all branches below it. */
struct put_key {
    struct bytes key;
};

struct interval {
    struct bytes from;
    struct bytes to;
};

struct writes {
    struct arena *arena;
    struct put_key *puts;
    size_t n_puts;
    size_t cap_puts;
    struct interval *deletes;
    size_t n_deletes;
    size_t cap_deletes;
};

static void *grow(struct arena *arena, void *old, size_t *cap, size_t item)
{
    size_t bigger = *cap ? *cap * 2 : 16;
    void *fresh = arena_alloc(arena, bigger * item);

    if (*cap)
        memcpy(fresh, old, *cap * item);
    *cap = bigger;
    return fresh;
}

static void add_put(struct writes *w, struct bytes key)
{
    if (w->n_puts == w->cap_puts)
        w->puts = grow(w->arena, w->puts, &w->cap_puts, sizeof(*w->puts));
    w->puts[w->n_puts++].key = key;
}

static void add_delete(struct writes *w, struct interval interval)
{
    if (w->n_deletes == w->cap_deletes)
        w->deletes =
            grow(w->arena, w->deletes, &w->cap_deletes, sizeof(*w->deletes));
    w->deletes[w->n_deletes++] = interval;
}

static struct interval interval_of(const Etcdserverpb__DeleteRangeRequest *req)
{
    return (struct interval){view_bytes(req->key), view_bytes(req->range_end)};
}

/* "\0" as the end is taken as it stands: a delete up to the end of the key
 * space conflicts with nothing, as in etcd. */
static bool contains(const struct interval *interval, struct bytes key)
{
    int c = bytes_cmp(key, interval->from);

    if (interval->to.len == 0)
        return c == 0;
    return c >= 0 && bytes_cmp(key, interval->to) < 0;
}

static int compare_put(const void *a, const void *b)
{
    return bytes_cmp(((const struct put_key *)a)->key,
                     ((const struct put_key *)b)->key);
}

static const struct put_key *find_put(const struct writes *w, struct bytes key)
{
    struct put_key probe = {key};

    return w->n_puts == 0 ? NULL
                          : bsearch(&probe, w->puts, w->n_puts,
                                    sizeof(*w->puts), compare_put);
}

/* The first put at the key or above it. */
static size_t lower_bound(const struct writes *w, struct bytes key)
{
    size_t from = 0;
    size_t to = w->n_puts;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (bytes_cmp(w->puts[middle].key, key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* A put of `a`, which are sorted, inside a delete of `b`. */
static bool puts_hit_deletes(const struct writes *a, const struct writes *b)
{
    for (size_t i = 0; i < b->n_deletes; i++) {
        size_t at = lower_bound(a, b->deletes[i].from);
        if (at < a->n_puts && contains(&b->deletes[i], a->puts[at].key))
            return true;
    }
    return false;
}

static int collect_writes(Etcdserverpb__RequestOp **ops, size_t n,
                          struct writes *out);

/* What one child transaction writes on either way. Its branches exclude each
 * other, so that they may put the same key. */
static int collect_child(const Etcdserverpb__TxnRequest *txn,
                         struct writes *out)
{
    struct writes other = {.arena = out->arena};
    int rc = collect_writes(txn->success, txn->n_success, out);

    if (rc < 0)
        return rc;
    rc = collect_writes(txn->failure, txn->n_failure, &other);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < other.n_puts; i++)
        if (!find_put(out, other.puts[i].key))
            add_put(out, other.puts[i].key);
    for (size_t i = 0; i < other.n_deletes; i++)
        add_delete(out, other.deletes[i]);
    if (out->n_puts > 0)
        qsort(out->puts, out->n_puts, sizeof(*out->puts), compare_put);
    return 0;
}

/* Adds a child to what the branch does elsewhere. */
static int merge_child(struct writes *all, const struct writes *child)
{
    for (size_t i = 0; i < child->n_puts; i++)
        if (find_put(all, child->puts[i].key))
            return ERR_DUPLICATE_KEY;
    /* A delete of this child over a put of an earlier one is allowed. */
    if (puts_hit_deletes(child, all))
        return ERR_DUPLICATE_KEY;
    for (size_t i = 0; i < child->n_puts; i++)
        add_put(all, child->puts[i].key);
    for (size_t i = 0; i < child->n_deletes; i++)
        add_delete(all, child->deletes[i]);
    if (child->n_puts > 0)
        qsort(all->puts, all->n_puts, sizeof(*all->puts), compare_put);
    return 0;
}

static int collect_children(Etcdserverpb__RequestOp **ops, size_t n,
                            struct writes *all)
{
    for (size_t i = 0; i < n; i++) {
        struct writes child = {.arena = all->arena};
        int rc;

        if (ops[i]->request_case !=
            ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            continue;
        rc = collect_child(ops[i]->request_txn, &child);
        if (rc == 0)
            rc = merge_child(all, &child);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* All that one branch writes, children included; puts sorted by key. */
static int collect_writes(Etcdserverpb__RequestOp **ops, size_t n,
                          struct writes *out)
{
    struct writes own = {.arena = out->arena};
    int rc;

    for (size_t i = 0; i < n; i++)
        if (ops[i]->request_case ==
            ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE)
            add_delete(out, interval_of(ops[i]->request_delete_range));
    rc = collect_children(ops, n, out);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        if (ops[i]->request_case ==
            ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            add_put(&own, view_bytes(ops[i]->request_put->key));
    if (own.n_puts == 0)
        return 0;
    qsort(own.puts, own.n_puts, sizeof(*own.puts), compare_put);
    for (size_t i = 1; i < own.n_puts; i++)
        if (bytes_cmp(own.puts[i - 1].key, own.puts[i].key) == 0)
            return ERR_DUPLICATE_KEY;
    return merge_child(out, &own);
}

int apply_check_txn(const Etcdserverpb__TxnRequest *req, uint32_t max_ops,
                    struct arena *arena)
{
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    struct writes success = {.arena = arena};
    struct writes failure = {.arena = arena};
    int rc;

    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    op.request_txn = (Etcdserverpb__TxnRequest *)req;
    rc = check_op(&op, max_ops);
    if (rc == 0)
        rc = collect_writes(req->success, req->n_success, &success);
    if (rc == 0)
        rc = collect_writes(req->failure, req->n_failure, &failure);
    return rc;
}

/* ---- what kind it is, and what it costs ------------------------------------
 */

static bool all_ranges(Etcdserverpb__RequestOp **ops, size_t n,
                       bool serializable)
{
    for (size_t i = 0; i < n; i++)
        if (ops[i]->request_case !=
                ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE ||
            (serializable && !ops[i]->request_range->serializable))
            return false;
    return true;
}

bool apply_txn_is_readonly(const Etcdserverpb__TxnRequest *req)
{
    return all_ranges(req->success, req->n_success, false) &&
           all_ranges(req->failure, req->n_failure, false);
}

bool apply_txn_is_serializable(const Etcdserverpb__TxnRequest *req)
{
    return all_ranges(req->success, req->n_success, true) &&
           all_ranges(req->failure, req->n_failure, true);
}

#define PUT_OVERHEAD 256

uint64_t apply_put_cost(const Etcdserverpb__PutRequest *req)
{
    return PUT_OVERHEAD + req->key.len + req->value.len;
}

static uint64_t ops_cost(Etcdserverpb__RequestOp **ops, size_t n)
{
    uint64_t cost = 0;

    for (size_t i = 0; i < n; i++) {
        if (ops[i]->request_case ==
            ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            cost += apply_put_cost(ops[i]->request_put);
        else if (ops[i]->request_case ==
                 ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            cost += apply_txn_cost(ops[i]->request_txn);
    }
    return cost;
}

uint64_t apply_txn_cost(const Etcdserverpb__TxnRequest *req)
{
    uint64_t success = ops_cost(req->success, req->n_success);
    uint64_t failure = ops_cost(req->failure, req->n_failure);

    return success > failure ? success : failure;
}
