/* The store's parts, private to src/store.
 *
 * record.c   the CRC of a record
 * ops.c      the queue of operations, in blocks of memory
 * env.c      one generation of the LMDB file
 * batch.c    operations -> one LMDB transaction
 * flush.c    the flush thread: batches, jobs, waiters
 * job.c      what a job's step may do
 * read.c     readers
 * copy.c     the compact copy
 * defrag.c   copy and swap
 * retire.c   what happens to the file that was replaced
 * replace.c  another store in this one's place
 * hash.c     the hash over everything
 * builder.c  a store made at once
 * verify.c, verify_page.c   the file looked at without LMDB
 * store.c    open and close */
#ifndef CHORAD_STORE_INTERNAL_H
#define CHORAD_STORE_INTERNAL_H

#include "chorad/base/metrics.h"
#include "chorad/store.h"
#include <lmdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define STORE_CRC_LEN 4
#define STORE_MAX_KEY 511
#define STORE_FILE "data.mdb"
#define STORE_FILE_TMP "data.mdb.tmp"
#define STORE_LOCK_SUFFIX "-lock"
/* Address space, where nobody asks for more. */
#define STORE_MAP_BYTES ((uint64_t)64 << 30)

/* ---- records ---------------------------------------------------------- */

/* The CRC-32C of a record, over bucket name, key and value. */
uint32_t store_record_crc(enum store_bucket bucket, struct bytes key,
                          struct bytes value);
/* Takes the CRC off what LMDB gave; false if it doesn't match. */
bool store_record_check(enum store_bucket bucket, struct bytes key,
                        struct bytes disk, struct bytes *value);

/* ---- the queue -------------------------------------------------------- */

/* Operations lie one behind the other in blocks, 8-byte aligned:
 *
 *   head {kind, bucket, key_len, value_len}, key, value, 4 bytes for the CRC
 *
 * The CRC is filled in by the flush thread, so that LMDB takes value and CRC
 * in one piece from where they are. */
enum op_kind {
    OP_PUT = 1,
    OP_DELETE,
    OP_MARK,
    OP_NEXT_BLOCK, /* the rest of this block is unused */
};

struct op {
    uint8_t kind;
    uint8_t bucket;
    uint16_t key_len;
    uint32_t value_len;
    uint8_t data[];
};

/* Totals since open, up to some place in the queue. */
struct ops_count {
    uint64_t seq;     /* puts and deletes */
    uint64_t entries; /* those and marks */
    uint64_t bytes;   /* memory */
    uint64_t pages;   /* bytes they will take in the file, estimated */
};

/* Lies in the queue as an operation does: `kind` comes first in both. */
struct op_mark {
    uint8_t kind;
    uint64_t index;
    uint64_t term;
    struct ops_count count; /* up to and with this mark */
};

struct ops_block {
    struct ops_block *next;
    size_t size; /* of data */
    _Alignas(8) uint8_t data[];
};

struct ops_place {
    struct ops_block *block;
    size_t at;
};

/* The writer's end belongs to the loop thread, the reader's to the flush
 * thread; what lies between is handed over by the store's lock. */
struct ops {
    struct ops_place tail;
    struct ops_count count; /* of all that was queued */
    struct ops_place head;
    pthread_mutex_t pool_lock;
    struct ops_block *pool; /* emptied blocks, kept for the next use */
    unsigned pooled;
};

void store_ops_init(struct ops *ops);
void store_ops_close(struct ops *ops);

/* Appends; the caller fills in key and value. `pages` goes to the totals. */
struct op *store_ops_append(struct ops *ops, enum op_kind kind,
                            enum store_bucket bucket, size_t key_len,
                            size_t value_len, uint64_t pages);
void store_ops_append_mark(struct ops *ops, uint64_t index, uint64_t term);

/* The operation at `place`, which moves behind it. */
struct op *store_ops_next(struct ops_place *place);
/* Frees what lies before `place`, the reader's new end. */
void store_ops_release(struct ops *ops, struct ops_place place);

