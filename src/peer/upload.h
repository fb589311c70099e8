/* A snapshot on its way to a member: a POST of its own whose body is the
 * message, then what is read from a descriptor, in chunks.
 *
 *   WAITING --first bytes--> DIALING --> SENDING --end--> ANSWER --204--> sent
 *      |                        |           |               |
 *      `------------------------+-----------+---------------'--> failed
 *
 * It is dialed when there is something to send: the other side gives up after
 * 5 s without a byte, and making an image takes its time to begin. */
#ifndef CHORAD_PEER_UPLOAD_H
#define CHORAD_PEER_UPLOAD_H

#include "peers.h"

/* What one read of the descriptor takes. */
#define UPLOAD_CHUNK ((size_t)128 << 10)

/* Where the bytes come from: a pipe is read by the loop, a file by a worker. */
struct source {
    struct net *net;
    int fd;
    bool is_pipe;
    bool busy; /* a callback of libuv's is to come */
    bool closed;
    uv_pipe_t pipe;
    uv_fs_t read;
    uint8_t *room;                     /* UPLOAD_CHUNK bytes */
    void (*got)(void *arg, ssize_t n); /* bytes in `room`; 0: the end; -errno */
    void (*freed)(void *arg);
    void *arg;
};

/* Takes the descriptor over. */
void source_open(struct source *source, struct net *net, int fd, uint8_t *room);
/* One read; `got` comes later. */
void source_read(struct source *source);
/* `freed` comes when `room` and the source aren't used any more. */
void source_close(struct source *source);

#endif
