/* Random Raft messages, for tests of what encodes them. */
#ifndef CHORAD_TEST_MESSAGE_RANDOM_H
#define CHORAD_TEST_MESSAGE_RANDOM_H

#include "chorad/base/clock.h"
#include "chorad/raft.h"

/* A number of a random size, 0 often. */
uint64_t random_number(struct prng *prng);
struct raft_entry random_entry(struct prng *prng, size_t len_max);
/* Any type, any fields; payloads of at most `len_max` bytes. The caller's. */
struct raft_message random_message(struct prng *prng, size_t len_max);
/* An append as a leader sends it: entries of one term, contiguous. */
struct raft_message random_append(struct prng *prng, uint64_t term,
                                  uint64_t index, size_t len_max);
void assert_message_equal(const struct raft_message *a,
                          const struct raft_message *b);

#endif
