/* The tail: the newest records, whose bytes the store holds in memory until
 * they are on disk. A ring in revision order. Not locked: the owner's lock
 * guards it. */
#ifndef CHORAD_MVCC_TAIL_H
#define CHORAD_MVCC_TAIL_H

#include "chorad/base/mem.h"
#include <stdbool.h>
#include <stdint.h>

struct tail_entry {
    int64_t main;
    uint32_t sub;
    bool tombstone;
    struct bytes record;
    uint64_t seq; /* the store operation that writes it */
};

/* Zeroed memory is a valid empty tail. */
struct tail {
    struct tail_entry *ring;
    size_t cap; /* a power of two, or 0 */
    size_t first;
    size_t len;
};

void tail_close(struct tail *tail);

static inline const struct tail_entry *tail_at(const struct tail *tail,
                                               size_t i)
{
    return &tail->ring[(tail->first + i) & (tail->cap - 1)];
}

/* Newer than all others. */
void tail_push(struct tail *tail, const struct tail_entry *entry);
/* Takes out what is on disk; false if that was nothing. */
bool tail_trim(struct tail *tail, uint64_t seq);

/* The place of the first entry >= {main, sub}. Every main revision between
 * two of the tail has an entry. */
size_t tail_search(const struct tail *tail, int64_t main, uint32_t sub);
/* NULL when it is older than the tail. */
const struct tail_entry *tail_find(const struct tail *tail, int64_t main,
                                   uint32_t sub);
/* The first main revision that is in the tail; INT64_MAX when it's empty. */
int64_t tail_first_main(const struct tail *tail);

#endif
