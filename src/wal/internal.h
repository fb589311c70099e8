/* What the parts of the log's writing side share. */
#ifndef CHORAD_WAL_INTERNAL_H
#define CHORAD_WAL_INTERNAL_H

#include "chorad/base/metrics.h"
#include "replay.h"
#include <pthread.h>

/* A file made and given its blocks in the background, so that going on in a new
 * segment doesn't wait for that; and filled with zeros once it will be wanted
 * soon, so that no sync of the log waits for the file system: the first write
 * into a block that is only allocated changes the file's map, which has to be
 * durable with it. */
struct wal_prealloc {
    pthread_t thread;
    bool running;
    int dir_fd;
    char *path; /* of the temporary file */
    uint64_t size;
    /* What the thread is asked for, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool fill;
    bool stop; /* leaves the rest unfilled */
    /* Out. */
    int fd;
    int err;
    struct errmsg msg;
};

/* The name within the directory; etcd's own, it clears it away too. */
#define WAL_TMP_NAME "0.tmp"

/* Filled at once where a log begins or has been repaired: the segments after
 * that are filled in the background. */
#define WAL_FIRST_BYTES UINT64_C(4096000)

/* No thread yet. */
void wal_prealloc_init(struct wal_prealloc *p, const char *dir, int dir_fd,
                       uint64_t size);
/* Makes the temporary file, locked and allocated. */
int wal_tmp_make(int *fd, int dir_fd, const char *path, uint64_t size,
                 struct errmsg *msg);
/* Starts making the next one; if no thread can be had, wal_prealloc_take
 * does it. */
void wal_prealloc_start(struct wal_prealloc *p);
/* It will be wanted soon. */
void wal_prealloc_fill(struct wal_prealloc *p);
/* As far filled as it is, once it is made; tries once more itself if that
 * failed, as space may have been freed since. The fd is the caller's. */
int wal_prealloc_take(struct wal_prealloc *p, int *fd, struct errmsg *msg);
/* Removes what was made and not taken. */
void wal_prealloc_close(struct wal_prealloc *p);

struct wal_metrics {
    struct metric_histogram *fsync;
    struct metric_histogram *write;
    struct metric *bytes;
};
const struct wal_metrics *wal_metrics(void);

struct wal {
    char *dir;
    int dir_fd;
    struct wal_options options;

    /* Guards the list; fds are closed under it. The last segment is the one
     * written to, and only the writing side changes it. */
    pthread_mutex_t lock;
    struct wal_segment *segments;
    size_t count;

    /* The last segment, kept apart from the lock. */
    int fd;
    char *path;
    uint64_t seq;
    /* It is full from here on, and from here on the next one is filled. */
    uint64_t limit;
    uint64_t fill_at;
    /* Whole blocks are written, which needs nothing read. The buffer begins
     * with what the file's last block holds already: `written` bytes of `len`;
     * buf[0] goes to `offset`. */
    uint64_t offset;
    uint8_t *buf;
    size_t written;
    size_t len;
    size_t cap;
    bool direct; /* past the page cache */
    uint32_t crc;

    /* Repeated at the head of each segment. */
    struct buf metadata;
    struct raft_hard_state hard_state;
    uint64_t last_index;

    struct wal_prealloc prealloc;
    const struct wal_metrics *metrics;

    /* The first error; what failed once is never trusted again. */
    int failed;
    struct errmsg failed_msg;
};

/* What is written as a whole. */
#define WAL_BLOCK_BYTES ((size_t)4096)

/* Room for `extra` more bytes in the write buffer. */
uint8_t *wal_buf_reserve(struct wal *wal, size_t extra);

/* Appends crc and metadata records, a segment's head, to the buffer. */
void wal_put_head(struct wal *wal);
void wal_put_state(struct wal *wal);
void wal_put_snapshot(struct wal *wal, uint64_t index, uint64_t term,
                      const struct raft_conf_state *cs);

/* Takes over the fd of a new and empty last segment, which is made for `size`
 * bytes; everything before must have been flushed. */
void wal_push_segment(struct wal *wal, struct wal_name name, int fd,
                      uint64_t size);

/* The last segment goes on at `end`: reads back what its last block holds, and
 * leaves the page cache out where the file system lets it. */
int wal_set_end(struct wal *wal, uint64_t end, struct errmsg *msg);

/* The first error, if there has been one. */
int wal_still_good(const struct wal *wal, struct errmsg *msg);

/* Remembers the error as final and returns it. */
int wal_fail(struct wal *wal, int err, const struct errmsg *why,
             struct errmsg *msg);

/* fdatasync of the last segment, measured. */
int wal_datasync(struct wal *wal, struct errmsg *msg);

#endif
