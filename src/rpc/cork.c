/* Answers that are sent together.
 *
 * gRPC writes each answer to the socket by itself, and most of what such a
 * write costs is the way through TCP, not the copying. So when a connection
 * has several calls open, its socket is corked before the first answer of a
 * round and opened after the last: the answers still go to the kernel one by
 * one, but to the client in one piece. A round ends when the shard has
 * nothing else to do, or after ROUND_MAX events.
 *
 * A connection is known by its descriptor, which gRPC may have closed behind
 * our back. To cork a stranger is harmless: the round's end opens it. */
#include "transport.h"

#include <grpc/support/alloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ROUND_MAX 64
/* A descriptor above that goes without. */
#define FD_MAX (1 << 20)

static void set_cork(int fd, int on)
{
    /* Fails on a unix socket, where there is nothing to gain. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

/* The connection's descriptor from gRPC's name for it, "fd:12"; -1. */
static int fd_of(const struct call *call)
{
    char *peer = grpc_call_get_peer(call->core);
    int fd = -1;

    if (peer != NULL && strncmp(peer, "fd:", 3) == 0) {
        fd = 0;
        for (const char *at = peer + 3; *at >= '0' && *at <= '9'; at++) {
            fd = fd * 10 + (*at - '0');
            if (fd >= FD_MAX) {
                fd = -1;
                break;
            }
        }
    }
    gpr_free(peer);
    return fd;
}

static struct connection *connection(struct rpc_shard *shard, int fd)
{
    size_t want = (size_t)fd + 1;
    size_t had = shard->connections_n;

    if (want > had) {
        want = want * 2;
        shard->connections =
            mem_realloc(shard->connections, want * sizeof(struct connection));
        memset(shard->connections + had, 0,
               (want - had) * sizeof(struct connection));
        shard->connections_n = want;
    }
    return &shard->connections[fd];
}

void cork_call_opened(struct call *call)
{
    call->fd = fd_of(call);
    if (call->fd >= 0)
        connection(call->pub.shard, call->fd)->open++;
}

void cork_call_ended(struct call *call)
{
    if (call->fd >= 0)
        call->pub.shard->connections[call->fd].open--;
}

void cork_before_send(struct call *call)
{
    struct rpc_shard *shard = call->pub.shard;
    struct connection *c;

    if (call->fd < 0)
        return;
    c = &shard->connections[call->fd];
    if (c->corked || c->open < 2 || shard->corked_n == CORKED_MAX)
        return;
    c->corked = true;
    shard->corked[shard->corked_n++] = call->fd;
    set_cork(call->fd, 1);
}

void cork_end_round(struct rpc_shard *shard)
{
    for (unsigned i = 0; i < shard->corked_n; i++) {
        int fd = shard->corked[i];

        shard->connections[fd].corked = false;
        set_cork(fd, 0);
    }
    shard->corked_n = 0;
    shard->round = 0;
}

void cork_event(struct rpc_shard *shard)
{
    if (shard->corked_n > 0 && ++shard->round >= ROUND_MAX)
        cork_end_round(shard);
}
