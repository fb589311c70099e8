/* Opening and closing, and what is told about the whole. */
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "compact.h"
#include "restore.h"

#include <stdlib.h>

#define COMPACT_BATCH 1000
#define COMPACT_PAUSE_NS 10000000

static struct mvcc *new_mvcc(struct store *store,
                             const struct mvcc_config *config)
{
    struct mvcc *mvcc = mem_zalloc(sizeof(*mvcc));
    pthread_rwlockattr_t attr;

    mvcc->store = store;
    if (config != NULL)
        mvcc->config = *config;
    if (mvcc->config.compact_batch == 0)
        mvcc->config.compact_batch = COMPACT_BATCH;
    if (mvcc->config.compact_pause_ns == 0)
        mvcc->config.compact_pause_ns = COMPACT_PAUSE_NS;
    atomic_init(&mvcc->revision, 1);
    atomic_init(&mvcc->compacted, -1);
    atomic_init(&mvcc->finished, -1);
    atomic_init(&mvcc->epoch, 1);

    /* Many readers must not keep the loop from writing. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr,
                                  PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&mvcc->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&mvcc->readers_lock, NULL);
    pthread_mutex_init(&mvcc->hash_lock, NULL);
    index_init(&mvcc->index);
    return mvcc;
}

static void free_mvcc(struct mvcc *mvcc)
{
    if (mvcc->own != NULL)
        mvcc_reader_close(mvcc->own);
    index_close(&mvcc->index);
    tail_close(&mvcc->tail);
    free(mvcc->txn.changes);
    pthread_mutex_destroy(&mvcc->hash_lock);
    pthread_mutex_destroy(&mvcc->readers_lock);
    pthread_rwlock_destroy(&mvcc->lock);
    free(mvcc);
}

/* What a crash has cut off begins anew. */
static void resume(struct mvcc *mvcc)
{
    int64_t finished = atomic_load(&mvcc->finished);
    int64_t scheduled = mvcc->scheduled;

    if (finished >= 0)
        log_info("restored last compact revision",
                 LOG_STR("meta-bucket-name-key", META_FINISHED),
                 LOG_I64("restored-compact-revision", finished));
    log_info("kvstore restored", LOG_I64("current-rev", mvcc_revision(mvcc)));
    if (scheduled <= finished)
        return;
    atomic_store(&mvcc->compacted, scheduled);
    if (mvcc->config.only_reads)
        return;
    compact_start(mvcc, scheduled, finished, false, NULL, NULL);
    log_info("resume scheduled compaction",
             LOG_I64("scheduled-compact-revision", scheduled));
}

int mvcc_open(struct store *store, const struct mvcc_config *config,
              mvcc_lease_cb lease, void *arg, struct mvcc **out,
              struct errmsg *msg)
{
    struct mvcc *mvcc = new_mvcc(store, config);
    int rv = mvcc_reader_open(mvcc, &mvcc->own);

    if (rv != 0) {
        err_set(msg, rv, "read the store: %s", err_text(rv));
        goto err_after_new;
    }
    rv = restore(mvcc, lease, arg, &mvcc->scheduled, msg);
    if (rv != 0)
        goto err_after_new;
    if (!mvcc->config.aside) {
        resume(mvcc);
        metrics_open(mvcc);
    }
    *out = mvcc;
    return 0;

err_after_new:
    free_mvcc(mvcc);
    return rv;
}

void mvcc_close(struct mvcc *mvcc)
{
    metrics_close(mvcc);
    free_mvcc(mvcc);
}

static void copy_i64(_Atomic int64_t *to, const _Atomic int64_t *from)
{
    atomic_store(to, atomic_load(from));
}

void mvcc_swap(struct mvcc *mvcc, struct mvcc *with, struct store *with_store)
{
    struct index index;
    size_t memory;

    CHECK(!mvcc->txn.open && mvcc->tail.len == 0 && with->tail.len == 0);
    pthread_rwlock_wrlock(&mvcc->lock);
    index = mvcc->index;
    mvcc->index = with->index;
    with->index = index;
    memory = mvcc->items_memory;
    mvcc->items_memory = with->items_memory;
    with->items_memory = memory;
    copy_i64(&mvcc->compacted, &with->compacted);
    copy_i64(&mvcc->finished, &with->finished);
    copy_i64(&mvcc->revision, &with->revision);
    copy_i64(&mvcc->counters.keys, &with->counters.keys);
    mvcc->scheduled = with->scheduled;
    /* Whoever finds something in the index from now on looks for it in the
     * new store; whoever has found it in the old one finds it in the new one
     * as well, or compacted. */
    store_replaced(mvcc->store, with_store);
    atomic_fetch_add(&mvcc->swaps, 1);
    pthread_rwlock_unlock(&mvcc->lock);
    resume(mvcc);
}

void mvcc_flushed(struct mvcc *mvcc, uint64_t seq)
{
    bool trimmed;

    pthread_rwlock_wrlock(&mvcc->lock);
    trimmed = tail_trim(&mvcc->tail, seq);
    pthread_rwlock_unlock(&mvcc->lock);
    if (trimmed)
        readers_wait(mvcc);
}

int64_t mvcc_revision(const struct mvcc *mvcc)
{
    return atomic_load(&mvcc->revision);
}

int64_t mvcc_compacted(const struct mvcc *mvcc)
{
    return atomic_load(&mvcc->compacted);
}

struct mvcc_stats mvcc_stats(struct mvcc *mvcc)
{
    struct mvcc_stats stats;

    pthread_rwlock_rdlock(&mvcc->lock);
    stats = (struct mvcc_stats){
        .keys = mvcc->index.len,
        .index_bytes = mvcc->index.memory + mvcc->items_memory,
        .tail_records = mvcc->tail.len,
    };
    pthread_rwlock_unlock(&mvcc->lock);
    return stats;
}
