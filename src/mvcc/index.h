/* The index: all keys in order, a B+tree of pointers to items.
 *
 * A node remembers how many leading bytes all keys that belong into it share
 * (known from the separators around it) and keeps the four bytes after that
 * next to each pointer, so that a search mostly touches no item but the one
 * it finds. Inner nodes own shortened copies of keys as separators; items can
 * go away under them. Not locked: the owner's lock guards it. */
#ifndef CHORAD_MVCC_INDEX_H
#define CHORAD_MVCC_INDEX_H

#include "item.h"

#define INDEX_FANOUT 64
#define INDEX_AHEAD 8 /* how far a walk fetches items ahead */

struct index_node {
    uint32_t skip; /* shared leading bytes */
    uint16_t len;  /* items, or children */
    bool is_leaf;
};

struct index_leaf {
    struct index_node node;
    struct index_leaf *prev;
    struct index_leaf *next;
    uint32_t heads[INDEX_FANOUT];
    struct item *items[INDEX_FANOUT];
};

struct index {
    struct index_node *root; /* never NULL after index_init */
    size_t len;
    size_t memory; /* of nodes and separators; items are summed by the owner */
};

void index_init(struct index *index);
/* Frees the items too. */
void index_close(struct index *index);

struct item *index_find(const struct index *index, struct bytes key);
/* Takes the item over; its key must not be there. */
void index_insert(struct index *index, struct item *item);
/* Frees the item of that key, which must be there. */
void index_remove(struct index *index, struct bytes key);

/* Walks keys in order. Valid until the tree is changed. */
struct index_cursor {
    const struct index_leaf *leaf;
    unsigned at;
    unsigned stop;    /* the range's end within the leaf */
    struct bytes end; /* data NULL: no end */
};

/* To the first key >= `key`, or > `key` when `after`. Up to, not including,
 * `end`; all when end.data is NULL. */
void index_seek(const struct index *index, struct bytes key, bool after,
                struct bytes end, struct index_cursor *cursor);

/* Moves on to the next leaf; false at the end. */
bool index_next_leaf(struct index_cursor *cursor);

/* The next item, or NULL at the end. */
static inline struct item *index_next(struct index_cursor *cursor)
{
    if (cursor->at >= cursor->stop && !index_next_leaf(cursor))
        return NULL;
    if (cursor->at + INDEX_AHEAD < cursor->stop)
        __builtin_prefetch(cursor->leaf->items[cursor->at + INDEX_AHEAD]);
    return cursor->leaf->items[cursor->at++];
}

/* ---- for the index's own files ---------------------------------------- */

struct index_sep {
    uint32_t len;
    uint8_t data[];
};

struct index_inner {
    struct index_node node;
    uint32_t heads[INDEX_FANOUT - 1]; /* of the separators */
    struct index_sep *seps[INDEX_FANOUT - 1];
    struct index_node *children[INDEX_FANOUT];
};

#define INDEX_DEPTH_MAX 16

/* The way down to a leaf. */
struct index_path {
    struct index_inner *inner[INDEX_DEPTH_MAX];
    unsigned at[INDEX_DEPTH_MAX];                    /* which child */
    const struct index_sep *lo[INDEX_DEPTH_MAX + 1]; /* separators around the */
    const struct index_sep *hi[INDEX_DEPTH_MAX + 1]; /* node; NULL: none */
    unsigned depth;
};

struct index_leaf *index_descend(const struct index *index, struct bytes key,
                                 struct index_path *path);
/* Where the key is or would be. */
unsigned index_search(const struct index_leaf *leaf, struct bytes key,
                      bool *found);
/* The four bytes after `skip`, as a number that sorts like them: two keys
 * with different heads are in the heads' order. */
uint32_t index_head(struct bytes key, size_t skip);
/* Sets the node's skip for these separators around it, and its heads. */
void index_refence(struct index_node *node, const struct index_sep *lo,
                   const struct index_sep *hi);
size_t index_sep_size(const struct index_sep *sep);

#endif
