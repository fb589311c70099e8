#include "encode.h"
#include "view.h"
#include <stdlib.h>

/* etcdserverpb.RangeResponse and mvccpb.KeyValue (proto/). */
enum { RESPONSE_HEADER = 1, RANGE_KVS = 2, RANGE_MORE = 3, RANGE_COUNT = 4 };
enum { KV_KEY = 1, KV_CREATE = 2, KV_MOD = 3, KV_VERSION = 4, KV_LEASE = 6 };
enum { HEADER_CLUSTER = 1, HEADER_MEMBER = 2, HEADER_REV = 3, HEADER_TERM = 4 };

void apply_put_header(struct buf *out, const struct apply_header *header)
{
    uint8_t *start = buf_reserve(out, 64);
    uint8_t *body = start + 2;
    uint8_t *p = body;

    p = pb_put_u64(p, HEADER_CLUSTER, header->cluster_id);
    p = pb_put_u64(p, HEADER_MEMBER, header->member_id);
    p = pb_put_u64(p, HEADER_REV, (uint64_t)header->revision);
    p = pb_put_u64(p, HEADER_TERM, header->raft_term);
    /* At most 4 * 11 bytes: the length takes one. */
    pb_put_len(start, RESPONSE_HEADER, (size_t)(p - body));
    out->len += (size_t)(p - start);
}

/* A key-value without its record: what the index knows. */
static void put_index_kv(struct buf *out, const struct mvcc_kv *kv,
                         int64_t lease)
{
    uint64_t create = (uint64_t)kv->create_rev;
    uint64_t mod = (uint64_t)kv->mod_rev;
    uint64_t version = (uint64_t)kv->version;
    size_t size = pb_bytes_size(KV_KEY, kv->key) +
                  pb_u64_size(KV_CREATE, create) + pb_u64_size(KV_MOD, mod) +
                  pb_u64_size(KV_VERSION, version) +
                  pb_u64_size(KV_LEASE, (uint64_t)lease);
    uint8_t *at = buf_reserve(out, size + 16);

    at = pb_put_len(at, RANGE_KVS, size);
    at = pb_put_bytes(at, KV_KEY, kv->key);
    at = pb_put_u64(at, KV_CREATE, create);
    at = pb_put_u64(at, KV_MOD, mod);
    at = pb_put_u64(at, KV_VERSION, version);
    at = pb_put_u64(at, KV_LEASE, (uint64_t)lease);
    out->len = (size_t)(at - out->data);
}

static void put_kv(struct buf *out, const struct mvcc_kv *kv)
{
    if (kv->record.data)
        encode_bytes(out, RANGE_KVS, kv->record);
    else
        put_index_kv(out, kv, 0);
}

static void put_tail(struct buf *out, bool more, int64_t count)
{
    encode_u64(out, RANGE_MORE, more);
    encode_u64(out, RANGE_COUNT, (uint64_t)count);
}

/* ---- in key order ----------------------------------------------------------
 */

struct emit {
    struct buf *out;
    struct apply_header header;
    struct mvcc_range_result result;
    bool started;
};

/* The revision is known when the first key comes. */
static void start(struct emit *emit)
{
    emit->header.revision = emit->result.rev;
    apply_put_header(emit->out, &emit->header);
    emit->started = true;
}

static int visit_emit(void *arg, const struct mvcc_kv *kv)
{
    struct emit *emit = arg;

    if (!emit->started)
        start(emit);
    put_kv(emit->out, kv);
    return 0;
}

static int respond_in_order(const struct view *view,
                            const Etcdserverpb__RangeRequest *req,
                            const struct mvcc_range *range,
                            struct apply_header header, struct buf *out)
{
    struct emit emit = {.out = out, .header = header};
    int rc = view->range(view->source, range, visit_emit, &emit, &emit.result);

    if (rc < 0)
        return rc;
    if (!emit.started)
        start(&emit);
    put_tail(out,
             !req->count_only && req->limit > 0 &&
                 emit.result.count > req->limit,
             emit.result.count);
    return 0;
}

/* ---- sorted or filtered -----------------------------------------------------
 */

struct sorted_kv {
    struct mvcc_kv kv;
    struct bytes value;
    int64_t lease;
    size_t position; /* in key order: decides ties */
};

