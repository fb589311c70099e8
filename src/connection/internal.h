/* What the connection layer's files share. */
#ifndef CHORAD_CONNECTION_INTERNAL_H
#define CHORAD_CONNECTION_INTERNAL_H

#include "chorad/connection.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <uv.h>

/* Small output is copied into such pieces. */
#define CHUNK_BYTES ((size_t)16 * 1024)
/* A connection's turn. */
#define INPUT_BYTES ((size_t)16 * 1024)
#define INPUT_READS 4
#define OUTPUT_BYTES ((size_t)256 * 1024)

struct chunk {
    struct chunk *next;
    uint8_t data[CHUNK_BYTES];
};

/* A stretch of output: of a chunk, or of somebody's memory. */
struct stretch {
    const uint8_t *data;
    size_t len;
    struct chunk *chunk; /* given back with its last stretch, or NULL */
    void (*release)(void *owner);
    void *owner;
};

/* What waits for the socket, in order: a ring that grows. */
struct output {
    struct stretch *ring;
    size_t cap; /* a power of two */
    size_t head;
    size_t n;
    size_t bytes;
    struct chunk *open; /* the chunk that is being filled */
    size_t filled;
};

struct connection {
    uv_poll_t poll;
    struct shard *shard;
    const struct connection_protocol *protocol;
    void *state;
    int fd;
    int events; /* what `poll` is set to */
    struct output out;
    struct connection *next; /* in the shard's list of all */
    struct connection **prev;
    struct connection *next_dirty;
    struct connection *next_dying;
    struct shard_timer linger;
    uint64_t input_ns;
    char *peer;
    bool dirty;      /* in the list of those who want output */
    bool paused;     /* by the protocol */
    bool blocked;    /* the socket takes no more for now */
    bool finishing;  /* closes when the output is empty */
    bool lingering;  /* the socket is shut for sending */
    bool aborted;    /* in the list of the dying */
    bool peer_ended; /* all has been read */
    bool end_told;   /* the protocol knows that the peer leaves */
};

struct shard {
    struct shards *shards;
    unsigned index;
    pthread_t thread;
    char name[16];
    uv_loop_t loop;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t again; /* keeps the loop from sleeping */
    uv_timer_t clock;
    uint64_t clock_at_ns; /* what `clock` is set to; UINT64_MAX: nothing */
    uint64_t now_ns;
    struct queue posted;
    atomic_bool pending; /* `posted` isn't empty */
    atomic_bool asleep;  /* the thread may be waiting for an event */
    struct heap timers;
    struct connection *all;
    size_t all_n;
    struct connection *dirty;
    struct connection **dirty_tail;
    struct connection *dying;
    struct chunk *chunks; /* a few to use again */
    size_t chunks_n;
    uint8_t *input; /* INPUT_BYTES to read into */
    void *local;
    struct shard_task stop;
    bool draining;
    bool stopping;
};

struct shards {
    struct shards_config config;
    struct shard *list;
    unsigned n;
    atomic_uint next;
};

/* ---- turn.c: the loop of a shard ------------------------------------- */

void shard_loop_open(struct shard *shard);
/* Until shard_loop_stop, and then until all handles are closed. */
void shard_loop_run(struct shard *shard);
void shard_loop_stop(struct shard *shard);
void shard_loop_close(struct shard *shard);

/* ---- connection.c ---------------------------------------------------- */

/* Makes a connection of the socket and starts to read. */
void connection_open(struct shard *shard, int fd,
                     const struct connection_protocol *protocol, void *arg);
/* Lets the protocol put out, and writes. True: it would go on, but its turn is
 * over. */
bool connection_flush(struct connection *connection);
/* Ends those that were aborted. */
void connection_bury(struct shard *shard);

/* ---- output.c -------------------------------------------------------- */

/* Writes as much as the socket takes: 0, or an errno; EAGAIN when something is
 * left. */
int output_write(struct output *out, struct shard *shard, int fd);
void output_close(struct output *out, struct shard *shard);
/* Frees the chunks kept to use again. */
void output_close_pool(struct shard *shard);

#endif
