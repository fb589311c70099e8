/* What the front's files share. */
#ifndef CHORAD_FRONT_PRIVATE_H
#define CHORAD_FRONT_PRIVATE_H

#include "chorad/front.h"

#include "chorad/base/heap.h"
#include "chorad/base/queue.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

/* An address to listen on. */
struct front_address {
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
    socklen_t len;
    /* The address is "::" and stands for all there are: where there is no
     * IPv6, those of IPv4 are all. */
    bool either;
    char text[128]; /* "127.0.0.1:2379", or the path */
};

struct listener {
    uv_poll_t poll;
    struct front *front;
    struct front_target target;
    int fd;
    char *path; /* of a unix socket, else NULL */
};

struct front {
    struct front_config config;
    struct listener **listeners;
    size_t listeners_n;
    struct heap waiting; /* struct waiting by the time of its next look */
    uv_timer_t look;     /* the heap's smallest */
    uint64_t look_at_ms; /* what `look` is set to; UINT64_MAX for nothing */
    uv_timer_t pause;    /* listening goes on */
    bool paused;
    uint64_t told_ms; /* of the last line about having to pause */
    unsigned handles; /* libuv handles that are still open */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* ---- address.c: text to address -------------------------------------- */

int front_address(const char *url, struct front_address *out,
                  struct errmsg *msg);

/* ---- listen.c: the listening socket ---------------------------------- */

/* A bound, listening, non-blocking socket, or an error. */
int front_bind(const struct front_address *address, bool reuse_port,
               bool reuse_address, struct errmsg *msg);

/* ---- accept.c -------------------------------------------------------- */

/* Starts accepting. */
int accept_start(struct listener *listener);
void accept_init(struct front *front);

/* ---- sniff.c: which protocol ----------------------------------------- */

void sniff_init(struct front *front);
/* Takes the connection over. */
void sniff_take(struct listener *listener, int fd);
void sniff_close_all(struct front *front);

/* ---- front.c --------------------------------------------------------- */

/* A libuv handle of the front has been closed. */
void front_handle_closed(struct front *front);

#endif
