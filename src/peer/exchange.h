/* One request and its answer, over connections that are kept for the next.
 *
 * A pool has the connections to one member. An exchange takes an idle one or
 * makes a new one; too many of them wait for each other. */
#ifndef CHORAD_PEER_EXCHANGE_H
#define CHORAD_PEER_EXCHANGE_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "net.h"
#include "urls.h"
#include "wire.h"

struct lane;

struct exchange {
    /* Set by the caller, lent until `done`. */
    const char *method;
    const char *path;
    const char *content_type;
    const char *authorization;
    struct bytes body;
    size_t answer_max;
    uint64_t timeout_ms;
    /* err: 0, ERR_DEADLINE, ERR_IO, ERR_TOOBIG, ERR_MALFORMED (an answer that
     * isn't HTTP), ERR_NOTFOUND (no URL to try), or what exchange_cancel or
     * pool_close were given. Comes later, never from inside exchange_start. */
    void (*done)(struct exchange *x, int err);

    /* The answer, valid during `done`. */
    unsigned status;
    uint64_t cluster_id; /* 0: it didn't say */
    struct bytes answer;
    char why[128];    /* with an error */
    uint64_t sent_ns; /* monotonic, when the request left */

    /* The pool's own. */
    struct pool *pool;
    struct lane *lane;
    struct exchange *next;
    struct net_timer timer;
    uint64_t until_ms;
    size_t tries;
    int failed;
};

struct pool {
    struct net *net;
    const struct wire_identity *self;
    struct urls *urls; /* whose turn it is changes with what can be reached */
    uint64_t dial_ms;
    uint64_t idle_ms;
    size_t lanes_max;
    struct lane *lanes;
    size_t lane_count;
    struct exchange *waiting;
    struct exchange **waiting_end;
    bool closed;
};

void pool_init(struct pool *pool, struct net *net,
               const struct wire_identity *self, struct urls *urls,
               uint64_t dial_ms, uint64_t idle_ms);
/* All exchanges end with `err`, from inside; new ones fail. */
void pool_close(struct pool *pool, int err);
/* The URLs have changed: idle connections aren't used again. */
void pool_forget(struct pool *pool);

void exchange_start(struct pool *pool, struct exchange *x);
/* `done` is called with `err`, from inside. */
void exchange_cancel(struct exchange *x, int err);

#endif
