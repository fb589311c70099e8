#include "quorum.h"
#include <stdlib.h>

/* Majorities up to this size are counted without an allocation. */
#define ON_STACK 16

/* Ascending; for a handful of numbers. */
static void sort(uint64_t *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        size_t at = i;
        for (; at > 0 && v[at - 1] > x; at--)
            v[at] = v[at - 1];
        v[at] = x;
    }
}

uint64_t quorum_committed(const struct raft_ids *voters, quorum_acked_cb acked,
                          const void *arg)
{
    size_t n = voters->count;
    if (n == 0)
        return UINT64_MAX;
    if (n == 1)
        return acked(arg, voters->ids[0]);
    uint64_t on_stack[ON_STACK];
    uint64_t *indexes = on_stack;
    if (n > ON_STACK)
        indexes = mem_alloc(n * sizeof(*indexes));
    for (size_t i = 0; i < n; i++)
        indexes[i] = acked(arg, voters->ids[i]);
    sort(indexes, n);
    /* n / 2 + 1 members have this index or a higher one. */
    uint64_t committed = indexes[n - (n / 2 + 1)];
    if (indexes != on_stack)
        free(indexes);
    return committed;
}

uint64_t quorum_joint_committed(const struct raft_ids *incoming,
                                const struct raft_ids *outgoing,
                                quorum_acked_cb acked, const void *arg)
{
    uint64_t a = quorum_committed(incoming, acked, arg);
    uint64_t b = quorum_committed(outgoing, acked, arg);
    return a < b ? a : b;
}

int votes_of(const struct votes *votes, uint64_t id)
{
    for (size_t i = 0; i < votes->count; i++)
        if (votes->items[i].id == id)
            return votes->items[i].granted;
    return -1;
}

void votes_record(struct votes *votes, uint64_t id, bool granted)
{
    if (votes_of(votes, id) >= 0)
        return;
    if (votes->count == votes->cap) {
        votes->cap = votes->cap ? votes->cap * 2 : 8;
        votes->items =
            mem_realloc(votes->items, votes->cap * sizeof(*votes->items));
    }
    votes->items[votes->count++] = (struct vote){id, granted};
}

void votes_clear(struct votes *votes)
{
    votes->count = 0;
}

void votes_close(struct votes *votes)
{
    free(votes->items);
    *votes = (struct votes){0};
}

enum vote_result quorum_vote(const struct raft_ids *voters,
                             const struct votes *votes)
{
    if (voters->count == 0)
        return VOTE_WON;
    size_t granted = 0;
    size_t missing = 0;
    for (size_t i = 0; i < voters->count; i++) {
        int vote = votes_of(votes, voters->ids[i]);
        granted += vote == 1;
        missing += vote < 0;
    }
    size_t needed = voters->count / 2 + 1;
    if (granted >= needed)
        return VOTE_WON;
    return granted + missing >= needed ? VOTE_PENDING : VOTE_LOST;
}

enum vote_result quorum_joint_vote(const struct raft_ids *incoming,
                                   const struct raft_ids *outgoing,
                                   const struct votes *votes)
{
    enum vote_result a = quorum_vote(incoming, votes);
    enum vote_result b = quorum_vote(outgoing, votes);
    if (a == b)
        return a;
    return a == VOTE_LOST || b == VOTE_LOST ? VOTE_LOST : VOTE_PENDING;
}
