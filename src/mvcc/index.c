/* Searching and walking the tree. */
#include "index.h"

#include "chorad/base/check.h"
#include <endian.h>
#include <stdlib.h>
#include <string.h>

void index_init(struct index *index)
{
    struct index_leaf *leaf = mem_alloc(sizeof(*leaf));

    leaf->node = (struct index_node){.is_leaf = true};
    leaf->prev = NULL;
    leaf->next = NULL;
    *index = (struct index){.root = &leaf->node, .memory = sizeof(*leaf)};
}

static void close_node(struct index_node *node)
{
    if (node->is_leaf) {
        struct index_leaf *leaf = (void *)node;

        for (unsigned i = 0; i < node->len; i++)
            item_free(leaf->items[i]);
    } else {
        struct index_inner *inner = (void *)node;

        for (unsigned i = 0; i < node->len; i++) {
            close_node(inner->children[i]);
            if (i > 0)
                free(inner->seps[i - 1]);
        }
    }
    free(node);
}

void index_close(struct index *index)
{
    close_node(index->root);
    index->root = NULL;
}

uint32_t index_head(struct bytes key, size_t skip)
{
    uint32_t head = 0;

    if (key.len >= skip + 4) {
        memcpy(&head, key.data + skip, 4);
        return be32toh(head);
    }
    for (size_t i = 0; i < 4; i++)
        head = head << 8 | (skip + i < key.len ? key.data[skip + i] : 0);
    return head;
}

/* How many heads are below `head`; the list is short, so no branch is worth
 * a misprediction. */
static unsigned count_below(const uint32_t *heads, unsigned len, uint32_t head)
{
    const uint32_t *base = heads;

    if (len == 0)
        return 0;
    while (len > 1) {
        unsigned half = len / 2;

        base += base[half - 1] < head ? half : 0;
        len -= half;
    }
    return (unsigned)(base - heads) + (*base < head);
}

static struct bytes sep_key(const struct index_sep *sep)
{
    return bytes_of(sep->data, sep->len);
}

/* Asks for a node's heads at once, so that their cache misses overlap. */
static const struct index_node *fetch(const struct index_node *node)
{
    for (size_t at = 0; at < sizeof(struct index_leaf) / 3; at += 64)
        __builtin_prefetch((const char *)node + at);
    return node;
}

/* Compares what stands behind the shared bytes. */
static int cmp_from(struct bytes a, struct bytes b, size_t skip)
{
    return bytes_cmp(bytes_of(a.data + skip, a.len - skip),
                     bytes_of(b.data + skip, b.len - skip));
}

/* Among the keys whose head is the searched one's. */
struct run {
    unsigned lo;
    unsigned hi;
};

static struct run equal_run(const uint32_t *heads, unsigned len, uint32_t head)
{
    struct run run = {.lo = count_below(heads, len, head)};

    run.hi = run.lo;
    if (run.lo < len && heads[run.lo] == head)
        run.hi = head == UINT32_MAX ? len : count_below(heads, len, head + 1);
    return run;
}

unsigned index_search(const struct index_leaf *leaf, struct bytes key,
                      bool *found)
{
    size_t skip = leaf->node.skip;
    uint32_t head = index_head(key, skip);
    struct run run = equal_run(leaf->heads, leaf->node.len, head);

    *found = false;
    while (run.lo < run.hi) {
        unsigned mid = run.lo + (run.hi - run.lo) / 2;
        const struct item *item = leaf->items[mid];
        int cmp = cmp_from(key, item_key(item), skip);

        if (cmp == 0) {
            *found = true;
            return mid;
        }
        if (cmp > 0)
            run.lo = mid + 1;
        else
            run.hi = mid;
    }
    return run.lo;
}

/* The child that the key belongs to: as many as there are separators <= it. */
static unsigned child_of(const struct index_inner *inner, struct bytes key)
{
    size_t skip = inner->node.skip;
    uint32_t head = index_head(key, skip);
    struct run run = equal_run(inner->heads, inner->node.len - 1u, head);

    while (run.lo < run.hi) {
        unsigned mid = run.lo + (run.hi - run.lo) / 2;
        const struct index_sep *sep = inner->seps[mid];

        if (cmp_from(key, sep_key(sep), skip) >= 0)
            run.lo = mid + 1;
        else
            run.hi = mid;
    }
    return run.lo;
}

