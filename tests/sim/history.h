/* What clients saw, judged. Revisions are a total order of all writes, told by
 * the answers themselves, so there is nothing to search for: an order that
 * explains everything is given, and it is checked that it does.
 *
 * The truth is the row of all changes by revision, as watchers have it. Against
 * it: each answered write is there, once, at the revision it was answered with;
 * one without an answer at most once; nothing is there that nobody asked for.
 * Each read shows the keys as they were at the revision in its header. And
 * time: what began after something had ended comes behind it. Pure. */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_KEYS 16

/* One change of one key. Keys and values are numbers here; a value is written
 * by one request only. */
struct history_event {
    int64_t rev;
    unsigned key;
    uint64_t value; /* 0: deleted */
    int64_t create_rev;
    int64_t mod_rev;
    int64_t version;
    int64_t lease;
    uint64_t seen_ns; /* when somebody first had it */
};

enum history_kind {
    HISTORY_PUT,
    HISTORY_DELETE,
    HISTORY_PAIR, /* a transaction that puts two keys, the second `key2` */
    HISTORY_SWAP, /* one that puts if the key's mod_revision is `expect` */
    HISTORY_READ, /* of all keys at once */
    HISTORY_STALE_READ, /* the same, serializable: maybe of the past */
};

struct history_seen {
    uint64_t value; /* 0: not there */
    int64_t mod_rev;
    int64_t version;
};

struct history_op {
    enum history_kind kind;
    unsigned client;
    uint64_t start_ns;
    uint64_t end_ns; /* 0: no answer */
    unsigned key;
    unsigned key2;
    uint64_t value; /* also of the pair's second key */
    int64_t lease;
    int64_t expect;
    /* The answer. */
    bool refused; /* nothing was done */
    int64_t rev;  /* in the header */
    bool done;    /* SWAP: it was put; DELETE: there was a key */
    struct history_seen seen[HISTORY_KEYS];
};

/* A lease's promises, and its end. */
struct history_lease {
    int64_t id;
    uint64_t granted_ns; /* the request's beginning; 0: not answered */
    uint64_t revoked_ns; /* a client asked for its end; 0: no */
    uint64_t gone_ns;    /* and was told that this is done; 0: no */
};

struct history_renewal {
    int64_t id;
    uint64_t start_ns;
    uint64_t end_ns;
    int64_t ttl_s;
    bool found; /* else: "no such lease" */
};

struct history {
    const struct history_event *events; /* by revision, none missing */
    size_t event_count;
    const struct history_op *ops;
    size_t op_count;
    const struct history_lease *leases;
    size_t lease_count;
    const struct history_renewal *renewals; /* a grant counts as one */
    size_t renewal_count;
};

/* NULL, or what is wrong, in a static buffer. */
const char *history_judge(const struct history *history);

#endif
