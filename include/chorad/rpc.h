/* The gRPC server: N shards, each with its own thread, serving connections
 * that somebody else has accepted; and one call as a service sees it. gRPC's
 * own types stop behind this header.
 *
 * Threads. Everything about a call happens on the thread of its shard: the
 * handlers are called there, and every function below that takes a call is
 * called there. Work done elsewhere comes back by rpc_post.
 *
 * Life of a unary call. The handler is called once with the whole request
 * and answers exactly once (rpc_reply*, rpc_fail*), at once or later. Until
 * then the call, its request bytes and its arena stay, whatever the client
 * does; an answer that nobody waits for any more is dropped without a sign.
 * After the answer the call is gone.
 *
 * Life of a stream.
 *
 *     open -> on_message* -> on_half_close ->.
 *       \____________ on_drained* ____________\-> on_done
 *
 * on_done comes exactly once and last: after rpc_finish has been sent, which
 * the deadline does as well, or when the client has cancelled or vanished.
 * After it the call is gone, unless rpc_hold keeps its memory. Nothing can be
 * sent after on_done or rpc_finish: rpc_send then does nothing. */
#ifndef CHORAD_RPC_H
#define CHORAD_RPC_H

#include "chorad/base/mem.h"
#include "chorad/base/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_call;
struct rpc_server;
struct rpc_shard;

enum rpc_kind { RPC_UNARY, RPC_SERVER_STREAM, RPC_BIDI };

/* One method of a service. A method without `open` answers Unimplemented,
 * as if it didn't exist, and still has its metrics. */
struct rpc_method {
    const char *name; /* "Put" */
    enum rpc_kind kind;
    /* A unary call or a server stream has come in with `call->request`; a
     * bidi stream has been opened, with an empty request. */
    void (*open)(struct rpc_call *call);
    /* Unary, optional: the client has gone, or the deadline has passed, while
     * the handler holds the call; the handler still answers. It costs each
     * call a little, so only for methods that wait long. Other unary calls ask
     * rpc_cancelled. */
    void (*on_cancel)(struct rpc_call *call);
    /* Unary, optional: the server begins to stop while the handler holds the
     * call, or has begun already when it opens. Who may wait for long answers
     * now. */
    void (*on_drain)(struct rpc_call *call);
    /* Bidi: one message; the bytes are lent for the time of the call. The
     * next one is read when this has returned, or after rpc_resume. */
    void (*on_message)(struct rpc_call *call, struct bytes message);
    /* Bidi, optional: the client sends no more. */
    void (*on_half_close)(struct rpc_call *call);
    /* Streams, optional: the send queue was at or over RPC_DRAIN_BYTES or
     * RPC_DRAIN_MESSAGES and has fallen below both. */
    void (*on_drained)(struct rpc_call *call);
    /* Streams, required: see above. */
    void (*on_done)(struct rpc_call *call);
    /* Whether a learner serves this call, whose request is there; NULL: it
     * doesn't. */
    bool (*on_learner)(const struct rpc_call *call);
    /* How many calls of this method a shard keeps in waiting; 0 for few. */
    unsigned depth;
};

/* A service: its methods in the order of its description. */
struct rpc_service {
    const char *name; /* "etcdserverpb.KV" */
    const struct rpc_method *methods;
    size_t n;
    /* Its grpc_server_* metrics exist from the start, at 0. */
    bool preset_metrics;
};

/* What a service may look at. Only `state` is its own. */
struct rpc_call {
    const struct rpc_service *service;
    const struct rpc_method *method;
    struct rpc_shard *shard;
    /* The request message, contiguous; lives as long as the call. */
    struct bytes request;
    /* Memory that goes with the call. */
    struct arena arena;
    /* Monotonic (clock_mono_ns); UINT64_MAX for none. */
    uint64_t deadline_ns;
    /* When the shard took the call in, monotonic. */
    uint64_t start_ns;
    /* Metadata, borrowed from the call; empty when absent. */
    struct bytes token;         /* "token", else "authorization" */
    struct bytes authorization; /* "authorization" as sent */
    /* What the client's certificate calls it, once that has been verified; data
     * is NULL without one. */
    struct bytes common_name;
    struct bytes api_version; /* "client-api-version" */
    bool has_leader;          /* "hasleader: true" was asked for */
    /* The service's own. */
    void *state;
};

/* ---- the shard ------------------------------------------------------- */

/* `ctx` of the configuration, the same for all shards. */
void *rpc_ctx(const struct rpc_shard *shard);
/* What `open_local` of the configuration made for this shard. */
void *rpc_local(const struct rpc_shard *shard);
/* 0 .. number of shards - 1. */
unsigned rpc_shard_index(const struct rpc_shard *shard);

/* Embedded in what is posted; the poster's memory until `run` is called. */
struct rpc_task {
    struct queue_node node;
    void (*run)(struct rpc_task *task);
};

/* Runs the task on the shard's thread, in the order of posting; from any
 * thread. Many posts cost one wake-up. The shard's thread runs everything
 * that was posted before the server's stop returned. */
void rpc_post(struct rpc_shard *shard, struct rpc_task *task);

/* A buffer of the shard to encode into, emptied by each call of this: good
 * until the handler returns. */
struct buf *rpc_scratch(struct rpc_shard *shard);

/* ---- any call -------------------------------------------------------- */

/* The client no longer waits: it cancelled, or its deadline has passed. */
bool rpc_cancelled(const struct rpc_call *call);