struct index_leaf *index_descend(const struct index *index, struct bytes key,
                                 struct index_path *path)
{
    struct index_node *node = index->root;

    path->depth = 0;
    path->lo[0] = NULL;
    path->hi[0] = NULL;
    while (!node->is_leaf) {
        struct index_inner *inner = (void *)node;
        unsigned at = child_of(inner, key);
        unsigned d = path->depth;

        CHECK(d < INDEX_DEPTH_MAX);
        path->inner[d] = inner;
        path->at[d] = at;
        path->lo[d + 1] = at > 0 ? inner->seps[at - 1] : path->lo[d];
        path->hi[d + 1] = at + 1u < node->len ? inner->seps[at] : path->hi[d];
        path->depth = d + 1;
        node = inner->children[at];
    }
    return (void *)node;
}

static const struct index_leaf *leaf_of(const struct index *index,
                                        struct bytes key)
{
    const struct index_node *node = index->root;

    while (!node->is_leaf) {
        const struct index_inner *inner = (const void *)node;

        node = fetch(inner->children[child_of(inner, key)]);
    }
    return (const void *)node;
}

struct item *index_find(const struct index *index, struct bytes key)
{
    const struct index_leaf *leaf = leaf_of(index, key);
    bool found;
    unsigned at = index_search(leaf, key, &found);

    return found ? leaf->items[at] : NULL;
}

/* How many of the leaf's keys are below the range's end. The end needn't
 * share the leaf's leading bytes, so whole keys are compared. */
static unsigned leaf_stop(const struct index_leaf *leaf, struct bytes end)
{
    unsigned lo = 0;
    unsigned hi = leaf->node.len;

    if (end.data == NULL || hi == 0 ||
        bytes_cmp(item_key(leaf->items[hi - 1]), end) < 0)
        return hi;
    hi--;
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (bytes_cmp(item_key(leaf->items[mid]), end) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void enter_leaf(struct index_cursor *cursor,
                       const struct index_leaf *leaf, unsigned at)
{
    if (leaf->next != NULL)
        __builtin_prefetch(leaf->next);
    cursor->leaf = leaf;
    cursor->at = at;
    cursor->stop = leaf_stop(leaf, cursor->end);
}

void index_seek(const struct index *index, struct bytes key, bool after,
                struct bytes end, struct index_cursor *cursor)
{
    const struct index_leaf *leaf = leaf_of(index, key);
    bool found;
    unsigned at = index_search(leaf, key, &found);

    cursor->end = end;
    enter_leaf(cursor, leaf, at + (found && after));
}

bool index_next_leaf(struct index_cursor *cursor)
{
    while (cursor->at >= cursor->stop) {
        if (cursor->stop < cursor->leaf->node.len || cursor->leaf->next == NULL)
            return false;
        enter_leaf(cursor, cursor->leaf->next, 0);
    }
    return true;
}

static size_t shared_len(const struct index_sep *a, const struct index_sep *b)
{
    size_t max = a->len < b->len ? a->len : b->len;
    size_t n = 0;

    while (n < max && a->data[n] == b->data[n])
        n++;
    return n;
}

void index_refence(struct index_node *node, const struct index_sep *lo,
                   const struct index_sep *hi)
{
    size_t skip = lo != NULL && hi != NULL ? shared_len(lo, hi) : 0;

    node->skip = (uint32_t)skip;
    if (node->is_leaf) {
        struct index_leaf *leaf = (void *)node;

        for (unsigned i = 0; i < node->len; i++)
            leaf->heads[i] = index_head(item_key(leaf->items[i]), skip);
    } else {
        struct index_inner *inner = (void *)node;

        for (unsigned i = 0; i + 1 < node->len; i++)
            inner->heads[i] = index_head(sep_key(inner->seps[i]), skip);
    }
}

size_t index_sep_size(const struct index_sep *sep)
{
    return sizeof(*sep) + sep->len;
}
