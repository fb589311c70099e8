/* Lists of messages and entries that own what is in them. */
#ifndef RAFT_TYPES_H
#define RAFT_TYPES_H

#include "chorad/raft.h"

/* Zeroed memory is an empty list. */
struct messages {
    struct raft_message *items;
    size_t count;
    size_t cap;
};

/* Takes over what the message owns. */
void messages_push(struct messages *list, const struct raft_message *message);
/* Closes the messages, keeps the memory of the list. */
void messages_clear(struct messages *list);
void messages_close(struct messages *list);

/* Answers to something: they need a known sender. */
bool message_is_response(enum raft_message_type type);

/* A malloc'ed array with a reference for each; NULL for none. */
struct raft_entry *entries_copy(const struct raft_entry *entries, size_t count);

#endif
