/* What gRPC's files share: calls on HTTP/2's streams. */
#ifndef CHORAD_GRPC_INTERNAL_H
#define CHORAD_GRPC_INTERNAL_H

#include "chorad/base/metrics.h"
#include "chorad/http2.h"
#include "chorad/rpc.h"

#include <pthread.h>
#include <stdatomic.h>

/* Status codes, 0 to 16 (source: grpc/statuscodes.md). */
enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
};
#define RPC_CODES 17

/* In front of each message: a flag and four bytes of length. */
#define PREFIX_BYTES ((size_t)5)

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
    counter started;  /* calls */
    counter received; /* messages */
    counter sent;     /* messages */
    counter handled[RPC_CODES];
    struct metric_histogram *seconds; /* NULL unless extensive */
    bool shown;                       /* its metrics are on the page */
};

/* Messages on their way in, one after the other. */
struct incoming {
    uint8_t prefix[PREFIX_BYTES];
    uint8_t prefix_n;
    bool compressed;
    bool expected;      /* room has been asked for */
    size_t len;         /* of the message under way */
    struct buf body;    /* what has come of it, where that isn't all */
    struct buf backlog; /* bytes that came while nobody read */
};

enum encoding { ENCODING_NONE, ENCODING_GZIP };

struct call {
    struct rpc_call pub; /* first: the seam casts */
    struct slot *slot;
    struct http2_stream *stream;   /* NULL: closed, or done with */
    struct connection *connection; /* lives as long as `stream` */
    struct incoming in;
    enum encoding encoding;
    struct bytes encoding_name; /* as sent; lives as long as `stream` */
    struct shard_timer due;     /* its deadline */
    unsigned holds;             /* rpc_hold, and one for the call's life */
    bool started;               /* the handler has been called */
    bool has_request;           /* unary, server stream: the message is there */
    bool cancelled;
    bool ended;     /* its life is over, somebody holds it */
    bool answered;  /* unary */
    bool responded; /* stream: the fields of the answer have been sent */
    bool finishing; /* stream: rpc_finish has been called */
    bool half_closed;
    bool end_seen; /* the client's last byte has come */
    bool paused;
    bool delivering; /* inside on_message */
    char *peer;
    struct call *next; /* in the shard's list of open or of free calls */
    struct call *prev;
};

#define RPC_API_VERSION_SIZE 65

struct api_version {
    char text[RPC_API_VERSION_SIZE];
    size_t len;
    struct metric *unary;
    struct metric *stream;
};

#define RPC_API_VERSIONS 16

struct rpc_shard {
    struct rpc_server *server;
    struct shard *shard;
    unsigned index;
    void *local;
    struct slot *slots;
    struct slot **by_path; /* hash table, open addressing */
    struct queue posted;
    struct shard_task run_posted;
    struct buf scratch; /* rpc_scratch */
    struct buf joined;  /* the parts of a message that are copied */
    struct call *open;  /* doubly linked */
    size_t streams;     /* of HTTP/2, open, whatever they are for */
    size_t held;        /* calls that are over but held */
    struct call *idle;  /* pool, singly linked */
    size_t idle_n;
    counter open_n;
    counter bytes_in;
    counter bytes_out;
    struct api_version versions[RPC_API_VERSIONS];
    size_t versions_n;
    struct shard_task drain_task;
    struct shard_task cancel_task;
    struct shard_task lost_task;
    atomic_bool lost_posted;
    bool draining;
    bool quiet; /* draining and without calls */
};

