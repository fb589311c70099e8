/* Inside of the index: groups of watchers with the same range. */
#ifndef CHORAD_WATCH_INDEX_H
#define CHORAD_WATCH_INDEX_H

#include "chorad/base/clock.h"
#include "chorad/watch.h"

/* All watchers of one range. Single keys are found by hash, ranges in a treap
 * ordered by (from, to), each node knowing the largest `to` below it. */
struct watch_group {
    struct watch_link *links;
    struct watch_group *hash_next; /* single keys */
    struct watch_group *left;      /* ranges */
    struct watch_group *right;
    const struct watch_group *farthest; /* with the largest end below here */
    uint64_t priority;
    uint32_t hash;
    uint32_t key_len;
    uint32_t end_len;
    bool to_end;     /* key and all above */
    uint8_t bytes[]; /* key, end */
};

struct watch_index {
    struct watch_group **keys;
    size_t n_buckets; /* a power of two */
    size_t n_keys;
    struct watch_group *root;
    struct prng prng;
    uint32_t seed;
};

static inline struct bytes group_key(const struct watch_group *g)
{
    return bytes_of(g->bytes, g->key_len);
}

static inline struct bytes group_end(const struct watch_group *g)
{
    return bytes_of(g->bytes + g->key_len, g->end_len);
}

/* treap.c: equal (key, end) is the same group. */
struct watch_group *treap_find(struct watch_group *root,
                               const struct watch_group *like);
struct watch_group *treap_insert(struct watch_group *root,
                                 struct watch_group *group);
struct watch_group *treap_remove(struct watch_group *root,
                                 const struct watch_group *group);
/* Calls for each range that holds the key. */
void treap_stab(const struct watch_group *root, struct bytes key,
                void (*visit)(void *arg, const struct watch_group *group),
                void *arg);

#endif
