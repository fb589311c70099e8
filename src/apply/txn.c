#include "apply.h"
#include "encode.h"
#include "view.h"
#include <string.h>

/* ---- compares ---------------------------------------------------------------
 */

struct compare {
    const Etcdserverpb__Compare *want;
    bool seen;
    bool holds;
};

static int compare_i64(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static bool verdict(const Etcdserverpb__Compare *want, int order)
{
    switch (want->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL:
        return order == 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL:
        return order != 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER:
        return order > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS:
        return order < 0;
    default:
        return true;
    }
}

/* The number to compare with; 0 where another member of the union is set. */
static int64_t wanted_number(const Etcdserverpb__Compare *want)
{
    static const struct {
        Etcdserverpb__Compare__CompareTarget target;
        Etcdserverpb__Compare__TargetUnionCase set;
    } match[] = {
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION,
         ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION},
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE,
         ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION},
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD,
         ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION},
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE,
         ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE},
    };

    for (size_t i = 0; i < sizeof(match) / sizeof(match[0]); i++)
        if (want->target == match[i].target &&
            want->target_union_case == match[i].set)
            return want->version; /* the union's members share their place */
    return 0;
}

static int order_of(const Etcdserverpb__Compare *want, const struct mvcc_kv *kv,
                    const struct mvcc_fields *fields)
{
    int64_t number = wanted_number(want);

    switch (want->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        return compare_i64(kv->version, number);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        return compare_i64(kv->create_rev, number);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        return compare_i64(kv->mod_rev, number);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        return compare_i64(fields->lease, number);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE: {
        struct bytes value = {NULL, 0};
        if (want->target_union_case ==
            ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE)
            value = view_bytes(want->value);
        return bytes_cmp(fields->value, value);
    }
    default:
        return 0;
    }
}

static int visit_compare(void *arg, const struct mvcc_kv *kv)
{
    struct compare *c = arg;
    struct mvcc_fields fields = {0};

    c->seen = true;
    if (kv->record.data && mvcc_decode(kv->record, &fields) < 0)
        return ERR_CORRUPT;
    c->holds = verdict(c->want, order_of(c->want, kv, &fields));
    return c->holds ? 0 : 1;
}

/* 1 or 0, or the error that reading has met: a branch must never be taken
 * because a record could not be read. */
static int compare_holds(const struct view *view,
                         const Etcdserverpb__Compare *want)
{
    bool by_value =
        want->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
    bool by_lease =
        want->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE;
    struct mvcc_range range = {
        .key = view_bytes(want->key),
        .end = view_bytes(want->range_end),
        .want = by_value || by_lease ? MVCC_RECORDS : MVCC_KEYS,
    };
    struct mvcc_range_result result;
    struct compare c = {.want = want};
    int rc = view->range(view->source, &range, visit_compare, &c, &result);

    if (rc < 0)
        return rc;
    if (c.seen)
        return c.holds;
    /* There is no way to name a missing value, so nothing compares with it. */
    if (by_value)
        return 0;
    return verdict(want, compare_i64(0, wanted_number(want)));
}

static void push_path(struct txn_paths *paths, struct arena *arena, bool taken)
{
    if (paths->len == paths->cap) {
        size_t cap = paths->cap ? paths->cap * 2 : 16;
        bool *fresh = arena_alloc(arena, cap * sizeof(bool));
        if (paths->len > 0)
            memcpy(fresh, paths->taken, paths->len * sizeof(bool));
        paths->taken = fresh;
        paths->cap = cap;
    }
    paths->taken[paths->len++] = taken;
}

static void branch(const Etcdserverpb__TxnRequest *req, bool taken,
                   Etcdserverpb__RequestOp ***ops, size_t *n)
{
    *ops = taken ? req->success : req->failure;
    *n = taken ? req->n_success : req->n_failure;
}

int txn_decide(const struct view *view, const Etcdserverpb__TxnRequest *req,
               struct arena *arena, struct txn_paths *paths)
{
    Etcdserverpb__RequestOp **ops;
    int holds = 1;
    int rc = 0;
    size_t n;

