/* Requests that the server makes by itself in the course of a call: what the
 * Lock and Election services do for their callers.
 *
 * They go through the same checks as if the caller had sent them, and through
 * the log by service_proposal_start, which knows the call: its caller's
 * identity goes with it there. What a call learns without a request is the keys
 * of a prefix, from line_join (line.h), which asks whether the caller may. */
#ifndef CHORAD_SERVICES_INNER_H
#define CHORAD_SERVICES_INNER_H

#include "service.h"

/* One at a time; in the call's arena. */
struct inner {
    struct service_proposal proposal;
    /* On the shard, once for each request; `answer` is lent. */
    void (*then)(struct inner *inner, int err, struct bytes answer);
};

/* All of these may call `then` before they return. */
void inner_txn(struct inner *inner, struct rpc_call *call,
               const Etcdserverpb__TxnRequest *txn,
               void (*then)(struct inner *, int, struct bytes));
void inner_delete(struct inner *inner, struct rpc_call *call, struct bytes key,
                  void (*then)(struct inner *, int, struct bytes));
/* A lease for a call that has brought none. *lease is set at once. */
void inner_grant(struct inner *inner, struct rpc_call *call, int64_t *lease,
                 void (*then)(struct inner *, int, struct bytes));

/* The answer's header, in the call's arena; NULL: it can't be read. Good for
 * every kind of answer, since the header is always the first field. */
Etcdserverpb__ResponseHeader *inner_header(struct rpc_call *call,
                                           struct bytes answer);

/* Packs the message into the shard's scratch buffer and answers with it. */
void inner_reply(struct rpc_call *call, const ProtobufCMessage *message);

/* Fails the call, or ends its stream, as etcd does: whatever a request inside
 * has met reaches the client as Unknown, with the text that it has, but for
 * the end of the call itself, and of the server. */
void inner_fail(struct rpc_call *call, int err);

/* Why nobody waits for the call any more. */
int inner_end(const struct rpc_call *call);

#endif
