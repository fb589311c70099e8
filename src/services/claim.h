/* A claim to a name: what a Lock or a Campaign does until it has it.
 *
 *            lease given
 *   NEW ------------------> CLAIMING ---------------> WAITING --first--> won
 *     \--none--> GRANTING --^     \                   ^    \
 *                                  \--other value--> CHANGING    first after
 *                                                          \     others
 *                                                           v
 *                                                        CHECKING --> won
 *
 *   the client goes from WAITING or CHECKING --> RELEASING --> failed
 *   the key goes from WAITING or CHECKING, a request fails --> failed
 *
 * A call that the client has given up leaves no key that it has made. A server
 * that stops leaves the keys: with its lease a client finds its place again. */
#ifndef CHORAD_SERVICES_CLAIM_H
#define CHORAD_SERVICES_CLAIM_H

#include "inner.h"
#include "line.h"

struct claim;

struct claim_kind {
    /* The call fails so when its key goes while it waits. */
    int lost;
    /* A key that is there already gets the value. */
    bool change;
    /* Looks at the others before it puts its key: who may not leaves none. */
    bool looks_first;
    /* Answers the call. `header` is that of the answer by which it has won,
     * claim->header that of the answer to its first transaction. */
    void (*won)(struct claim *claim, Etcdserverpb__ResponseHeader *header);
};

enum claim_state {
    CLAIM_NEW,
    CLAIM_GRANTING,
    CLAIM_CLAIMING,
    CLAIM_CHANGING,
    CLAIM_WAITING,
    CLAIM_CHECKING,
    CLAIM_RELEASING,
};

/* In the call's arena; the call's state points to it. */
struct claim {
    struct rpc_call *call;
    const struct claim_kind *kind;
    enum claim_state state;
    bool stopping; /* the server */
    bool created;  /* the key, by this call */
    int err;       /* RELEASING: what the call fails with then */
    struct bytes name;
    struct bytes value;
    struct bytes prefix; /* of all claims to the name */
    struct bytes end;
    struct bytes key;
    int64_t lease;
    int64_t rev; /* of the key's creation */
    Etcdserverpb__ResponseHeader *header;
    struct inner inner;
    struct line_guest guest;
    struct node_barrier barrier;
    struct rpc_task back;
};

/* The bytes live as long as the call. */
void claim_open(struct rpc_call *call, const struct claim_kind *kind,
                struct bytes name, int64_t lease, struct bytes value);
/* A method's on_cancel and on_drain. */
void claim_cancel(struct rpc_call *call);
void claim_drain(struct rpc_call *call);

#endif
