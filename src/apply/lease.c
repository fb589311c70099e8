#include "apply.h"
#include "encode.h"

/* etcdserverpb.LeaseGrantResponse (proto/rpc_lease.proto). */
enum { GRANT_ID = 2, GRANT_TTL = 3 };

static void answer_header(struct apply_context *ctx)
{
    struct apply_header header = apply_header_now(ctx->apply);

    apply_put_header(&ctx->result->body, &header);
}

int apply_lease_grant(struct apply_context *ctx,
                      const Etcdserverpb__LeaseGrantRequest *req)
{
    struct apply *apply = ctx->apply;
    bool fits = apply_within_quota(apply, APPLY_LEASE_COST);
    int64_t granted;
    int rc = lessor_grant(apply->config.lessor, req->id, req->ttl,
                          apply->now_ns, &granted);

    if (rc < 0)
        return rc;
    if (!fits) {
        ctx->result->over_quota = true;
        return ERR_NO_SPACE;
    }
    answer_header(ctx);
    encode_u64(&ctx->result->body, GRANT_ID, (uint64_t)req->id);
    encode_u64(&ctx->result->body, GRANT_TTL, (uint64_t)granted);
    return 0;
}

int apply_lease_revoke(struct apply_context *ctx,
                       const Etcdserverpb__LeaseRevokeRequest *req)
{
    struct apply *apply = ctx->apply;
    struct bytes *keys;
    size_t n;
    int rc =
        lessor_keys(apply->config.lessor, req->id, &apply->arena, &keys, &n);

    if (rc < 0)
        return rc;
    mvcc_txn_begin(apply->config.mvcc);
    for (size_t i = 0; i < n; i++)
        mvcc_txn_delete(apply->config.mvcc, keys[i], bytes_of(NULL, 0));
    rc = lessor_revoke(apply->config.lessor, req->id);
    apply_commit(apply);
    answer_header(ctx);
    return rc;
}

/* Members before 3.6 don't keep them, so that all are equal (source: etcd's
 * shouldPersistCheckpoints). */
static bool persists_checkpoints(const struct apply *apply)
{
    const char *version = cluster_version(apply->config.cluster);
    struct cluster_semver v;

    return apply->config.checkpoint_persist ||
           (version && cluster_semver_read(version, &v) == 0 &&
            (v.major > 3 || (v.major == 3 && v.minor >= 6)));
}

int apply_lease_checkpoint(struct apply_context *ctx,
                           const Etcdserverpb__LeaseCheckpointRequest *req)
{
    bool persist = persists_checkpoints(ctx->apply);

    for (size_t i = 0; i < req->n_checkpoints; i++)
        lessor_checkpoint(ctx->apply->config.lessor, req->checkpoints[i]->id,
                          req->checkpoints[i]->remaining_ttl, persist,
                          ctx->apply->now_ns);
    answer_header(ctx);
    return 0;
}
