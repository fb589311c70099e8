/* Read requests that wait for the leader to prove it still leads. */
#ifndef RAFT_READONLY_H
#define RAFT_READONLY_H

#include "quorum.h"

struct read_request {
    struct raft_message message; /* its one entry carries the context */
    uint64_t index;              /* committed when the request came */
    struct votes acks;
};

/* Oldest first. Zeroed memory is empty. */
struct readonly {
    struct read_request *items;
    size_t count;
    size_t cap;
    /* Requests from before the first commit of the term. */
    struct raft_message *early;
    size_t early_count;
    size_t early_cap;
};

/* Takes over the message; one whose context is waiting already is closed. */
void readonly_add(struct readonly *ro, uint64_t index,
                  struct raft_message message);
/* Notes a member's word for the request; NULL if it isn't waiting. */
struct read_request *readonly_ack(struct readonly *ro, uint64_t id,
                                  const void *context, size_t len);
/* The context of the newest request; NULL if none waits. */
const struct raft_entry *readonly_last(const struct readonly *ro);
/* Takes the oldest `n` off. */
void readonly_drop(struct readonly *ro, size_t n);
/* Keeps a copy for later. */
void readonly_add_early(struct readonly *ro, const struct raft_message *m);
void readonly_clear(struct readonly *ro);
void readonly_close(struct readonly *ro);

#endif
