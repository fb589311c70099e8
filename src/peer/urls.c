#include "urls.h"
#include "chorad/base/log.h"
#include "chorad/base/mem.h"
#include <http_parser.h>
#include <stdlib.h>
#include <string.h>

#define URLS_MAX 16
#define UNIX_SCHEME "unix://"
#define PATH_LEN_MAX 107 /* that of sockaddr_un, without its NUL */

static char *part(const char *text, const struct http_parser_url *u, int field)
{
    size_t len = u->field_data[field].len;
    char *copy = mem_alloc(len + 1);

    memcpy(copy, text + u->field_data[field].off, len);
    copy[len] = '\0';
    return copy;
}

/* "unix://localhost:1" is a file of that name, "unix:///run/x" one somewhere
 * else. What the HTTP request calls the host doesn't matter to anybody. */
static int parse_unix(const char *text, struct url *out, struct errmsg *msg)
{
    const char *path = text + sizeof(UNIX_SCHEME) - 1;

    if (*path == '\0' || strlen(path) > PATH_LEN_MAX)
        return err_set(msg, ERR_INVALID,
                       "not a URL with the path of a socket: %.200s", text);
    *out = (struct url){.text = mem_strdup(text),
                        .authority = mem_strdup("localhost"),
                        .host = mem_strdup(path)};
    return 0;
}

int peer_url_parse(const char *text, struct url *out, struct errmsg *msg)
{
    struct http_parser_url u;
    size_t len = strlen(text);

    *out = (struct url){0};
    if (strncmp(text, UNIX_SCHEME, sizeof(UNIX_SCHEME) - 1) == 0)
        return parse_unix(text, out, msg);
    http_parser_url_init(&u);
    if (len > 1024 || http_parser_parse_url(text, len, 0, &u) != 0 ||
        !(u.field_set & (1 << UF_HOST)) || !(u.field_set & (1 << UF_PORT)))
        return err_set(msg, ERR_INVALID, "not a URL with host and port: %.200s",
                       text);
    if (strncmp(text, "http://", 7) != 0)
        return err_set(msg, ERR_UNSUPPORTED, "not a http:// or unix:// URL: %s",
                       text);
    out->text = mem_strdup(text);
    out->host = part(text, &u, UF_HOST);
    out->port = part(text, &u, UF_PORT);
    /* The brackets of an IPv6 address are around the host. */
    out->authority = mem_printf(strchr(out->host, ':') ? "[%s]:%s" : "%s:%s",
                                out->host, out->port);
    return 0;
}

void peer_url_close(struct url *url)
{
    free(url->text);
    free(url->authority);
    free(url->host);
    free(url->port);
    *url = (struct url){0};
}

static void add(struct urls *urls, const char *text)
{
    struct errmsg msg;
    struct url url;

    if (urls->count == URLS_MAX)
        return;
    if (peer_url_parse(text, &url, &msg) < 0) {
        log_warn("ignored a URL of a member", LOG_STR("error", msg.text));
        return;
    }
    urls->list =
        mem_realloc(urls->list, (urls->count + 1) * sizeof(urls->list[0]));
    urls->list[urls->count++] = url;
}

void peer_urls_init(struct urls *urls, const char *const *list)
{
    *urls = (struct urls){0};
    for (size_t i = 0; list[i]; i++)
        add(urls, list[i]);
}

void peer_urls_init_text(struct urls *urls, const char *text)
{
    char *copy = mem_strdup(text);
    char *rest;

    *urls = (struct urls){0};
    for (char *one = strtok_r(copy, ",", &rest); one;
         one = strtok_r(NULL, ",", &rest))
        add(urls, one);
    free(copy);
}

void peer_urls_close(struct urls *urls)
{
    for (size_t i = 0; i < urls->count; i++)
        peer_url_close(&urls->list[i]);
    free(urls->list);
    *urls = (struct urls){0};
}

const struct url *peer_urls_pick(const struct urls *urls)
{
    return urls->count > 0 ? &urls->list[urls->picked] : NULL;
}

void peer_urls_rotate(struct urls *urls, size_t picked)
{
    if (urls->count > 0 && urls->picked == picked)
        urls->picked = (urls->picked + 1) % urls->count;
}
