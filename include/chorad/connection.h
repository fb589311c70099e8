/* Connections of clients: shards, each a thread with a libuv loop of its own,
 * and the sockets that live and die on one of them: bytes in, bytes out, a
 * bounded turn for each.
 *
 *      socket --input--> protocol (http2, http1) --output--> socket
 *
 * Threads. A connection belongs to the thread of its shard: the protocol is
 * called there, and everything below that takes a connection is called there.
 * Work done elsewhere comes back by shard_post.
 *
 * A turn. Each turn of a shard's loop reads from every connection that has
 * something, a bounded number of bytes; then it runs what was posted; then
 * each connection that asked for it fills its output and writes it, all in
 * one writev where that is enough. */
#ifndef CHORAD_CONNECTION_H
#define CHORAD_CONNECTION_H

#include "chorad/base/heap.h"
#include "chorad/base/mem.h"
#include "chorad/base/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;
struct shard;
struct shards;

/* ---- shards ---------------------------------------------------------- */

/* Embedded in what is posted; the poster's memory until `run` is called. */
struct shard_task {
    struct queue_node node;
    void (*run)(struct shard_task *task);
};

/* Embedded in who waits for a time; zeroed memory is no timer: shard_timer_init
 * first. */
struct shard_timer {
    struct heap_node node;
    void (*run)(struct shard_timer *timer);
};

struct shards_config {
    unsigned n;       /* 0: the number of cores, at most 8 */
    const char *name; /* of the threads: "rpc" makes rpc-0, rpc-1 */
    /* On the shard's thread, before anything else there; and after
     * everything else. Both may be NULL. */
    void (*open)(void *arg, struct shard *shard);
    void (*close)(void *arg, struct shard *shard);
    void *arg;
};

/* Makes the shards. Never fails: what can't be had at start (memory, threads)
 * ends the process. */
struct shards *shards_open(const struct shards_config *config);
/* Starts their threads; once. */
void shards_start(struct shards *shards);

/* Closes all connections, runs what was posted before, and waits for the
 * threads. Nobody posts any more. */
void shards_close(struct shards *shards);

/* The number of cores, at most 8. */
unsigned shards_default_n(void);
unsigned shards_n(const struct shards *shards);
struct shard *shards_at(struct shards *shards, unsigned index);
unsigned shard_index(const struct shard *shard);

/* The pointer that `open` left here for the connections' protocols. */
void shard_set_local(struct shard *shard, void *local);
void *shard_local(const struct shard *shard);

/* Runs the task on the shard's thread, in the order of posting; from any
 * thread. Many posts cost one wake-up at most. */
void shard_post(struct shard *shard, struct shard_task *task);

/* Monotonic, taken at the beginning of the turn; the shard's thread. */
uint64_t shard_now_ns(const struct shard *shard);

/* Timers of the shard's thread: `run` is called once, at or soon after
 * `at_ns` (monotonic). Setting one that is set moves it. */
void shard_timer_init(struct shard_timer *timer,
                      void (*run)(struct shard_timer *timer));
void shard_timer_set(struct shard *shard, struct shard_timer *timer,
                     uint64_t at_ns);
void shard_timer_clear(struct shard *shard, struct shard_timer *timer);

/* ---- protocols ------------------------------------------------------- */

/* What speaks on a connection. */
struct connection_protocol {
    /* Makes the protocol's state, which all others get. NULL: the connection
     * is closed. */
    void *(*open)(struct connection *connection, void *arg);
    /* Takes all the bytes, lent for the time of the call. */
    void (*input)(void *state, const uint8_t *data, size_t len);
    /* The client sends no more, or has left while the connection was paused.
     * NULL: the connection is closed at once. */
    void (*end)(void *state);
    /* Puts out what there is, until connection_room is 0; called after
     * connection_want_output, and again when the socket has taken what was
     * put. False: there is nothing more for now. */
    bool (*output)(void *state);
    /* The member stops: finish what is under way, then connection_finish. */
    void (*drain)(void *state);
    /* Last: the socket is gone. */
    void (*closed)(void *state);
};

/* Serves a connected socket on one of the shards, dealt out in turn; takes
 * `fd` over and makes it non-blocking. From any thread. `protocol` and `arg`
 * outlive the connection. */
void shards_take(struct shards *shards, int fd,
                 const struct connection_protocol *protocol, void *arg);

/* Calls `drain` of every connection on the shard; later ones are closed as
 * they come. The shard's thread. */
void shard_drain_connections(struct shard *shard);
/* Ends every connection at once. */
void shard_abort_connections(struct shard *shard);

struct shard *connection_shard(const struct connection *connection);
/* The protocol's state. */
void *connection_state(const struct connection *connection);
/* Where it comes from, "127.0.0.1:40312"; lives with the connection. */
const char *connection_peer(struct connection *connection);
/* Monotonic: when bytes last came in. */
uint64_t connection_last_input_ns(const struct connection *connection);

/* `output` is called before the turn ends. */
void connection_want_output(struct connection *connection);
/* How many more bytes `output` should put. */
size_t connection_room(const struct connection *connection);
/* Copied. */
void connection_put(struct connection *connection, const void *data,
                    size_t len);
/* Sent from where it lies; `release(owner)` is called when that is done or
 * will never be. */
void connection_put_ref(struct connection *connection, struct bytes bytes,
                        void (*release)(void *owner), void *owner);

/* No `input` until resumed; the bytes stay in the socket. */
void connection_pause(struct connection *connection);
void connection_resume(struct connection *connection);

/* Closes after what has been put is sent: no more `input` or `output`. */
void connection_finish(struct connection *connection);
/* Closes now: what wasn't sent is dropped. `closed` follows at the end of the
 * turn, never from inside this; nothing else is called before. */
void connection_abort(struct connection *connection);

#endif
