/* Compaction: at once for readers, in the background for index and disk.
 *
 *   mvcc_compact --> INDEX ----------------> RECORDS --------------> finished
 *   (the loop)       pieces of the tree,     batches of the key      hash,
 *                    waits for hash_kv       bucket up to `rev`,     log, done
 *                    below `rev`             hashed, then deleted
 *                    `----------- flush thread -----------'
 *
 * A crash in between leaves scheduledCompactRev above finishedCompactRev on
 * disk, and mvcc_open starts again from the beginning. */
#include "compact.h"

#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/metrics.h"
#include "chorad/base/size.h"
#include "record.h"

#include <stdlib.h>

/* Items compacted under one hold of the lock, and in one step. */
#define CHUNK_ITEMS 256
#define STEP_CHUNKS 64

enum phase { PHASE_INDEX, PHASE_RECORDS };

struct compaction {
    struct mvcc *mvcc;
    int64_t rev;
    int64_t prev;  /* the compacted revision before */
    bool complete; /* prev's compaction had finished */
    void (*done)(void *arg, int err);
    void *arg;

    enum phase phase;
    uint64_t began_ns; /* the phase */
    struct buf resume; /* INDEX: the last key of the chunk before */
    bool any_kept;

    struct mvcc_rev next; /* RECORDS: where the next batch begins */
    struct hasher hasher;
    uint32_t batch;
    uint64_t deleted;
    int err;
};

static uint64_t ms_since(uint64_t begin_ns)
{
    return (clock_mono_ns() - begin_ns) / 1000000;
}

/* ---- the index ------------------------------------------------------- */

/* One piece of the tree under the lock; false at its end. */
static bool compact_chunk(struct mvcc *mvcc, struct compaction *c, bool resumed)
{
    struct item *gone[CHUNK_ITEMS];
    struct item *item = NULL;
    struct index_cursor cursor;
    size_t n_gone = 0;

    pthread_rwlock_wrlock(&mvcc->lock);
    index_seek(&mvcc->index, bytes_of(c->resume.data, c->resume.len), resumed,
               bytes_of(NULL, 0), &cursor);
    for (size_t n = 0; n < CHUNK_ITEMS; n++) {
        enum item_left left;
        size_t before;

        item = index_next(&cursor);
        if (item == NULL)
            break;
        before = item_memory(item);
        left = item_compact(item, c->rev);
        mvcc->items_memory -= before - item_memory(item);
        c->any_kept = c->any_kept || left == ITEM_KEPT;
        if (left == ITEM_GONE)
            gone[n_gone++] = item;
    }
    if (item != NULL) {
        c->resume.len = 0;
        buf_append(&c->resume, item->key, item->key_len);
    }
    for (size_t i = 0; i < n_gone; i++) {
        mvcc->items_memory -= item_memory(gone[i]);
        index_remove(&mvcc->index, item_key(gone[i]));
    }
    pthread_rwlock_unlock(&mvcc->lock);
    return item != NULL;
}

static void begin_records(struct compaction *c)
{
    metric_observe(metrics_index_pause_ms(), (double)ms_since(c->began_ns));
    hasher_init(&c->hasher, c->prev, c->rev, c->any_kept);
    c->phase = PHASE_RECORDS;
    c->began_ns = clock_mono_ns();
}

static int64_t step_index(struct mvcc *mvcc, struct compaction *c)
{
    if (c->began_ns == 0) {
        if (hash_pinned(mvcc, c->rev))
            return (int64_t)mvcc->config.compact_pause_ns;
        log_info("compact tree index", LOG_I64("revision", c->rev));
        c->began_ns = clock_mono_ns();
        /* Before the empty key, which a restored snapshot may have. */
        buf_reserve(&c->resume, 1);
        if (!compact_chunk(mvcc, c, false)) {
            begin_records(c);
            return 0;
        }
    }
    for (int i = 0; i < STEP_CHUNKS; i++) {
        if (!compact_chunk(mvcc, c, true)) {
            begin_records(c);
            break;
        }
    }
    return 0;
}

/* ---- the records ----------------------------------------------------- */

static bool keeps(struct mvcc *mvcc, int64_t rev, const struct rev_key *at,
                  struct bytes record)
{
    const struct item *item;
    bool kept;

    pthread_rwlock_rdlock(&mvcc->lock);
    item = index_find(&mvcc->index, record_key(record));
    kept = item != NULL &&
           item_keeps(item, rev, at->rev.main, (uint32_t)at->rev.sub);
    pthread_rwlock_unlock(&mvcc->lock);
    return kept;
}

enum visit { VISIT_KEEP, VISIT_DELETE, VISIT_STOP };

