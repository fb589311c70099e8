#include "env.h"
#include <stdlib.h>

void storage_init(struct storage *s, uint64_t index, uint64_t term)
{
    *s = (struct storage){
        .base_index = index, .base_term = term, .snapshot_index = index};
}

static void cut_to(struct storage *s, size_t count)
{
    while (s->count > count)
        raft_entry_unref(&s->entries[--s->count]);
}

void storage_close(struct storage *s)
{
    cut_to(s, 0);
    free(s->entries);
}

static const char *install(struct storage *s,
                           const struct raft_snapshot *snapshot)
{
    if (s->snapshot_index >= snapshot->index)
        return "requested index is older than the existing snapshot";
    cut_to(s, 0);
    s->base_index = snapshot->index;
    s->base_term = snapshot->term;
    s->snapshot_index = snapshot->index;
    return NULL;
}

static const char *append_entries(struct storage *s,
                                  const struct raft_entry *entries,
                                  size_t count)
{
    while (count > 0 && entries->index <= s->base_index) {
        entries++;
        count--;
    }
    if (count == 0)
        return NULL;
    size_t at = (size_t)(entries->index - s->base_index - 1);
    if (at > s->count)
        return "missing log entry";
    cut_to(s, at);
    s->entries = mem_realloc(s->entries, (at + count) * sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        raft_entry_ref(&entries[i]);
        s->entries[s->count++] = entries[i];
    }
    return NULL;
}

const char *storage_write(struct storage *s, const struct raft_append *append)
{
    if (append->has_hard_state)
        s->hard_state = append->hard_state;
    if (append->snapshot) {
        if (append->entry_count > 0)
            return "can't apply snapshot and entries at the same time";
        return install(s, append->snapshot);
    }
    return append_entries(s, append->entries, append->entry_count);
}

const char *storage_compact(struct storage *s, uint64_t index)
{
    if (index <= s->base_index)
        return "requested index is unavailable due to compaction";
    size_t drop = (size_t)(index - s->base_index);
    if (drop > s->count)
        return "compact is out of bound lastindex";
    s->base_term = s->entries[drop - 1].term;
    s->base_index = index;
    for (size_t i = 0; i < s->count; i++) {
        if (i < drop)
            raft_entry_unref(&s->entries[i]);
        else
            s->entries[i - drop] = s->entries[i];
    }
    s->count -= drop;
    return NULL;
}
