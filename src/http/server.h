/* Inside of HTTP: connections on libmicrohttpd, requests and their answers.
 * All of it belongs to the loop thread. */
#ifndef CHORAD_HTTP_SERVER_H
#define CHORAD_HTTP_SERVER_H

#include "chorad/base/mem.h"
#include "chorad/http.h"

#include <microhttpd.h>
#include <stdbool.h>

/* One daemon of libmicrohttpd, driven by the loop: its epoll set is watched,
 * its next timeout is a timer. */
struct server {
    struct http *http;
    enum http_surface surface;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    bool closing; /* no handle may be touched any more */
};

enum { SERVERS = 2 };

struct http {
    struct http_config config;
    struct server servers[SERVERS]; /* by surface */
    struct mvcc_reader *reader;
    struct shared *page; /* /metrics of this run of libmicrohttpd; or NULL */
    struct request *pending; /* suspended ones */
    int handles;             /* open ones, while closing */
    void (*closed)(void *arg);
    void *closed_arg;
};

/* A request from its headers to the end of its answer. */
struct request {
    struct http *http;
    enum http_surface surface;
    struct MHD_Connection *connection;
    const char *method;
    const char *path; /* decoded, without the query */

    /* The answer, with one of the two bodies, which goes to the
     * connection. */
    unsigned status;
    const char *content_type;
    const char *allow; /* for 405 */
    bool nosniff;
    struct buf body;
    struct shared *shared_body;

    const char *origin; /* who may read the answer in a browser; or NULL */

    bool answered;
    bool suspended;
    size_t received;         /* bytes of its body */
    struct inquiry *inquiry; /* what works on the answer; or NULL */
    struct request *next;
    struct request **prev;
};

/* Answers with what has been put into the request, now or later. */
void request_answer(struct request *request);

/* Answers with a text and a newline, as Go's http.Error does. */
void request_error(struct request *request, unsigned status, const char *text);

/* As Go's mux does for an unknown path. */
void request_not_found(struct request *request);

/* ---- routes.c ---- */

/* Finds who answers the request, or refuses it. */
void routes_run(struct request *request);

/* ---- access.c ---- */

/* False: the host isn't one of --host-whitelist, the request was answered.
 * Sets the request's origin. */
bool access_check(struct request *request);

/* ---- info.c ---- */

void info_version(struct request *request);
void info_vars(struct request *request);

#endif
