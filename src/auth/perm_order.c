/* Pattern-defeating quicksort (Peters, arXiv 2106.05123) with the constants and
 * choices of Go's sort package: on equal keys each of them shows. */
#include "perm_order.h"

/* Shorter stretches are sorted by insertion. */
#define INSERTION_MAX 12
/* From here on nine samples instead of three, and neighbours may be put
 * right. */
#define STRETCH_LONG 50
#define NEIGHBOURS_MAX 5
#define SAMPLE_SWAPS_MAX 12

enum pattern { UNKNOWN, ASCENDING, DESCENDING };

static bool less(const struct auth_permission *a, size_t i, size_t k)
{
    return bytes_cmp(a[i].key, a[k].key) < 0;
}

static void swap(struct auth_permission *a, size_t i, size_t k)
{
    struct auth_permission kept = a[i];

    a[i] = a[k];
    a[k] = kept;
}

/* Moves the element at `i` to the left, not beyond `from`. */
static void sink_left(struct auth_permission *a, size_t from, size_t i)
{
    for (; i > from && less(a, i, i - 1); i--)
        swap(a, i, i - 1);
}

static void sort_by_insertion(struct auth_permission *a, size_t from, size_t to)
{
    for (size_t i = from + 1; i < to; i++)
        sink_left(a, from, i);
}

/* ---- the pivot ---- */

static void order_two(const struct auth_permission *a, size_t *i, size_t *k,
                      unsigned *swaps)
{
    size_t kept = *i;

    if (!less(a, *k, *i))
        return;
    *i = *k;
    *k = kept;
    ++*swaps;
}

static size_t median(const struct auth_permission *a, size_t i, size_t k,
                     size_t m, unsigned *swaps)
{
    order_two(a, &i, &k, swaps);
    order_two(a, &k, &m, swaps);
    order_two(a, &i, &k, swaps);
    return k;
}

static size_t choose_pivot(const struct auth_permission *a, size_t from,
                           size_t to, enum pattern *pattern)
{
    size_t quarter = (to - from) / 4;
    size_t at[3] = {from + quarter, from + quarter * 2, from + quarter * 3};
    unsigned swaps = 0;
    size_t pivot;

    if (to - from >= STRETCH_LONG)
        for (int i = 0; i < 3; i++)
            at[i] = median(a, at[i] - 1, at[i], at[i] + 1, &swaps);
    pivot = median(a, at[0], at[1], at[2], &swaps);
    *pattern = swaps == 0                  ? ASCENDING
               : swaps == SAMPLE_SWAPS_MAX ? DESCENDING
                                           : UNKNOWN;
    return pivot;
}

/* ---- shortcuts ---- */

static void reverse(struct auth_permission *a, size_t from, size_t to)
{
    for (; from + 1 < to; from++)
        swap(a, from, --to);
}

/* True: it is sorted. A long stretch is given a few repairs. */
static bool repair(struct auth_permission *a, size_t from, size_t to)
{
    size_t i = from + 1;

    for (int tries = 0; tries < NEIGHBOURS_MAX; tries++) {
        while (i < to && !less(a, i, i - 1))
            i++;
        if (i == to)
            return true;
        if (to - from < STRETCH_LONG)
            return false;
        swap(a, i, i - 1);
        /* The smaller one to the left, beyond the stretch if it must; the
         * greater one to the right. */
        if (i - from >= 2)
            sink_left(a, 0, i - 1);
        for (size_t k = i + 1; k < to && less(a, k, k - 1); k++)
            swap(a, k, k - 1);
    }
    return false;
}

/* Scatters three elements around the middle, after an unbalanced partition. */
static void scatter(struct auth_permission *a, size_t from, size_t to)
{
    size_t n = to - from;
    uint64_t random = n; /* xorshift */
    size_t mask = 1;

    while (mask <= n)
        mask *= 2;
    for (size_t i = 0; i < 3; i++) {
        size_t other;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        other = (size_t)random & (mask - 1);
        if (other >= n)
            other -= n;
        swap(a, from + n / 4 * 2 - 1 + i, from + other);
    }
}

/* ---- partitions ---- */

/* Smaller ones to the left of the pivot, the others to the right; where it
 * then is. */
static size_t partition(struct auth_permission *a, size_t from, size_t to,
                        size_t pivot, bool *was_there)
{
    size_t i = from + 1;
    size_t k = to - 1;

    *was_there = true;
    swap(a, from, pivot);
    for (;; i++, k--) {
        while (i <= k && less(a, i, from))
            i++;
        while (i <= k && !less(a, k, from))
            k--;
        if (i > k)
            break;
        swap(a, i, k);
        *was_there = false;
    }
    swap(a, k, from);
    return k;
}

/* Nothing is smaller than the pivot: where what is greater begins. */
static size_t partition_equal(struct auth_permission *a, size_t from, size_t to,
                              size_t pivot)
{
    size_t i = from + 1;
    size_t k = to - 1;

    swap(a, from, pivot);
    for (;; i++, k--) {
        while (i <= k && !less(a, from, i))
            i++;
        while (i <= k && less(a, from, k))
            k--;
        if (i > k)
            return i;
        swap(a, i, k);
    }
}

static unsigned bit_length(size_t n)
{
    unsigned bits = 0;

    for (; n > 0; n >>= 1)
        bits++;
    return bits;
}

/* Recurses into the shorter part. `limit`: unbalanced partitions to bear. */
static void sort(struct auth_permission *a, size_t from, size_t to,
                 unsigned limit)
{
    bool balanced = true;
    bool partitioned = true;

    while (to - from > INSERTION_MAX) {
        size_t n = to - from;
        enum pattern pattern;
        size_t pivot;
        size_t mid;

        /* Go would take another way here, to which only permissions lead that
         * are made for it and come all at once; they come one by one. */
        if (limit == 0)
            break;
        if (!balanced) {
            scatter(a, from, to);
            limit--;
        }
        pivot = choose_pivot(a, from, to, &pattern);
        if (pattern == DESCENDING) {
            reverse(a, from, to);
            pivot = to - 1 - (pivot - from);
            pattern = ASCENDING;
        }
        if (balanced && partitioned && pattern == ASCENDING &&
            repair(a, from, to))
            return;
        if (from > 0 && !less(a, from - 1, pivot)) {
            from = partition_equal(a, from, to, pivot);
            continue;
        }
        mid = partition(a, from, to, pivot, &partitioned);
        if (mid - from < to - mid) {
            balanced = mid - from >= n / 8;
            sort(a, from, mid, limit);
            from = mid + 1;
        } else {
            balanced = to - mid >= n / 8;
            sort(a, mid + 1, to, limit);
            to = mid;
        }
    }
    sort_by_insertion(a, from, to);
}

void perm_order(struct auth_permission *perms, size_t n)
{
    if (n > 1)
        sort(perms, 0, n, bit_length(n));
}
