/* What the transport's own files share: the only place where gRPC's types
 * and the seam of call.h meet. */
#ifndef CHORAD_RPC_TRANSPORT_H
#define CHORAD_RPC_TRANSPORT_H

#include "chorad/base/heap.h"
#include "chorad/base/metrics.h"
#include "chorad/rpc.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <grpc/slice_buffer.h>
#include <pthread.h>
#include <stdatomic.h>

/* gRPC status codes, 0 to 16. */
#define RPC_CODES 17

/* What a completion queue gives back: who has to hear of it. */
struct tag {
    void (*run)(struct tag *tag, bool ok);
};

/* A number with one writer, its shard's thread, and readers anywhere. */
typedef _Atomic uint64_t counter;

static inline void count(counter *c, uint64_t n)
{
    uint64_t now = atomic_load_explicit(c, memory_order_relaxed);

    atomic_store_explicit(c, now + n, memory_order_relaxed);
}

static inline uint64_t counted(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* One method on one shard. */
struct slot {
    const struct rpc_service *service;
    const struct rpc_method *method;
    unsigned index;   /* of the method in the server */
    void *handle;     /* gRPC's registration */
    counter started;  /* calls */
    counter received; /* messages */
    counter sent;     /* messages */
    counter handled[RPC_CODES];
    struct metric_histogram *seconds; /* NULL unless extensive */
    bool shown;                       /* its metrics are on the page */
};

/* A message behind the one that gRPC is sending. */
struct queued {
    struct queued *next;
    size_t bytes;
    size_t n;
    grpc_slice slices[];
};

/* The stream's half of a call; unary calls leave it alone. */
struct stream {
    struct tag received;
    struct tag closed;
    grpc_byte_buffer *message; /* being received */
    struct queued *head;
    struct queued **tail;
    size_t bytes;    /* queued and in flight */
    size_t messages; /* the same */
    size_t sending;  /* bytes of the message in flight */
    bool send_in_flight;
    bool receiving;
    bool paused;
    bool delivering; /* inside on_message */
    bool half_closed;
    bool metadata_sent;
    bool above;     /* has been over the drain marks */
    bool finishing; /* rpc_finish has been called */
    bool status_sent;
    bool close_seen;
    int status;
    char *status_text; /* malloc; NULL for the empty one */
};

struct call {
    struct rpc_call pub; /* first: the seam casts */
    struct slot *slot;
    grpc_call *core;
    grpc_byte_buffer *payload;
    grpc_metadata_array metadata;
    gpr_timespec deadline;
    struct tag arrived;
    struct tag sent;
    int peer_gone;  /* written by gRPC */
    unsigned ops;   /* batches in flight */
    unsigned holds; /* rpc_hold, and one for the call's life */
    bool cancelled;
    bool started;         /* the handler has been called */
    bool ended;           /* its life is over, somebody holds it */
    bool answered;        /* unary: the last batch has been started */
    bool watches_close;   /* the close batch runs beside the call */
    struct heap_node due; /* its deadline, in the shard's heap */
    int fd;               /* of the connection; -1 if that isn't known */
    char *peer;
    struct call *next; /* in the shard's list of open or of free calls */
    struct call *prev;
    struct stream s;
};

/* A call whose method isn't known. */
struct stray {
    struct tag arrived;
    struct tag sent;
    struct rpc_shard *shard;
    grpc_call *core;
    grpc_call_details details;
    grpc_metadata_array metadata;
    int peer_gone;
};

#define RPC_API_VERSION_SIZE 65

struct api_version {
    char text[RPC_API_VERSION_SIZE];
    size_t len;
    struct metric *unary;
    struct metric *stream;
};

#define RPC_API_VERSIONS 16

/* A connection as cork.c sees it, by its descriptor. */
struct connection {
    uint32_t open; /* calls */
    bool corked;
};

#define CORKED_MAX 32

struct rpc_shard {
    struct rpc_server *server;
    unsigned index;
    grpc_server *core;
    grpc_completion_queue *cq;
    pthread_t thread;
    void *local;
    struct slot *slots;
    struct queue posted;
    atomic_bool pending; /* `posted` isn't empty */
    atomic_bool asleep;  /* the thread may be waiting for an event */
    grpc_channel *wake_channel;
    grpc_call *wake_call;
    pthread_mutex_t wake_lock; /* guards wake_call against its end */
    struct tag wake;
    struct tag shut;
    char name[16];
    struct buf scratch;
    grpc_byte_buffer *out; /* what the next send op takes its slices from */
    struct call *open;     /* doubly linked */
    size_t strays;         /* open calls of unknown methods */
    size_t held;           /* calls that are over but held */
    struct heap due;       /* deadlines of open calls */
    struct call *idle;     /* pool, singly linked */
    size_t idle_n;
    counter open_n;
    counter bytes_in;
    counter bytes_out;
    struct api_version versions[RPC_API_VERSIONS];
    size_t versions_n;
    struct connection *connections;
    size_t connections_n;
    int corked[CORKED_MAX];
    unsigned corked_n;
    unsigned round; /* events since the first cork */
    struct rpc_task drain_task;
    struct rpc_task cancel_task;
    struct rpc_task lost_task;
    atomic_bool lost_posted;
    bool draining;
    bool quiet; /* draining and without calls */
    bool shut_seen;
    bool closing; /* the completion queue has been shut down */
};

struct rpc_server {
    struct rpc_config config;
    struct rpc_shard *shards;
    unsigned shards_n;
    unsigned methods_n;
    struct slot *methods; /* a template for each shard's */
    struct series *series;
    size_t series_n;
    grpc_server_credentials *creds;
    grpc_resource_quota *quota;
    atomic_uint next_shard;
    /* Keeps connections out once draining has begun. */
    pthread_rwlock_t gate;
    bool draining;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned quiet_n; /* drained shards without calls */
};

static inline struct call *call_of(const struct rpc_call *pub)
{
    return container_of(pub, struct call, pub);
}

/* ---- shard.c --------------------------------------------------------- */

/* Makes the shard ready and starts its thread. */
void shard_open(struct rpc_shard *shard);
void shard_drain(struct rpc_shard *shard);
/* Cancels every open call. */
void shard_cancel(struct rpc_shard *shard);
/* Waits for the thread, after shard_drain. */
void shard_close(struct rpc_shard *shard);
/* Ends the streams that asked for a leader. */
void shard_leader_lost(struct rpc_shard *shard);
/* After anything that may have been the last thing to wait for. */
void shard_check_quiet(struct rpc_shard *shard);

/* ---- intake.c -------------------------------------------------------- */

/* Asks gRPC for one more call of the method. */
void intake_arm(struct rpc_shard *shard, struct slot *slot);
void intake_arm_all(struct rpc_shard *shard);
void intake_close_pool(struct rpc_shard *shard);
/* The server stops: tells the handler if it wants to know. */
void call_drain(struct call *call);
/* Counts the answer. */
void call_handled(struct call *call, int status);
/* Ends the call's life; its memory goes when nobody holds it. */
void call_end(struct call *call);
/* A message in one piece, in the arena unless it came so. False: it can't be
 * had, and the call has been told. */
bool intake_bytes(struct call *call, grpc_byte_buffer *message,
                  struct arena *arena, struct bytes *bytes);

/* ---- deadline.c ------------------------------------------------------ */

void deadline_watch(struct call *call);
void deadline_forget(struct call *call);
/* When the thread has to look again. */
gpr_timespec deadline_next(const struct rpc_shard *shard);
/* Ends the calls whose deadline has passed. */
void deadline_run(struct rpc_shard *shard);

/* ---- inflate.c ------------------------------------------------------- */

/* Unpacks a gzip message into the arena: 0, ERR_TOOBIG when it is longer than
 * `max`, ERR_MALFORMED, ERR_NOMEM. */
int intake_inflate(const grpc_slice_buffer *slices, struct arena *arena,
                   size_t max, struct bytes *bytes);

/* ---- metadata.c ------------------------------------------------------ */

/* Reads the call's metadata, counts the call and applies the rules that all
 * calls share: 0 or the error to answer with. */
int metadata_check(struct call *call);

/* ---- unary.c --------------------------------------------------------- */

void unary_open(struct call *call);
/* Nobody waits for the answer any more: tells the handler, once. */
void unary_cancel(struct call *call);

/* ---- stream.c -------------------------------------------------------- */

void stream_open(struct call *call);
/* After the handler's `open`: lets messages in. */
void stream_opened(struct call *call);
/* Neither ended nor about to. */
bool stream_is_open(const struct call *call);
/* Frees what is queued. */
void stream_clear(struct call *call);

/* ---- slices.c -------------------------------------------------------- */

/* Makes the slices of a message, at most as many as pieces; small neighbours
 * are joined by copying. Returns how many. */
size_t slices_make(const struct rpc_piece *pieces, size_t n, grpc_slice *out);
/* The buffer's memory as a slice, or a copy where that is cheaper; `buf` is
 * empty afterwards. */
grpc_slice slices_of_buf(struct buf *buf);

/* ---- cork.c ---------------------------------------------------------- */

void cork_call_opened(struct call *call);
void cork_call_ended(struct call *call);
/* Before a batch that sends. */
void cork_before_send(struct call *call);
/* After each event of the queue. */
void cork_event(struct rpc_shard *shard);
/* When there is nothing else to do. */
void cork_end_round(struct rpc_shard *shard);

/* ---- stray.c --------------------------------------------------------- */

void stray_arm(struct rpc_shard *shard);

/* ---- metrics.c ------------------------------------------------------- */

void rpc_metrics_open(struct rpc_server *server);
void rpc_metrics_close(struct rpc_server *server);
void rpc_metrics_show(struct slot *slot, struct rpc_server *server);
void rpc_metrics_api_version(struct call *call);

#endif
