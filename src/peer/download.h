/* A snapshot that comes in: the message, then the database image, which goes to
 * a file. All writing is done by libuv's workers, one job at a time.
 *
 *   HEAD --message--> BODY --last byte--> SYNCING --> `done`
 *    |                 | the disk fails      |
 *    `-----------------+---------------------'--> `done` with an error
 *
 * The file keeps its passing name: whether it is a database is for the node to
 * find out. */
#ifndef CHORAD_PEER_DOWNLOAD_H
#define CHORAD_PEER_DOWNLOAD_H

#include "peers.h"

struct download;

struct download_events {
    /* Too much waits for the disk, or no longer does. */
    void (*hold)(void *arg, bool hold);
    /* The file `path`, one of its own, is whole and durable and belongs to the
     * callee; or err < 0 with a text. Once, from the loop. The download ends
     * with it. */
    void (*done)(void *arg, int err, const char *why,
                 const struct raft_message *message, const char *path);
};

/* `sender`: who the request says that it is from; RAFT_NONE: it doesn't. */
struct download *download_start(struct peers *peers, uint64_t sender,
                                const struct download_events *events,
                                void *arg);

/* The next bytes of the request's body. 0, or an HTTP status and its text:
 * they can't be a snapshot, and `done` will not come. */
unsigned download_take(struct download *download, struct bytes in,
                       const char **text);
/* The body is whole. As above. */
unsigned download_finish(struct download *download, const char **text);

/* The bytes will not be completed: what there is, is removed. */
void download_cancel(struct download *download);

/* At a start: removes what was left behind half. */
void downloads_clean(const char *dir);

#endif
