/* The store: etcd's ten buckets in LMDB, written behind by one flush thread.
 *
 * One writer thread (the loop) queues operations and never waits for the
 * disk; the flush thread carries them out in order, one synced LMDB
 * transaction a batch. A batch ends only at a mark, so that what one applied
 * raft entry changed, the consistent index included, is there as a whole or
 * not at all. Each value is followed on disk by its CRC-32C over bucket, key
 * and value, checked at every read and never seen by callers. */
#ifndef CHORAD_STORE_H
#define CHORAD_STORE_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include <stdbool.h>
#include <stdint.h>

/* In the order of their names, which is the order of etcd's root bucket. */
enum store_bucket {
    STORE_ALARM,
    STORE_AUTH,
    STORE_AUTH_ROLES,
    STORE_AUTH_USERS,
    STORE_CLUSTER,
    STORE_KEY,
    STORE_LEASE,
    STORE_MEMBERS,
    STORE_MEMBERS_REMOVED,
    STORE_META,
    STORE_BUCKETS, /* their number */
};

/* "key", "meta", ...: etcd's name. */
const char *store_bucket_name(enum store_bucket bucket);

struct store;

struct store_config {
    const char *dir;            /* member/kv; made 0700 if it isn't there */
    uint64_t map_bytes;         /* address space; 0: 64 GiB */
    uint64_t flush_interval_ns; /* 0: 100 ms */
    uint32_t flush_ops;         /* flush at once from so many; 0: 10000 */
    bool no_sync;               /* --unsafe-no-fsync */
    bool aside;                 /* beside the store that the metrics tell of */

    /* Called on the flush thread after a batch is on disk: all operations up
     * to `seq` can be read through new readers. The memory handed out by
     * store_put for them is freed when the callback returns. */
    void (*flushed)(void *arg, uint64_t seq);
    /* Called on the flush thread when the disk failed; the store takes no
     * more writes and the member has to stop. */
    void (*failed)(void *arg, int err, const struct errmsg *msg);
    void *arg;
};

/* Opens or makes the store and starts the flush thread. ERR_BUSY when
 * another process holds it, ERR_CORRUPT, ERR_IO, ERR_NOSPC. */
int store_open(const struct store_config *config, struct store **out,
               struct errmsg *msg);

/* Flushes what is queued up to the last mark and stops the thread: no callback
 * is called any more. Readers may still read. Nothing may be queued after. */
void store_stop(struct store *store);

/* Stops if that hasn't been done, and closes; all readers are closed. */
void store_close(struct store *store);

/* ---- writing: the loop thread only ---------------------------------- */

/* Queues a put; key and value are copied. Returns the copy of the value,
 * which stays readable until `flushed` has returned for this operation's
 * sequence number. Keys up to 511 bytes (LMDB's limit). */
const uint8_t *store_put(struct store *store, enum store_bucket bucket,
                         struct bytes key, struct bytes value);
/* The same for a value given in pieces that are joined. */
const uint8_t *store_putv(struct store *store, enum store_bucket bucket,
                          struct bytes key, const struct bytes *pieces,
                          size_t n);
/* Queues a delete; deleting what isn't there is fine. */
void store_delete(struct store *store, enum store_bucket bucket,
                  struct bytes key);

/* The sequence number of the newest queued operation; the first is 1. */
uint64_t store_seq(const struct store *store);

/* Ends an atomic unit: the raft entry `index` of `term` is applied. Writes
 * consistent_index and term to the meta bucket with the batch. */
void store_mark(struct store *store, uint64_t index, uint64_t term);

/* Consistent index and term on disk at open (0 when new). */
void store_consistent_index(const struct store *store, uint64_t *index,
                            uint64_t *term);
/* Highest marked index known to be on disk. Any thread. */
uint64_t store_flushed_index(const struct store *store);

/* Bytes queued and not yet flushed. Any thread; the node slows proposals
 * down by it. */
uint64_t store_pending_bytes(const struct store *store);

/* Calls done(arg, err) on the flush thread once everything queued before is
 * on disk, without waiting for the interval; what isn't marked yet counts as
 * queued and is waited for. Any thread. */
void store_flush(struct store *store, void (*done)(void *arg, int err),
                 void *arg);

/* The same for who can wait: blocks until it is on disk, or the store has
 * failed. Not on the loop. */
int store_flush_wait(struct store *store);

/* ---- background work on the flush thread (compaction) ---------------- */

struct store_txn;

/* One step of a long job, inside a write transaction that commits after it
 * returns. Returns the pause in nanoseconds before the next step, 0 for none,
 * or -1 when the job is done; `finished` is then called after that
 * transaction is on disk. Once a store_txn_* call has failed, the step's
 * transaction is dropped and the job ends with that error. */
typedef int64_t (*store_step_cb)(void *arg, struct store_txn *txn);

/* Queues a job; it starts after everything queued before is on disk. Jobs run
 * one after the other; flushing goes on between the steps. Any thread. On
 * store_close an unfinished job is dropped and `finished` is called with
 * ERR_STOPPED. */
void store_job(struct store *store, store_step_cb step,
               void (*finished)(void *arg, int err), void *arg);

/* Visits records of the key order of `bucket` from `from` (inclusive) while
 * visit returns 0 (continue) or 1 (delete this record and continue); 2 stops
 * before the record. */
int store_txn_scan(
    struct store_txn *txn, enum store_bucket bucket, struct bytes from,
    int (*visit)(void *arg, struct bytes key, struct bytes value), void *arg);
int store_txn_put(struct store_txn *txn, enum store_bucket bucket,
                  struct bytes key, struct bytes value);

