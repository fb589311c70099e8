/* A connection that somebody has made to us: its requests, one at a time.
 *
 *   HEAD --request line and headers--> BODY --whole--> WAITING --> ANSWERING
 *    ^                                                                |  |
 *    `----------------------- the next request -----------------------'  |
 *                                                 nothing follows: LINGERING
 *
 * What comes behind a request is kept until that has been answered. */
#ifndef CHORAD_PEER_VISIT_H
#define CHORAD_PEER_VISIT_H

#include "download.h"
#include "peers.h"

#define VISIT_FROM_REMOVED "cannot process message from removed member"

/* A message that comes without a stream; etcd has no limit. */
#define VISIT_MESSAGE_MAX ((size_t)FRAME_MAX)
/* All that are on their way at a time; the same from those we don't know. */
#define VISIT_BODIES_MAX ((size_t)1 << 30)
#define VISIT_STRANGERS_MAX ((size_t)128 << 20)
/* Any other request's body: they carry an id or a revision. */
#define VISIT_BODY_MAX ((size_t)64 << 10)

enum visit_state {
    VISIT_HEAD,
    VISIT_BODY,
    VISIT_WAITING,
    VISIT_ANSWERING,
    VISIT_LINGERING,
};

/* What the request is for. */
enum visit_purpose {
    VISIT_ROUTE,
    VISIT_MESSAGE,
    VISIT_SNAPSHOT,
    VISIT_STREAM,
    VISIT_PROBING,
};

struct visit {
    struct peers *peers;
    struct visit *prev;
    struct visit *next;
    struct conn *conn;
    enum visit_state state;
    enum visit_purpose purpose;
    struct wire_reader reader;
    uint64_t begun_ms; /* when the request's first byte came */
    struct buf path;   /* decoded, without the query, ended by a zero */
    struct buf body;
    size_t body_max;
    size_t bodies_max;     /* of all visits together */
    size_t counted;        /* of peers->body_bytes */
    uint64_t sender;       /* who it says that it is; RAFT_NONE: it doesn't */
    struct outlet *outlet; /* VISIT_STREAM */
    struct download *download;
    const struct peers_route *route; /* NULL: there is none */
    struct peers_request *request;   /* being answered by its route */

    unsigned refused; /* the status, decided before the body was read */
    const char *refused_text;
    const char *allow; /* the method of a 405 */

    struct buf answer;
    bool keep_alive;
    struct buf rest; /* came behind the request */
    size_t lingered; /* bytes that nobody wanted */
    bool driving;
    bool visiting; /* counted as one of the sender's */
    bool closed;
    struct net_timer end; /* of one whose connection is a stream now */
};

/* ---- visit_check.c: what a request is for, and whether it may be --------- */

/* The head is there: sets the purpose and what goes with it, or `refused`. */
void visit_judge(struct visit *visit);

/* ---- visit.c ------------------------------------------------------------- */

/* Whether a line about what a visitor does may be logged: not more than some
 * in ten seconds, or whoever asks for it fills the log. */
bool visit_may_complain(struct visit *visit);
/* Ready for the next request. */
void visit_begin(struct visit *visit);
void visit_refuse(struct visit *visit, unsigned status, const char *text);
/* The answer, from any state in which the request is whole or refused. */
void visit_answer(struct visit *visit, unsigned status,
                  const char *content_type, struct bytes body);

/* The visit ends; its connection is the caller's. */
struct conn *visit_hand_over(struct visit *visit);

/* ---- visit_act.c: what is done when a request is whole ------------------- */

void visit_act(struct visit *visit);
/* The visit ends before its request has been answered. */
void visit_forget_request(struct visit *visit);
extern const struct download_events visit_download_events;

#endif
