/* Changing the tree: a full node is split in two, a sparse one is merged with
 * its neighbour under the same parent. Nodes may get as small as they like,
 * even empty, while no neighbour has room. */
#include "index.h"

#include "chorad/base/check.h"
#include <stdlib.h>
#include <string.h>

#define SPARSE (INDEX_FANOUT / 4)
#define MERGED_MAX (INDEX_FANOUT * 3 / 4)

static void move_pointers(void *to, const void *from, size_t n)
{
    memmove(to, from, n * sizeof(void *));
}

/* The shortest key k with a < k <= b, for a < b. */
static struct index_sep *sep_between(const struct item *a, const struct item *b)
{
    size_t max = a->key_len < b->key_len ? a->key_len : b->key_len;
    size_t n = 0;
    struct index_sep *sep;

    while (n < max && a->key[n] == b->key[n])
        n++;
    CHECK(n < b->key_len);
    n++;
    sep = mem_alloc(sizeof(*sep) + n);
    sep->len = (uint32_t)n;
    memcpy(sep->data, b->key, n);
    return sep;
}

/* What a split hands up to the parent. */
struct split {
    struct index_sep *sep;
    struct index_node *right;
};

static struct split split_leaf(struct index *index, struct index_leaf *left,
                               struct item *item, unsigned at,
                               const struct index_sep *lo,
                               const struct index_sep *hi)
{
    struct item *all[INDEX_FANOUT + 1];
    unsigned n = INDEX_FANOUT + 1;
    /* Keys that come in ascending order leave full leaves behind. */
    unsigned mid = at == INDEX_FANOUT && left->next == NULL ? at : n / 2;
    struct index_leaf *right = mem_alloc(sizeof(*right));
    struct index_sep *sep;

    move_pointers(all, left->items, at);
    all[at] = item;
    move_pointers(all + at + 1, left->items + at, INDEX_FANOUT - at);

    right->node =
        (struct index_node){.is_leaf = true, .len = (uint16_t)(n - mid)};
    move_pointers(right->items, all + mid, n - mid);
    move_pointers(left->items, all, mid);
    left->node.len = (uint16_t)mid;
    right->next = left->next;
    right->prev = left;
    if (right->next != NULL)
        right->next->prev = right;
    left->next = right;

    sep = sep_between(all[mid - 1], all[mid]);
    index_refence(&left->node, lo, sep);
    index_refence(&right->node, sep, hi);
    index->memory += sizeof(*right) + index_sep_size(sep);
    return (struct split){sep, &right->node};
}

/* Puts a separator and the child right of it behind child `at`. */
static void inner_insert(struct index_inner *inner, unsigned at,
                         struct split split, const struct index_sep *lo,
                         const struct index_sep *hi)
{
    unsigned n = inner->node.len;

    move_pointers(inner->seps + at + 1, inner->seps + at, n - 1 - at);
    move_pointers(inner->children + at + 2, inner->children + at + 1,
                  n - 1 - at);
    inner->seps[at] = split.sep;
    inner->children[at + 1] = split.right;
    inner->node.len++;
    index_refence(&inner->node, lo, hi);
}

static struct split split_inner(struct index *index, struct index_inner *left,
                                unsigned at, struct split in,
                                const struct index_sep *lo,
                                const struct index_sep *hi)
{
    struct index_sep *seps[INDEX_FANOUT];
    struct index_node *children[INDEX_FANOUT + 1];
    unsigned n = INDEX_FANOUT + 1;
    bool last = at == INDEX_FANOUT - 1 && hi == NULL;
    unsigned mid = last ? n - 2 : n / 2; /* children that stay */
    struct index_inner *right = mem_alloc(sizeof(*right));

    move_pointers(seps, left->seps, at);
    seps[at] = in.sep;
    move_pointers(seps + at + 1, left->seps + at, n - 2 - at);
    move_pointers(children, left->children, at + 1);
    children[at + 1] = in.right;
    move_pointers(children + at + 2, left->children + at + 1, n - 2 - at);

    right->node = (struct index_node){.len = (uint16_t)(n - mid)};
    move_pointers(right->children, children + mid, n - mid);
    move_pointers(right->seps, seps + mid, n - mid - 1);
    left->node.len = (uint16_t)mid;
    move_pointers(left->children, children, mid);
    move_pointers(left->seps, seps, mid - 1);

    index_refence(&left->node, lo, seps[mid - 1]);
    index_refence(&right->node, seps[mid - 1], hi);
    index->memory += sizeof(*right);
    return (struct split){seps[mid - 1], &right->node};
}

/* Carries a split up the path as far as parents are full. */
static void hand_up(struct index *index, struct index_path *path,
                    struct split split)
{
    struct index_inner *root;

    for (unsigned d = path->depth; d-- > 0;) {
        struct index_inner *inner = path->inner[d];

        if (inner->node.len < INDEX_FANOUT) {
            inner_insert(inner, path->at[d], split, path->lo[d], path->hi[d]);
            return;
        }
        split = split_inner(index, inner, path->at[d], split, path->lo[d],
                            path->hi[d]);
    }
    root = mem_alloc(sizeof(*root));
    root->node = (struct index_node){.len = 2};
    root->children[0] = index->root;
    root->children[1] = split.right;
    root->seps[0] = split.sep;
    index_refence(&root->node, NULL, NULL);
    index->root = &root->node;
    index->memory += sizeof(*root);
}

