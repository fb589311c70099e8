/* MVCC: keys, their generations of revisions, and the records behind them.
 *
 * Three homes: the index in memory (which revision), the tail in memory (the
 * newest records, not yet in LMDB) and the store's key bucket (all older
 * ones). One writer thread, the loop; any number of readers. Records are
 * etcd's bytes: key {main i64 BE, '_', sub i64 BE[, 't']}, value an encoded
 * mvccpb.KeyValue (source: reference/formats.md, 4). */
#ifndef CHORAD_MVCC_H
#define CHORAD_MVCC_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/store.h"
#include <stdbool.h>
#include <stdint.h>

struct mvcc;

struct mvcc_rev {
    int64_t main;
    int64_t sub;
};

struct mvcc_config {
    uint32_t compact_batch;    /* records a step; 0: 1000 */
    uint64_t compact_pause_ns; /* between steps; 0: 10 ms */
    bool only_reads; /* a compaction that was cut off isn't gone on with */
    bool aside;      /* only to be swapped in: no metrics, nothing is resumed */
};

/* Called once per live key with a lease while the index is built, so that the
 * lessor can attach it. */
typedef void (*mvcc_lease_cb)(void *arg, int64_t lease, struct bytes key);

/* Builds the index from the store and resumes a compaction that a crash cut
 * off. The store must outlive it. */
int mvcc_open(struct store *store, const struct mvcc_config *config,
              mvcc_lease_cb lease, void *arg, struct mvcc **out,
              struct errmsg *msg);

/* Between store_stop and store_close, with all readers closed: no callback of
 * the store may come here any more. A compaction that was running ended with
 * ERR_STOPPED and goes on at the next open. */
void mvcc_close(struct mvcc *mvcc);

/* Takes over what `with`, opened aside on the other store, has made of it, the
 * moment store_replaced puts that in this one's place (which this calls), and
 * resumes a compaction. Readers go on: those in the middle of a range finish
 * it, at the same revision. `with` then has what was here before, and is to be
 * closed, before its store, by a worker. The loop. */
void mvcc_swap(struct mvcc *mvcc, struct mvcc *with, struct store *with_store);

/* To be called from the store's `flushed` callback. Returns when no reader
 * looks at the flushed records' memory any more. */
void mvcc_flushed(struct mvcc *mvcc, uint64_t seq);

/* Current revision (1 when nothing was ever written). Any thread. */
int64_t mvcc_revision(const struct mvcc *mvcc);
/* Compacted revision, -1 before the first compaction. Any thread. */
int64_t mvcc_compacted(const struct mvcc *mvcc);

/* ---- reading ---------------------------------------------------------- */

/* A thread's own way in; not shared between threads. */
struct mvcc_reader;

int mvcc_reader_open(struct mvcc *mvcc, struct mvcc_reader **out);
void mvcc_reader_close(struct mvcc_reader *reader);

enum mvcc_want {
    MVCC_COUNT,   /* nothing is visited */
    MVCC_KEYS,    /* from the index alone: record, lease and value are empty */
    MVCC_RECORDS, /* with the stored record */
};

struct mvcc_range {
    struct bytes key;
    struct bytes end; /* empty: that one key; "\0": key and all above;
                         else up to, not including. end <= key: nothing */
    int64_t rev;      /* <= 0: the current one */
    int64_t limit;    /* how many are visited; <= 0: all */
    enum mvcc_want want;
};

struct mvcc_kv {
    struct bytes key;
    int64_t create_rev;
    int64_t mod_rev;
    int64_t version;
    struct bytes record; /* the encoded mvccpb.KeyValue */
};

/* Called in key order. The bytes are valid during the call only. Non-zero
 * ends the range and is returned. */
typedef int (*mvcc_visit_cb)(void *arg, const struct mvcc_kv *kv);

struct mvcc_range_result {
    int64_t rev;   /* the current revision when the range began; set before
                      the first visit */
    int64_t count; /* keys in the range at the revision asked for, whatever
                      the limit */
};

/* ERR_FUTURE_REV, ERR_COMPACTED, ERR_CORRUPT, or what visit returned. A long
 * range lets go of the lock between chunks and goes on at its revision; should
 * a compaction pass that revision meanwhile: ERR_COMPACTED. */
int mvcc_range(struct mvcc_reader *reader, const struct mvcc_range *range,
               mvcc_visit_cb visit, void *arg,
               struct mvcc_range_result *result);