struct collect {
    struct arena *arena;
    const Etcdserverpb__RangeRequest *req;
    struct sorted_kv *kvs;
    size_t len;
    size_t cap;
};

static bool has_filters(const Etcdserverpb__RangeRequest *req)
{
    return req->min_mod_revision != 0 || req->max_mod_revision != 0 ||
           req->min_create_revision != 0 || req->max_create_revision != 0;
}

static bool filtered_out(const Etcdserverpb__RangeRequest *req,
                         const struct mvcc_kv *kv)
{
    return (req->max_mod_revision != 0 &&
            kv->mod_rev > req->max_mod_revision) ||
           (req->min_mod_revision != 0 &&
            kv->mod_rev < req->min_mod_revision) ||
           (req->max_create_revision != 0 &&
            kv->create_rev > req->max_create_revision) ||
           (req->min_create_revision != 0 &&
            kv->create_rev < req->min_create_revision);
}

static int visit_collect(void *arg, const struct mvcc_kv *kv)
{
    struct collect *c = arg;
    struct sorted_kv *item;

    if (filtered_out(c->req, kv))
        return 0;
    if (c->len == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        c->kvs = mem_realloc(c->kvs, cap * sizeof(*c->kvs));
        c->cap = cap;
    }
    item = &c->kvs[c->len];
    *item = (struct sorted_kv){.kv = *kv, .position = c->len};
    item->kv.key =
        bytes_of(arena_dup(c->arena, kv->key.data, kv->key.len), kv->key.len);
    if (kv->record.data) {
        struct mvcc_fields fields;
        item->kv.record =
            bytes_of(arena_dup(c->arena, kv->record.data, kv->record.len),
                     kv->record.len);
        if (mvcc_decode(item->kv.record, &fields) < 0)
            return ERR_CORRUPT;
        item->value = fields.value;
        item->lease = fields.lease;
    }
    c->len++;
    return 0;
}

