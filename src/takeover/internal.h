/* Private to src/takeover.
 *
 * takeover.c    the steps, in order
 * database.c    which database is to be taken
 * convert.c     the database becomes a store
 * history.c     the membership at the database's end, for etcd up to 3.5
 * snap_file.c   .snap files
 * v2_store.c    the tree of keys in them
 * roster.c  members, and how entries of the log change them
 * note.c        the note beside the data */
#ifndef CHORAD_TAKEOVER_INTERNAL_H
#define CHORAD_TAKEOVER_INTERNAL_H

#include "chorad/cluster.h"
#include "chorad/snapshot.h"
#include "chorad/takeover.h"
#include "chorad/wal.h"

/* ---- database.c ---- */

struct database {
    char *path; /* NULL: there is nothing to take over */
    int fd;
    struct snapshot_info info;
    bool received; /* a .snap.db */
};

#define NO_STORE UINT64_MAX

/* Opens the database that reaches to where the log begins, locked against
 * etcd. `store_index`: what the store that is there has applied, or NO_STORE.
 * Close it in any case. */
int takeover_db_open(struct database *db, const struct takeover_config *config,
                     uint64_t store_index, const struct wal_contents *log,
                     struct errmsg *msg);
void takeover_db_close(struct database *db);

/* Is etcd's own database one of a server that could not begin? Then there is
 * nothing to take over, whether there is a log or not. One that is damaged or
 * that etcd holds is an error. */
int takeover_db_unused(const struct takeover_config *config, bool *unused,
                       struct errmsg *msg);

/* Where etcd keeps its own; the caller's to free. */
char *takeover_db_path(const struct takeover_config *config);
/* Is there one that a leader sent? */
bool takeover_db_received(const struct takeover_config *config);

/* ---- roster.c ---- */

struct roster {
    struct cluster_member *members;
    size_t n;
    uint64_t *removed;
    size_t n_removed;
    char *version; /* the cluster's; NULL: not known */
};

void roster_close(struct roster *m);
struct cluster_member *roster_find(const struct roster *m, uint64_t id);
/* A member of that id, made if there is none. */
struct cluster_member *roster_make(struct roster *m, uint64_t id);
void roster_remove(struct roster *m, uint64_t id);
void roster_set_version(struct roster *m, struct bytes version);

/* Changes it as etcd does when it applies the entry; what etcd refuses is
 * passed over. ERR_CORRUPT. */
int roster_apply(struct roster *m, const struct raft_entry *entry);

/* ---- v2_store.c ---- */

/* Reads the members out of the JSON of a v2 store. ERR_CORRUPT;
 * ERR_UNSUPPORTED: it holds keys of the v2 API. */
int v2_store_read(struct bytes json, struct roster *m, struct errmsg *msg);

/* ---- snap_file.c ---- */

/* The v2 store in a .snap file, which is borrowed from the file's bytes.
 * ERR_CORRUPT. */
int snap_file_read(struct bytes file, uint64_t *index, uint64_t *term,
                   struct bytes *v2_store);

/* ---- history.c ---- */

/* The membership as of entry `index`, from the .snap file of where the log
 * begins, and the entries behind it; or from an `older` one that the log knows.
 * ERR_NOTFOUND: there is no such file; ERR_UNSUPPORTED: it holds keys of the v2
 * API. */
int takeover_history(const struct takeover_config *config,
                     const struct wal_contents *log, uint64_t index, bool older,
                     struct roster *m, struct errmsg *msg);

/* ---- convert.c ---- */

/* Builds the store in `dir`. `history` replaces the members that the database
 * has, if it isn't NULL. */
int takeover_convert(const struct database *db, const char *dir,
                     const struct wal_contents *log,
                     const struct roster *history, struct errmsg *msg);

/* ---- note.c ---- */

/* Says in the log, and once in a file beside the data, that etcd's database at
 * `path` is left as it was. Only warns where it can't; a database in which
 * nothing is needs no word. */
void takeover_note(const struct takeover_config *config, const char *path);

#endif
