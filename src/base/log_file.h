/* A file or stream that log lines go to, its rotation, and the care for the
 * files that rotation leaves. Private to base.
 *
 *   name.log                           written to
 *   name-2006-01-02T15-04-05.000.log   full, by the time it was closed
 *   name-....log.gz                    the same, compressed
 *
 * The names are those of lumberjack, which etcd rotates with. */
#ifndef CHORAD_BASE_LOG_FILE_H
#define CHORAD_BASE_LOG_FILE_H

#include "chorad/base/err.h"
#include "chorad/base/log.h"

#include <sys/types.h>

struct log_file {
    int fd;
    char *path; /* NULL: a stream of the process */
    struct log_rotation rotation;
    uint64_t size;         /* where it is rotated */
    int64_t last_ms;       /* in the name of the newest full file */
    uint64_t retry_ns;     /* no rotation before that time */
    uint64_t lost;         /* lines that could not be written */
    bool torn;             /* the last one was written in part */
    uint64_t next_word_ns; /* not to speak of troubles before */
};

/* What a line has to say of the file itself, once it is written. */
struct log_trouble {
    uint64_t lost;   /* lines before this one; 0: none */
    int unrotated;   /* why it goes on in a full file; 0: it doesn't */
    char where[256]; /* the path */
};

/* Opens "stderr", "stdout", "default" or a path for append; `rotation` NULL:
 * never rotated. A rotated file is made with mode 0600 and with the directories
 * above it, others with 0644. ERR_* of open(2). */
int log_file_open(struct log_file *file, const char *output,
                  const struct log_rotation *rotation);
void log_file_close(struct log_file *file);

/* Writes a line, of `len` bytes, in one write(2), into a new file if the
 * present one is full. What can't be written is dropped; what can't be rotated
 * grows, and is tried again later. Never waits for more than the file system
 * takes for a name. `trouble` is filled once a minute at most. */
void log_file_write(struct log_file *file, const char *data, size_t len,
                    struct log_trouble *trouble);

/* ---- log_backups.c: the files that are full ---- */

struct log_backup {
    char *path;
    int64_t time_ms; /* since 1970, out of its name */
    bool compressed;
};

#define LOG_BACKUP_STAMP 24 /* "2006-01-02T15-04-05.000" */

/* The name of a file that is closed at this time; the caller's to free. */
char *log_backup_path(const char *path, int64_t time_ms, bool local_time);

/* Those of the log at `path`, the newest first; a file and its compressed copy
 * are two. ERR_* of opendir(3). */
int log_backups_list(const char *path, bool local_time, struct log_backup **out,
                     size_t *n);
void log_backups_free(struct log_backup *backups, size_t n);

/* ---- log_mill.c: what becomes of them ---- */

/* Removes what is too much or too old and compresses the rest, in a thread of
 * its own that ends when that is done. Returns at once. */
void log_mill_start(const char *path, const struct log_rotation *rotation);
/* Until no such thread runs. */
void log_mill_wait(void);

#endif
