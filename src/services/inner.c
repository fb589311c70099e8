/* The requests inside a call. */
#include "inner.h"

#include "chorad/base/clock.h"
#include "chorad/base/pb.h"
#include "chorad/codec.h"

#include <grpc/status.h>

/* Of a lease that a lock or a candidature gets without asking; nobody keeps it
 * alive (source: etcd's defaultSessionTTL). */
#define SESSION_TTL_S 60

enum { ANSWER_HEADER = 1 };

static void came_back(struct service_proposal *proposal)
{
    struct inner *inner = container_of(proposal, struct inner, proposal);
    struct buf body = proposal->request.body;

    inner->then(inner, proposal->request.err, bytes_of(body.data, body.len));
    buf_close(&body);
}

static void begin(struct inner *inner, struct rpc_call *call,
                  void (*then)(struct inner *, int, struct bytes))
{
    inner->proposal.call = call;
    inner->then = then;
}

static void start(struct inner *inner, enum service_type type,
                  enum apply_kind kind, const ProtobufCMessage *message)
{
    struct service_proposal *proposal = &inner->proposal;
    uint8_t *out = arena_alloc(&proposal->call->arena,
                               protobuf_c_message_get_packed_size(message));

    proposal->type = type;
    proposal->start_ns = clock_mono_ns();
    proposal->done = came_back;
    service_proposal_start(
        proposal, kind, bytes_of(out, protobuf_c_message_pack(message, out)));
}

static void refuse(struct inner *inner, int err)
{
    inner->then(inner, err, bytes_of(NULL, 0));
}

static void alarm_is_up(struct service_proposal *proposal)
{
    buf_close(&proposal->request.body);
    refuse(container_of(proposal, struct inner, proposal), ERR_NO_SPACE);
}

static void refuse_full(struct inner *inner)
{
    inner->proposal.done = alarm_is_up;
    service_raise_full(&inner->proposal);
}

void inner_txn(struct inner *inner, struct rpc_call *call,
               const Etcdserverpb__TxnRequest *txn,
               void (*then)(struct inner *, int, struct bytes))
{
    int err;

    begin(inner, call, then);
    if (!service_has_room(call, apply_txn_cost(txn))) {
        refuse_full(inner);
        return;
    }
    err = apply_check_txn(txn, services_of(call)->config.max_txn_ops,
                          &call->arena);
    if (err != 0)
        refuse(inner, err);
    else
        start(inner, SERVICE_TXN, APPLY_TXN, &txn->base);
}

void inner_delete(struct inner *inner, struct rpc_call *call, struct bytes key,
                  void (*then)(struct inner *, int, struct bytes))
{
    Etcdserverpb__DeleteRangeRequest req =
        ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    int err;

    begin(inner, call, then);
    req.key = (ProtobufCBinaryData){key.len, (uint8_t *)(uintptr_t)key.data};
    err = apply_check_delete(&req);
    if (err != 0)
        refuse(inner, err);
    else
        start(inner, SERVICE_DELETE_RANGE, APPLY_DELETE_RANGE, &req.base);
}

void inner_grant(struct inner *inner, struct rpc_call *call, int64_t *lease,
                 void (*then)(struct inner *, int, struct bytes))
{
    Etcdserverpb__LeaseGrantRequest req =
        ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;

    begin(inner, call, then);
    *lease = service_lease_id(call);
    req.id = *lease;
    req.ttl = SESSION_TTL_S;
    if (!service_has_room(call, APPLY_LEASE_COST))
        refuse_full(inner);
    else
        start(inner, SERVICE_LEASE_GRANT, APPLY_LEASE_GRANT, &req.base);
}

Etcdserverpb__ResponseHeader *inner_header(struct rpc_call *call,
                                           struct bytes answer)
{
    struct pb_reader reader = {answer.data, answer.data + answer.len};
    struct pb_field field;

    if (pb_next(&reader, &field) != 1 || field.number != ANSWER_HEADER ||
        field.wire != PB_LEN)
        return NULL;
    return (Etcdserverpb__ResponseHeader *)(void *)codec_unpack(
        &etcdserverpb__response_header__descriptor, &call->arena, field.bytes);
}

void inner_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct buf *out = rpc_scratch(call->shard);

    codec_pack(out, message);
    (void)service_reply_scratch(call, out);
}

void inner_fail(struct rpc_call *call, int err)
{
    if (err == ERR_CANCELED || err == ERR_DEADLINE || err == ERR_STOPPED)
        rpc_fail(call, err);
    else
        rpc_fail_text(call, GRPC_STATUS_UNKNOWN, err_text(err));
}

int inner_end(const struct rpc_call *call)
{
    return clock_mono_ns() >= call->deadline_ns ? ERR_DEADLINE : ERR_CANCELED;
}
