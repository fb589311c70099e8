#include "chorad/base/pb.h"
#include "chorad/codec.h"

/* Field numbers of etcdserverpb (proto/rpc_kv.proto). */
enum {
    TXN_SUCCESS = 2,
    TXN_FAILURE = 3,
    REQUEST_OP_TXN = 4,
};

static int txn_depth(struct bytes txn, int above);

static int op_depth(struct bytes op, int above)
{
    struct pb_reader r = {op.data, op.data + op.len};
    struct pb_field field;
    int deepest = above;
    int rc;

    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.number != REQUEST_OP_TXN || field.wire != PB_LEN)
            continue;
        int depth = txn_depth(field.bytes, above);
        if (depth < 0)
            return depth;
        if (depth > deepest)
            deepest = depth;
    }
    return rc < 0 ? rc : deepest;
}

/* Recursion is bounded by CODEC_TXN_DEPTH_MAX, each frame is small. */
static int txn_depth(struct bytes txn, int above)
{
    struct pb_reader r = {txn.data, txn.data + txn.len};
    struct pb_field field;
    int self = above + 1;
    int deepest = self;
    int rc;

    if (self >= CODEC_TXN_DEPTH_MAX)
        return ERR_TOO_MANY_OPS;
    while ((rc = pb_next(&r, &field)) > 0) {
        if ((field.number != TXN_SUCCESS && field.number != TXN_FAILURE) ||
            field.wire != PB_LEN)
            continue;
        int depth = op_depth(field.bytes, self);
        if (depth < 0)
            return depth;
        if (depth > deepest)
            deepest = depth;
    }
    return rc < 0 ? rc : deepest;
}

int codec_txn_depth(struct bytes txn)
{
    return txn_depth(txn, 0);
}
