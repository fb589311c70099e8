/* Whole files and directories: read, replace for good, make, remove. */
#ifndef CHORAD_BASE_FILE_H
#define CHORAD_BASE_FILE_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Appends the file to `out`. ERR_TOOBIG beyond `max` bytes, ERR_NOTFOUND,
 * ERR_IO, ...; `out` then holds what it held before. */
int file_read(const char *path, size_t max, struct buf *out,
              struct errmsg *msg);

/* Replaces or makes the file: written beside it as "<path>.tmp", synced,
 * renamed, and the directory synced. When this returns 0 the new content is
 * there after a power failure; after an error the old one is, or already the
 * new one, never a part. */
int file_write_atomic(const char *path, const void *data, size_t len,
                      mode_t mode, struct errmsg *msg);

/* Writes all of it at the descriptor's position, whatever short writes and
 * signals come between. */
int file_write_all(int fd, const void *data, size_t len, struct errmsg *msg);

/* Makes the directory and those above it that are missing, with mode 0700,
 * and syncs the parent of each that was made. Fine if it is there;
 * ERR_EXISTS if something else is. */
int file_make_dirs(const char *path, struct errmsg *msg);

/* Makes what was created, renamed or removed in the directory last. */
int file_sync_dir(const char *path, struct errmsg *msg);

/* Removes a file, or a directory and all in it, without following symbolic
 * links. Fine if there is nothing. */
int file_remove_tree(const char *path, struct errmsg *msg);

/* Takes all blocks of a file away whose name is gone for good, a few at a time
 * and with pauses: the removal of a large file in one go holds up whatever else
 * is written to the file system. Leaves the rest to the close when `stop`,
 * unless NULL, becomes true. Blocks. */
void file_dissolve(int fd, const atomic_bool *stop);

#define FILE_MODE_TEXT 16

/* A mode as Go prints it: "drwxr-xr-x", "-rw-------", "dgrwxr-x---". */
void file_mode_text(char out[FILE_MODE_TEXT], mode_t mode);

/* Warn in the log, in etcd's words, about a directory of data that isn't 0700
 * and a file with a key that others than its owner may use. What isn't there
 * is passed over. */
void file_check_dir_mode(const char *path);
void file_check_key_mode(const char *path);

/* Something by that name can be seen. */
bool file_exists(const char *path);

#endif