static int compare_i64(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_sorted(const void *pa, const void *pb, void *arg)
{
    const Etcdserverpb__RangeRequest *req = arg;
    const struct sorted_kv *a = pa;
    const struct sorted_kv *b = pb;
    int c = 0;

    switch (req->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
        c = compare_i64(a->kv.version, b->kv.version);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        c = compare_i64(a->kv.create_rev, b->kv.create_rev);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        c = compare_i64(a->kv.mod_rev, b->kv.mod_rev);
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
        c = bytes_cmp(a->value, b->value);
        break;
    default:
        c = compare_i64((int64_t)a->position, (int64_t)b->position);
        break;
    }
    if (req->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND)
        c = -c;
    return c != 0 ? c : compare_i64((int64_t)a->position, (int64_t)b->position);
}

static void put_sorted(struct buf *out, const Etcdserverpb__RangeRequest *req,
                       const struct sorted_kv *item)
{
    if (req->keys_only)
        put_index_kv(out, &item->kv, item->lease);
    else
        put_kv(out, &item->kv);
}

/* How many keys, in key order, are looked at to be sorted. Where a target is
 * named but no order, that is the limit and one more: etcd cuts before it
 * sorts then. */
static int64_t sort_window(const Etcdserverpb__RangeRequest *req)
{
    bool ordered =
        req->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE;

    if (ordered || has_filters(req) || req->limit <= 0)
        return 0;
    return req->limit < INT64_MAX ? req->limit + 1 : req->limit;
}

static int respond_sorted(const struct view *view,
                          const Etcdserverpb__RangeRequest *req,
                          struct mvcc_range *range, struct apply_header header,
                          struct arena *arena, struct buf *out)
{
    struct collect c = {.arena = arena, .req = req};
    struct mvcc_range_result result;
    int rc;

    range->limit = sort_window(req);
    rc = view->range(view->source, range, visit_collect, &c, &result);
    if (rc < 0)
        goto out;
    if (c.len > 1)
        qsort_r(c.kvs, c.len, sizeof(*c.kvs), compare_sorted, (void *)req);
    size_t n = c.len;
    bool more = req->limit > 0 && (uint64_t)req->limit < n;
    if (more)
        n = (size_t)req->limit;
    header.revision = result.rev;
    apply_put_header(out, &header);
    for (size_t i = 0; i < n; i++)
        put_sorted(out, req, &c.kvs[i]);
    put_tail(out, more, result.count);
out:
    free(c.kvs);
    return rc;
}

static bool in_key_order(const Etcdserverpb__RangeRequest *req)
{
    bool by_key =
        req->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY;

    if (has_filters(req))
        return false;
    /* Another target without an order means ascending. */
    return by_key &&
           req->sort_order != ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
}

static enum mvcc_want what_to_read(const Etcdserverpb__RangeRequest *req)
{
    bool by_value =
        req->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE;

    if (req->count_only)
        return MVCC_COUNT;
    return req->keys_only && !by_value ? MVCC_KEYS : MVCC_RECORDS;
}

int range_respond(const struct view *view,
                  const Etcdserverpb__RangeRequest *req,
                  struct apply_header header, struct arena *arena,
                  struct buf *out)
{
    struct mvcc_range range = {
        .key = view_bytes(req->key),
        .end = view_bytes(req->range_end),
        .rev = req->revision,
        .limit = req->limit,
        .want = what_to_read(req),
    };

    if (req->count_only || in_key_order(req))
        return respond_in_order(view, req, &range, header, out);
    return respond_sorted(view, req, &range, header, arena, out);
}

int apply_range(struct mvcc_reader *reader,
                const Etcdserverpb__RangeRequest *req,
                struct apply_header header, struct arena *arena,
                struct buf *out)
{
    struct view view = view_of_reader(reader);

    return range_respond(&view, req, header, arena, out);
}

/* ---- pieces of a stream ---- */

struct chunk_emit {
    struct buf *out;
    struct arena *arena;
    struct apply_chunk *chunk;
};

static int visit_chunk(void *arg, const struct mvcc_kv *kv)
{
    struct chunk_emit *emit = arg;

    put_kv(emit->out, kv);
    emit->chunk->sent++;
    if (emit->chunk->sent == emit->chunk->limit)
        emit->chunk->last_key = bytes_of(
            arena_dup(emit->arena, kv->key.data, kv->key.len), kv->key.len);
    return 0;
}

/* Each piece by itself: of a range that is one piece the answer is that of
 * apply_range, and no key is left out of a longer one. */
static int chunk_sorted(struct mvcc_reader *reader,
                        const Etcdserverpb__RangeRequest *req,
                        struct mvcc_range *range,
                        struct mvcc_range_result *result,
                        struct chunk_emit *emit)
{
    struct collect c = {.arena = emit->arena, .req = req};
    struct apply_chunk *chunk = emit->chunk;
    size_t limit = (size_t)chunk->limit;
    int rc;

    if (chunk->is_last && range->limit < INT64_MAX)
        range->limit++; /* cf. sort_window */
    rc = mvcc_range(reader, range, visit_collect, &c, result);
    if (rc < 0)
        goto out;
    if (c.len >= limit)
        chunk->last_key = c.kvs[limit - 1].kv.key;
    else
        limit = c.len;
    if (c.len > 1)
        qsort_r(c.kvs, c.len, sizeof(*c.kvs), compare_sorted, (void *)req);
    for (size_t i = 0; i < limit; i++)
        put_sorted(emit->out, req, &c.kvs[i]);
    chunk->sent = (int64_t)limit;
out:
    free(c.kvs);
    return rc;
}

int apply_range_chunk(struct mvcc_reader *reader,
                      const Etcdserverpb__RangeRequest *req, struct bytes from,
                      struct arena *arena, struct apply_chunk *chunk,
                      struct buf *out)
{
    struct mvcc_range range = {
        .key = from,
        .end = view_bytes(req->range_end),
        .rev = chunk->rev,
        .limit = chunk->limit,
        .want = what_to_read(req),
    };
    struct chunk_emit emit = {out, arena, chunk};
    struct mvcc_range_result result;
    int rc;

    chunk->sent = 0;
    rc = req->count_only || in_key_order(req)
             ? mvcc_range(reader, &range, visit_chunk, &emit, &result)
             : chunk_sorted(reader, req, &range, &result, &emit);
    if (rc < 0)
        return rc;
    chunk->current_rev = result.rev;
    if (chunk->rev <= 0)
        chunk->rev = result.rev;
    chunk->count = result.count;
    return 0;
}
