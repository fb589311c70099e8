/* Sockets: listens on the member's URLs, accepts, looks at a connection's
 * first bytes and hands it on to gRPC or to HTTP.
 *
 * Everything happens on the thread of the libuv loop. Nothing is read from a
 * connection: whoever gets it finds the stream from its first byte. */
#ifndef CHORAD_FRONT_H
#define CHORAD_FRONT_H

#include "chorad/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct front;

/* Takes a connected, non-blocking socket over. */
typedef void (*front_fd_cb)(void *arg, int fd);

struct front_config {
    uv_loop_t *loop;
    bool reuse_port;    /* --socket-reuse-port */
    bool reuse_address; /* --socket-reuse-address */
    /* A connection that hasn't shown what it speaks is closed after that
     * long; 0: 120 s. */
    uint64_t first_bytes_ms;
    /* No more than so many such connections; the oldest goes. 0: 32768. */
    size_t waiting_max;
};

/* Where a listener's connections go. With only one of the two, all of them
 * go there at once, unseen. */
struct front_target {
    front_fd_cb rpc; /* HTTP/2 with prior knowledge */
    front_fd_cb http;
    void *arg;
};

/* Raises the soft limit of open files to the hard one, at most 2^20, and
 * returns the limit that holds now. */
uint64_t front_raise_fd_limit(void);

struct front *front_open(const struct front_config *config);

/* Listens on "http://host:port", "unix://path" (a socket file left behind is
 * replaced). "0.0.0.0" and no host take IPv4 and IPv6, where the machine has
 * it; so does "::", which needs it. Port 0 takes a free one. ERR_INVALID for
 * what isn't such a URL, ERR_UNSUPPORTED for https and unixs, ERR_IO, ERR_BUSY
 * (the address is in use) with a text. */
int front_listen(struct front *front, const char *url,
                 const struct front_target *target, struct errmsg *msg);

/* The port of the n-th listener; 0 for a unix socket. */
uint16_t front_port(const struct front *front, size_t n);

/* Connections that haven't shown what they speak. */
size_t front_waiting(const struct front *front);

/* Stops listening and closes what waits; handed-over connections are none of
 * its business any more. `closed` is called from the loop when all is gone
 * and the front has been freed. */
void front_close(struct front *front, void (*closed)(void *arg), void *arg);

#endif
