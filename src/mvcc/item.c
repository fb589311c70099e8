/* The revisions of one key. */
#include "item.h"

#include "chorad/base/check.h"
#include <stdlib.h>
#include <string.h>

/* Allocators round up to 16 and keep 8 bytes of their own. */
#define CHUNK(size) (((size) + 8 + 15) & ~(size_t)15)

struct past {
    int64_t main;
    uint32_t sub;
    uint32_t pos : 31; /* place in its generation, unless that is the oldest */
    uint32_t tombstone : 1;
};

/* Revisions older than the item's own, ascending. */
struct history {
    int64_t created; /* of the oldest generation */
    int64_t base;    /* how many revisions of it went before at[0] */
    uint32_t first;  /* how many of at[] belong to it */
    uint32_t len;
    uint32_t cap;
    struct past at[];
};

static size_t history_size(uint32_t cap)
{
    return sizeof(struct history) + cap * sizeof(struct past);
}

struct item *item_new(struct bytes key, const struct item_rev *rev)
{
    struct item *item = mem_alloc(sizeof(*item) + key.len);

    CHECK(key.len < UINT32_C(1) << 31);
    *item = (struct item){.main = rev->main,
                          .created = rev->created,
                          .version = rev->version,
                          .sub = rev->sub,
                          .key_len = (uint32_t)key.len & 0x7fffffff,
                          .tombstone = rev->tombstone};
    if (key.len > 0)
        memcpy(item->key, key.data, key.len);
    return item;
}

void item_free(struct item *item)
{
    free(item->older);
    free(item);
}

/* Moves the item's own revision into the history. */
static void push_newest(struct item *item)
{
    struct history *h = item->older;
    bool oldest;

    if (h == NULL) {
        h = mem_alloc(history_size(2));
        *h = (struct history){
            .created = item->created, .base = item->version - 1, .cap = 2};
    } else if (h->len == h->cap) {
        CHECK(h->cap < UINT32_C(1) << 30);
        h->cap += h->cap < 16 ? 2 : h->cap / 2;
        h = mem_realloc(h, history_size(h->cap));
    }
    oldest =
        h->first == h->len && (h->len == 0 || !h->at[h->len - 1].tombstone);
    h->at[h->len] = (struct past){
        .main = item->main,
        .sub = item->sub,
        .pos = oldest ? 0 : (uint32_t)(item->version - 1) & 0x7fffffff,
        .tombstone = item->tombstone};
    h->len++;
    if (oldest)
        h->first++;
    item->older = h;
}

static void append(struct item *item, int64_t main, uint32_t sub)
{
    CHECK(main > item->main || (main == item->main && sub > item->sub));
    push_newest(item);
    item->main = main;
    item->sub = sub;
}

void item_put(struct item *item, int64_t main, uint32_t sub)
{
    append(item, main, sub);
    if (item->tombstone) {
        item->created = main;
        item->version = 0;
        item->tombstone = 0;
    }
    item->version++;
}

void item_bury(struct item *item, int64_t main, uint32_t sub)
{
    CHECK(!item->tombstone);
    append(item, main, sub);
    item->version++;
    item->tombstone = 1;
}

/* How many of the history have main <= rev. */
static uint32_t history_count(const struct history *h, int64_t rev)
{
    uint32_t lo = 0;
    uint32_t hi = h->len;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (h->at[mid].main <= rev)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void history_get(const struct history *h, uint32_t i,
                        struct item_rev *out)
{
    const struct past *past = &h->at[i];

    out->main = past->main;
    out->sub = past->sub;
    out->tombstone = past->tombstone;
    if (i < h->first) {
        out->created = h->created;
        out->version = h->base + i + 1;
    } else {
        out->created = h->at[i - past->pos].main;
        out->version = (int64_t)past->pos + 1;
    }
}

bool item_at(const struct item *item, int64_t rev, struct item_rev *out)
{
    uint32_t n;

    if (item->main <= rev) {
        *out = (struct item_rev){.main = item->main,
                                 .created = item->created,
                                 .version = item->version,
                                 .sub = item->sub,
                                 .tombstone = item->tombstone};
        return true;
    }
    if (item->older == NULL)
        return false;
    n = history_count(item->older, rev);
    if (n == 0)
        return false;
    history_get(item->older, n - 1, out);
    return true;
}

bool item_reborn_at(const struct item *item, int64_t rev)
{
    const struct history *h = item->older;
    struct item_rev newest;

    if (h == NULL || !item_live_at(item, rev, &newest) || newest.created != rev)
        return false;
    for (uint32_t i = history_count(h, rev); i > 0; i--) {
        if (h->at[i - 1].main != rev)
            return false;
        if (h->at[i - 1].tombstone)
            return true;
    }
    return false;
}

bool item_keeps(const struct item *item, int64_t rev, int64_t main,
                uint32_t sub)
{
    struct item_rev at;

    if (!item_at(item, rev, &at) || at.main != main || at.sub != sub)
        return false;
    return !at.tombstone || at.main == rev;
}

/* Forgets the oldest n revisions, fewer than there are. */
static void history_drop(struct history *h, uint32_t n)
{
    if (n < h->first) {
        h->base += n;
        h->first -= n;
    } else {
        struct item_rev oldest;
        uint32_t end = n;

        history_get(h, n, &oldest);
        h->created = oldest.created;
        h->base = oldest.version - 1;
        while (end < h->len && !h->at[end++].tombstone)
            ;
        h->first = end - n;
    }
    h->len -= n;
    memmove(h->at, h->at + n, h->len * sizeof(h->at[0]));
}

static void drop_oldest(struct item *item, uint32_t n)
{
    struct history *h = item->older;

    if (n == 0)
        return;
    if (n == h->len) {
        free(h);
        item->older = NULL;
        return;
    }
    history_drop(h, n);
    if (h->cap > 2 * h->len + 2) {
        h->cap = h->len;
        item->older = mem_realloc(h, history_size(h->cap));
    }
}

enum item_left item_compact(struct item *item, int64_t rev)
{
    uint32_t n;

    if (item->main <= rev) {
        if (item->tombstone && item->main < rev)
            return ITEM_GONE;
        if (item->older != NULL)
            drop_oldest(item, item->older->len);
        return ITEM_KEPT;
    }
    if (item->older == NULL)
        return ITEM_NEWER;
    n = history_count(item->older, rev);
    if (n == 0)
        return ITEM_NEWER;
    if (item->older->at[n - 1].tombstone && item->older->at[n - 1].main < rev) {
        drop_oldest(item, n);
        return ITEM_NEWER;
    }
    drop_oldest(item, n - 1);
    return ITEM_KEPT;
}

size_t item_memory(const struct item *item)
{
    size_t size = CHUNK(sizeof(*item) + item->key_len);

    if (item->older != NULL)
        size += CHUNK(history_size(item->older->cap));
    return size;
}
