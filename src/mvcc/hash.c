/* Hashes over the key bucket that are equal wherever the same operations and
 * the same compaction have been applied (reference/formats.md, 5). */
#include "chorad/base/clock.h"
#include "chorad/base/crc32c.h"
#include "chorad/base/log.h"
#include "chorad/base/metrics.h"
#include "internal.h"
#include "record.h"

#include <string.h>

void hasher_init(struct hasher *hasher, int64_t compacted, int64_t rev,
                 bool keeps)
{
    *hasher =
        (struct hasher){.compacted = compacted, .rev = rev, .keeps = keeps};
    hasher->crc = crc32c(0, "key", 3);
}

bool hasher_asks(const struct hasher *hasher, const struct rev_key *at)
{
    return hasher->keeps && at->rev.main <= hasher->compacted;
}

void hasher_add(struct hasher *hasher, const struct rev_key *at, bool kept,
                struct bytes key, struct bytes record)
{
    if (at->rev.main > hasher->rev)
        return;
    if (hasher_asks(hasher, at) && !kept)
        return;
    /* Old versions took a tombstone at the compacted revision away, newer
     * ones keep it: left out, it hashes equally with both. */
    if (at->tombstone && at->rev.main == hasher->compacted)
        return;
    hasher->crc = crc32c(hasher->crc, key.data, key.len);
    hasher->crc = crc32c(hasher->crc, record.data, record.len);
}

/* ---- the hashes that compactions have computed ------------------------ */

void hash_store(struct mvcc *mvcc, const struct mvcc_hash *hash)
{
    size_t at;

    log_info("storing new hash", LOG_U64("hash", hash->hash),
             LOG_I64("revision", hash->hash_rev),
             LOG_I64("compact-revision", hash->compact_rev));
    pthread_mutex_lock(&mvcc->hash_lock);
    if (mvcc->n_hashes == HASHES_MAX) {
        mvcc->n_hashes--;
        memmove(mvcc->hashes, mvcc->hashes + 1,
                mvcc->n_hashes * sizeof(mvcc->hashes[0]));
    }
    /* Compactions go upward, so the newest is the greatest. */
    at = mvcc->n_hashes++;
    mvcc->hashes[at] = *hash;
    pthread_mutex_unlock(&mvcc->hash_lock);
}

static bool stored_hash(struct mvcc *mvcc, int64_t rev, struct mvcc_hash *out)
{
    bool found = false;

    pthread_mutex_lock(&mvcc->hash_lock);
    for (size_t i = 0; i < mvcc->n_hashes && !found; i++) {
        if (mvcc->hashes[i].hash_rev == rev) {
            *out = mvcc->hashes[i];
            found = true;
        }
    }
    pthread_mutex_unlock(&mvcc->hash_lock);
    return found;
}

size_t mvcc_hashes(struct mvcc *mvcc, struct mvcc_hash *out, size_t max)
{
    size_t n;

    pthread_mutex_lock(&mvcc->hash_lock);
    n = mvcc->n_hashes < max ? mvcc->n_hashes : max;
    memcpy(out, mvcc->hashes + mvcc->n_hashes - n, n * sizeof(*out));
    pthread_mutex_unlock(&mvcc->hash_lock);
    return n;
}

/* ---- pins ------------------------------------------------------------- */

/* A compaction that has been asked for by now is seen; each later one waits. */
static void pin(struct mvcc *mvcc, struct pin *pin)
{
    pthread_mutex_lock(&mvcc->hash_lock);
    *pin = (struct pin){mvcc_compacted(mvcc), mvcc->pins};
    mvcc->pins = pin;
    pthread_mutex_unlock(&mvcc->hash_lock);
}

static void unpin(struct mvcc *mvcc, struct pin *pin)
{
    struct pin **at = &mvcc->pins;

    pthread_mutex_lock(&mvcc->hash_lock);
    while (*at != pin)
        at = &(*at)->next;
    *at = pin->next;
    pthread_mutex_unlock(&mvcc->hash_lock);
}

bool hash_pinned(struct mvcc *mvcc, int64_t rev)
{
    bool pinned = false;

    pthread_mutex_lock(&mvcc->hash_lock);
    for (const struct pin *p = mvcc->pins; p != NULL; p = p->next)
        pinned = pinned || p->compacted < rev;
    pthread_mutex_unlock(&mvcc->hash_lock);
    return pinned;
}

/* ---- hashing on demand ------------------------------------------------ */

struct scan {
    struct mvcc *mvcc;
    struct hasher hasher;
    int rv;
};

/* The newest live revision of its key up to the hash's. */
static bool is_live(struct mvcc *mvcc, int64_t rev, const struct rev_key *at,
                    struct bytes record)
{
    struct item_rev newest;
    const struct item *item;
    bool live;

    pthread_rwlock_rdlock(&mvcc->lock);
    item = index_find(&mvcc->index, record_key(record));
    live = item != NULL && item_live_at(item, rev, &newest) &&
           newest.main == at->rev.main && newest.sub == at->rev.sub;
    pthread_rwlock_unlock(&mvcc->lock);
    return live;
}