/* Lets a call in that had to wait; the shard's thread. */
void rpc_admit(struct rpc_call *call);

/* Where the call comes from, "127.0.0.1:40312"; lives with the call. */
const char *rpc_peer(struct rpc_call *call);

/* ---- unary ----------------------------------------------------------- */

/* Answers with the buffer's bytes and takes them over: `buf` is empty
 * afterwards. */
void rpc_reply(struct rpc_call *call, struct buf *buf);
/* Answers with a copy: the cheapest way for short answers. */
void rpc_reply_copy(struct rpc_call *call, struct bytes message);
/* Answers with a status other than OK: code and text of `err` in the table
 * of base/err.h. On a stream the same as rpc_finish. */
void rpc_fail(struct rpc_call *call, int err);
/* The same with a gRPC status code and a text, which is copied. */
void rpc_fail_text(struct rpc_call *call, int grpc_code, const char *text);

/* ---- streams --------------------------------------------------------- */

#define RPC_DRAIN_BYTES ((size_t)64 * 1024)
#define RPC_DRAIN_MESSAGES ((size_t)16)

/* A part of a message: bytes that are copied, or (shared != NULL) a slice of
 * shared bytes, which are sent from where they are. */
struct rpc_piece {
    struct bytes bytes;
    struct shared *shared; /* NULL, or what `bytes` lies in */
};

/* Sends one message made of the pieces, behind what is queued already. Takes
 * references of its own to shared bytes. Never calls back. */
void rpc_send(struct rpc_call *call, const struct rpc_piece *pieces, size_t n);
/* One message that is copied. */
void rpc_send_copy(struct rpc_call *call, struct bytes message);

/* Messages, and their bytes on the wire, that the socket hasn't been given yet,
 * the one being sent included. */
size_t rpc_queued_bytes(const struct rpc_call *call);
size_t rpc_queued_messages(const struct rpc_call *call);

/* Ends the stream behind what is queued: 0 for OK, else as rpc_fail. on_done
 * follows later, never from inside this. A second finish does nothing. */
void rpc_finish(struct rpc_call *call, int err);
void rpc_finish_text(struct rpc_call *call, int grpc_code, const char *text);

/* No on_message until rpc_resume. */
void rpc_pause(struct rpc_call *call);
void rpc_resume(struct rpc_call *call);

/* Keeps the call's memory (not its life) and its shard for someone who still
 * points to it; each hold is ended by one release, on the shard's thread. */
void rpc_hold(struct rpc_call *call);
void rpc_release(struct rpc_call *call);

/* ---- the server ------------------------------------------------------ */

struct rpc_config {
    const struct rpc_service *const *services; /* ended by NULL */
    unsigned shards;         /* 0: half the cores, at most 8 */
    uint32_t max_recv_bytes; /* a longer message is ResourceExhausted */
    /* HTTP/2 streams per connection; UINT32_MAX for no limit. */
    uint32_t max_concurrent_streams;
    /* Pings of a client more often than that end its connection. */
    uint64_t keepalive_min_ms;
    /* The server's own pings after that much silence, and how long it waits
     * for an answer; 0 for none. */
    uint64_t keepalive_interval_ms;
    uint64_t keepalive_timeout_ms;
    /* Also grpc_server_handling_seconds. */
    bool extensive_metrics;
    /* For a call that asks for "hasleader: true"; NULL: there is one. Called
     * on any shard's thread. */
    bool (*has_leader)(void *ctx);
    /* For a call that shows a token, before its handler: false, and it waits
     * until rpc_admit. NULL: none ever does. On the shard's thread. */
    bool (*admit)(void *ctx, struct rpc_call *call);
    /* The member is a learner: methods that don't say otherwise are refused.
     * NULL: it isn't. Called on any shard's thread. */
    bool (*is_learner)(void *ctx);
    /* What the services find by rpc_local: made and given back on the
     * shard's thread. Both may be NULL. */
    void *(*open_local)(void *ctx, unsigned shard);
    void (*close_local)(void *ctx, void *local);
    void *ctx;
};

/* Starts the shards. `config` is copied; what it points to lives until
 * rpc_stop. Never fails: what can't be had at start (memory, threads) ends
 * the process. */
struct rpc_server *rpc_start(const struct rpc_config *config);

/* Serves a connected socket; takes `fd` over and makes it non-blocking. From
 * any thread; closes it at once after rpc_drain. */
void rpc_add_connection(struct rpc_server *server, int fd);

/* The member has seen no leader for too long: streams that asked for
 * "hasleader: true" end with "etcdserver: no leader". From any thread. */
void rpc_leader_lost(struct rpc_server *server);

/* The first half of a stop: connections are told to go away, no new call is
 * taken, streams end with "etcdserver: server stopped", calls in flight go
 * on. Returns at once; from any thread. */
void rpc_drain(struct rpc_server *server);

/* Waits for calls in flight, at most `timeout_ms`, cancels what is left,
 * waits for the shards' threads and frees everything. Calls rpc_drain where
 * that hasn't been done. Handlers that still hold a call answer it before
 * this returns: who completes them has to be running, or to have completed
 * them by then. */
void rpc_stop(struct rpc_server *server, uint64_t timeout_ms);

/* Calls and connections as of now, for status pages and tests. */
uint64_t rpc_calls_open(const struct rpc_server *server);

#endif
