/* The URLs of a member, one of which is tried next. Pure. */
#ifndef CHORAD_PEER_URLS_H
#define CHORAD_PEER_URLS_H

#include "chorad/base/err.h"
#include <stdbool.h>
#include <stddef.h>

struct url {
    char *text;      /* "http://127.0.0.1:2380" */
    char *authority; /* "127.0.0.1:2380" */
    char *host;      /* "127.0.0.1", or the path of a unix socket */
    char *port;      /* "2380"; NULL for a unix socket */
};

/* ERR_INVALID for what isn't "http://host:port" or "unix://path",
 * ERR_UNSUPPORTED for a
 * scheme that can't be dialed. On error nothing is left allocated. */
int peer_url_parse(const char *text, struct url *out, struct errmsg *msg);
void peer_url_close(struct url *url);

struct urls {
    struct url *list;
    size_t count;
    size_t picked;
};

/* Those of the list, ended by NULL, that can be parsed; a line is logged for
 * each other one. */
void peer_urls_init(struct urls *urls, const char *const *list);
/* Several in one text, parted by commas, as in X-PeerURLs. At most 16. */
void peer_urls_init_text(struct urls *urls, const char *text);
void peer_urls_close(struct urls *urls);

/* The one to try; NULL if there is none. */
const struct url *peer_urls_pick(const struct urls *urls);
/* The one that was `picked` couldn't be reached: the next one's turn, unless
 * somebody else has found out before. */
void peer_urls_rotate(struct urls *urls, size_t picked);

#endif
