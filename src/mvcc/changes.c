/* The changes of the past, in revision order, for watchers that start
 * there. */
#include "internal.h"
#include "record.h"

#include <stdlib.h>

/* Tail entries taken under one hold of the lock. */
#define CHUNK_ENTRIES 256

struct changes {
    struct mvcc_reader *reader;
    mvcc_change_cb visit;
    void *arg;
    int64_t to;
    int64_t left; /* distinct main revisions that may still begin */
    int64_t last; /* the main revision visited last */
    int64_t next; /* the first one that was not */
    bool full;    /* no more revisions are wanted */
    bool done;    /* there are no more */
    int rv;       /* of visit, or of a bad record */
};

/* Passes one change on; false to stop. */
static bool pass(struct changes *c, const struct rev_key *at,
                 struct bytes record)
{
    struct mvcc_change change = {.rev = at->rev,
                                 .tombstone = at->tombstone,
                                 .key = record_key(record),
                                 .record = record};

    if (at->rev.main != c->last) {
        if (c->left == 0) {
            c->full = true;
            c->next = at->rev.main;
            return false;
        }
        c->left--;
        c->last = at->rev.main;
    }
    c->rv = c->visit(c->arg, &change);
    return c->rv == 0;
}

static int pass_stored(void *arg, struct bytes key, struct bytes record)
{
    struct changes *c = arg;
    struct rev_key at;

    if (rev_decode(key, &at) != 0) {
        c->rv = ERR_CORRUPT;
        return 1;
    }
    if (at.rev.main > c->to)
        return 1;
    return !pass(c, &at, record);
}

/* The tail is trimmed after whole transactions, so the store has all of the
 * main revisions before the tail's first. The part on disk: from `from` up to,
 * not including, the tail. */
static int from_store(struct changes *c, struct mvcc_rev from,
                      int64_t tail_main)
{
    int64_t to = c->to;
    uint8_t space[REV_KEY_MAX];
    struct rev_key at = {.rev = from};
    int rv = store_read_begin(c->reader->store);

    if (rv != 0)
        return rv;
    if (c->to >= tail_main)
        c->to = tail_main - 1;
    rv = store_scan(c->reader->store, STORE_KEY, rev_encode(at, space),
                    pass_stored, c);
    store_read_end(c->reader->store);
    c->to = to;
    return rv < 0 ? rv : c->rv;
}

/* Copies what the tail has from {main, sub} on; returns how many. */
static size_t take_entries(struct changes *c, const struct mvcc_rev *from)
{
    const struct tail *tail = &c->reader->mvcc->tail;
    size_t i = tail_search(tail, from->main, (uint32_t)from->sub);
    size_t n = 0;

    for (; i < tail->len && n < CHUNK_ENTRIES; i++) {
        const struct tail_entry *entry = tail_at(tail, i);

        if (entry->main > c->to)
            break;
        c->reader->entries[n++] = *entry;
    }
    return n;
}

static void pass_entries(struct changes *c, size_t n, struct mvcc_rev *from)
{
    for (size_t i = 0; i < n; i++) {
        const struct tail_entry *entry = &c->reader->entries[i];
        struct rev_key at = {.rev = {entry->main, entry->sub},
                             .tombstone = entry->tombstone};

        if (!pass(c, &at, entry->record))
            return;
        *from = (struct mvcc_rev){entry->main, (int64_t)entry->sub + 1};
    }
}

/* One step from *from on, which moves. */
static int step(struct changes *c, struct mvcc_rev *from)
{
    struct mvcc *mvcc = c->reader->mvcc;
    int64_t begin = from->main;
    int64_t tail_main;
    size_t n;
    int rv;

    reader_enter(c->reader);
    pthread_rwlock_rdlock(&mvcc->lock);
    if (begin < atomic_load(&mvcc->compacted)) {
        pthread_rwlock_unlock(&mvcc->lock);
        reader_exit(c->reader);
        return ERR_COMPACTED;
    }
    tail_main = tail_first_main(&mvcc->tail);
    n = begin < tail_main ? 0 : take_entries(c, from);
    pthread_rwlock_unlock(&mvcc->lock);

    if (begin >= tail_main) {
        pass_entries(c, n, from);
        reader_exit(c->reader);
        c->done = n == 0;
        return c->rv;
    }
    reader_exit(c->reader);
    rv = from_store(c, *from, tail_main);
    *from = (struct mvcc_rev){tail_main, 0};
    c->done = tail_main > c->to;
    /* What a compaction took meanwhile may be missing from the scan. */
    if (rv == 0 && begin < atomic_load(&mvcc->compacted))
        rv = ERR_COMPACTED;
    return rv;
}

int mvcc_changes(struct mvcc_reader *reader, int64_t from, int64_t to,
                 int64_t max_revs, mvcc_change_cb visit, void *arg,
                 int64_t *next)
{
    int64_t current = mvcc_revision(reader->mvcc);
    struct mvcc_rev at = {.main = from < 1 ? 1 : from};
    struct changes c = {.reader = reader,
                        .visit = visit,
                        .arg = arg,
                        .to = to < current ? to : current,
                        .left = max_revs,
                        .last = -1};
    int rv = 0;

    if (from < mvcc_compacted(reader->mvcc))
        return ERR_COMPACTED;
    if (reader->entries == NULL)
        reader->entries = mem_alloc(CHUNK_ENTRIES * sizeof(*reader->entries));
    c.next = c.to + 1;
    c.done = at.main > c.to;
    while (rv == 0 && !c.done && !c.full)
        rv = step(&c, &at);
    *next = c.next;
    return rv;
}
