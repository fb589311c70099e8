/* Maintenance.Snapshot: the whole store as a database image in pieces.
 *
 *   shard   open ----- pump, drained ... ----- finish --> done
 *             |          ^ pieces  | room         ^          |
 *   maker   flush --> count --> write --> sum ----'     stops early
 *
 * The maker is a thread of its own: it reads all buckets twice within one
 * read transaction and waits whenever a few pieces wait to be sent. One that
 * waits too long gives up, because an open read transaction keeps the store
 * from using freed pages again. */
#ifndef CHORAD_SERVICES_SNAPSHOT_H
#define CHORAD_SERVICES_SNAPSHOT_H

#include "access.h"

#include "chorad/snapshot.h"

/* Pieces, and how many of them wait at most (source: etcd's
 * snapshotSendBufferSize). */
#define SNAPSHOT_PIECE ((size_t)32 * 1024)
#define SNAPSHOT_WAITING 4
/* A client that takes nothing for so long is given up. */
#define SNAPSHOT_STALL_NS (UINT64_C(120) * 1000000000)
/* At once; each has a thread and a read transaction. */
#define SNAPSHOTS_MAX 64

struct snapshot_piece {
    struct shared *blob;
    uint64_t remaining;
};

struct snapshot {
    struct services *services;
    struct rpc_shard *shard;
    struct access access;

    /* The maker's; it is there for the shard once a piece has come. */
    uint64_t total;
    char version[SNAPSHOT_VERSION_MAX + 1];
    uint64_t began_ns;

    /* Set under `lock`, read anywhere: nobody wants it any more. */
    atomic_bool over;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    unsigned refs;         /* shard, maker, flush, turn */
    struct rpc_call *call; /* NULL once `over` */
    bool flushed;
    int flush_err;
    struct snapshot_piece pieces[SNAPSHOT_WAITING];
    unsigned first;
    unsigned n;
    bool posted; /* `turn` is under way */
    bool made;   /* no piece follows */
    int err;     /* why not all were made */
    struct rpc_task turn;

    bool finished; /* the shard's */
};

/* ---- snapshot.c: the stream ---- */

void snapshots_open(struct services *services);
/* Waits for the makers, which all streams' ends have told to stop. */
void snapshots_close(struct services *services);

void snapshot_open(struct rpc_call *call);
void snapshot_drained(struct rpc_call *call);
void snapshot_done(struct rpc_call *call);

/* Hands a piece over, and waits while there is no room. ERR_CANCELED: nobody
 * wants it any more; ERR_TIMEOUT. Takes over the blob. The maker. */
int snapshot_give(struct snapshot *s, struct shared *blob, uint64_t remaining);
/* Until all that was queued before is on disk. The maker. */
int snapshot_wait_flush(struct snapshot *s);

/* ---- snapshot_make.c ---- */

/* Reads the store and gives all pieces. */
int snapshot_make(struct snapshot *s);

#endif
