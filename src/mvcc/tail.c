/* The newest records, a ring in revision order. */
#include "tail.h"

#include <stdlib.h>

#define CAP_MIN 1024

void tail_close(struct tail *tail)
{
    free(tail->ring);
    *tail = (struct tail){0};
}

static void resize(struct tail *tail, size_t cap)
{
    struct tail_entry *ring = mem_alloc(cap * sizeof(*ring));

    for (size_t i = 0; i < tail->len; i++)
        ring[i] = *tail_at(tail, i);
    free(tail->ring);
    tail->ring = ring;
    tail->cap = cap;
    tail->first = 0;
}

void tail_push(struct tail *tail, const struct tail_entry *entry)
{
    if (tail->len == tail->cap)
        resize(tail, tail->cap == 0 ? CAP_MIN : tail->cap * 2);
    tail->ring[(tail->first + tail->len) & (tail->cap - 1)] = *entry;
    tail->len++;
}

/* How many entries from the front are on disk. */
static size_t flushed_len(const struct tail *tail, uint64_t seq)
{
    size_t lo = 0;
    size_t hi = tail->len;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (tail_at(tail, mid)->seq <= seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool tail_trim(struct tail *tail, uint64_t seq)
{
    size_t n = flushed_len(tail, seq);

    if (n == 0)
        return false;
    tail->first += n;
    tail->len -= n;
    /* A burst's room is given back, but not the everyday's. */
    if (tail->cap > CAP_MIN * 32 && tail->len < tail->cap / 8)
        resize(tail, tail->cap / 4);
    return true;
}

static bool is_before(const struct tail_entry *entry, int64_t main,
                      uint32_t sub)
{
    return entry->main < main || (entry->main == main && entry->sub < sub);
}

size_t tail_search(const struct tail *tail, int64_t main, uint32_t sub)
{
    size_t lo;
    size_t hi = tail->len;

    if (hi == 0 || main < tail_at(tail, 0)->main)
        return 0;
    if ((uint64_t)(main - tail_at(tail, 0)->main) >= hi)
        return hi;
    /* With one record a transaction, which is the rule, this is the place. */
    lo = (size_t)(main - tail_at(tail, 0)->main);
    if (!is_before(tail_at(tail, lo), main, sub))
        hi = lo;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (is_before(tail_at(tail, mid), main, sub))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct tail_entry *tail_find(const struct tail *tail, int64_t main,
                                   uint32_t sub)
{
    size_t i = tail_search(tail, main, sub);
    const struct tail_entry *at;

    if (i == tail->len)
        return NULL;
    at = tail_at(tail, i);
    return at->main == main && at->sub == sub ? at : NULL;
}

int64_t tail_first_main(const struct tail *tail)
{
    return tail->len == 0 ? INT64_MAX : tail_at(tail, 0)->main;
}
