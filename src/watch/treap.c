#include "index.h"

static int compare(const struct watch_group *a, const struct watch_group *b)
{
    int c = bytes_cmp(group_key(a), group_key(b));

    if (c != 0)
        return c;
    if (a->to_end != b->to_end)
        return a->to_end ? 1 : -1;
    return bytes_cmp(group_end(a), group_end(b));
}

/* Does a end beyond b? */
static bool farther(const struct watch_group *a, const struct watch_group *b)
{
    if (a->to_end || b->to_end)
        return a->to_end && !b->to_end;
    return bytes_cmp(group_end(a), group_end(b)) > 0;
}

static void update(struct watch_group *g)
{
    g->farthest = g;
    if (g->left && farther(g->left->farthest, g->farthest))
        g->farthest = g->left->farthest;
    if (g->right && farther(g->right->farthest, g->farthest))
        g->farthest = g->right->farthest;
}

struct watch_group *treap_find(struct watch_group *root,
                               const struct watch_group *like)
{
    while (root) {
        int c = compare(like, root);
        if (c == 0)
            return root;
        root = c < 0 ? root->left : root->right;
    }
    return NULL;
}

static struct watch_group *rotate_right(struct watch_group *g)
{
    struct watch_group *top = g->left;

    g->left = top->right;
    top->right = g;
    update(g);
    update(top);
    return top;
}

static struct watch_group *rotate_left(struct watch_group *g)
{
    struct watch_group *top = g->right;

    g->right = top->left;
    top->left = g;
    update(g);
    update(top);
    return top;
}

/* The depth is logarithmic with the random priorities, whatever the keys. */
struct watch_group *treap_insert(struct watch_group *root,
                                 struct watch_group *group)
{
    if (!root) {
        group->left = group->right = NULL;
        update(group);
        return group;
    }
    if (compare(group, root) < 0) {
        root->left = treap_insert(root->left, group);
        if (root->left->priority > root->priority)
            return rotate_right(root);
    } else {
        root->right = treap_insert(root->right, group);
        if (root->right->priority > root->priority)
            return rotate_left(root);
    }
    update(root);
    return root;
}

static struct watch_group *join(struct watch_group *a, struct watch_group *b)
{
    if (!a || !b)
        return a ? a : b;
    if (a->priority > b->priority) {
        a->right = join(a->right, b);
        update(a);
        return a;
    }
    b->left = join(a, b->left);
    update(b);
    return b;
}

struct watch_group *treap_remove(struct watch_group *root,
                                 const struct watch_group *group)
{
    if (root == group)
        return join(root->left, root->right);
    if (compare(group, root) < 0)
        root->left = treap_remove(root->left, group);
    else
        root->right = treap_remove(root->right, group);
    update(root);
    return root;
}

static bool ends_after(const struct watch_group *g, struct bytes key)
{
    return g->to_end || bytes_cmp(key, group_end(g)) < 0;
}

void treap_stab(const struct watch_group *root, struct bytes key,
                void (*visit)(void *arg, const struct watch_group *group),
                void *arg)
{
    while (root && ends_after(root->farthest, key)) {
        treap_stab(root->left, key, visit, arg);
        if (bytes_cmp(group_key(root), key) > 0)
            return; /* everything to the right begins later still */
        if (ends_after(root, key))
            visit(arg, root);
        root = root->right;
    }
}
