/* Compaction's background part. */
#ifndef CHORAD_MVCC_COMPACT_H
#define CHORAD_MVCC_COMPACT_H

#include "internal.h"

#define META_SCHEDULED "scheduledCompactRev"
#define META_FINISHED "finishedCompactRev"

/* Queues the background part. `complete`: the compaction before had finished,
 * so that this one's hash may be stored. */
void compact_start(struct mvcc *mvcc, int64_t rev, int64_t prev, bool complete,
                   void (*done)(void *arg, int err), void *arg);

#endif
