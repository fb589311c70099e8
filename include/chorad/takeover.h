/* Taking over what etcd left: a store of our own from etcd's database, before
 * the member starts on both.
 *
 *   member/snap/db                 etcd's database ---+
 *   member/snap/<index>.snap.db    one that a leader  +--> member/kv
 *                                  has sent        ---+
 *   member/snap/<term>-<index>.snap  members, for etcd up to 3.5
 *   member/wal                     gone on with as it is
 *
 * The new store is built beside its place and renamed when all of it is on
 * disk, so that a start that was cut off begins again. etcd's own files are
 * read, never changed. */
#ifndef CHORAD_TAKEOVER_H
#define CHORAD_TAKEOVER_H

#include "chorad/base/err.h"
#include <stdbool.h>

struct takeover_config {
    const char *data_dir;
    const char *wal_dir;
    const char *kv_dir;  /* where the store is, or will be */
    const char *version; /* of chorad, for the note */
};

/* Does what there is to do, which mostly is nothing; at start, before the store
 * and the log are opened. Two cases: there is no store but a database of
 * etcd's, or the log begins behind the store's end and a database that a
 * leader sent is there for that. The first leaves a note beside the data that
 * says what has been done and how to go back. A database without records and
 * without a log is what a server leaves that could not begin: it is let lie.
 *
 * ERR_BUSY: etcd runs on the directory; ERR_CORRUPT: damage, or files that
 * don't fit together; ERR_UNSUPPORTED: data that chorad has no place for;
 * ERR_NOSPC, ERR_IO. Nothing has changed then. */
int takeover_run(const struct takeover_config *config, struct errmsg *msg);

#endif