struct rpc_server {
    struct rpc_config config;
    struct http2_config http2;
    struct shards *threads;
    struct rpc_shard *shards;
    unsigned shards_n;
    unsigned methods_n;
    unsigned paths_n;     /* size of by_path, a power of two */
    struct slot *methods; /* a template for each shard's */
    struct series *series;
    size_t series_n;
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

void shard_drain(struct rpc_shard *shard);
/* Ends every connection. */
void shard_cancel(struct rpc_shard *shard);
/* Ends the streams that asked for a leader. */
void shard_leader_lost(struct rpc_shard *shard);
/* After anything that may have been the last thing to wait for. */
void shard_check_quiet(struct rpc_shard *shard);
void shard_run_posted(struct shard_task *task);

/* ---- path.c ---------------------------------------------------------- */

/* Makes the shard's slots and the table of their paths. */
void paths_open(struct rpc_shard *shard);
/* The method of ":path", or NULL. */
struct slot *path_find(struct rpc_shard *shard, struct bytes path);
/* What to answer to a path that leads nowhere. */
void path_describe(const struct rpc_server *server, struct bytes path,
                   char *text, size_t size);

/* ---- request.c: from a stream to a call ------------------------------ */

extern const struct http2_handler grpc_handler;

/* ---- message.c ------------------------------------------------------- */

/* Bytes of the request have come, or (len 0) may go on after a pause. */
void message_input(struct call *call, struct bytes data);
/* The client's end has come, maybe inside a message. */
void message_end(struct call *call);
void message_close(struct call *call);

/* ---- call.c ---------------------------------------------------------- */

struct call *call_new(struct rpc_shard *shard, struct slot *slot,
                      struct http2_stream *stream);
/* The request, or for bidi the stream, is there: checks it and calls the
 * handler. */
void call_begin(struct call *call);
/* The server stops: tells the handler if it wants to know. */
void call_drain(struct call *call);
/* Counts the answer. */
void call_handled(struct call *call, int status);
/* Ends the call's life; its memory goes when nobody holds it. */
void call_end(struct call *call);
void call_close_pool(struct rpc_shard *shard);
/* Nobody waits for the answer of a unary call any more. */
void call_cancel(struct call *call);

/* ---- inflate.c ------------------------------------------------------- */

/* Unpacks a gzip message into the arena: 0, ERR_TOOBIG when it is longer than
 * `max`, ERR_MALFORMED, ERR_NOMEM. */
int inflate_message(struct bytes packed, struct arena *arena, size_t max,
                    struct bytes *bytes);

/* ---- metadata.c ------------------------------------------------------ */

/* Reads what the stream's fields say of the call: 0, or -1 and why that can't
 * be. */
int metadata_read(struct call *call, const struct http2_field *fields,
                  char *text, size_t size);
/* Counts the call and applies the rules that all calls share: 0 or the error
 * to answer with. */
int metadata_check(struct call *call);
/* "application/grpc", maybe with a subtype. */
bool metadata_is_grpc(struct bytes content_type);
/* The value of the first field of that name; data is NULL without one. */
struct bytes metadata_find(const struct http2_field *fields, const char *name);

/* ---- answer.c: what is sent ------------------------------------------ */

/* The fields in front of messages. */
void answer_begin(struct http2_stream *stream);
/* The call is over before it began: a status under that of HTTP. */
void answer_early(struct call *call, const char *http_status, int code,
                  const char *text);
/* Ends with a status behind what has been sent; or, with nothing sent, with the
 * status alone. */
void answer_end(struct http2_stream *stream, bool begun, int code,
                const char *text);
/* A status alone under an HTTP status other than 200. */
void answer_http(struct http2_stream *stream, const char *http_status, int code,
                 const char *text);

/* ---- stream.c -------------------------------------------------------- */

/* Neither ended nor about to. */
bool stream_is_open(const struct call *call);
/* The HTTP/2 stream is gone. */
void stream_closed(struct call *call, bool clean);

/* ---- metrics.c ------------------------------------------------------- */

void rpc_metrics_open(struct rpc_server *server);
void rpc_metrics_close(struct rpc_server *server);
void rpc_metrics_show(struct slot *slot, struct rpc_server *server);
void rpc_metrics_api_version(struct call *call);

#endif