/* ---- one generation of the file ---------------------------------------- */

/* Held by the store and by each reader with a transaction on it; closed with
 * the last reference, so that a reader under way survives a defragmentation. */
struct store_env {
    atomic_uint refs;
    bool retired; /* the last one posts `unused` instead of closing */
    sem_t unused;
    MDB_env *mdb;
    MDB_dbi dbi[STORE_BUCKETS];
    MDB_dbi main;
    unsigned page_size;
};

struct env_config {
    uint64_t map_bytes;
    bool no_sync;
};

int store_env_open(const char *path, const struct env_config *config,
                   struct store_env **out, struct errmsg *msg);
void store_env_unref(struct store_env *env);
void store_env_close(struct store_env *env);

/* Bytes in live pages as `txn` sees them: all buckets, the directory of the
 * buckets and the two meta pages. LMDB's list of free pages is left out: it
 * changes within the commit itself, and weighs nothing. */
int store_env_in_use(const struct store_env *env, MDB_txn *txn,
                     uint64_t *bytes);

/* The high-water mark of in_use, a record beside the buckets' own in LMDB's
 * unnamed database: not part of the contents, but kept over a restart. */
int store_env_get_high_water(const struct store_env *env, MDB_txn *txn,
                             uint64_t *bytes);
int store_env_put_high_water(const struct store_env *env, MDB_txn *txn,
                             uint64_t bytes);

uint64_t store_env_file_size(const struct store_env *env);

/* Tells a full disk from a broken one: LMDB says EIO of a write that only the
 * space cut short. */
bool store_env_disk_full(const struct store_env *env);

/* How much a record adds to the file, overflow pages included. */
uint64_t store_env_estimate(unsigned page_size, size_t key_len,
                            size_t value_len);

/* Translates LMDB's result and sets "<what>: <LMDB's text>". */
int store_err(struct errmsg *msg, int mdb_rc, const char *what);

/* ---- the flush thread -------------------------------------------------- */

struct flush_waiter {
    struct flush_waiter *next;
    uint64_t entries; /* waits for so many to be on disk */
    void (*done)(void *arg, int err);
    void *arg;
};

struct store_job {
    struct store_job *next;
    uint64_t entries; /* starts when so many are on disk */
    uint64_t not_before_ns;
    store_step_cb step;
    void (*finished)(void *arg, int err);
    void *arg;
};

struct store_txn {
    struct store *store;
    MDB_txn *mdb;
    int err; /* the first one: the step does not commit */
    struct errmsg *msg;
};

enum flush_state {
    FLUSH_RUNS,
    FLUSH_IDLE,  /* sleeps until there is something */
    FLUSH_TIMED, /* sleeps until the interval is over */
    FLUSH_PARKED /* keeps its hands off the file, for a defragmentation */
};

struct store_metrics {
    struct metric_histogram *commit;
    struct metric_histogram *commit_write;
    struct metric_histogram *defrag;
    struct metric *defrag_inflight;
};

struct store {
    char *dir;
    int lock_fd;
    struct store_config config;
    struct env_config env_config;
    struct store_metrics metrics;
    void (*corrupt)(void *arg, enum store_bucket bucket, struct bytes key);
    void *corrupt_arg;
    uint64_t open_index;
    uint64_t open_term;

    /* The loop's side; the atomics are what others may read of it. */
    struct ops ops;
    unsigned page_size;
    _Atomic uint64_t queued_entries;
    _Atomic uint64_t queued_bytes;
    _Atomic uint64_t queued_pages;

    _Atomic uint64_t flushed_bytes;
    _Atomic uint64_t flushed_index;

