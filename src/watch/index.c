#include "index.h"
#include <stdlib.h>
#include <string.h>

struct watch_index *watch_index_new(uint64_t seed)
{
    struct watch_index *index = mem_zalloc(sizeof(*index));

    index->prng.state = seed;
    index->seed = (uint32_t)prng_next(&index->prng);
    return index;
}

static void free_tree(struct watch_group *g)
{
    if (!g)
        return;
    free_tree(g->left);
    free_tree(g->right);
    free(g);
}

void watch_index_free(struct watch_index *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < index->n_buckets; i++) {
        while (index->keys[i]) {
            struct watch_group *g = index->keys[i];
            index->keys[i] = g->hash_next;
            free(g);
        }
    }
    free_tree(index->root);
    free(index->keys);
    free(index);
}

static uint32_t key_hash(const struct watch_index *index, struct bytes key)
{
    uint32_t h = 2166136261u ^ index->seed;

    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 16777619u;
    return h ^ h >> 15;
}

static struct watch_group *find_key(const struct watch_index *index,
                                    struct bytes key, uint32_t hash)
{
    if (index->n_keys == 0)
        return NULL;
    struct watch_group *g = index->keys[hash & (index->n_buckets - 1)];
    while (g && !(g->hash == hash && g->key_len == key.len &&
                  memcmp(g->bytes, key.data, key.len) == 0))
        g = g->hash_next;
    return g;
}

static void grow(struct watch_index *index)
{
    size_t n = index->n_buckets ? index->n_buckets * 2 : 64;
    struct watch_group **table = mem_zalloc(n * sizeof(struct watch_group *));

    for (size_t i = 0; i < index->n_buckets; i++) {
        struct watch_group *next;
        for (struct watch_group *g = index->keys[i]; g; g = next) {
            next = g->hash_next;
            g->hash_next = table[g->hash & (n - 1)];
            table[g->hash & (n - 1)] = g;
        }
    }
    free(index->keys);
    index->keys = table;
    index->n_buckets = n;
}

static bool is_to_end(struct bytes end)
{
    return end.len == 1 && end.data[0] == 0;
}

static struct watch_group *new_group(struct bytes key, struct bytes end)
{
    bool to_end = is_to_end(end);
    size_t end_len = to_end ? 0 : end.len;
    struct watch_group *g = mem_zalloc(sizeof(*g) + key.len + end_len);

    g->key_len = (uint32_t)key.len;
    g->end_len = (uint32_t)end_len;
    g->to_end = to_end;
    memcpy(g->bytes, key.data, key.len);
    if (end_len > 0)
        memcpy(g->bytes + key.len, end.data, end_len);
    return g;
}

static struct watch_group *key_group(struct watch_index *index,
                                     struct bytes key)
{
    uint32_t hash = key_hash(index, key);
    struct watch_group *g = find_key(index, key, hash);

    if (g)
        return g;
    if (index->n_keys >= index->n_buckets)
        grow(index);
    g = new_group(key, bytes_of(NULL, 0));
    g->hash = hash;
    struct watch_group **at = &index->keys[hash & (index->n_buckets - 1)];
    g->hash_next = *at;
    *at = g;
    index->n_keys++;
    return g;
}

static struct watch_group *range_group(struct watch_index *index,
                                       struct bytes key, struct bytes end)
{
    struct watch_group *fresh = new_group(key, end);
    struct watch_group *g = treap_find(index->root, fresh);

    if (g) {
        free(fresh);
        return g;
    }
    fresh->priority = prng_next(&index->prng);
    index->root = treap_insert(index->root, fresh);
    return fresh;
}

void watch_index_add(struct watch_index *index, struct bytes key,
                     struct bytes end, struct watch_link *link)
{
    struct watch_group *g =
        end.len == 0 ? key_group(index, key) : range_group(index, key, end);

    link->group = g;
    link->next = g->links;
    link->prev = &g->links;
    if (link->next)
        link->next->prev = &link->next;
    g->links = link;
}

static bool is_range(const struct watch_group *g)
{
    return g->to_end || g->end_len > 0;
}

void watch_index_remove(struct watch_index *index, struct watch_link *link)
{
    struct watch_group *g = link->group;

    *link->prev = link->next;
    if (link->next)
        link->next->prev = link->prev;
    link->group = NULL;
    if (g->links)
        return;
    if (is_range(g)) {
        index->root = treap_remove(index->root, g);
    } else {
        struct watch_group **at =
            &index->keys[g->hash & (index->n_buckets - 1)];
        while (*at != g)
            at = &(*at)->hash_next;
        *at = g->hash_next;
        index->n_keys--;
    }
    free(g);
}

/* ---- matching ---- */

#define STABBED_MAX 64

/* Groups are gathered first: a visit may remove the last link of one, and with
 * it the group and its place in the tree. */
struct stabbed {
    struct watch_group **groups;
    size_t n;
    size_t cap;
    struct watch_group *few[STABBED_MAX];
};

static void gather(void *arg, const struct watch_group *group)
{
    struct stabbed *s = arg;

    if (s->n == s->cap) {
        struct watch_group **more =
            mem_alloc(s->cap * 2 * sizeof(struct watch_group *));
        memcpy(more, s->groups, s->n * sizeof(struct watch_group *));
        if (s->groups != s->few)
            free(s->groups);
        s->groups = more;
        s->cap *= 2;
    }
    s->groups[s->n++] = (struct watch_group *)(uintptr_t)group;
}

static void visit_links(struct watch_group *g,
                        void (*visit)(void *arg, struct watch_link *link),
                        void *arg)
{
    struct watch_link *next;

    for (struct watch_link *link = g->links; link; link = next) {
        next = link->next;
        visit(arg, link);
    }
}

void watch_index_match(const struct watch_index *index, struct bytes key,
                       void (*visit)(void *arg, struct watch_link *link),
                       void *arg)
{
    struct stabbed s = {.cap = STABBED_MAX};
    struct watch_group *g = find_key(index, key, key_hash(index, key));

    s.groups = s.few;
    if (index->root)
        treap_stab(index->root, key, gather, &s);
    if (g)
        visit_links(g, visit, arg);
    for (size_t i = 0; i < s.n; i++)
        visit_links(s.groups[i], visit, arg);
    if (s.groups != s.few)
        free(s.groups);
}

void watch_link_range(const struct watch_link *link, struct bytes *key,
                      struct bytes *end)
{
    static const uint8_t zero[1] = {0};
    const struct watch_group *g = link->group;

    *key = group_key(g);
    *end = g->to_end ? bytes_of(zero, 1) : group_end(g);
}
