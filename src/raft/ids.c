#include "chorad/raft.h"
#include <stdlib.h>
#include <string.h>

/* Where the id is, or where it belongs. Sets have a handful of members, so a
 * walk is as good as a search. */
static size_t place_of(const struct raft_ids *set, uint64_t id)
{
    size_t i = 0;
    while (i < set->count && set->ids[i] < id)
        i++;
    return i;
}

bool raft_ids_has(const struct raft_ids *set, uint64_t id)
{
    size_t i = place_of(set, id);
    return i < set->count && set->ids[i] == id;
}

void raft_ids_add(struct raft_ids *set, uint64_t id)
{
    size_t i = place_of(set, id);
    if (i < set->count && set->ids[i] == id)
        return;
    set->ids = mem_realloc(set->ids, (set->count + 1) * sizeof(*set->ids));
    memmove(set->ids + i + 1, set->ids + i,
            (set->count - i) * sizeof(*set->ids));
    set->ids[i] = id;
    set->count++;
}

void raft_ids_remove(struct raft_ids *set, uint64_t id)
{
    size_t i = place_of(set, id);
    if (i == set->count || set->ids[i] != id)
        return;
    set->count--;
    memmove(set->ids + i, set->ids + i + 1,
            (set->count - i) * sizeof(*set->ids));
    if (set->count == 0)
        raft_ids_close(set);
}

struct raft_ids raft_ids_copy(const struct raft_ids *set)
{
    struct raft_ids copy = {0};
    if (set->count > 0) {
        copy.ids = mem_alloc(set->count * sizeof(*copy.ids));
        memcpy(copy.ids, set->ids, set->count * sizeof(*copy.ids));
        copy.count = set->count;
    }
    return copy;
}

void raft_ids_close(struct raft_ids *set)
{
    free(set->ids);
    *set = (struct raft_ids){0};
}

static bool ids_equal(const struct raft_ids *a, const struct raft_ids *b)
{
    return a->count == b->count &&
           (a->count == 0 ||
            memcmp(a->ids, b->ids, a->count * sizeof(*a->ids)) == 0);
}

struct raft_conf_state raft_conf_state_copy(const struct raft_conf_state *cs)
{
    return (struct raft_conf_state){
        .voters = raft_ids_copy(&cs->voters),
        .learners = raft_ids_copy(&cs->learners),
        .voters_outgoing = raft_ids_copy(&cs->voters_outgoing),
        .learners_next = raft_ids_copy(&cs->learners_next),
        .auto_leave = cs->auto_leave,
    };
}

void raft_conf_state_close(struct raft_conf_state *cs)
{
    raft_ids_close(&cs->voters);
    raft_ids_close(&cs->learners);
    raft_ids_close(&cs->voters_outgoing);
    raft_ids_close(&cs->learners_next);
    cs->auto_leave = false;
}

bool raft_conf_state_equal(const struct raft_conf_state *a,
                           const struct raft_conf_state *b)
{
    return ids_equal(&a->voters, &b->voters) &&
           ids_equal(&a->learners, &b->learners) &&
           ids_equal(&a->voters_outgoing, &b->voters_outgoing) &&
           ids_equal(&a->learners_next, &b->learners_next) &&
           a->auto_leave == b->auto_leave;
}
