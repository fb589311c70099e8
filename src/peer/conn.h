/* One TCP connection on the loop. What it carries is nobody's business here.
 *
 * This is the place where bytes enter and leave; TLS belongs inside. */
#ifndef CHORAD_PEER_CONN_H
#define CHORAD_PEER_CONN_H

#include "chorad/base/mem.h"
#include "net.h"

struct conn;

/* The reason of an orderly end. */
#define CONN_EOF "the other side has closed it"

struct conn_events {
    /* Bytes, lent. The connection may be closed from inside. */
    void (*data)(void *arg, struct bytes in);
    /* Nothing more comes and nothing more can be written: the other side has
     * closed it, it has failed, or a limit has passed. Once; to be closed by
     * its user. */
    void (*ended)(void *arg, const char *why);
    /* What conn_write left over has gone. May be NULL. */
    void (*written)(void *arg);
};

/* Takes over a connected socket. NULL when it can't be used: closed. */
struct conn *conn_new(struct net *net, int fd);
/* Who is told from now on, instead of whoever was before. Reading starts. */
void conn_use(struct conn *conn, const struct conn_events *events, void *arg);

/* Ends it when so many ms pass without a byte, or without one of what is
 * being written; 0: no limit. */
void conn_limit(struct conn *conn, uint64_t read_ms, uint64_t write_ms);
/* The kernel gives up when what was sent isn't acknowledged for so long. */
void conn_user_timeout(struct conn *conn, unsigned ms);

/* Reads no more until it is told to again; the read limit rests, too. */
void conn_pause(struct conn *conn, bool pause);

/* Writes as much as the socket takes. 0: all of it; 1: the rest follows, the
 * bytes are lent until `written`, and nothing else may be written before; or
 * an error of libuv's: the connection is useless. Changes the array. */
int conn_write(struct conn *conn, uv_buf_t *pieces, size_t count);

bool conn_is_writing(const struct conn *conn);

/* Ends our direction: the other side sees the end of what was written. */
void conn_finish(struct conn *conn);

/* Nothing is called any more but `then` (may be NULL), from the loop, when no
 * callback of this connection can be on the stack: whoever owns it can be
 * freed there. */
void conn_close(struct conn *conn, void (*then)(void *arg), void *arg);

/* "127.0.0.1:2380", for log lines. Never NULL. */
const char *conn_remote(const struct conn *conn);

/* ---- dial.c: connections to others --------------------------------------- */

struct dial;

/* Connects to the host, trying its addresses in turn; without a port (NULL), to
 * the unix socket of that path. `done` comes later, once: with a connection
 * that is the callee's, or with NULL and a reason. */
struct dial *dial_start(
    struct net *net, const char *host, const char *port, uint64_t timeout_ms,
    void (*done)(void *arg, struct conn *conn, const char *why), void *arg);
/* `done` isn't called. */
void dial_cancel(struct dial *dial);

#endif
