/* Building the index from the key bucket at start. */
#include "restore.h"

#include "chorad/base/log.h"
#include "compact.h"
#include "records.h"

#include <stdlib.h>

/* A put with a lease; whether the key still has it shows at the end. */
struct leased {
    struct item *item;
    int64_t main;
    uint32_t sub;
    int64_t lease;
};

struct restore {
    struct mvcc *mvcc;
    struct errmsg *msg;
    struct mvcc_rev last; /* the newest revision read */
    int64_t keys;         /* live ones */
    struct leased *leased;
    size_t n_leased;
    size_t cap_leased;
};

static void note_lease(struct restore *r, struct item *item, int64_t lease)
{
    if (r->n_leased == r->cap_leased) {
        r->cap_leased = r->cap_leased == 0 ? 1024 : r->cap_leased * 2;
        r->leased = mem_realloc(r->leased, r->cap_leased * sizeof(*r->leased));
    }
    r->leased[r->n_leased++] =
        (struct leased){item, item->main, item->sub, lease};
}

/* The first record of a key: it tells what was before it, unless that went
 * together with a deleted generation. */
static struct item *add_item(struct restore *r, const struct record_head *head)
{
    struct item_rev rev = {.main = head->at.rev.main,
                           .sub = (uint32_t)head->at.rev.sub,
                           .created = head->create_rev,
                           .version = head->version,
                           .tombstone = head->at.tombstone};
    struct item *item;

    if (head->at.tombstone) {
        rev.created = 0;
        rev.version = 1;
    }
    item = item_new(head->key, &rev);
    index_insert(&r->mvcc->index, item);
    return item;
}

static void append(struct restore *r, struct item *item,
                   const struct rev_key *at)
{
    uint32_t sub = (uint32_t)at->rev.sub;

    if (!at->tombstone) {
        r->keys += item->tombstone;
        item_put(item, at->rev.main, sub);
    } else if (!item->tombstone) {
        r->keys--;
        item_bury(item, at->rev.main, sub);
    } else {
        log_warn("a tombstone on a deleted key was passed over",
                 LOG_I64("revision", at->rev.main));
    }
}

static void take_record(struct restore *r, const struct record_head *head)
{
    struct mvcc *mvcc = r->mvcc;
    struct item *item = index_find(&mvcc->index, head->key);

    r->last = head->at.rev;
    if (item == NULL) {
        item = add_item(r, head);
        r->keys += !head->at.tombstone;
    } else {
        mvcc->items_memory -= item_memory(item);
        append(r, item, &head->at);
    }
    mvcc->items_memory += item_memory(item);
    if (head->lease != 0 && !head->at.tombstone)
        note_lease(r, item, head->lease);
}

/* Reading and checking on one thread, the index on this one. */
static int take_all(struct restore *r, struct store_reader *reader)
{
    struct records *records = records_open(reader, r->msg);
    const struct record_head *heads;
    size_t n;
    int rv;

    while ((rv = records_next(records, &heads, &n)) == 0 && n > 0)
        for (size_t i = 0; i < n; i++)
            take_record(r, &heads[i]);
    records_close(records);
    return rv;
}

static void attach_leases(struct restore *r, mvcc_lease_cb lease, void *arg)
{
    for (size_t i = 0; i < r->n_leased; i++) {
        const struct leased *l = &r->leased[i];

        if (l->item->main == l->main && l->item->sub == l->sub &&
            !l->item->tombstone)
            lease(arg, l->lease, item_key(l->item));
    }
}

/* -1 when it isn't there. */
static int read_rev(struct store_reader *reader, const char *name, size_t len,
                    int64_t *rev, struct errmsg *msg)
{
    struct bytes value;
    struct rev_key at;
    int rv = store_get(reader, STORE_META, bytes_of(name, len), &value);

    *rev = -1;
    if (rv == ERR_NOTFOUND)
        return 0;
    if (rv == 0 && rev_decode(value, &at) != 0)
        rv = ERR_CORRUPT;
    if (rv != 0)
        return err_set(msg, rv, "bucket meta, %s: %s", name, err_text(rv));
    *rev = at.rev.main;
    return 0;
}

static int scan(struct restore *r, struct store_reader *reader,
                int64_t *scheduled)
{
    int64_t finished;
    int rv = read_rev(reader, META_FINISHED, sizeof(META_FINISHED) - 1,
                      &finished, r->msg);

    if (rv == 0)
        rv = read_rev(reader, META_SCHEDULED, sizeof(META_SCHEDULED) - 1,
                      scheduled, r->msg);
    if (rv != 0)
        return rv;
    atomic_store(&r->mvcc->finished, finished);
    atomic_store(&r->mvcc->compacted, finished);
    return take_all(r, reader);
}

int restore(struct mvcc *mvcc, mvcc_lease_cb lease, void *arg,
            int64_t *scheduled, struct errmsg *msg)
{
    struct store_reader *reader = mvcc->own->store;
    struct errmsg unread;
    struct restore r = {
        .mvcc = mvcc, .msg = msg != NULL ? msg : &unread, .last = {-1, -1}};
    int64_t rev;
    int rv = store_read_begin(reader);

    if (rv != 0)
        return err_set(msg, rv, "read the store: %s", err_text(rv));
    rv = scan(&r, reader, scheduled);
    if (rv == 0 && lease != NULL)
        attach_leases(&r, lease, arg);
    store_read_end(reader);
    free(r.leased);
    if (rv != 0)
        return rv;

    /* A compaction may have taken the newest revisions away. */
    rev = r.last.main > 1 ? r.last.main : 1;
    if (rev < mvcc->compacted)
        rev = mvcc->compacted;
    if (rev < *scheduled)
        rev = *scheduled;
    atomic_store(&mvcc->revision, rev);
    atomic_store(&mvcc->counters.keys, r.keys);
    return 0;
}
