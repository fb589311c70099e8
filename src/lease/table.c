#include "lease.h"
#include <stdlib.h>
#include <string.h>

static size_t id_bucket(int64_t id, size_t buckets)
{
    uint64_t h = (uint64_t)id * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(h >> 32) & (buckets - 1);
}

static uint32_t key_hash(struct bytes key)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 16777619u;
    return h;
}

struct lease *lease_find(const struct lessor *lessor, int64_t id)
{
    if (lessor->lease_count == 0)
        return NULL;
    struct lease *lease = lessor->leases[id_bucket(id, lessor->lease_buckets)];
    while (lease && lease->id != id)
        lease = lease->hash_next;
    return lease;
}

static void grow_leases(struct lessor *lessor)
{
    size_t buckets = lessor->lease_buckets ? lessor->lease_buckets * 2 : 64;
    struct lease **table = mem_zalloc(buckets * sizeof(struct lease *));

    for (size_t i = 0; i < lessor->lease_buckets; i++) {
        struct lease *next;
        for (struct lease *l = lessor->leases[i]; l; l = next) {
            size_t at = id_bucket(l->id, buckets);
            next = l->hash_next;
            l->hash_next = table[at];
            table[at] = l;
        }
    }
    free(lessor->leases);
    lessor->leases = table;
    lessor->lease_buckets = buckets;
}

void lease_insert(struct lessor *lessor, struct lease *lease)
{
    if (lessor->lease_count >= lessor->lease_buckets)
        grow_leases(lessor);
    size_t at = id_bucket(lease->id, lessor->lease_buckets);
    lease->hash_next = lessor->leases[at];
    lessor->leases[at] = lease;
    lessor->lease_count++;
}

void lease_take_out(struct lessor *lessor, struct lease *lease)
{
    struct lease **at =
        &lessor->leases[id_bucket(lease->id, lessor->lease_buckets)];

    while (*at != lease)
        at = &(*at)->hash_next;
    *at = lease->hash_next;
    lessor->lease_count--;
}

struct lease *lease_next(const struct lessor *lessor, size_t *bucket,
                         const struct lease *lease)
{
    if (lease && lease->hash_next)
        return lease->hash_next;
    if (lease)
        (*bucket)++;
    for (; *bucket < lessor->lease_buckets; (*bucket)++)
        if (lessor->leases[*bucket])
            return lessor->leases[*bucket];
    return NULL;
}

struct lease_item *item_find(const struct lessor *lessor, struct bytes key)
{
    if (lessor->item_count == 0)
        return NULL;
    uint32_t hash = key_hash(key);
    struct lease_item *item = lessor->items[hash & (lessor->item_buckets - 1)];
    while (item && !(item->hash == hash && item->len == key.len &&
                     memcmp(item->key, key.data, key.len) == 0))
        item = item->hash_next;
    return item;
}

static void grow_items(struct lessor *lessor)
{
    size_t buckets = lessor->item_buckets ? lessor->item_buckets * 2 : 64;
    struct lease_item **table =
        mem_zalloc(buckets * sizeof(struct lease_item *));

    for (size_t i = 0; i < lessor->item_buckets; i++) {
        struct lease_item *next;
        for (struct lease_item *it = lessor->items[i]; it; it = next) {
            next = it->hash_next;
            it->hash_next = table[it->hash & (buckets - 1)];
            table[it->hash & (buckets - 1)] = it;
        }
    }
    free(lessor->items);
    lessor->items = table;
    lessor->item_buckets = buckets;
}

void item_attach(struct lessor *lessor, struct lease *lease, struct bytes key)
{
    if (lessor->item_count >= lessor->item_buckets)
        grow_items(lessor);
    struct lease_item *item = mem_alloc(sizeof(*item) + key.len);
    item->hash = key_hash(key);
    item->len = (uint32_t)key.len;
    memcpy(item->key, key.data, key.len);

    struct lease_item **at =
        &lessor->items[item->hash & (lessor->item_buckets - 1)];
    item->hash_next = *at;
    *at = item;
    lessor->item_count++;

    item->lease = lease;
    item->next = lease->items;
    item->prev = &lease->items;
    if (item->next)
        item->next->prev = &item->next;
    lease->items = item;
    lease->item_count++;
}

void item_detach(struct lessor *lessor, struct lease_item *item)
{
    struct lease_item **at =
        &lessor->items[item->hash & (lessor->item_buckets - 1)];

    while (*at != item)
        at = &(*at)->hash_next;
    *at = item->hash_next;
    lessor->item_count--;

    *item->prev = item->next;
    if (item->next)
        item->next->prev = item->prev;
    item->lease->item_count--;
    free(item);
}
