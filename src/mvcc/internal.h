/* What the files of this folder share: the state and how it is guarded. */
#ifndef CHORAD_MVCC_INTERNAL_H
#define CHORAD_MVCC_INTERNAL_H

#include "chorad/mvcc.h"
#include "index.h"
#include "tail.h"
#include <pthread.h>
#include <stdatomic.h>

#define HASHES_MAX 10

/* A running hash_kv: what a compaction newer than this one would take away from
 * index and store belongs to its hash. */
struct pin {
    int64_t compacted;
    struct pin *next;
};

/* Written by the loop alone, read at scrape time by anybody. */
struct counters {
    _Atomic uint64_t puts;
    _Atomic uint64_t deletes;
    _Atomic uint64_t txns;
    _Atomic uint64_t put_bytes;
    _Atomic int64_t keys; /* live ones */
};

struct txn {
    bool open;
    uint32_t puts;
    uint32_t deletes;
    uint32_t ranges;
    uint64_t put_bytes;
    struct mvcc_change *changes;
    size_t len;
    size_t cap;
};

struct mvcc {
    struct store *store;
    struct mvcc_config config;

    /* Guards index and tail. The loop changes them in a transaction, the
     * flush thread trims the tail and compacts the index in short pieces.
     * What a transaction has written is in them at once, under the main
     * revision `revision + 1`, which no reader asks for yet. */
    pthread_rwlock_t lock;
    struct index index;
    size_t items_memory;
    struct tail tail;

    _Atomic int64_t revision;
    _Atomic int64_t compacted;
    /* The compaction the disk is done with; -1: none ever. */
    _Atomic int64_t finished;
    int64_t scheduled; /* at open; -1: none ever */
    /* How often all of it was swapped. */
    _Atomic uint64_t swaps;

    struct txn txn;          /* the loop's */
    struct mvcc_reader *own; /* the loop's */
    struct counters counters;

    /* Guards the list of readers, not the readers. */
    pthread_mutex_t readers_lock;
    struct mvcc_reader *readers;
    _Atomic uint64_t epoch;
    uint64_t closed_ranges; /* of readers that are gone */

    pthread_mutex_t hash_lock;
    struct mvcc_hash hashes[HASHES_MAX]; /* by hash_rev, ascending */
    size_t n_hashes;
    struct pin *pins;
};

/* A key that a range has found, kept over the end of the lock. */
struct hit {
    int64_t main;
    int64_t created;
    int64_t version;
    size_t key_at; /* in reader->keys */
    size_t key_len;
    struct bytes record; /* in the tail; data NULL: it is in the store */
    uint32_t sub;
};

struct mvcc_reader {
    /* The epoch the reader is in; 0: it holds no pointer into the tail. */
    _Alignas(64) _Atomic uint64_t epoch;
    _Atomic uint64_t ranges;
    struct mvcc *mvcc;
    struct store_reader *store;
    struct mvcc_reader *prev;
    struct mvcc_reader *next;
    struct hit *hits;
    struct tail_entry *entries;
    struct buf keys;
    struct buf resume; /* the last key of the chunk before */
};

/* Between the two, tail records found under the lock stay valid, also after
 * it is let go. Keep it short: the flush thread waits. */
static inline void reader_enter(struct mvcc_reader *reader)
{
    atomic_store(&reader->epoch, atomic_load(&reader->mvcc->epoch));
}

static inline void reader_exit(struct mvcc_reader *reader)
{
    atomic_store_explicit(&reader->epoch, 0, memory_order_release);
}

/* Returns when no reader can hold what was taken out of the tail before. */
void readers_wait(struct mvcc *mvcc);
uint64_t readers_ranges(struct mvcc *mvcc);

/* range.c: at revision `rev`, which is checked. */
int range_at(struct mvcc_reader *reader, const struct mvcc_range *range,
             int64_t rev, mvcc_visit_cb visit, void *arg, int64_t *count);

/* A range's bounds for the index; false: it's a single key. */
bool range_bounds(struct bytes end_asked, struct bytes *end);

/* hash.c */
struct hasher {
    uint32_t crc;
    int64_t compacted;
    int64_t rev;
    bool keeps; /* anything at all is kept up to `rev` */
};
void hasher_init(struct hasher *hasher, int64_t compacted, int64_t rev,
                 bool keeps);
/* `kept`: the record is in the set that `keeps` is about; asked for only
 * where hasher_asks. */
struct rev_key;
bool hasher_asks(const struct hasher *hasher, const struct rev_key *at);
void hasher_add(struct hasher *hasher, const struct rev_key *at, bool kept,
                struct bytes key, struct bytes record);
void hash_store(struct mvcc *mvcc, const struct mvcc_hash *hash);
/* Whether a running hash_kv needs what a compaction at `rev` would take. */
bool hash_pinned(struct mvcc *mvcc, int64_t rev);

/* metrics.c */
void metrics_open(struct mvcc *mvcc);
void metrics_close(struct mvcc *mvcc);
struct metric_histogram *metrics_index_pause_ms(void);
struct metric_histogram *metrics_db_pause_ms(void);
struct metric_histogram *metrics_db_total_ms(void);
struct metric_histogram *metrics_hash_seconds(void);
struct metric_histogram *metrics_hash_rev_seconds(void);
struct metric *metrics_compact_keys(void);
struct metric *metrics_compact_last(void);

#endif
