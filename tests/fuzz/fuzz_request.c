/* Bytes from a client, as the services take them: decoded and checked. The
 * first byte says as which message. */
#include "chorad/apply.h"
#include "chorad/base/check.h"
#include "chorad/base/pb.h"
#include "chorad/codec.h"
#include "rpc.pb-c.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every field, as all decoders of our own walk over them. */
static int walk(struct bytes in)
{
    struct pb_reader r = {in.data, in.data + in.len};
    struct pb_field field;
    const uint8_t *end = in.data + in.len;
    int rc;

    while ((rc = pb_next(&r, &field)) > 0) {
        CHECK(field.number > 0);
        if (field.wire == PB_LEN)
            CHECK(field.bytes.len == 0 ||
                  (field.bytes.data > in.data &&
                   field.bytes.data + field.bytes.len <= end));
    }
    return rc;
}

static bool same(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Both decoders read the same, unless the message has to be refused. (But for
 * a bool protobuf-c takes a field of any wire type.) */
static void hot_put(struct bytes in, const Etcdserverpb__PutRequest *want)
{
    Etcdserverpb__PutRequest got;

    if (apply_read_put(in, &got) < 0) {
        CHECK(walk(in) < 0);
        return;
    }
    (void)apply_check_put(&got);
    CHECK(apply_put_cost(&got) >= got.key.len);
    if (want) {
        CHECK(same(got.key, want->key) && same(got.value, want->value));
        CHECK(got.lease == want->lease);
    }
}

static void hot_range(struct bytes in, const Etcdserverpb__RangeRequest *want)
{
    Etcdserverpb__RangeRequest got;

    if (apply_read_range(in, &got) < 0) {
        CHECK(walk(in) < 0);
        return;
    }
    (void)apply_check_range(&got);
    if (want) {
        CHECK(same(got.key, want->key) && same(got.range_end, want->range_end));
        CHECK(got.limit == want->limit && got.revision == want->revision);
    }
}

static void txn(struct bytes in, struct arena *arena)
{
    int depth = codec_txn_depth(in);

    CHECK(depth < CODEC_TXN_DEPTH_MAX);
    if (depth < 0)
        return;
    Etcdserverpb__TxnRequest *req =
        (void *)codec_unpack(&etcdserverpb__txn_request__descriptor, arena, in);
    if (!req)
        return;
    int rc = apply_check_txn(req, 128, arena);
    CHECK(rc <= 0);
    if (apply_txn_is_serializable(req))
        CHECK(apply_txn_is_readonly(req));
    if (apply_txn_is_readonly(req))
        CHECK(apply_txn_cost(req) == 0);
    /* Of an operation that is given twice, the last one is kept. */
    struct buf packed = {0};
    codec_pack(&packed, &req->base);
    CHECK(codec_txn_depth(bytes_of(packed.data, packed.len)) <= depth);
    buf_close(&packed);
}

static const ProtobufCMessageDescriptor *const types[] = {
    &etcdserverpb__delete_range_request__descriptor,
    &etcdserverpb__compaction_request__descriptor,
    &etcdserverpb__hash_kvrequest__descriptor,
    &etcdserverpb__watch_request__descriptor,
    &etcdserverpb__lease_grant_request__descriptor,
    &etcdserverpb__lease_revoke_request__descriptor,
    &etcdserverpb__lease_keep_alive_request__descriptor,
    &etcdserverpb__lease_time_to_live_request__descriptor,
    &etcdserverpb__alarm_request__descriptor,
    &etcdserverpb__downgrade_request__descriptor,
    &etcdserverpb__member_list_request__descriptor,
    &etcdserverpb__member_add_request__descriptor,
    &etcdserverpb__put_request__descriptor,
    &etcdserverpb__range_request__descriptor,
};
#define TYPES (sizeof(types) / sizeof(types[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};

    if (size == 0)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    (void)walk(in);
    (void)codec_utf8_valid(in);
    if (data[0] % (TYPES + 1) == TYPES) {
        txn(in, &arena);
    } else {
        const ProtobufCMessageDescriptor *type = types[data[0] % (TYPES + 1)];
        ProtobufCMessage *message = codec_unpack(type, &arena, in);
        if (type == &etcdserverpb__put_request__descriptor)
            hot_put(in, (const Etcdserverpb__PutRequest *)message);
        if (type == &etcdserverpb__range_request__descriptor)
            hot_range(in, (const Etcdserverpb__RangeRequest *)message);
    }
    arena_close(&arena);
    return 0;
}
