#include "apply.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include <stdlib.h>

struct apply *apply_new(const struct apply_config *config)
{
    struct apply *apply = mem_zalloc(sizeof(*apply));

    apply->config = *config;
    apply->header.cluster_id = config->cluster_id;
    apply->header.member_id = config->member_id;
    apply->slow = metric_counter(
        "etcd_server_slow_apply_total",
        "The total number of slow apply requests (likely overloaded from "
        "slow disk).",
        NULL, 0);
    return apply;
}

void apply_free(struct apply *apply)
{
    if (!apply)
        return;
    arena_close(&apply->arena);
    free(apply);
}

void apply_set_term(struct apply *apply, uint64_t term)
{
    apply->header.raft_term = term;
}

struct apply_header apply_header_now(const struct apply *apply)
{
    struct apply_header header = apply->header;

    header.revision = mvcc_revision(apply->config.mvcc);
    return header;
}

bool apply_within_quota(const struct apply *apply, uint64_t cost)
{
    return apply->config.quota_bytes == 0 ||
           store_size(apply->config.store).total + cost <
               apply->config.quota_bytes;
}

static bool refused_without_space(uint32_t kind, const void *req)
{
    return kind == APPLY_PUT || kind == APPLY_LEASE_GRANT ||
           (kind == APPLY_TXN && apply_txn_cost(req) > 0);
}

static bool refused_when_corrupt(uint32_t kind)
{
    return kind == APPLY_PUT || kind == APPLY_TXN ||
           kind == APPLY_DELETE_RANGE || kind == APPLY_COMPACTION ||
           kind == APPLY_LEASE_GRANT || kind == APPLY_LEASE_REVOKE;
}

/* Writes that need permission, or a look at the keys of a lease. The others are
 * root's or nobody's in particular. */
static int permitted(const struct apply_context *ctx, uint32_t kind,
                     const void *req)
{
    const struct apply_config *config = &ctx->apply->config;
    const Etcdserverpb__LeaseRevokeRequest *revoke = req;

    switch (kind) {
    case APPLY_PUT:
        return apply_permit_put(config->auth, config->lessor, &ctx->who, req);
    case APPLY_DELETE_RANGE:
        return apply_permit_delete(config->auth, &ctx->who, req);
    case APPLY_TXN:
        return apply_permit_txn(config->auth, config->lessor, &ctx->who, req);
    case APPLY_LEASE_REVOKE:
        return apply_permit_lease(config->auth, config->lessor, &ctx->who,
                                  revoke->id, true);
    default:
        return 0;
    }
}

static int dispatch(struct apply_context *ctx, uint32_t kind, const void *req)
{
    switch (kind) {
    case APPLY_PUT:
        return apply_put_request(ctx, req);
    case APPLY_DELETE_RANGE:
        return apply_delete_request(ctx, req);
    case APPLY_TXN:
        return apply_txn_request(ctx, req);
    case APPLY_COMPACTION:
        return apply_compaction(ctx, req);
    case APPLY_LEASE_GRANT:
        return apply_lease_grant(ctx, req);
    case APPLY_LEASE_REVOKE:
        return apply_lease_revoke(ctx, req);
    case APPLY_LEASE_CHECKPOINT:
        return apply_lease_checkpoint(ctx, req);
    case APPLY_ALARM:
        return apply_alarm(ctx, req);
    case APPLY_CLUSTER_VERSION:
        ctx->result->membership = true;
        return apply_cluster_version(ctx->apply, req);
    case APPLY_MEMBER_ATTR:
        ctx->result->membership = true;
        apply_member_attributes(ctx->apply, req);
        return 0;
    case APPLY_DOWNGRADE_INFO:
        apply_downgrade_info(ctx->apply, req);
        return 0;
    case APPLY_DOWNGRADE_TEST:
        return 0;
    default:
        return apply_auth(ctx, kind, req);
    }
}

static int carry_out(struct apply_context *ctx, uint32_t kind, const void *req)
{
    const struct apply_config *config = &ctx->apply->config;
    int rc = 0;

    if (alarms_active(config->alarms, ALARM_CORRUPT) &&
        refused_when_corrupt(kind))
        return ERR_CORRUPT_CLUSTER;
    if (alarms_active(config->alarms, ALARM_NOSPACE) &&
        refused_without_space(kind, req))
        return ERR_NO_SPACE;
    if (ctx->auth_on)
        rc = permitted(ctx, kind, req);
    return rc == 0 ? dispatch(ctx, kind, req) : rc;
}

/* What the disk gave back damaged can't be applied: that isn't an answer but
 * the end. Neither can what other members take and this one can't store, nor
 * what a newer cluster may say. */
static bool is_fatal(int rc)
{
    return rc == ERR_CORRUPT || rc == ERR_IO || rc == ERR_MALFORMED ||
           rc == ERR_NAME_TOO_LONG || rc == ERR_NOT_CAPABLE;
}

static int apply_request(struct apply_context *ctx,
                         const struct raft_entry *entry)
{
    struct apply *apply = ctx->apply;
    struct pb_field found;
    struct kind *kind;
    void *req;
    int rc = apply_find_request(entry, &found);

    if (rc < 0)
        return ERR_CORRUPT;
    if (found.number == APPLY_REQUEST_V2) {
        ctx->result->err = rc = apply_v2(apply, entry);
        return is_fatal(rc) ? rc : 0;
    }
    kind = found.number ? kind_of(found.number) : NULL;
    if (!kind) {
        ctx->result->err = ERR_UNSUPPORTED;
        return 0;
    }
    if (!ctx->wanted && apply_only_looks(found.number))
        return 0;
    req = kind_unpack(kind, &apply->arena, found.bytes);
    if (!req)
        return ERR_CORRUPT;
    if (ctx->auth_on) {
        apply_find_who(entry, &ctx->who);
        if (apply_needs_root(found.number))
            rc = auth_may_manage(apply->config.auth, &ctx->who);
    }
    if (rc == 0) {
        uint64_t start_ns = clock_mono_ns();

        rc = carry_out(ctx, found.number, req);
        kind_observe(apply, kind, entry->index, clock_mono_ns() - start_ns,
                     rc == 0);
    }
    ctx->result->err = rc;
    return is_fatal(rc) ? rc : 0;
}

int apply_entry(struct apply *apply, const struct raft_entry *entry,
                uint64_t now_ns, bool wanted,
                void (*compacted)(void *arg, int err), void *arg,
                struct apply_result *result)
{
    struct apply_context ctx;
    int rc = 0;

    /* Field by field: `who` is large, and most entries don't need it. */
    ctx.apply = apply;
    ctx.index = entry->index;
    ctx.wanted = wanted;
    ctx.auth_on = auth_enabled(apply->config.auth);
    ctx.compacted = compacted;
    ctx.arg = arg;
    ctx.result = result;
    apply->now_ns = now_ns;
    result->err = 0;
    result->over_quota = false;
    result->deferred = false;
    result->membership = false;
    /* A new leader's first entry is empty. */
    if (entry->len > 0)
        rc = apply_request(&ctx, entry);
    arena_reset(&apply->arena);
    if (rc < 0) {
        log_error("failed to apply an entry", LOG_U64("index", entry->index),
                  LOG_U64("term", entry->term), LOG_STR("error", err_text(rc)));
        return rc;
    }
    store_mark(apply->config.store, entry->index, entry->term);
    return 0;
}
