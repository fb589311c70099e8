/* The write-ahead log: etcd's WAL directory, written and read byte for byte.
 *
 * A directory holds segments <seq %016x>-<index %016x>.wal, `index` being
 * that of the first entry that may be inside. A segment is a row of records:
 *
 *   u64 little endian  bits 0-55 record bytes n; if padded, bit 63 set and
 *                      bits 56-58 pad bytes; 0: end of the log
 *   n bytes            walpb.Record { type 1, crc 2, data 3 }
 *   pad bytes          zeros up to a multiple of 8
 *
 *   type 1 metadata  etcdserverpb.Metadata { NodeID 1, ClusterID 2 }
 *        2 entry     raftpb.Entry
 *        3 state     raftpb.HardState
 *        4 crc       no data; crc of the segment before goes on from here
 *        5 snapshot  walpb.Snapshot { index 1, term 2, conf_state 3 }
 *
 * crc is the CRC-32C of the data of all records so far, over all segments. A
 * segment begins with crc, metadata and (but for the first one) state; the
 * first one with crc, metadata and the snapshot 0/0. A segment is allocated
 * and, where the file system writes past its page cache, filled with zeros
 * before it is used; a full one is cut to its length when the next one begins.
 *
 * One thread at a time uses a `struct wal`, but wal_release and wal_purge may
 * be called from any thread meanwhile. A write or a sync that fails is final:
 * the kernel may have dropped the dirty pages, so every later call returns
 * the same error, and the member has to stop. */
#ifndef CHORAD_WAL_H
#define CHORAD_WAL_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/base/queue.h"
#include "chorad/raft.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAL_SEGMENT_BYTES UINT64_C(64000000)

struct wal;

struct wal_options {
    /* A segment is closed once it is at least this long, the first one sooner;
     * 0 means WAL_SEGMENT_BYTES. */
    uint64_t segment_bytes;
    /* Never sync (--unsafe-no-fsync): a crash may lose what was promised. */
    bool unsafe_no_fsync;
    /* wal_open, wal_read: ignore snapshot records after this index; 0 means
     * no limit. */
    uint64_t snapshot_limit;
};

struct wal_metadata {
    uint64_t node_id;
    uint64_t cluster_id;
};

/* A snapshot record. etcd before 3.5 wrote no conf_state. */
struct wal_snapshot {
    uint64_t index;
    uint64_t term;
    bool has_conf_state;
    struct raft_conf_state conf_state;
};

/* What a log holds from its newest valid snapshot record on; valid is one
 * whose index the last hard state has committed. */
struct wal_contents {
    struct wal_metadata metadata;
    /* Zeroed if there is none. */
    struct raft_hard_state hard_state;
    /* Where the log starts. */
    struct wal_snapshot snapshot;
    /* All snapshot records found, oldest first, valid or not. Segments older
     * than the one `snapshot` is in are not read. */
    struct wal_snapshot *snapshots;
    size_t snapshot_count;
    /* Contiguous from snapshot.index + 1; overwritten ones are gone. Those
     * after hard_state.commit may still be overwritten by a leader. The
     * payloads share buffers. */
    struct raft_entry *entries;
    size_t entry_count;
    /* The end of the log was torn and has been cut off. */
    bool repaired;
};

/* Lets go of what is inside; entries whose references were taken over are
 * zeroed by whoever took them. */
void wal_contents_close(struct wal_contents *contents);

/* Is there a segment in the directory? */
bool wal_exists(const char *dir);

/* The same from the oldest segment on instead of the newest snapshot, so that
 * every record is read and checked: `snapshot` is where the first segment
 * begins, its term 0 where that isn't known. *segments: how many there are. */
int wal_read_whole(const char *dir, struct wal_contents *contents,
                   size_t *segments, struct errmsg *msg);

/* Removes all segments from the directory, which stays with whatever else is in
 * it. Fine if there is none. */
int wal_remove(const char *dir, struct errmsg *msg);

