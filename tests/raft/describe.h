/* Text for messages, entries and states, in the words of the scenario
 * files. */
#ifndef TESTS_RAFT_DESCRIBE_H
#define TESTS_RAFT_DESCRIBE_H

#include "chorad/raft.h"

/* All append to `out`; those with several lines end with a newline. */
void describe_hard_state(const struct raft_hard_state *hs, struct buf *out);
void describe_snapshot(const struct raft_snapshot *snapshot, struct buf *out);
void describe_entries(const struct raft_entry *entries, size_t count,
                      struct buf *out);
/* One message without a newline at its end. */
void describe_message(const char *indent, const struct raft_message *m,
                      struct buf *out);
/* An append as the message that the reference would have made of it. */
void describe_append(uint64_t id, const struct raft_append *append,
                     bool responses, struct buf *out);
/* The same for entries to be applied. */
void describe_apply(uint64_t id, const struct raft_entry *entries, size_t count,
                    bool response, struct buf *out);
/* The entries' message to report that they have been applied. */
struct raft_message apply_response(uint64_t id,
                                   const struct raft_entry *entries,
                                   size_t count);
void describe_update(uint64_t id, bool async, const struct raft_update *update,
                     struct buf *out);
/* Output of a command that failed. */
const char *describe_error(int rc);

#endif
