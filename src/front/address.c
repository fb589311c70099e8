/* Listen URLs to socket addresses. */
#include "front_private.h"

#include "chorad/base/check.h"

#include "chorad/base/mem.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bad_url(struct errmsg *msg, const char *url)
{
    return err_set(msg, ERR_INVALID, "listen URL \"%s\": want http://host:port",
                   url);
}

static int unix_address(const char *path, struct front_address *out,
                        struct errmsg *msg)
{
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(out->u.un.sun_path))
        return err_set(msg, ERR_INVALID,
                       "unix socket path \"%s\" is empty or too long", path);
    out->u.un.sun_family = AF_UNIX;
    memcpy(out->u.un.sun_path, path, len + 1);
    out->len = sizeof(out->u.un);
    (void)snprintf(out->text, sizeof(out->text), "%s", path);
    return 0;
}

/* Splits "host:port" or "[host]:port"; a path of "/" may follow. */
static bool split_host(const char *at, char *host, size_t size,
                       const char **port)
{
    const char *end;
    size_t len;

    if (*at == '[') {
        at++;
        end = strchr(at, ']');
        if (end == NULL || end[1] != ':')
            return false;
        *port = end + 2;
    } else {
        end = strchr(at, ':');
        if (end == NULL)
            return false;
        *port = end + 1;
    }
    len = (size_t)(end - at);
    if (len >= size)
        return false;
    memcpy(host, at, len);
    host[len] = '\0';
    return true;
}

static bool parse_port(const char *text, uint16_t *port)
{
    unsigned long n = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        n = n * 10 + (unsigned long)(*at - '0');
        if (n > UINT16_MAX)
            return false;
    }
    *port = (uint16_t)n;
    return at != text && (*at == '\0' || strcmp(at, "/") == 0);
}

/* A name with addresses of both kinds gives the IPv4 one, as Go has it. */
static int resolve(const char *host, struct front_address *out,
                   struct errmsg *msg)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *list;
    const struct addrinfo *chosen;
    int rv = getaddrinfo(host, NULL, &hints, &list);

    if (rv != 0)
        return err_set(msg, ERR_INVALID, "listen address \"%s\": %s", host,
                       gai_strerror(rv));
    CHECK(list != NULL);
    chosen = list;
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next)
        if (ai->ai_family == AF_INET) {
            chosen = ai;
            break;
        }
    memcpy(&out->u.storage, chosen->ai_addr, chosen->ai_addrlen);
    out->len = chosen->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

/* "0.0.0.0", and no host at all, mean every address that the machine has, of
 * both families, as Go has it; so do their forms in IPv6. "::" takes both by
 * itself, but whoever writes that wants IPv6. */
static void take_either(struct front_address *address)
{
    const struct sockaddr_in *in = &address->u.in;
    const struct in6_addr *addr6 = &address->u.in6.sin6_addr;
    bool all = address->u.any.sa_family == AF_INET
                   ? in->sin_addr.s_addr == htonl(INADDR_ANY)
                   : IN6_IS_ADDR_V4MAPPED(addr6) && addr6->s6_addr32[3] == 0;

    if (!all)
        return;
    memset(&address->u, 0, sizeof(address->u));
    address->u.in6.sin6_family = AF_INET6;
    address->u.in6.sin6_addr = in6addr_any;
    address->len = sizeof(address->u.in6);
    address->either = true;
}

static int tcp_address(const char *url, const char *at,
                       struct front_address *out, struct errmsg *msg)
{
    char host[100];
    const char *port_text;
    uint16_t port;
    int rv;

    if (!split_host(at, host, sizeof(host), &port_text) ||
        !parse_port(port_text, &port))
        return bad_url(msg, url);
    rv = resolve(host[0] != '\0' ? host : "0.0.0.0", out, msg);
    if (rv != 0)
        return rv;
    take_either(out);
    if (out->u.any.sa_family == AF_INET6)
        out->u.in6.sin6_port = htons(port);
    else
        out->u.in.sin_port = htons(port);
    (void)snprintf(out->text, sizeof(out->text),
                   strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, port);
    return 0;
}

int front_address(const char *url, struct front_address *out,
                  struct errmsg *msg)
{
    const char *at = strstr(url, "://");
    size_t len;

    memset(out, 0, sizeof(*out));
    if (at == NULL)
        return bad_url(msg, url);
    len = (size_t)(at - url);
    at += 3;
    if (len == 4 && strncmp(url, "http", len) == 0)
        return tcp_address(url, at, out, msg);
    if (len == 4 && strncmp(url, "unix", len) == 0)
        return unix_address(at, out, msg);
    if ((len == 5 && strncmp(url, "https", len) == 0) ||
        (len == 5 && strncmp(url, "unixs", len) == 0))
        return err_set(msg, ERR_UNSUPPORTED,
                       "listen URL \"%s\": TLS is not supported yet", url);
    return bad_url(msg, url);
}