/* ---- reading: any thread, one reader per thread ---------------------- */

struct store_reader;

int store_reader_open(struct store *store, struct store_reader **out);
void store_reader_close(struct store_reader *reader);

/* A read transaction on the newest flushed state, until store_read_end. Keep
 * it short: pages freed meanwhile can't be used again. */
int store_read_begin(struct store_reader *reader);
void store_read_end(struct store_reader *reader);

/* Inside begin/end; the bytes are valid until the end. ERR_NOTFOUND;
 * ERR_CORRUPT when the record's CRC doesn't match (the corrupt callback of
 * store_on_corrupt has been called). */
int store_get(struct store_reader *reader, enum store_bucket bucket,
              struct bytes key, struct bytes *value);

/* Visits records in key order from `from` (inclusive) until visit returns
 * non-zero, which is returned; ERR_CORRUPT as above. visit may call store_get,
 * but not scan the same bucket. */
int store_scan(struct store_reader *reader, enum store_bucket bucket,
               struct bytes from,
               int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg);

/* Visits all records of a bucket as of now, with a reader of its own: for a
 * start. 0, ERR_CORRUPT, or what visit returned. */
int store_load(struct store *store, enum store_bucket bucket,
               int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg);

/* What to call, on the reading thread, when a record fails its CRC: raises
 * the CORRUPT alarm. */
void store_on_corrupt(struct store *store,
                      void (*corrupt)(void *arg, enum store_bucket bucket,
                                      struct bytes key),
                      void *arg);

/* How many records the bucket has; inside begin/end. */
uint64_t store_count(struct store_reader *reader, enum store_bucket bucket);

/* ---- a store made at once ------------------------------------------------ */

/* Records that come sorted, bucket by bucket, become a store much quicker than
 * through the queue; memory is bounded. It is to be opened as any other, once
 * all is there. */
struct store_builder;

/* Begins anew in the directory: what is there goes. `bytes` is what the
 * records will take, roughly. */
int store_builder_open(const char *dir, uint64_t bytes,
                       struct store_builder **out, struct errmsg *msg);

/* Adds a record behind those its bucket has. The bytes are lent for the time of
 * the call. ERR_INVALID: not behind them; ERR_UNSUPPORTED: a key that LMDB
 * can't take; ERR_NOMEM, ERR_NOSPC, ERR_IO. After an error only close. */
int store_builder_put(struct store_builder *builder, enum store_bucket bucket,
                      struct bytes key, struct bytes value, struct errmsg *msg);

/* On 0 the store is complete and durable. Only close may follow. */
int store_builder_finish(struct store_builder *builder, struct errmsg *msg);

/* Frees it; the directory stays, finished or not. NULL is fine. */
void store_builder_close(struct store_builder *builder);

/* ---- looking whether it is sound ---------------------------------------- */

struct store_verify {
    bool records; /* their CRCs, too, not only the pages they lie on */
    /* A damaged record was found; what it returns other than 0 ends the
     * search. NULL: the first one does. */
    int (*damaged)(void *arg, const char *what);
    int (*progress)(void *arg, uint64_t done, uint64_t total); /* optional */
    void *arg;
};

/* Reads the file of a store that nobody has open, without LMDB, which trusts
 * what it finds: that every page is in its place and its contents in order, and
 * that none is used twice or free as well. store_open does it first. 0: all is
 * well, apart from what `damaged` was told; ERR_CORRUPT names page and reason;
 * ERR_NOTFOUND, ERR_IO. */
int store_verify(const char *dir, const struct store_verify *config,
                 struct errmsg *msg);

/* Keeps members and tools away from the store in the directory until the file
 * is closed. ERR_BUSY. */
int store_lock(const char *dir, int *fd, struct errmsg *msg);

/* ---- another store in this one's place ------------------------------------
 * As when a member gets all of its state from another one. Nothing may be
 * queued but what is marked, and nothing from the first half to the second. */

/* First half: flushes, then `with`, which lies in a directory of its own and
 * has been stopped, gives its file to this store's directory. Jobs end with
 * ERR_CANCELED, the flush rests. From now on a restart finds the contents of
 * `with`. Blocks: a worker. After an error nothing is certain but that either
 * file is whole. */
int store_replace(struct store *store, struct store *with, struct errmsg *msg);
/* Second half, the loop: readers see the contents of `with`, readers under way
 * end on the old ones; the flush goes on. `with` then has what this store had,
 * and is to be closed, by a worker. */
void store_replaced(struct store *store, struct store *with);

/* ---- the whole ------------------------------------------------------ */

struct store_size {
    uint64_t total;  /* high-water mark of bytes in live pages since the last
                        defragmentation; what the quota is measured against.
                        Queued operations are counted in by estimate. */
    uint64_t in_use; /* bytes in live pages now, queued ones counted in */
    uint64_t file;   /* length of the file */
};

/* Any thread, no I/O. */
struct store_size store_size(const struct store *store);

/* Copies compactly to a new file and swaps it in; writes are queued meanwhile
 * and go on. Flushes first, and waits up to a second for jobs, so that a
 * compaction just begun is in it. Blocks the calling thread: a worker, not one
 * that is inside store_read_begin. One at a time: ERR_BUSY; ERR_IO, ERR_NOSPC:
 * the old file is still in use. */
int store_defrag(struct store *store, struct errmsg *msg);

/* CRC-32C over all buckets in name order: name, then each key and value; the
 * meta keys term, consistent_index and storageVersion left out (etcd's
 * Maintenance.Hash). Flushes first. Blocks: a worker. */
int store_hash(struct store *store, uint32_t *hash);

#endif
