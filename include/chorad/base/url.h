/* URLs of members and clients, as etcd's types.NewURLs takes them. Pure. */
#ifndef CHORAD_BASE_URL_H
#define CHORAD_BASE_URL_H

#include "chorad/base/err.h"
#include <stdbool.h>
#include <stddef.h>

enum url_scheme {
    URL_HTTP,
    URL_HTTPS,
    URL_UNIX,
    URL_UNIXS, /* TLS on a unix socket */
};

struct url {
    char *text; /* as it is printed and compared: "http://[::1]:2380" */
    enum url_scheme scheme;
    char *host; /* without brackets; the socket's path for unix and unixs */
    int port;   /* 0 for unix, unixs and an empty port */
};

/* Zeroed memory is an empty list. */
struct url_list {
    struct url *items;
    size_t n;
};

/* Reads one URL, white space around it left out. ERR_INVALID with the text of
 * Go's net/url or of etcd. What was in `url` is not freed. */
int url_parse(struct url *url, const char *text, struct errmsg *msg);
void url_close(struct url *url);

/* Reads a comma-separated list and replaces `urls` with it, sorted, each URL
 * once. On an error `urls` is unchanged. */
int urls_parse(struct url_list *urls, const char *text, struct errmsg *msg);
/* Appends a copy, keeping order and doubles. */
void urls_add(struct url_list *urls, const struct url *url);
void urls_sort(struct url_list *urls);
bool urls_equal(const struct url_list *a, const struct url_list *b);
/* "a,b" in fresh memory, each with `prefix` before it. */
char *urls_join(const struct url_list *urls, const char *prefix);
void urls_close(struct url_list *urls);

static inline bool url_is_unix(const struct url *url)
{
    return url->scheme == URL_UNIX || url->scheme == URL_UNIXS;
}

#endif