static void leaf_insert(struct index_leaf *leaf, struct item *item, unsigned at)
{
    unsigned n = leaf->node.len;

    move_pointers(leaf->items + at + 1, leaf->items + at, n - at);
    memmove(leaf->heads + at + 1, leaf->heads + at,
            (n - at) * sizeof(leaf->heads[0]));
    leaf->items[at] = item;
    leaf->heads[at] = index_head(item_key(item), leaf->node.skip);
    leaf->node.len++;
}

void index_insert(struct index *index, struct item *item)
{
    struct index_path path;
    struct index_leaf *leaf = index_descend(index, item_key(item), &path);
    bool found;
    unsigned at = index_search(leaf, item_key(item), &found);

    CHECK(!found);
    index->len++;
    if (leaf->node.len < INDEX_FANOUT) {
        leaf_insert(leaf, item, at);
        return;
    }
    hand_up(index, &path,
            split_leaf(index, leaf, item, at, path.lo[path.depth],
                       path.hi[path.depth]));
}

/* Takes the right one of two leaves into the left. */
static void merge_leaves(struct index *index, struct index_leaf *left,
                         struct index_leaf *right, struct index_sep *sep)
{
    move_pointers(left->items + left->node.len, right->items, right->node.len);
    left->node.len = (uint16_t)(left->node.len + right->node.len);
    left->next = right->next;
    if (left->next != NULL)
        left->next->prev = left;
    index->memory -= sizeof(*right) + index_sep_size(sep);
    free(right);
    free(sep);
}

static void merge_inner(struct index *index, struct index_inner *left,
                        struct index_inner *right, struct index_sep *sep)
{
    unsigned n = left->node.len;

    left->seps[n - 1] = sep;
    move_pointers(left->seps + n, right->seps, right->node.len - 1u);
    move_pointers(left->children + n, right->children, right->node.len);
    left->node.len = (uint16_t)(n + right->node.len);
    index->memory -= sizeof(*right);
    free(right);
}

static bool can_merge(const struct index_node *a, const struct index_node *b)
{
    return a->len + b->len <= MERGED_MAX ||
           (a->is_leaf && (a->len == 0 || b->len == 0));
}

/* Merges children i and i + 1 of path->inner[d]. */
static void merge_children(struct index *index, const struct index_path *path,
                           unsigned d, unsigned i)
{
    struct index_inner *parent = path->inner[d];
    struct index_node *left = parent->children[i];
    struct index_node *right = parent->children[i + 1];
    struct index_sep *sep = parent->seps[i];
    unsigned n = parent->node.len;
    const struct index_sep *lo = i > 0 ? parent->seps[i - 1] : path->lo[d];
    const struct index_sep *hi = i + 2 < n ? parent->seps[i + 1] : path->hi[d];

    if (left->is_leaf)
        merge_leaves(index, (void *)left, (void *)right, sep);
    else
        merge_inner(index, (void *)left, (void *)right, sep);
    index_refence(left, lo, hi);

    move_pointers(parent->seps + i, parent->seps + i + 1, n - 2 - i);
    memmove(parent->heads + i, parent->heads + i + 1,
            (n - 2 - i) * sizeof(parent->heads[0]));
    move_pointers(parent->children + i + 1, parent->children + i + 2,
                  n - 2 - i);
    parent->node.len--;
}

/* Merges what has become sparse, from the leaf upward. */
static void tidy(struct index *index, const struct index_path *path)
{
    for (unsigned d = path->depth; d-- > 0;) {
        struct index_inner *parent = path->inner[d];
        unsigned at = path->at[d];
        struct index_node **children = parent->children;

        if (children[at]->len >= SPARSE)
            return;
        if (at + 1u < parent->node.len &&
            can_merge(children[at], children[at + 1]))
            merge_children(index, path, d, at);
        else if (at > 0 && can_merge(children[at - 1], children[at]))
            merge_children(index, path, d, at - 1);
        else
            return;
    }
    while (!index->root->is_leaf && index->root->len == 1) {
        struct index_inner *root = (void *)index->root;

        index->root = root->children[0];
        index->memory -= sizeof(*root);
        free(root);
    }
}

void index_remove(struct index *index, struct bytes key)
{
    struct index_path path;
    struct index_leaf *leaf = index_descend(index, key, &path);
    bool found;
    unsigned at = index_search(leaf, key, &found);
    unsigned n = leaf->node.len;

    CHECK(found);
    item_free(leaf->items[at]);
    move_pointers(leaf->items + at, leaf->items + at + 1, n - 1 - at);
    memmove(leaf->heads + at, leaf->heads + at + 1,
            (n - 1 - at) * sizeof(leaf->heads[0]));
    leaf->node.len--;
    index->len--;
    tidy(index, &path);
}
