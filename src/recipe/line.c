/* Keys in the order of their creation, found by hash. */
#include "chorad/recipe.h"

#include <stdlib.h>
#include <string.h>

static uint32_t hash_of(const struct recipe_line *line, struct bytes key)
{
    uint32_t h = 2166136261u ^ line->seed;

    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 16777619u;
    return h ^ h >> 15;
}

static struct recipe_place **bucket_of(const struct recipe_line *line,
                                       uint32_t hash)
{
    return &line->buckets[hash & (line->n_buckets - 1)];
}

static void grow(struct recipe_line *line)
{
    size_t n = line->n_buckets ? line->n_buckets * 2 : 8;

    free(line->buckets);
    line->buckets = mem_zalloc(n * sizeof(struct recipe_place *));
    line->n_buckets = n;
    for (struct recipe_place *p = line->first; p; p = p->next) {
        struct recipe_place **at = bucket_of(line, p->hash);
        p->hash_next = *at;
        *at = p;
    }
}

/* Behind `before`, or at the head for NULL. */
static void link_behind(struct recipe_line *line, struct recipe_place *place,
                        struct recipe_place *before)
{
    place->prev = before;
    place->next = before ? before->next : line->first;
    if (before)
        before->next = place;
    else
        line->first = place;
    if (place->next)
        place->next->prev = place;
    else
        line->last = place;
}

/* Keys of one transaction stand in the order of the keys. */
static bool is_after(const struct recipe_place *a, const struct recipe_place *b)
{
    if (a->rev != b->rev)
        return a->rev > b->rev;
    return bytes_cmp(bytes_of(a->key, a->key_len),
                     bytes_of(b->key, b->key_len)) > 0;
}

struct recipe_place *recipe_line_add(struct recipe_line *line, struct bytes key,
                                     int64_t rev)
{
    struct recipe_place *place = mem_zalloc(sizeof(*place) + key.len);
    struct recipe_place *before = line->last;
    struct recipe_place **at;

    if (line->n >= line->n_buckets)
        grow(line);
    place->rev = rev;
    place->hash = hash_of(line, key);
    place->key_len = (uint32_t)key.len;
    memcpy(place->key, key.data, key.len);
    at = bucket_of(line, place->hash);
    place->hash_next = *at;
    *at = place;
    line->n++;
    while (before && is_after(before, place))
        before = before->prev;
    link_behind(line, place, before);
    return place;
}

struct recipe_place *recipe_line_find(const struct recipe_line *line,
                                      struct bytes key)
{
    uint32_t hash = hash_of(line, key);
    struct recipe_place *p;

    if (line->n == 0)
        return NULL;
    p = *bucket_of(line, hash);
    while (p && !(p->hash == hash && p->key_len == key.len &&
                  memcmp(p->key, key.data, key.len) == 0))
        p = p->hash_next;
    return p;
}

void recipe_line_remove(struct recipe_line *line, struct recipe_place *place)
{
    struct recipe_place **at = bucket_of(line, place->hash);

    while (*at != place)
        at = &(*at)->hash_next;
    *at = place->hash_next;
    line->n--;
    if (place->prev)
        place->prev->next = place->next;
    else
        line->first = place->next;
    if (place->next)
        place->next->prev = place->prev;
    else
        line->last = place->prev;
    free(place);
}

void recipe_line_clear(struct recipe_line *line)
{
    while (line->first) {
        struct recipe_place *place = line->first;
        line->first = place->next;
        free(place);
    }
    free(line->buckets);
    *line = (struct recipe_line){.seed = line->seed};
}
