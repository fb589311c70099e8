/* The directory of the log: names, locks, space, durability. */
#ifndef CHORAD_WAL_DIR_H
#define CHORAD_WAL_DIR_H

#include "chorad/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "0123456789abcdef-0123456789abcdef.wal" and its end. */
#define WAL_NAME_SIZE 38

struct wal_name {
    uint64_t seq;
    uint64_t index;
};

void wal_name_print(char out[WAL_NAME_SIZE], struct wal_name name);
bool wal_name_parse(struct wal_name *name, const char *text);

/* The segments' names by sequence, malloc'ed; *count may be 0. ERR_NOTFOUND
 * if there is no such directory. */
int wal_dir_list(const char *dir, struct wal_name **names, size_t *count,
                 struct errmsg *msg);

/* Makes the directory and those above it, 0700, durably. */
int wal_dir_make(const char *dir, struct errmsg *msg);

/* fsync. */
int wal_fd_sync_dir(int dir_fd, const char *dir, struct errmsg *msg);

/* Locks the whole file for writing, as etcd does (an open file description
 * lock). ERR_BUSY if somebody else has it. */
int wal_fd_lock(int fd, const char *path, struct errmsg *msg);

/* Makes the file at least `size` bytes long, with blocks behind them where the
 * file system can. */
int wal_fd_allocate(int fd, const char *path, uint64_t size,
                    struct errmsg *msg);

/* Reads and writes past the page cache, in blocks, or no longer. False: the
 * file system doesn't. */
bool wal_fd_set_direct(int fd, bool direct);

/* Writes zeros over the whole blocks from `offset` to `end`, which have to be
 * allocated and not written yet, past the page cache: on most file systems a
 * later write there changes nothing but data. `next`, unless NULL, is called
 * after each piece with the time that it took; false ends it. A file that
 * can't be written so is left as it is. */
int wal_fd_zero(int fd, const char *path, uint64_t offset, uint64_t end,
                bool (*next)(void *arg, uint64_t took_ns), void *arg,
                struct errmsg *msg);

/* Are there only zeros from `offset` to the end? Holes and blocks never
 * written are passed over without reading. */
int wal_fd_is_zero(int fd, const char *path, uint64_t offset, uint64_t size,
                   bool *zero, struct errmsg *msg);

/* Copies the file into a fresh one beside it, durably. */
int wal_fd_copy(int fd, const char *path, const char *copy_path,
                struct errmsg *msg);

#endif
