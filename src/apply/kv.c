#include "apply.h"
#include "encode.h"
#include <string.h>

/* etcdserverpb.PutResponse and DeleteRangeResponse (proto/rpc_kv.proto). */
enum { PUT_PREV_KV = 2, DELETE_DELETED = 2, DELETE_PREV_KVS = 3 };

int put_check(const struct lessor *lessor, const struct view *view,
              const Etcdserverpb__PutRequest *req, struct arena *arena,
              struct bytes *prev)
{
    struct bytes record = {NULL, 0};
    bool needs_key = req->ignore_value || req->ignore_lease;
    int rc;

    if (req->lease != 0 && lessor && !lessor_has(lessor, req->lease))
        return ERR_LEASE_NOT_FOUND;
    if (needs_key || (req->prev_kv && prev)) {
        rc = view_get(view, view_bytes(req->key), arena, &record);
        if (rc == ERR_NOTFOUND && needs_key)
            return ERR_KEY_NOT_FOUND;
        if (rc < 0 && rc != ERR_NOTFOUND)
            return rc;
    }
    if (prev)
        *prev = record;
    return 0;
}

/* The revision that changes of the transaction in progress have. */
static int64_t txn_revision(const struct apply *apply)
{
    return mvcc_revision(apply->config.mvcc) + 1;
}

/* Writes and keeps the lessor in step. */
static void put(struct apply *apply, struct bytes key, struct bytes value,
                int64_t lease)
{
    mvcc_txn_put(apply->config.mvcc, key, value, lease);
    lessor_attach(apply->config.lessor, lease, key);
}

static int put_with_prev(struct apply *apply,
                         const Etcdserverpb__PutRequest *req, struct bytes prev,
                         const struct apply_header *header, struct buf *out)
{
    struct bytes value = view_bytes(req->value);
    struct apply_header full = *header;
    int64_t lease = req->lease;

    if (req->ignore_value || req->ignore_lease) {
        struct mvcc_fields fields;
        int rc = mvcc_decode(prev, &fields);
        if (rc < 0)
            return rc;
        if (req->ignore_value)
            value = fields.value;
        if (req->ignore_lease)
            lease = fields.lease;
    }
    put(apply, view_bytes(req->key), value, lease);
    full.revision = txn_revision(apply);
    apply_put_header(out, &full);
    if (req->prev_kv && prev.data)
        encode_bytes(out, PUT_PREV_KV, prev);
    return 0;
}

int put_execute(struct apply *apply, const struct view *view,
                const Etcdserverpb__PutRequest *req,
                const struct apply_header *header, struct arena *arena,
                struct buf *out)
{
    struct bytes prev;
    int rc = put_check(NULL, view, req, arena, &prev);

    return rc < 0 ? rc : put_with_prev(apply, req, prev, header, out);
}

static int visit_prev(void *arg, const struct mvcc_kv *kv)
{
    encode_bytes(arg, DELETE_PREV_KVS, kv->record);
    return 0;
}

int delete_execute(struct apply *apply, const struct view *view,
                   const Etcdserverpb__DeleteRangeRequest *req,
                   const struct apply_header *header, struct buf *out)
{
    struct mvcc *mvcc = apply->config.mvcc;
    struct apply_header full = *header;
    struct mvcc_range range = {.key = view_bytes(req->key),
                               .end = view_bytes(req->range_end),
                               .want = MVCC_RECORDS};
    const struct mvcc_change *changes;
    struct mvcc_range_result result;
    size_t before;
    size_t after;
    size_t start = out->len;

    if (req->prev_kv) {
        int rc = view->range(view->source, &range, visit_prev, out, &result);
        if (rc < 0)
            return rc;
    }
    mvcc_txn_changes(mvcc, &before);
    int64_t deleted = mvcc_txn_delete(mvcc, range.key, range.end);
    changes = mvcc_txn_changes(mvcc, &after);
    for (size_t i = before; i < after; i++)
        lessor_attach(apply->config.lessor, 0, changes[i].key);

    struct buf head = {0};
    full.revision = mvcc_revision(mvcc) + (after > 0 ? 1 : 0);
    apply_put_header(&head, &full);
    encode_u64(&head, DELETE_DELETED, (uint64_t)deleted);
    memcpy(encode_insert(out, start, head.len), head.data, head.len);
    buf_close(&head);
    return 0;
}

int64_t apply_commit(struct apply *apply)
{
    const struct apply_config *config = &apply->config;
    const struct mvcc_change *changes;
    size_t n;

    int64_t rev = mvcc_txn_end(config->mvcc);
    changes = mvcc_txn_changes(config->mvcc, &n);
    if (n > 0 && config->changed)
        config->changed(config->arg, rev, changes, n);
    return rev;
}

/* The request that crosses the quota is carried out, but its answer says that
 * there is no space: what is in the log can't be refused any more. */
static int after_write(struct apply_context *ctx, uint64_t cost)
{
    if (cost == 0 || apply_within_quota(ctx->apply, cost))
        return 0;
    ctx->result->over_quota = true;
    return ERR_NO_SPACE;
}

int apply_put_request(struct apply_context *ctx,
                      const Etcdserverpb__PutRequest *req)
{
    struct apply *apply = ctx->apply;
    struct view view = view_of_txn(apply->config.mvcc);
    struct bytes prev;
    int quota;
    int rc;

    quota = after_write(ctx, apply_put_cost(req));
    mvcc_txn_begin(apply->config.mvcc);
    rc = put_check(apply->config.lessor, &view, req, &apply->arena, &prev);
    if (rc == 0)
        rc =
            put_with_prev(apply, req, prev, &apply->header, &ctx->result->body);
    apply_commit(apply);
    return rc < 0 ? rc : quota;
}

int apply_delete_request(struct apply_context *ctx,
                         const Etcdserverpb__DeleteRangeRequest *req)
{
    struct apply *apply = ctx->apply;
    struct view view = view_of_txn(apply->config.mvcc);
    int rc;

    mvcc_txn_begin(apply->config.mvcc);
    rc = delete_execute(apply, &view, req, &apply->header, &ctx->result->body);
    apply_commit(apply);
    return rc;
}

int apply_txn_request(struct apply_context *ctx,
                      const Etcdserverpb__TxnRequest *req)
{
    struct apply *apply = ctx->apply;
    struct mvcc *mvcc = apply->config.mvcc;
    struct view view = view_of_txn(mvcc);
    struct txn_paths paths = {0};
    int quota;
    int rc;

    quota = after_write(ctx, apply_txn_cost(req));
    mvcc_txn_begin(mvcc);
    rc = txn_decide(&view, req, &apply->arena, &paths);
    if (rc == 0)
        rc = txn_precheck(apply->config.lessor, &view, req, &paths,
                          mvcc_revision(mvcc), mvcc_compacted(mvcc),
                          &apply->arena);
    paths.at = 0;
    if (rc == 0)
        rc = txn_execute(apply, &view, req, &paths, &apply->header,
                         &apply->arena, &ctx->result->body);
    apply_commit(apply);
    return rc < 0 ? rc : quota;
}

int apply_compaction(struct apply_context *ctx,
                     const Etcdserverpb__CompactionRequest *req)
{
    bool wait = req->physical && ctx->compacted;
    struct apply_header header;
    int rc = mvcc_compact(ctx->apply->config.mvcc, req->revision,
                          wait ? ctx->compacted : NULL, ctx->arg);

    if (rc < 0)
        return rc;
    ctx->result->deferred = wait;
    header = apply_header_now(ctx->apply);
    apply_put_header(&ctx->result->body, &header);
    return 0;
}
