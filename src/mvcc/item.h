/* One key of the index: its revisions, in generations.
 *
 * A generation begins with a put on a key that isn't there and ends with a
 * tombstone. The newest revision stands in the item itself, which is all that
 * most keys have; older ones, while they are not compacted, in a history.
 * Only the oldest generation can have lost its beginning, to a compaction or
 * because the index was rebuilt after one. */
#ifndef CHORAD_MVCC_ITEM_H
#define CHORAD_MVCC_ITEM_H

#include "chorad/base/mem.h"
#include <stdbool.h>
#include <stdint.h>

struct history;

struct item {
    int64_t main; /* the newest revision */
    int64_t created;
    int64_t version;
    struct history *older; /* NULL: there is none */
    uint32_t sub;
    uint32_t key_len : 31;
    uint32_t tombstone : 1;
    uint8_t key[];
};

struct item_rev {
    int64_t main;
    int64_t created; /* 0 where a tombstone is all that is known */
    int64_t version;
    uint32_t sub;
    bool tombstone;
};

static inline struct bytes item_key(const struct item *item)
{
    return (struct bytes){item->key, item->key_len};
}

/* A key with one revision. The key's length is bounded by the request that
 * brought it. */
struct item *item_new(struct bytes key, const struct item_rev *rev);
void item_free(struct item *item);

/* Appends a revision, newer than all others: a put or, on a live key, a
 * tombstone. */
void item_put(struct item *item, int64_t main, uint32_t sub);
void item_bury(struct item *item, int64_t main, uint32_t sub);

/* The newest revision with main <= rev, be it a tombstone; false if there is
 * none. */
bool item_at(const struct item *item, int64_t rev, struct item_rev *out);

/* Whether the key is there at `rev`; fills `out` if so. */
static inline bool item_live_at(const struct item *item, int64_t rev,
                                struct item_rev *out)
{
    return item_at(item, rev, out) && !out->tombstone;
}

/* Whether the key is there at `rev` because the transaction of that revision
 * has put it after having deleted it. */
bool item_reborn_at(const struct item *item, int64_t rev);

/* Whether a compaction at `rev` keeps {main, sub}: the newest revision up to
 * rev, if it is live or a tombstone of exactly rev. */
bool item_keeps(const struct item *item, int64_t rev, int64_t main,
                uint32_t sub);

enum item_left {
    ITEM_GONE,  /* nothing is left: to be taken out of the index */
    ITEM_NEWER, /* only revisions above rev */
    ITEM_KEPT,  /* one revision up to rev, and all above */
};

/* Forgets what a compaction at `rev` doesn't keep. */
enum item_left item_compact(struct item *item, int64_t rev);

/* Bytes of memory, the allocator's overhead included. */
size_t item_memory(const struct item *item);

#endif