    /* Under `lock`. */
    pthread_mutex_t lock;
    pthread_cond_t wake;   /* the flush thread waits here */
    pthread_cond_t parked; /* defragmentation and close wait here */
    enum flush_state state;
    struct ops_place published_place; /* behind the newest mark */
    struct ops_count published;
    struct ops_count flushed;
    uint64_t wanted; /* entries somebody waits for */
    struct flush_waiter *waiters;
    struct store_job *jobs;
    struct store_job **jobs_tail;
    bool job_runs;
    bool stopping;
    bool defragging;
    bool park;
    int failed;
    pthread_t thread;
    bool stopped;    /* the thread has ended */
    uint64_t due_ns; /* the flush thread's own: the interval's end, or 0 */

    /* Under `size_lock`. */
    pthread_mutex_t size_lock;
    uint64_t in_use;
    uint64_t high_water;
    uint64_t file;
    uint64_t flushed_pages;

    /* Under `readers_lock`: the swap of `env` and the list. */
    pthread_mutex_t readers_lock;
    struct store_env *env;
    struct store_reader *readers;

    /* The defragmentation's, and the close's. */
    struct retiree *retirees;
    atomic_bool stop_retiring;
};

/* Lets other threads see the loop's totals. */
static inline void store_publish_counts(struct store *store)
{
    const struct ops_count *count = &store->ops.count;

    atomic_store_explicit(&store->queued_bytes, count->bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&store->queued_pages, count->pages,
                          memory_order_relaxed);
    atomic_store_explicit(&store->queued_entries, count->entries,
                          memory_order_release);
}

/* batch.c. One transaction with the operations from `place` on, up to a mark
 * not behind `end`, bounded in size. On success *place and *count are where it
 * ended. */
int store_batch_run(struct store *store, const struct ops_place *end,
                    struct ops_place *place, struct op_mark *mark,
                    struct errmsg *msg);

/* Commits with the high-water mark brought up to date; the transaction is gone
 * afterwards whatever comes. */
int store_commit(struct store *store, MDB_txn *txn, uint64_t flushed_pages,
                 struct errmsg *msg);

/* flush.c */
void *store_flush_main(void *arg);
/* The member has to stop: tells the `failed` callback. */
void store_fail(struct store *store, int err, const struct errmsg *msg);
/* The thread ends once what is marked is on disk. */
void store_flush_stop(struct store *store);
/* Keeps the flush thread away from the file until store_unpark. */
int store_park(struct store *store);
void store_unpark(struct store *store);
/* While the flush thread is parked: ends all jobs. */
void store_cancel_jobs(struct store *store);

/* defrag.c */
/* Others stay away from the file until store_release_file. ERR_BUSY unless
 * `wait`; ERR_STOPPED. */
int store_claim_file(struct store *store, bool wait, struct errmsg *msg);
void store_release_file(struct store *store);

/* job.c */
/* One step of the job in a transaction of its own. `disk_failed` tells a
 * failure of the store from one of the job. */
int store_job_step(struct store *store, struct store_job *job,
                   int64_t *pause_ns, bool *disk_failed, struct errmsg *msg);

/* read.c */
/* Makes `env` the one that new read transactions see, takes idle readers off
 * the old one and leaves the busy ones to end. The old one's reference is the
 * caller's: closing the last one takes its time. */
struct store_env *store_swap_env(struct store *store, struct store_env *env);
unsigned store_readers_active(struct store *store);
void store_report_corrupt(struct store *store, enum store_bucket bucket,
                          struct bytes key);

/* copy.c. Writes a compact copy to a new file and syncs it; it will be about
 * `expected` bytes long. */
int store_copy(struct store *store, const char *path, uint64_t expected,
               struct errmsg *msg);

/* retire.c. Takes over the store's reference to a generation that has been
 * replaced and whose name is gone, durably. */
void store_retire(struct store *store, struct store_env *env);
/* Ends the threads that are done; all of them, at once, when the store closes
 * and nobody reads any more. */
void store_retired_join(struct store *store, bool all);

/* metrics.c */
void store_metrics_open(struct store *store);
void store_metrics_close(struct store *store);

#endif
