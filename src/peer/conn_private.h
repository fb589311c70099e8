/* What conn.c and dial.c share. */
#ifndef CHORAD_PEER_CONN_PRIVATE_H
#define CHORAD_PEER_CONN_PRIVATE_H

#include "chorad/base/address.h"
#include "conn.h"

struct conn {
    uv_tcp_t tcp;
    struct net *net;
    const struct conn_events *events; /* NULL: nobody, or closed */
    void (*then)(void *arg);          /* when it has been closed */
    void *arg;
    uv_write_t write;
    struct net_timer timer; /* the next of the limits */
    uint64_t read_ms;
    uint64_t write_ms;
    uint64_t read_at_ms;
    uint64_t write_at_ms;
    size_t write_left;
    bool reading;
    bool writing;
    bool ended;
    char remote[ADDRESS_TEXT_MAX];
};

/* A handle without a socket. */
struct conn *conn_alloc(struct net *net);
/* The socket is connected: its options, its name. */
void conn_set_up(struct conn *conn);

#endif
