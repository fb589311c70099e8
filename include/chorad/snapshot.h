/* The store as a database image, and back: what backups, other members and
 * etcd's tools are given, and what they give.
 *
 *   store (LMDB) -- snapshot_write --> image (bbolt) -- snapshot_build -->
 * store
 *
 * Buckets and records are the same on both sides, byte for byte. All of it
 * blocks: a thread of its own or a worker, never the loop. */
#ifndef CHORAD_SNAPSHOT_H
#define CHORAD_SNAPSHOT_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/store.h"
#include <stdbool.h>
#include <stdint.h>

#define SNAPSHOT_VERSION_MAX 32

struct snapshot_info {
    /* Everything up to that entry of the log is in it; 0 where nothing is. */
    uint64_t index;
    uint64_t term; /* of that entry; 0 before etcd 3.6 */
    char version[SNAPSHOT_VERSION_MAX + 1]; /* storageVersion, or "" */
    uint64_t bytes;                         /* of the image */
};

/* How far it is; `done` and `total` are shares of the work, in no unit. */
struct snapshot_progress {
    uint64_t done;
    uint64_t total;
    uint64_t records; /* taken over so far */
};

/* Called every thousand records or megabyte and at the end, so it has to be
 * quick. What it returns other than 0 ends the work and is its result, with
 * the message as it was. */
typedef int (*snapshot_progress_cb)(void *arg,
                                    const struct snapshot_progress *progress);

/* ---- out ---------------------------------------------------------------- */

/* Where an image goes. What the callbacks return other than 0 ends the work
 * and is its result, with the message as it was. */
struct snapshot_sink {
    /* Once, before the first bytes: what will come. Optional. */
    int (*begin)(void *arg, const struct snapshot_info *info);
    /* The next bytes, lent for the time of the call. */
    int (*write)(void *arg, struct bytes bytes);
    snapshot_progress_cb progress; /* optional */
    void *arg;
};

/* Writes what the reader sees, between store_read_begin and store_read_end, as
 * an image: one sequential pass behind one that counts, memory a few pages
 * whatever the size. ERR_CORRUPT: a record in the store is damaged. */
int snapshot_write(struct store_reader *reader,
                   const struct snapshot_sink *sink, struct errmsg *msg);

/* ---- back --------------------------------------------------------------- */

/* An image: a regular file, open for reading, which the caller keeps others
 * from changing. What follows behind the image's pages is no part of it. */
struct snapshot_file {
    int fd;
    const char *name; /* for messages */
};

/* Reads what the image says of itself, from a few of its pages. ERR_CORRUPT:
 * it is no image, or these pages are damaged. */
int snapshot_info_read(const struct snapshot_file *file,
                       struct snapshot_info *info, struct errmsg *msg);

/* Is there nothing in it but buckets and what is kept of entry 0? So a server
 * leaves its database that could not begin. Reads to the first record.
 * Errors as above. */
int snapshot_is_empty(const struct snapshot_file *file, bool *empty,
                      struct errmsg *msg);

struct snapshot_build {
    struct snapshot_file file;
    const char *dir; /* the new store's; what is there by that name goes */
    snapshot_progress_cb progress; /* optional */
    void *arg;
};

/* Builds a store from the image, every page of which is checked. On 0 the
 * directory holds a complete store that is on disk, for the caller to rename
 * into place (and to sync what it is renamed in); on an error it is gone.
 * ERR_CORRUPT, ERR_UNSUPPORTED: the message names the place; ERR_NOSPC,
 * ERR_IO. */
int snapshot_build(const struct snapshot_build *build,
                   struct snapshot_info *info, struct errmsg *msg);

#endif
