#include "intervals.h"

#include <stdlib.h>

struct interval_node {
    struct interval of;
    struct bytes max; /* the greatest end at or below this node */
    uint32_t child[2];
    uint32_t parent;
    bool red;
};

enum { LEAF = 0, LEFT = 0, RIGHT = 1 };

/* The empty end is greater than all. */
static int compare(struct bytes a, struct bytes b)
{
    if (a.len == 0 || b.len == 0)
        return (a.len == 0) - (b.len == 0);
    return bytes_cmp(a, b);
}

void intervals_close(struct intervals *set)
{
    free(set->nodes);
    *set = (struct intervals){0};
}

/* ---- growing ---- */

static uint32_t new_node(struct intervals *set, struct interval interval)
{
    if (set->n == set->cap) {
        set->cap = set->cap ? set->cap * 2 : 4;
        set->nodes = mem_realloc(set->nodes, set->cap * sizeof(*set->nodes));
        if (set->n == 0)
            set->nodes[set->n++] = (struct interval_node){0};
    }
    set->nodes[set->n] = (struct interval_node){
        .of = interval, .max = interval.end, .red = true};
    return set->n++;
}

/* Sets the greatest end of the node and, as far as it changes, of those
 * above. */
static void update_max(struct interval_node *nodes, uint32_t at)
{
    for (; at != LEAF; at = nodes[at].parent) {
        struct bytes max = nodes[at].of.end;

        for (int side = LEFT; side <= RIGHT; side++) {
            uint32_t child = nodes[at].child[side];
            if (child != LEAF && compare(nodes[child].max, max) > 0)
                max = nodes[child].max;
        }
        if (compare(max, nodes[at].max) == 0)
            return;
        nodes[at].max = max;
    }
}

/* Moves `x` down to that side; its other child takes its place. */
static void rotate(struct intervals *set, uint32_t x, int side)
{
    struct interval_node *nodes = set->nodes;
    uint32_t y = nodes[x].child[!side];
    uint32_t above = nodes[x].parent;
    uint32_t moved = nodes[y].child[side];

    nodes[x].child[!side] = moved;
    if (moved != LEAF)
        nodes[moved].parent = x;
    nodes[y].parent = above;
    if (above == LEAF)
        set->root = y;
    else
        nodes[above].child[nodes[above].child[RIGHT] == x] = y;
    nodes[y].child[side] = x;
    nodes[x].parent = y;
    /* Both are below the same nodes as before: nothing changes above. */
    nodes[y].max = nodes[x].max;
    nodes[x].max = nodes[x].of.end;
    for (int i = LEFT; i <= RIGHT; i++) {
        uint32_t child = nodes[x].child[i];
        if (child != LEAF && compare(nodes[child].max, nodes[x].max) > 0)
            nodes[x].max = nodes[child].max;
    }
}

static void balance(struct intervals *set, uint32_t z)
{
    struct interval_node *nodes = set->nodes;

    while (nodes[nodes[z].parent].red) {
        uint32_t parent = nodes[z].parent;
        uint32_t above = nodes[parent].parent;
        int side = nodes[above].child[RIGHT] == parent;
        uint32_t uncle = nodes[above].child[!side];

        nodes[above].red = true;
        if (nodes[uncle].red) {
            nodes[parent].red = nodes[uncle].red = false;
            z = above;
            continue;
        }
        if (z == nodes[parent].child[!side]) {
            z = parent;
            rotate(set, z, side);
            parent = nodes[z].parent;
        }
        nodes[parent].red = false;
        rotate(set, above, !side);
    }
    nodes[set->root].red = false;
}

void intervals_add(struct intervals *set, struct interval interval)
{
    uint32_t z = new_node(set, interval);
    struct interval_node *nodes = set->nodes;
    uint32_t parent = LEAF;
    int side = RIGHT;

    for (uint32_t at = set->root; at != LEAF; at = nodes[at].child[side]) {
        int order = compare(interval.begin, nodes[at].of.begin);

        if (order == 0)
            order = compare(interval.end, nodes[at].of.end);
        parent = at;
        side = order < 0 ? LEFT : RIGHT;
    }
    nodes[z].parent = parent;
    if (parent == LEAF)
        set->root = z;
    else
        nodes[parent].child[side] = z;
    update_max(nodes, parent);
    balance(set, z);
}

/* ---- looking ---- */

/* Where `a` lies: -1 to the left of `b`, 1 to the right, 0 they overlap. An
 * interval that ends before it begins is a point with odd neighbours. */
static int place(struct interval a, struct interval b)
{
    if (compare(a.begin, b.begin) < 0 && compare(a.end, b.begin) <= 0)
        return -1;
    return compare(a.begin, b.end) >= 0;
}

bool intervals_hit(const struct intervals *set, struct bytes key)
{
    const struct interval_node *nodes = set->nodes;
    uint32_t at = set->root;

    /* A key lies in [begin, end) or not: where the left side reaches behind it
     * and doesn't have it, the right side begins behind it. */
    while (at != LEAF) {
        const struct interval_node *node = &nodes[at];
        uint32_t left = node->child[LEFT];

        if (compare(node->of.begin, key) <= 0 && compare(key, node->of.end) < 0)
            return true;
        at = left != LEAF && compare(nodes[left].max, key) > 0
                 ? left
                 : node->child[RIGHT];
    }
    return false;
}

/* What of an interval is covered while the set is gone through in order. */
struct cover {
    struct interval wanted;
    struct bytes begin;
    struct bytes end;
    bool any;
};

/* False: there is a gap. The depth of the tree bounds the recursion: at most
 * twice the logarithm of its size. */
static bool cover_below(const struct interval_node *nodes, uint32_t at,
                        struct cover *cover)
{
    const struct interval_node *node = &nodes[at];
    int where;

    if (at == LEAF)
        return true;
    where = place(cover->wanted, node->of);
    if (where < 0)
        return cover_below(nodes, node->child[LEFT], cover);
    if (where > 0) {
        struct interval below = {node->of.begin, node->max};

        return place(below, cover->wanted) != 0 ||
               (cover_below(nodes, node->child[LEFT], cover) &&
                cover_below(nodes, node->child[RIGHT], cover));
    }
    if (!cover_below(nodes, node->child[LEFT], cover))
        return false;
    if (!cover->any) {
        cover->any = true;
        cover->begin = node->of.begin;
        cover->end = node->of.end;
    } else if (compare(cover->end, node->of.begin) < 0) {
        return false;
    } else if (compare(node->of.end, cover->end) > 0) {
        cover->end = node->of.end;
    }
    return cover_below(nodes, node->child[RIGHT], cover);
}

bool intervals_cover(const struct intervals *set, struct interval interval)
{
    struct cover cover = {.wanted = interval};

    return set->root != LEAF && cover_below(set->nodes, set->root, &cover) &&
           cover.any && compare(cover.begin, interval.begin) <= 0 &&
           compare(cover.end, interval.end) >= 0;
}
