/* Building the index from the key bucket at start. */
#ifndef CHORAD_MVCC_RESTORE_H
#define CHORAD_MVCC_RESTORE_H

#include "internal.h"

/* Fills the empty index, sets revision, compacted and finished, and calls
 * `lease` for every live key with one. *scheduled: of the newest compaction
 * asked for, -1 if there was none. ERR_CORRUPT with the revision in msg. */
int restore(struct mvcc *mvcc, mvcc_lease_cb lease, void *arg,
            int64_t *scheduled, struct errmsg *msg);

#endif
