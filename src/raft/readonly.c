#include "readonly.h"
#include <stdlib.h>
#include <string.h>

static bool same(const struct raft_entry *entry, const void *context,
                 size_t len)
{
    return entry->len == len &&
           (len == 0 || memcmp(entry->data, context, len) == 0);
}

static struct read_request *find(struct readonly *ro, const void *context,
                                 size_t len)
{
    for (size_t i = 0; i < ro->count; i++)
        if (same(&ro->items[i].message.entries[0], context, len))
            return &ro->items[i];
    return NULL;
}

void readonly_add(struct readonly *ro, uint64_t index,
                  struct raft_message message)
{
    if (find(ro, message.entries[0].data, message.entries[0].len)) {
        raft_message_close(&message);
        return;
    }
    if (ro->count == ro->cap) {
        ro->cap = ro->cap ? ro->cap * 2 : 8;
        ro->items = mem_realloc(ro->items, ro->cap * sizeof(*ro->items));
    }
    ro->items[ro->count++] =
        (struct read_request){.message = message, .index = index};
}

struct read_request *readonly_ack(struct readonly *ro, uint64_t id,
                                  const void *context, size_t len)
{
    struct read_request *request = find(ro, context, len);
    if (request)
        votes_record(&request->acks, id, true);
    return request;
}

const struct raft_entry *readonly_last(const struct readonly *ro)
{
    return ro->count > 0 ? &ro->items[ro->count - 1].message.entries[0] : NULL;
}

void readonly_drop(struct readonly *ro, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        raft_message_close(&ro->items[i].message);
        votes_close(&ro->items[i].acks);
    }
    ro->count -= n;
    memmove(ro->items, ro->items + n, ro->count * sizeof(*ro->items));
}

void readonly_add_early(struct readonly *ro, const struct raft_message *m)
{
    if (ro->early_count == ro->early_cap) {
        ro->early_cap = ro->early_cap ? ro->early_cap * 2 : 8;
        ro->early = mem_realloc(ro->early, ro->early_cap * sizeof(*ro->early));
    }
    ro->early[ro->early_count++] = raft_message_copy(m);
}

void readonly_clear(struct readonly *ro)
{
    if (ro->count > 0)
        readonly_drop(ro, ro->count);
    for (size_t i = 0; i < ro->early_count; i++)
        raft_message_close(&ro->early[i]);
    ro->early_count = 0;
}

void readonly_close(struct readonly *ro)
{
    readonly_clear(ro);
    free(ro->items);
    free(ro->early);
    *ro = (struct readonly){0};
}