static int hash_record(void *arg, struct bytes key, struct bytes record)
{
    struct scan *scan = arg;
    struct rev_key at;
    bool kept = false;

    scan->rv = rev_decode(key, &at);
    if (scan->rv != 0) {
        scan->rv = ERR_CORRUPT;
        return 1;
    }
    if (at.rev.main > scan->hasher.rev)
        return 1;
    if (hasher_asks(&scan->hasher, &at))
        kept = is_live(scan->mvcc, scan->hasher.rev, &at, record);
    hasher_add(&scan->hasher, &at, kept, key, record);
    return 0;
}

/* A key that counts as kept by a compaction at `rev`. One that was deleted and
 * put again in that very revision doesn't: etcd looks at the generation that
 * ended there. */
struct kept {
    struct mvcc *mvcc;
    int64_t rev;
    bool any;
};

static int stop_at_kept(void *arg, const struct mvcc_kv *kv)
{
    struct kept *kept = arg;
    const struct item *item;

    kept->any = true;
    if (kv->create_rev == kept->rev) {
        pthread_rwlock_rdlock(&kept->mvcc->lock);
        item = index_find(&kept->mvcc->index, kv->key);
        kept->any = item == NULL || !item_reborn_at(item, kept->rev);
        pthread_rwlock_unlock(&kept->mvcc->lock);
    }
    return kept->any;
}

/* Whether any key is kept at `rev`. */
static int any_kept(struct mvcc *mvcc, struct mvcc_reader *reader, int64_t rev,
                    bool *any)
{
    static const struct mvcc_range all = {
        .key = {(const uint8_t *)"", 0},
        .end = {(const uint8_t *)"", 1},
        .want = MVCC_KEYS,
    };
    struct kept kept = {.mvcc = mvcc, .rev = rev};
    int64_t count;
    int rv = range_at(reader, &all, rev, stop_at_kept, &kept, &count);

    *any = kept.any;
    return rv < 0 ? rv : 0;
}

static int hash_at(struct mvcc *mvcc, struct mvcc_reader *reader,
                   struct mvcc_hash *out)
{
    struct scan scan = {.mvcc = mvcc};
    bool any;
    int rv = any_kept(mvcc, reader, out->hash_rev, &any);

    if (rv == 0)
        rv = store_flush_wait(mvcc->store);
    if (rv == 0)
        rv = store_read_begin(reader->store);
    if (rv != 0)
        return rv;
    hasher_init(&scan.hasher, out->compact_rev, out->hash_rev, any);
    rv = store_scan(reader->store, STORE_KEY, bytes_of("", 0), hash_record,
                    &scan);
    store_read_end(reader->store);
    out->hash = scan.hasher.crc;
    return rv < 0 ? rv : scan.rv;
}

/* Below 0 there are no records. */
static int hash_of_nothing(struct mvcc *mvcc, int64_t rev,
                           struct mvcc_hash *out)
{
    struct hasher hasher;

    *out = (struct mvcc_hash){.compact_rev = mvcc_compacted(mvcc),
                              .hash_rev = rev};
    hasher_init(&hasher, out->compact_rev, rev, false);
    out->hash = hasher.crc;
    return 0;
}

static int hash_once(struct mvcc *mvcc, int64_t rev, struct mvcc_hash *out)
{
    uint64_t begin = clock_mono_ns();
    struct mvcc_reader *reader;
    struct pin held;
    int64_t current;
    int rv;

    /* A compaction at 0 has stored a hash as well. */
    if (stored_hash(mvcc, rev, out))
        return 0;
    current = mvcc_revision(mvcc);
    if (rev > current)
        return ERR_FUTURE_REV;
    if (rev < 0)
        return hash_of_nothing(mvcc, rev, out);
    *out = (struct mvcc_hash){.hash_rev = rev > 0 ? rev : current};
    rv = mvcc_reader_open(mvcc, &reader);
    if (rv != 0)
        return rv;
    pin(mvcc, &held);
    out->compact_rev = held.compacted;
    rv = out->hash_rev < out->compact_rev ? ERR_COMPACTED
                                          : hash_at(mvcc, reader, out);
    unpin(mvcc, &held);
    mvcc_reader_close(reader);
    metric_observe(metrics_hash_rev_seconds(),
                   (double)(clock_mono_ns() - begin) / 1e9);
    return rv;
}

/* Half of it from what was there before a swap would be the hash of nothing. */
int mvcc_hash_kv(struct mvcc *mvcc, int64_t rev, struct mvcc_hash *out)
{
    uint64_t swaps;
    int rv;

    do {
        swaps = atomic_load(&mvcc->swaps);
        rv = hash_once(mvcc, rev, out);
    } while (swaps != atomic_load(&mvcc->swaps));
    return rv;
}

int mvcc_hash(struct mvcc *mvcc, uint32_t *hash, int64_t *rev)
{
    uint64_t begin = clock_mono_ns();
    int rv = store_hash(mvcc->store, hash);

    *rev = mvcc_revision(mvcc);
    metric_observe(metrics_hash_seconds(),
                   (double)(clock_mono_ns() - begin) / 1e9);
    return rv;
}