static int visit_record(void *arg, struct bytes key, struct bytes record)
{
    struct compaction *c = arg;
    struct mvcc *mvcc = c->mvcc;
    struct rev_key at;
    bool kept;

    if (rev_decode(key, &at) != 0) {
        c->err = ERR_CORRUPT;
        return VISIT_STOP;
    }
    if (at.rev.main > c->rev || c->batch == mvcc->config.compact_batch)
        return VISIT_STOP;
    c->batch++;
    c->next = (struct mvcc_rev){at.rev.main, at.rev.sub + 1};
    kept = keeps(mvcc, c->rev, &at, record);
    hasher_add(&c->hasher, &at, kept, key, record);
    if (kept)
        return VISIT_KEEP;
    c->deleted++;
    return VISIT_DELETE;
}

static int64_t step_records(struct mvcc *mvcc, struct compaction *c,
                            struct store_txn *txn)
{
    uint64_t begin = clock_mono_ns();
    uint8_t space[REV_KEY_MAX];
    struct bytes from = rev_encode((struct rev_key){.rev = c->next}, space);

    c->batch = 0;
    if (store_txn_scan(txn, STORE_KEY, from, visit_record, c) < 0)
        return -1;
    if (c->err != 0)
        return -1;
    if (c->batch == mvcc->config.compact_batch) {
        metric_observe(metrics_db_pause_ms(), (double)ms_since(begin));
        return (int64_t)mvcc->config.compact_pause_ns;
    }
    c->err = store_txn_put(
        txn, STORE_META, bytes_of(META_FINISHED, sizeof(META_FINISHED) - 1),
        rev_encode((struct rev_key){.rev = {c->rev, 0}}, space));
    metric_observe(metrics_db_pause_ms(), (double)ms_since(begin));
    return -1;
}

/* ---- the job --------------------------------------------------------- */

static int64_t step(void *arg, struct store_txn *txn)
{
    struct compaction *c = arg;

    return c->phase == PHASE_INDEX ? step_index(c->mvcc, c)
                                   : step_records(c->mvcc, c, txn);
}

static void report(const struct mvcc *mvcc, const struct compaction *c)
{
    struct store_size size = store_size(mvcc->store);
    uint64_t now_s = clock_wall_ns() / 1000000000;
    char *total = size_text(size.total);
    char *in_use = size_text(size.in_use);

    log_info("finished scheduled compaction",
             LOG_I64("compact-revision", c->rev),
             LOG_NS("took", clock_mono_ns() - c->began_ns),
             LOG_U64("number-of-keys-compacted", c->deleted),
             LOG_U64("hash", c->hasher.crc),
             LOG_U64("current-db-size-bytes", size.total),
             LOG_STR("current-db-size", total),
             LOG_U64("current-db-size-in-use-bytes", size.in_use),
             LOG_STR("current-db-size-in-use", in_use));
    free(total);
    free(in_use);
    metric_observe(metrics_db_total_ms(), (double)ms_since(c->began_ns));
    metric_add(metrics_compact_keys(), (double)c->deleted);
    metric_set(metrics_compact_last(), (double)now_s);
}

static void succeed(struct mvcc *mvcc, const struct compaction *c)
{
    struct mvcc_hash hash = {
        .hash = c->hasher.crc, .compact_rev = c->prev, .hash_rev = c->rev};

    report(mvcc, c);
    if (c->complete)
        hash_store(mvcc, &hash);
    else
        log_info("previous compaction was interrupted, skip storing "
                 "compaction hash value");
    atomic_store(&mvcc->finished, c->rev);
}

static void finished(void *arg, int err)
{
    struct compaction *c = arg;

    if (err == 0)
        err = c->err;
    if (err == 0)
        succeed(c->mvcc, c);
    else
        log_warn("Failed compaction", LOG_STR("error", err_text(err)));
    if (c->done != NULL)
        c->done(c->arg, err);
    buf_close(&c->resume);
    free(c);
}

void compact_start(struct mvcc *mvcc, int64_t rev, int64_t prev, bool complete,
                   void (*done)(void *arg, int err), void *arg)
{
    struct compaction *c = mem_zalloc(sizeof(*c));

    c->mvcc = mvcc;
    c->rev = rev;
    c->prev = prev;
    c->complete = complete;
    c->done = done;
    c->arg = arg;
    store_job(mvcc->store, step, finished, c);
}

int mvcc_compact(struct mvcc *mvcc, int64_t rev,
                 void (*done)(void *arg, int err), void *arg)
{
    int64_t prev = atomic_load(&mvcc->compacted);
    uint8_t space[REV_KEY_MAX];

    if (rev <= prev)
        return ERR_COMPACTED;
    if (rev > mvcc_revision(mvcc))
        return ERR_FUTURE_REV;
    /* prev is also the newest one scheduled. */
    atomic_store(&mvcc->compacted, rev);
    store_put(mvcc->store, STORE_META,
              bytes_of(META_SCHEDULED, sizeof(META_SCHEDULED) - 1),
              rev_encode((struct rev_key){.rev = {rev, 0}}, space));
    compact_start(mvcc, rev, prev, atomic_load(&mvcc->finished) == prev, done,
                  arg);
    return 0;
}
