#include "node.h"
#include <stdlib.h>

/* Ids are counters: their low bits spread well. */
static size_t bucket_of(uint64_t id, size_t n)
{
    return (size_t)id & (n - 1);
}

void waiting_init(struct waiting *waiting)
{
    *waiting = (struct waiting){.n_buckets = 1024};
    waiting->buckets = mem_zalloc(1024 * sizeof(struct node_request *));
    waiting->last = &waiting->first;
}

void waiting_close(struct waiting *waiting)
{
    free(waiting->buckets);
    waiting->buckets = NULL;
}

static void grow(struct waiting *waiting)
{
    size_t n = waiting->n_buckets * 2;

    free(waiting->buckets);
    waiting->buckets = mem_zalloc(n * sizeof(struct node_request *));
    waiting->n_buckets = n;
    for (struct node_request *r = waiting->first; r; r = r->next) {
        size_t at = bucket_of(r->id, n);
        r->hash_next = waiting->buckets[at];
        waiting->buckets[at] = r;
    }
}

void waiting_add(struct waiting *waiting, struct node_request *request)
{
    if (waiting->count >= waiting->n_buckets)
        grow(waiting);
    size_t at = bucket_of(request->id, waiting->n_buckets);
    request->hash_next = waiting->buckets[at];
    waiting->buckets[at] = request;
    waiting->count++;

    request->next = NULL;
    request->prev = waiting->last;
    *waiting->last = request;
    waiting->last = &request->next;
}

struct node_request *waiting_find(const struct waiting *waiting, uint64_t id)
{
    struct node_request *r =
        waiting->buckets[bucket_of(id, waiting->n_buckets)];

    while (r && r->id != id)
        r = r->hash_next;
    return r;
}

void waiting_remove(struct waiting *waiting, struct node_request *request)
{
    struct node_request **at =
        &waiting->buckets[bucket_of(request->id, waiting->n_buckets)];

    while (*at != request)
        at = &(*at)->hash_next;
    *at = request->hash_next;
    waiting->count--;

    *request->prev = request->next;
    if (request->next)
        request->next->prev = request->prev;
    else
        waiting->last = request->prev;
}
