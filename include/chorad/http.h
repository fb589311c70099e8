/* HTTP/1.1 beside gRPC: /health, /livez, /readyz, /version, /metrics and their
 * kin, on connections that the front hands over. The loop thread only. */
#ifndef CHORAD_HTTP_H
#define CHORAD_HTTP_H

#include "chorad/node.h"
#include <stddef.h>

struct http;

struct http_config {
    struct node *node; /* outlives the http; requests run on its loop */
    /* --cors and --host-whitelist: none or "*" is any. Borrowed. */
    const char *const *cors;
    size_t n_cors;
    const char *const *hosts;
    size_t n_hosts;
};

/* Which set of paths a connection is served. */
enum http_surface {
    HTTP_CLIENT,  /* everything, with CORS headers */
    HTTP_METRICS, /* /metrics, /health, /livez and /readyz only */
};

/* Registers the process's own metrics as well. Never fails but for lack of
 * memory, which ends the process. */
struct http *http_open(const struct http_config *config);

/* Serves a connected, non-blocking socket; takes it over. */
void http_add_connection(struct http *http, enum http_surface surface, int fd);

/* Closes all connections; requests under way are dropped. `closed` is called on
 * the loop when all is freed. */
void http_close(struct http *http, void (*closed)(void *arg), void *arg);

#endif
