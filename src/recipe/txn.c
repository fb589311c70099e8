/* The transactions that recipes consist of, and what they come to. */
#include "chorad/base/pb.h"
#include "chorad/codec.h"
#include "chorad/recipe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void recipe_range(struct arena *arena, struct bytes name, struct bytes *prefix,
                  struct bytes *end)
{
    uint8_t *from = arena_alloc(arena, name.len + 1);
    uint8_t *to = arena_alloc(arena, name.len + 1);

    if (name.len > 0) {
        memcpy(from, name.data, name.len);
        memcpy(to, name.data, name.len);
    }
    from[name.len] = '/';
    to[name.len] = '/' + 1;
    *prefix = bytes_of(from, name.len + 1);
    *end = bytes_of(to, name.len + 1);
}

struct bytes recipe_key(struct arena *arena, struct bytes prefix, int64_t lease)
{
    uint64_t magnitude = lease < 0 ? 0 - (uint64_t)lease : (uint64_t)lease;
    char hex[24];
    int n = snprintf(hex, sizeof(hex), "%s%" PRIx64, lease < 0 ? "-" : "",
                     magnitude);
    uint8_t *key = arena_alloc(arena, prefix.len + (size_t)n);

    memcpy(key, prefix.data, prefix.len);
    memcpy(key + prefix.len, hex, (size_t)n);
    return bytes_of(key, prefix.len + (size_t)n);
}

/* ---- requests ---- */

static ProtobufCBinaryData binary(struct bytes b)
{
    return (ProtobufCBinaryData){b.len, (uint8_t *)(uintptr_t)b.data};
}

/* A transaction that does one thing if the key was created at `rev`, which is 0
 * where it isn't there, and up to one thing if not. */
struct choice {
    Etcdserverpb__TxnRequest txn;
    Etcdserverpb__Compare compare;
    Etcdserverpb__Compare *compares[1];
    Etcdserverpb__RequestOp then;
    Etcdserverpb__RequestOp *thens[1];
    Etcdserverpb__RequestOp otherwise;
    Etcdserverpb__RequestOp *otherwises[1];
};

static struct choice *choose(struct arena *arena, struct bytes key, int64_t rev)
{
    struct choice *c = arena_alloc(arena, sizeof(*c));

    etcdserverpb__txn_request__init(&c->txn);
    etcdserverpb__compare__init(&c->compare);
    etcdserverpb__request_op__init(&c->then);
    etcdserverpb__request_op__init(&c->otherwise);
    c->compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
    c->compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    c->compare.key = binary(key);
    c->compare.target_union_case =
        ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    c->compare.create_revision = rev;
    c->compares[0] = &c->compare;
    c->thens[0] = &c->then;
    c->otherwises[0] = &c->otherwise;
    c->txn.n_compare = 1;
    c->txn.compare = c->compares;
    c->txn.n_success = 1;
    c->txn.success = c->thens;
    c->txn.failure = c->otherwises;
    return c;
}

static void set_put(struct arena *arena, Etcdserverpb__RequestOp *op,
                    struct bytes key, struct bytes value, int64_t lease)
{
    Etcdserverpb__PutRequest *put = arena_alloc(arena, sizeof(*put));

    etcdserverpb__put_request__init(put);
    put->key = binary(key);
    put->value = binary(value);
    put->lease = lease;
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = put;
}

Etcdserverpb__TxnRequest *recipe_claim(struct arena *arena, struct bytes key,
                                       struct bytes value, int64_t lease)
{
    struct choice *c = choose(arena, key, 0);
    Etcdserverpb__RangeRequest *range = arena_alloc(arena, sizeof(*range));

    set_put(arena, &c->then, key, value, lease);
    etcdserverpb__range_request__init(range);
    range->key = binary(key);
    c->otherwise.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    c->otherwise.request_range = range;
    c->txn.n_failure = 1;
    return &c->txn;
}

Etcdserverpb__TxnRequest *recipe_change(struct arena *arena, struct bytes key,
                                        int64_t rev, struct bytes value,
                                        int64_t lease)
{
    struct choice *c = choose(arena, key, rev);

    set_put(arena, &c->then, key, value, lease);
    return &c->txn;
}

Etcdserverpb__TxnRequest *recipe_release(struct arena *arena, struct bytes key,
                                         int64_t rev)
{
    struct choice *c = choose(arena, key, rev);
    Etcdserverpb__DeleteRangeRequest *del = arena_alloc(arena, sizeof(*del));

    etcdserverpb__delete_range_request__init(del);
    del->key = binary(key);
    c->then.request_case =
        ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    c->then.request_delete_range = del;
    return &c->txn;
}

/* ---- answers ---- */

static const Mvccpb__KeyValue *only_kv(const Etcdserverpb__TxnResponse *txn)
{
    const Etcdserverpb__ResponseOp *op;

    if (txn->n_responses != 1)
        return NULL;
    op = txn->responses[0];
    if (op->response_case !=
            ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE ||
        op->response_range->n_kvs != 1)
        return NULL;
    return op->response_range->kvs[0];
}

int recipe_read_claim(struct arena *arena, struct bytes answer,
                      struct recipe_claimed *claimed)
{
    Etcdserverpb__TxnResponse *txn =
        (Etcdserverpb__TxnResponse *)(void *)codec_unpack(
            &etcdserverpb__txn_response__descriptor, arena, answer);
    const Mvccpb__KeyValue *kv;

    if (!txn || !txn->header)
        return ERR_MALFORMED;
    *claimed = (struct recipe_claimed){.header = txn->header,
                                       .created = txn->succeeded,
                                       .rev = txn->header->revision};
    if (txn->succeeded)
        return 0;
    kv = only_kv(txn);
    if (!kv)
        return ERR_MALFORMED;
    claimed->rev = kv->create_revision;
    claimed->value = bytes_of(kv->value.data, kv->value.len);
    return 0;
}

/* etcdserverpb.TxnResponse.succeeded (proto/rpc_kv.proto). */
enum { TXN_SUCCEEDED = 2 };

bool recipe_held(struct bytes answer)
{
    struct pb_reader reader = {answer.data, answer.data + answer.len};
    struct pb_field field;

    while (pb_next(&reader, &field) > 0)
        if (field.number == TXN_SUCCEEDED && field.wire == PB_VARINT)
            return field.value != 0;
    return false;
}