    for (size_t i = 0; i < req->n_compare && holds == 1; i++)
        holds = compare_holds(view, req->compare[i]);
    if (holds < 0)
        return holds;
    push_path(paths, arena, holds);
    branch(req, holds, &ops, &n);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (ops[i]->request_case ==
            ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            rc = txn_decide(view, ops[i]->request_txn, arena, paths);
    return rc;
}

/* ---- checks ---- */

int txn_precheck(const struct lessor *lessor, const struct view *view,
                 const Etcdserverpb__TxnRequest *req, struct txn_paths *paths,
                 int64_t rev, int64_t compacted, struct arena *arena)
{
    bool taken = paths->taken[paths->at++];
    Etcdserverpb__RequestOp **ops;
    int rc = 0;
    size_t n;

    branch(req, taken, &ops, &n);
    for (size_t i = 0; i < n && rc == 0; i++) {
        int64_t asked;

        switch (ops[i]->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            asked = ops[i]->request_range->revision;
            if (asked > rev)
                rc = ERR_FUTURE_REV;
            else if (asked != 0 && asked < compacted)
                rc = ERR_COMPACTED;
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            rc = put_check(lessor, view, ops[i]->request_put, arena, NULL);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            rc = txn_precheck(lessor, view, ops[i]->request_txn, paths, rev,
                              compacted, arena);
            break;
        default:
            break;
        }
    }
    return rc;
}

/* ---- execution ---- */

/* etcdserverpb.TxnResponse and ResponseOp (proto/rpc_kv.proto). */
enum { TXN_SUCCEEDED = 2, TXN_RESPONSES = 3 };
enum { OP_RANGE = 1, OP_PUT = 2, OP_DELETE = 3, OP_TXN = 4 };

static int execute_op(struct apply *apply, const struct view *view,
                      const Etcdserverpb__RequestOp *op,
                      struct txn_paths *paths, struct arena *arena,
                      struct buf *out)
{
    const struct apply_header bare = {0};
    size_t mark;
    int rc = 0;

    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        mark = encode_begin(out, OP_RANGE);
        rc = range_respond(view, op->request_range, bare, arena, out);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        mark = encode_begin(out, OP_PUT);
        rc = put_execute(apply, view, op->request_put, &bare, arena, out);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        mark = encode_begin(out, OP_DELETE);
        rc = delete_execute(apply, view, op->request_delete_range, &bare, out);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        mark = encode_begin(out, OP_TXN);
        rc =
            txn_execute(apply, view, op->request_txn, paths, &bare, arena, out);
        break;
    default:
        return 0;
    }
    if (rc == 0)
        encode_end(out, mark);
    return rc;
}

static int64_t view_revision(const struct view *view)
{
    static const uint8_t any[] = "k";
    struct mvcc_range range = {.key = {any, 1}, .want = MVCC_COUNT};
    struct mvcc_range_result result = {0};

    if (view->range(view->source, &range, NULL, NULL, &result) < 0)
        return 0;
    return result.rev;
}

/* The header of a nested answer carries no revision, the outermost one the
 * transaction's: it is known only when all is executed. */
int txn_execute(struct apply *apply, const struct view *view,
                const Etcdserverpb__TxnRequest *req, struct txn_paths *paths,
                const struct apply_header *header, struct arena *arena,
                struct buf *out)
{
    bool outermost = header->cluster_id != 0 || header->member_id != 0;
    bool taken = paths->taken[paths->at++];
    Etcdserverpb__RequestOp **ops;
    size_t start = out->len;
    size_t n;

    branch(req, taken, &ops, &n);
    if (!outermost)
        apply_put_header(out, header);
    encode_u64(out, TXN_SUCCEEDED, taken);
    for (size_t i = 0; i < n; i++) {
        size_t mark = encode_begin(out, TXN_RESPONSES);
        int rc = execute_op(apply, view, ops[i], paths, arena, out);
        if (rc < 0)
            return rc;
        encode_end(out, mark);
    }
    if (outermost) {
        struct apply_header full = *header;
        struct buf head = {0};
        full.revision = view_revision(view);
        apply_put_header(&head, &full);
        memcpy(encode_insert(out, start, head.len), head.data, head.len);
        buf_close(&head);
    }
    return 0;
}

int apply_txn_read(struct mvcc *mvcc, struct mvcc_reader *reader,
                   const Etcdserverpb__TxnRequest *req,
                   struct apply_header header, struct arena *arena,
                   struct buf *out)
{
    struct view_pinned pinned = {reader, mvcc_revision(mvcc)};
    struct view view = view_of_pinned(&pinned);
    struct txn_paths paths = {0};
    int rc;

    rc = txn_decide(&view, req, arena, &paths);
    if (rc == 0)
        rc = txn_precheck(NULL, &view, req, &paths, pinned.rev,
                          mvcc_compacted(mvcc), arena);
    paths.at = 0;
    if (rc == 0)
        rc = txn_execute(NULL, &view, req, &paths, &header, arena, out);
    return rc;
}
