/* A set of key intervals: may a user do this to those keys? Pure.
 *
 * A red-black tree by begin and end in which each node knows the greatest end
 * at or below it (Cormen et al., Introduction to Algorithms, 13 and 14.3).
 *
 * Why a tree, and not the union as a sorted list: a client may ask for a range
 * that ends before it begins, and whether etcd lets it do so depends on the
 * shape of its tree. Members of one cluster have to decide alike, so the
 * insertion, the balancing and the search here are those that lead to the same
 * shape and the same visits. */
#ifndef CHORAD_AUTH_INTERVALS_H
#define CHORAD_AUTH_INTERVALS_H

#include "chorad/base/mem.h"

/* [begin, end); an empty end is behind all keys. Borrowed. */
struct interval {
    struct bytes begin;
    struct bytes end;
};

struct interval_node;

/* Zeroed memory is an empty set. */
struct intervals {
    struct interval_node *nodes; /* [0]: the leaf that all leaves are */
    uint32_t n;
    uint32_t cap;
    uint32_t root;
};

void intervals_close(struct intervals *set);

/* The bytes must live as long as the set. */
void intervals_add(struct intervals *set, struct interval interval);

/* Some interval of the set contains the key. */
bool intervals_hit(const struct intervals *set, struct bytes key);

/* The intervals of the set leave no gap in this one. */
bool intervals_cover(const struct intervals *set, struct interval interval);

#endif
