/* The gRPC server: N shards, each with its own thread, serving connections
 * that somebody else has accepted. */
#ifndef CHORAD_RPC_H
#define CHORAD_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_call;
struct rpc_server;
struct rpc_service;

/* All of chorad's services, ended by NULL. */
extern const struct rpc_service *const rpc_services[];

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
