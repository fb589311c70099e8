/* Writing: the loop's transactions. */
#include "chorad/base/check.h"
#include "internal.h"
#include "record.h"

#include <string.h>

/* Keys of one delete that are buried under one hold of the lock. */
#define CHUNK_DELETE 256

static void count_up(_Atomic uint64_t *counter, uint64_t n)
{
    if (n > 0)
        atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count_keys(struct mvcc *mvcc, int64_t delta)
{
    atomic_fetch_add_explicit(&mvcc->counters.keys, delta,
                              memory_order_relaxed);
}

void mvcc_txn_begin(struct mvcc *mvcc)
{
    struct txn *txn = &mvcc->txn;

    CHECK(!txn->open);
    txn->open = true;
    txn->len = 0;
    txn->puts = 0;
    txn->deletes = 0;
    txn->ranges = 0;
    txn->put_bytes = 0;
}

/* The revision the next write gets. */
static struct mvcc_rev next_rev(const struct mvcc *mvcc)
{
    CHECK(mvcc->txn.open && mvcc->txn.len < UINT32_MAX);
    return (struct mvcc_rev){mvcc_revision(mvcc) + 1, (int64_t)mvcc->txn.len};
}

int mvcc_txn_range(struct mvcc *mvcc, const struct mvcc_range *range,
                   mvcc_visit_cb visit, void *arg,
                   struct mvcc_range_result *result)
{
    int64_t current = mvcc_revision(mvcc) + (mvcc->txn.len > 0);
    int64_t rev = range->rev <= 0 ? current : range->rev;

    CHECK(mvcc->txn.open);
    mvcc->txn.ranges++;
    result->rev = current;
    result->count = 0;
    if (rev > current)
        return ERR_FUTURE_REV;
    return range_at(mvcc->own, range, rev, visit, arg, &result->count);
}

/* Queues the record for the disk and notes the change. The caller puts the
 * entry into the tail, under the lock. */
static struct tail_entry write_record(struct mvcc *mvcc, struct rev_key at,
                                      const struct mvcc_fields *fields)
{
    struct txn *txn = &mvcc->txn;
    struct record record;
    uint8_t key[REV_KEY_MAX];
    struct tail_entry entry = {.main = at.rev.main,
                               .sub = (uint32_t)at.rev.sub,
                               .tombstone = at.tombstone};

    record_encode(&record, fields);
    entry.record.data = store_putv(mvcc->store, STORE_KEY, rev_encode(at, key),
                                   record.pieces, record.n);
    entry.record.len = record.len;
    entry.seq = store_seq(mvcc->store);

    if (txn->len == txn->cap) {
        txn->cap = txn->cap == 0 ? 16 : txn->cap * 2;
        txn->changes =
            mem_realloc(txn->changes, txn->cap * sizeof(*txn->changes));
    }
    txn->changes[txn->len++] =
        (struct mvcc_change){.rev = at.rev,
                             .tombstone = at.tombstone,
                             .key = record_key(entry.record),
                             .record = entry.record};
    return entry;
}

static void put_again(struct mvcc *mvcc, struct item *item,
                      const struct tail_entry *entry)
{
    mvcc->items_memory -= item_memory(item);
    item_put(item, entry->main, entry->sub);
    mvcc->items_memory += item_memory(item);
}

/* The key is not there: a first generation or another one. */
static void put_new(struct mvcc *mvcc, struct bytes key,
                    const struct tail_entry *entry)
{
    struct item *item = index_find(&mvcc->index, key);

    if (item != NULL) {
        put_again(mvcc, item, entry);
        return;
    }
    item = item_new(key, &(struct item_rev){.main = entry->main,
                                            .created = entry->main,
                                            .version = 1,
                                            .sub = entry->sub});
    index_insert(&mvcc->index, item);
    mvcc->items_memory += item_memory(item);
}

void mvcc_txn_put(struct mvcc *mvcc, struct bytes key, struct bytes value,
                  int64_t lease)
{
    struct mvcc_rev rev = next_rev(mvcc);
    struct mvcc_fields fields = {.key = key,
                                 .value = value,
                                 .create_rev = rev.main,
                                 .mod_rev = rev.main,
                                 .version = 1,
                                 .lease = lease};
    struct tail_entry entry;
    struct item *live;

    /* A live item stays where it is without the lock: only this thread buries
     * it, and a compaction takes buried ones only. */
    pthread_rwlock_rdlock(&mvcc->lock);
    live = index_find(&mvcc->index, key);
    if (live != NULL && live->tombstone)
        live = NULL;
    if (live != NULL) {
        fields.create_rev = live->created;
        fields.version = live->version + 1;
    }
    pthread_rwlock_unlock(&mvcc->lock);

    entry = write_record(mvcc, (struct rev_key){.rev = rev}, &fields);
    pthread_rwlock_wrlock(&mvcc->lock);
    if (live != NULL)
        put_again(mvcc, live, &entry);
    else
        put_new(mvcc, key, &entry);
    tail_push(&mvcc->tail, &entry);
    pthread_rwlock_unlock(&mvcc->lock);

    if (live == NULL)
        count_keys(mvcc, 1);
    mvcc->txn.puts++;
    mvcc->txn.put_bytes += key.len + value.len;
}

/* Buries live items, which no other thread can take away meanwhile. */
static void bury(struct mvcc *mvcc, struct item **items, size_t n)
{
    struct tail_entry entries[CHUNK_DELETE];

    for (size_t i = 0; i < n; i++) {
        struct mvcc_fields fields = {.key = item_key(items[i])};

        entries[i] =
            write_record(mvcc, (struct rev_key){next_rev(mvcc), true}, &fields);
    }
    pthread_rwlock_wrlock(&mvcc->lock);
    for (size_t i = 0; i < n; i++) {
        mvcc->items_memory -= item_memory(items[i]);
        item_bury(items[i], entries[i].main, entries[i].sub);
        mvcc->items_memory += item_memory(items[i]);
        tail_push(&mvcc->tail, &entries[i]);
    }
    pthread_rwlock_unlock(&mvcc->lock);
    count_keys(mvcc, -(int64_t)n);
}

static size_t delete_one(struct mvcc *mvcc, struct bytes key)
{
    struct item *item;

    pthread_rwlock_rdlock(&mvcc->lock);
    item = index_find(&mvcc->index, key);
    if (item != NULL && item->tombstone)
        item = NULL;
    pthread_rwlock_unlock(&mvcc->lock);
    if (item == NULL)
        return 0;
    bury(mvcc, &item, 1);
    return 1;
}

/* Finds and buries up to a chunk; the key it ended at goes to `resume`. False
 * at the end of the range. */
static bool delete_chunk(struct mvcc *mvcc, struct bytes key, bool after,
                         struct bytes end, struct buf *resume, int64_t *deleted)
{
    struct item *items[CHUNK_DELETE];
    struct item *item = NULL;
    struct index_cursor cursor;
    size_t n = 0;

    pthread_rwlock_rdlock(&mvcc->lock);
    index_seek(&mvcc->index, key, after, end, &cursor);
    for (size_t looks = 0; looks < 8 * CHUNK_DELETE && n < CHUNK_DELETE;
         looks++) {
        item = index_next(&cursor);
        if (item == NULL)
            break;
        if (!item->tombstone)
            items[n++] = item;
    }
    if (item != NULL) {
        resume->len = 0;
        buf_append(resume, item->key, item->key_len);
    }
    pthread_rwlock_unlock(&mvcc->lock);
    if (n > 0)
        bury(mvcc, items, n);
    *deleted += (int64_t)n;
    return item != NULL;
}

int64_t mvcc_txn_delete(struct mvcc *mvcc, struct bytes key, struct bytes end)
{
    struct buf *resume = &mvcc->own->resume;
    struct bytes bound;
    int64_t deleted = 0;
    bool after = false;

    CHECK(mvcc->txn.open);
    mvcc->txn.deletes++;
    if (!range_bounds(end, &bound))
        return (int64_t)delete_one(mvcc, key);
    while (delete_chunk(mvcc, key, after, bound, resume, &deleted)) {
        key = bytes_of(resume->data, resume->len);
        after = true;
    }
    return deleted;
}

const struct mvcc_change *mvcc_txn_changes(const struct mvcc *mvcc, size_t *n)
{
    *n = mvcc->txn.len;
    return mvcc->txn.changes;
}

int64_t mvcc_txn_end(struct mvcc *mvcc)
{
    struct txn *txn = &mvcc->txn;
    int64_t rev = mvcc_revision(mvcc);

    CHECK(txn->open);
    txn->open = false;
    if (txn->len > 0) {
        rev++;
        atomic_store(&mvcc->revision, rev);
    }
    count_up(&mvcc->counters.puts, txn->puts);
    count_up(&mvcc->counters.deletes, txn->deletes);
    count_up(&mvcc->counters.put_bytes, txn->put_bytes);
    count_up(&mvcc->own->ranges, txn->ranges);
    count_up(&mvcc->counters.txns,
             (uint64_t)txn->puts + txn->deletes + txn->ranges > 1);
    return rev;
}
