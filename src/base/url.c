#include "chorad/base/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"
#include "chorad/base/quote.h"

#define MAX_PORT 65535

/* The pieces of "scheme://authority/path?rest", pointing into the text. */
struct parts {
    size_t scheme_len;
    const char *authority; /* NULL where there is no "//" */
    size_t authority_len;
    const char *host; /* inside the authority, behind "user@" */
    size_t host_len;
    const char *path;
    size_t path_len;
};

/* "parse <quoted text>: <why>", as Go's url.Error prints it. */
static int parse_error(struct errmsg *msg, const char *text, const char *why,
                       const char *what, size_t what_len, const char *end)
{
    char *quoted = quote_text(text);

    if (what == NULL) {
        err_set(msg, ERR_INVALID, "parse %s: %s", quoted, why);
    } else {
        char *piece = mem_printf("%.*s", (int)what_len, what);
        char *quoted_piece = quote_text(piece);

        err_set(msg, ERR_INVALID, "parse %s: %s %s%s", quoted, why,
                quoted_piece, end);
        free(quoted_piece);
        free(piece);
    }
    free(quoted);
    return ERR_INVALID;
}

/* Length of the scheme, 0 where there is none, negative where the text starts
 * with the colon. RFC 3986, section 3.1. */
static int scheme_length(const char *text)
{
    for (int i = 0;; i++) {
        unsigned char c = (unsigned char)text[i];

        if (isalpha(c) && c < 0x80)
            continue;
        if (i > 0 && (isdigit(c) || c == '+' || c == '-' || c == '.'))
            continue;
        if (c == ':')
            return i == 0 ? -1 : i;
        return 0;
    }
}

static bool all_digits(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
    }
    return true;
}

static int check_host(const struct parts *parts, const char *text,
                      struct errmsg *msg)
{
    const char *host = parts->host;
    const char *end = host + parts->host_len;
    const char *port;

    if (parts->host_len > 0 && host[0] == '[') {
        port = memrchr(host, ']', parts->host_len);
        if (port == NULL)
            return parse_error(msg, text, "missing ']' in host", NULL, 0, "");
        port++;
    } else {
        port = memchr(host, ':', parts->host_len);
        if (port == NULL)
            port = end;
    }
    if (port < end &&
        (*port != ':' || !all_digits(port + 1, (size_t)(end - port - 1))))
        return parse_error(msg, text, "invalid port", port,
                           (size_t)(end - port), " after host");
    for (const char *at = host; at < end; at++) {
        if (*at == '%' && host[0] != '[')
            return parse_error(msg, text, "invalid URL escape", at,
                               end - at < 3 ? (size_t)(end - at) : 3, "");
        if (strchr(" \\^`{|}", *at) != NULL)
            return parse_error(msg, text, "invalid character", at, 1,
                               " in host name");
    }
    return 0;
}

/* Cuts `text` up, with the errors of Go's url.Parse. */
static int split_url(struct parts *parts, const char *text, struct errmsg *msg)
{
    int scheme_len = scheme_length(text);
    const char *at;

    *parts = (struct parts){0};
    for (at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return parse_error(msg, text,
                               "net/url: invalid control character in URL",
                               NULL, 0, "");
    }
    if (scheme_len < 0)
        return parse_error(msg, text, "missing protocol scheme", NULL, 0, "");
    if (scheme_len == 0) {
        size_t first = strcspn(text, "/?#");

        if (first > 0 && memchr(text, ':', first) != NULL)
            return parse_error(msg, text,
                               "first path segment in URL cannot contain colon",
                               NULL, 0, "");
        return 0;
    }
    parts->scheme_len = (size_t)scheme_len;
    at = text + scheme_len + 1;
    if (at[0] == '/' && at[1] == '/') {
        const char *user_end;

        parts->authority = at + 2;
        parts->authority_len = strcspn(at + 2, "/?#");
        user_end = memrchr(parts->authority, '@', parts->authority_len);
        parts->host = user_end == NULL ? parts->authority : user_end + 1;
        at = parts->authority + parts->authority_len;
        parts->host_len = (size_t)(at - parts->host);
        if (check_host(parts, text, msg) != 0)
            return ERR_INVALID;
    }
    parts->path = at;
    parts->path_len = strcspn(at, "?#");
    return 0;
}

static int scheme_of(const char *text, size_t len)
{
    static const char *const names[] = {
        [URL_HTTP] = "http",
        [URL_HTTPS] = "https",
        [URL_UNIX] = "unix",
        [URL_UNIXS] = "unixs",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == len && strncasecmp(names[i], text, len) == 0)
            return (int)i;
    }
    return -1;
}

/* Where the port's colon stands, or NULL: net.SplitHostPort's "missing port
 * in address". check_host has been through the text. */
static const char *port_colon(const struct parts *parts)
{
    const char *colon;

    if (parts->host_len == 0)
        return NULL;
    colon = memrchr(parts->host, ':', parts->host_len);
    if (colon == NULL)
        return NULL;
    if (parts->host[0] == '[' && colon[-1] != ']')
        return NULL;
    return colon;
}