/* Makes the directory (0700, parents too) and a log in it, durable on
 * return. ERR_EXISTS if there is one already. `options` may be NULL. */
int wal_create(struct wal **out, const char *dir,
               const struct wal_options *options,
               const struct wal_metadata *metadata, struct errmsg *msg);

/* Opens for appending, with the segments locked against other processes
 * (etcd's own included), and reads what is there into `contents`, which the
 * caller closes. A torn end (the last write of a crashed member) is cut off,
 * with a warning, after a copy of the segment has been made under its name
 * plus ".broken". What is returned is durable.
 * ERR_NOTFOUND: no log; ERR_BUSY: locked; ERR_CORRUPT: damaged elsewhere than
 * at its end, the text names file and byte. On error nothing is to be
 * closed. */
int wal_open(struct wal **out, const char *dir,
             const struct wal_options *options, struct wal_contents *contents,
             struct errmsg *msg);

/* The same without lock, repair or change: for tools and tests. A torn end
 * is left out, `repaired` tells. */
int wal_read(const char *dir, const struct wal_options *options,
             struct wal_contents *contents, struct errmsg *msg);

/* Writes out, syncs and closes; frees in any case. NULL is fine. */
int wal_close(struct wal *wal, struct errmsg *msg);

/* ---- appending ---------------------------------------------------------- */

/* What one raft_append asks for; all borrowed for the call. */
struct wal_batch {
    /* NULL: none; its data isn't written. */
    const struct raft_snapshot *snapshot;
    const struct raft_entry *entries;
    size_t entry_count;
    /* NULL or zeroed: none. */
    const struct raft_hard_state *hard_state;
};

/* Encodes snapshot, entries and hard state, in this order, into the write
 * buffer; goes on in a new segment if the batch has filled this one. Written
 * only after wal_flush, durable only after wal_sync. */
int wal_append(struct wal *wal, const struct wal_batch *batch,
               struct errmsg *msg);

/* Hands what is buffered to the kernel. */
int wal_flush(struct wal *wal, struct errmsg *msg);

/* Flushes and makes durable what was appended. */
int wal_sync(struct wal *wal, struct errmsg *msg);

/* `index` is that of a snapshot whose record, and a hard state that commits
 * it, are durable: segments whose entries are all before it may go. Their
 * locks are given up, and wal_purge may remove them. */
void wal_release(struct wal *wal, uint64_t index);

/* Removes released segments, oldest first, while there are more than
 * `max_segments` in the directory; 0 means never. Takes its time, so that the
 * log doesn't feel it: a worker's work. */
int wal_purge(struct wal *wal, size_t max_segments, struct errmsg *msg);

/* ---- the writer thread -------------------------------------------------- */

struct wal_writer;
struct wal_job;

/* Called on the writer's thread once the job is written (and durable if
 * must_sync), in the order of submission; the job then is the caller's
 * again. `err` is 0, or the log has failed: `msg` says why, this and all
 * later jobs must be taken as not durable. */
typedef void (*wal_done_cb)(struct wal_job *job, int err,
                            const struct errmsg *msg);

/* The caller's memory, untouched from submit to done. What the batch points
 * at must stay as well. */
struct wal_job {
    struct queue_node node;
    struct wal_batch batch;
    bool must_sync;
    wal_done_cb done;
    void *arg;
};

/* A thread that takes all jobs waiting, writes them with one write and at
 * most one sync, and reports them. The log is its own until the stop. */
int wal_writer_start(struct wal_writer **out, struct wal *wal,
                     struct errmsg *msg);

/* From any thread; never blocks. */
void wal_writer_submit(struct wal_writer *writer, struct wal_job *job);

/* For how long the write or sync now under way has been running; 0 if none.
 * From any thread: a leader whose disk stalls steps down. */
uint64_t wal_writer_stalled_ns(const struct wal_writer *writer);

/* Carries out what was submitted, ends the thread and frees the writer; the
 * log stays open. */
void wal_writer_stop(struct wal_writer *writer);

#endif