/* Splits an encoded mvccpb.KeyValue; pieces borrowed. ERR_MALFORMED. */
struct mvcc_fields {
    struct bytes key;
    struct bytes value;
    int64_t create_rev;
    int64_t mod_rev;
    int64_t version;
    int64_t lease;
};
int mvcc_decode(struct bytes record, struct mvcc_fields *fields);
/* The revision that is a record's key in the store. ERR_MALFORMED. */
int mvcc_decode_rev(struct bytes key, struct mvcc_rev *rev, bool *tombstone);

/* A change, in revision order. */
struct mvcc_change {
    struct mvcc_rev rev;
    bool tombstone;
    struct bytes key;
    struct bytes record; /* a tombstone's KeyValue has only the key */
};
typedef int (*mvcc_change_cb)(void *arg, const struct mvcc_change *change);

/* Visits the changes with from <= main <= to, at most `max_revs` distinct main
 * revisions; sets *next to the first main revision not visited (to + 1 when
 * all were; those after the current one don't count). ERR_COMPACTED when from
 * is below the compacted revision, also if that happens meanwhile: then what
 * was visited may have gaps. For watchers that start in the past. */
int mvcc_changes(struct mvcc_reader *reader, int64_t from, int64_t to,
                 int64_t max_revs, mvcc_change_cb visit, void *arg,
                 int64_t *next);

/* ---- writing: the loop thread only ------------------------------------ */

/* One transaction at a time: all its changes share main = revision + 1.
 * Readers see nothing of it before mvcc_txn_end. */
void mvcc_txn_begin(struct mvcc *mvcc);

/* A range as the transaction sees it: earlier writes of its own included;
 * range.rev > 0 reads the past. result->rev is revision + 1 once something
 * was written. */
int mvcc_txn_range(struct mvcc *mvcc, const struct mvcc_range *range,
                   mvcc_visit_cb visit, void *arg,
                   struct mvcc_range_result *result);

void mvcc_txn_put(struct mvcc *mvcc, struct bytes key, struct bytes value,
                  int64_t lease);

/* Deletes the live keys of [key, end) (forms as in struct mvcc_range) in key
 * order; returns how many. */
int64_t mvcc_txn_delete(struct mvcc *mvcc, struct bytes key, struct bytes end);

/* The changes so far, in order; their bytes stay valid until the store
 * operation behind them is flushed, the array until the next begin. */
const struct mvcc_change *mvcc_txn_changes(const struct mvcc *mvcc, size_t *n);

/* Publishes; returns the current revision: one more than before if anything
 * was written. The store_mark is the caller's. */
int64_t mvcc_txn_end(struct mvcc *mvcc);

/* Compacts up to rev: from now on older revisions can't be read. Records go in
 * the background; `done` (may be NULL) is called on the flush thread when they
 * are gone from the disk. ERR_COMPACTED when rev <= compacted, ERR_FUTURE_REV
 * when rev > revision; nothing is called then. */
int mvcc_compact(struct mvcc *mvcc, int64_t rev,
                 void (*done)(void *arg, int err), void *arg);

/* ---- hashes ----------------------------------------------------------- */

struct mvcc_hash {
    uint32_t hash;
    int64_t compact_rev; /* the compacted revision it was computed with */
    int64_t hash_rev;
};

/* etcd's HashKV (reference/formats.md, 5), the stored compaction hashes
 * included. rev 0: the current one, unless a compaction at 0 has stored a
 * hash; below 0: of no records. Flushes first, then reads: blocks, a
 * worker's job. */
int mvcc_hash_kv(struct mvcc *mvcc, int64_t rev, struct mvcc_hash *out);

/* The newest stored compaction hashes, at most max (10 are kept), oldest
 * first; returns how many. Any thread. */
size_t mvcc_hashes(struct mvcc *mvcc, struct mvcc_hash *out, size_t max);

/* Maintenance.Hash: store_hash and the current revision, timed for the
 * metrics. Blocks, a worker's job. */
int mvcc_hash(struct mvcc *mvcc, uint32_t *hash, int64_t *rev);

/* ---- numbers ----------------------------------------------------------- */

struct mvcc_stats {
    uint64_t keys;        /* entries of the index, deleted ones that are not
                             yet compacted included */
    uint64_t index_bytes; /* memory of the index, estimated */
    uint64_t tail_records;
};
struct mvcc_stats mvcc_stats(struct mvcc *mvcc);

#endif
