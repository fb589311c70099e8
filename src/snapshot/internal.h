/* Private to src/snapshot.
 *
 * pace.c    progress
 * write.c   the store as an image
 * source.c  an image's bytes out of a file
 * info.c    what image and store say of themselves
 * build.c   a store from an image */
#ifndef CHORAD_SNAPSHOT_INTERNAL_H
#define CHORAD_SNAPSHOT_INTERNAL_H

#include "chorad/image.h"
#include "chorad/snapshot.h"

/* Calls the callback now and then. */
struct pace {
    snapshot_progress_cb progress; /* NULL: never */
    void *arg;
    struct snapshot_progress at;
    uint64_t next_records;
    uint64_t bytes; /* since the last call */
};

/* A record of so many bytes was done; the caller has set `at.done`. */
int pace_record(struct pace *pace, size_t bytes);
int pace_end(struct pace *pace);

/* A record of the bucket meta: keeps it if it belongs to the info. */
void info_take(struct snapshot_info *info, struct bytes key,
               struct bytes value);

struct source {
    const struct snapshot_file *file;
    struct image_source image;
    struct errmsg *msg; /* why reading failed */
    uint64_t read;      /* bytes so far */
};

/* ERR_IO, ERR_INVALID: it isn't a regular file. The source stays where it
 * is. */
int snapshot_source_open(struct source *source,
                         const struct snapshot_file *file, struct errmsg *msg);

#endif