static void take_host_port(struct url *url, const struct parts *parts,
                           const char *colon)
{
    const char *host = parts->host;
    size_t host_len = (size_t)(colon - host);
    size_t port_len = parts->host_len - host_len - 1;
    int port = 0;

    for (size_t i = 0; i < port_len && port <= MAX_PORT; i++)
        port = port * 10 + (colon[1 + i] - '0');
    url->port = port;
    if (host_len >= 2 && host[0] == '[') {
        host++;
        host_len -= 2;
    }
    url->host = mem_printf("%.*s", (int)host_len, host);
}

static int take_url(struct url *url, const char *text, struct errmsg *msg)
{
    struct parts parts;
    const char *colon;
    int scheme;

    if (split_url(&parts, text, msg) != 0)
        return ERR_INVALID;
    scheme = scheme_of(text, parts.scheme_len);
    if (scheme < 0)
        return err_set(msg, ERR_INVALID,
                       "URL scheme must be http, https, unix, or unixs: %s",
                       text);
    *url = (struct url){.scheme = (enum url_scheme)scheme};
    if (url_is_unix(url)) {
        /* The socket's path is what stands behind the scheme, be it
         * "unix:///run/x", "unix:x" or "unix://localhost:1". */
        url->host = mem_printf("%.*s%.*s", (int)parts.host_len,
                               parts.host == NULL ? "" : parts.host,
                               (int)parts.path_len, parts.path);
    } else {
        colon = port_colon(&parts);
        if (colon == NULL)
            return err_set(
                msg, ERR_INVALID,
                "URL address does not have the form \"host:port\": %s", text);
        if (parts.path_len > 0)
            return err_set(msg, ERR_INVALID, "URL must not contain a path: %s",
                           text);
        take_host_port(url, &parts, colon);
    }
    url->text = mem_strdup(text);
    for (size_t i = 0; i < parts.scheme_len; i++)
        url->text[i] = (char)tolower((unsigned char)url->text[i]);
    return 0;
}

int url_parse(struct url *url, const char *text, struct errmsg *msg)
{
    size_t start = strspn(text, " \t\r\n\v\f");
    size_t len = strlen(text + start);
    char *trimmed;
    int err;

    while (len > 0 && strchr(" \t\r\n\v\f", text[start + len - 1]) != NULL)
        len--;
    trimmed = mem_printf("%.*s", (int)len, text + start);
    err = take_url(url, trimmed, msg);
    free(trimmed);
    return err;
}

void url_close(struct url *url)
{
    free(url->text);
    free(url->host);
    *url = (struct url){0};
}

static void push(struct url_list *urls, struct url url)
{
    urls->items =
        mem_realloc(urls->items, (urls->n + 1) * sizeof(urls->items[0]));
    urls->items[urls->n++] = url;
}

static void unique(struct url_list *urls)
{
    size_t kept = 0;

    for (size_t i = 1; i < urls->n; i++) {
        if (strcmp(urls->items[i].text, urls->items[kept].text) == 0)
            url_close(&urls->items[i]);
        else
            urls->items[++kept] = urls->items[i];
    }
    if (urls->n > 0)
        urls->n = kept + 1;
}

int urls_parse(struct url_list *urls, const char *text, struct errmsg *msg)
{
    struct url_list list = {0};
    int err = 0;

    for (bool more = true; more && err == 0;) {
        size_t len = strcspn(text, ",");
        char *piece = mem_printf("%.*s", (int)len, text);
        struct url url;

        err = url_parse(&url, piece, msg);
        if (err == 0)
            push(&list, url);
        free(piece);
        more = text[len] == ',';
        text += len + more;
    }
    if (err != 0) {
        urls_close(&list);
        return err;
    }
    urls_sort(&list);
    unique(&list);
    urls_close(urls);
    *urls = list;
    return 0;
}

void urls_add(struct url_list *urls, const struct url *url)
{
    struct url copy = *url;

    copy.text = mem_strdup(url->text);
    copy.host = mem_strdup(url->host);
    push(urls, copy);
}

static int compare_urls(const void *a, const void *b)
{
    return strcmp(((const struct url *)a)->text, ((const struct url *)b)->text);
}

void urls_sort(struct url_list *urls)
{
    if (urls->n > 1)
        qsort(urls->items, urls->n, sizeof(urls->items[0]), compare_urls);
}

bool urls_equal(const struct url_list *a, const struct url_list *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->items[i].text, b->items[i].text) != 0)
            return false;
    }
    return true;
}

char *urls_join(const struct url_list *urls, const char *prefix)
{
    struct buf buf = {0};

    for (size_t i = 0; i < urls->n; i++)
        buf_printf(&buf, "%s%s%s", i == 0 ? "" : ",", prefix,
                   urls->items[i].text);
    buf_append(&buf, "", 1);
    return (char *)buf.data;
}

void urls_close(struct url_list *urls)
{
    for (size_t i = 0; i < urls->n; i++)
        url_close(&urls->items[i]);
    free(urls->items);
    *urls = (struct url_list){0};
}
