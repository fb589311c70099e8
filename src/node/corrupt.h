/* Do all members store the same? Each one's hash of the keys at a revision is
 * asked for and judged as etcd does (source: its corruption checks). */
#ifndef CHORAD_NODE_CORRUPT_H
#define CHORAD_NODE_CORRUPT_H

#include "chorad/base/mem.h"
#include "chorad/mvcc.h"

/* What a member has answered. */
struct corrupt_answer {
    uint64_t id;
    bool known; /* else it didn't answer, or doesn't have that revision */
    int64_t revision;
    struct mvcc_hash hash;
};

/* ---- corrupt_judge.c: pure ---- */

/* The body of a request for the hash at a revision. */
void corrupt_put_request(struct buf *out, int64_t revision);
/* ERR_INVALID: it isn't one. */
int corrupt_read_answer(struct bytes body, struct corrupt_answer *answer);

/* Does the answer contradict the hash of the same revision? Hashes of members
 * that have been compacted differently can't be compared. */
bool corrupt_differs(const struct mvcc_hash *own,
                     const struct corrupt_answer *answer);

/* A leader's view: its hash before the others were asked, and its hash and
 * revision after a read barrier. True: `*id` is corrupt. */
bool corrupt_find(uint64_t self, const struct mvcc_hash *before,
                  const struct mvcc_hash *after, int64_t revision,
                  const struct corrupt_answer *answers, size_t n, uint64_t *id);

enum corrupt_verdict {
    CORRUPT_UNDECIDED, /* not all could be compared: an older one may do */
    CORRUPT_ALL_EQUAL,
    CORRUPT_SOME, /* those in `ids` */
    CORRUPT_ANY,  /* there is no majority to tell who */
};

/* The hashes stored with one compaction: `ids` has room for n + 1. */
enum corrupt_verdict corrupt_compare(uint64_t self, const struct mvcc_hash *own,
                                     const struct corrupt_answer *answers,
                                     size_t n, uint64_t *ids, size_t *n_ids);

#endif
