/* The checks before a member's first start: etcd's VerifyBootstrap. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "chorad/config.h"
#include "value.h"

/* The host in the one form that an address is compared in; other names as
 * they are. */
static void normal_host(const char *host, char *out, size_t size)
{
    unsigned char addr[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, host, addr) == 1)
        (void)inet_ntop(AF_INET, addr, out, (socklen_t)size);
    else if (inet_pton(AF_INET6, host, addr) == 1)
        (void)inet_ntop(AF_INET6, addr, out, (socklen_t)size);
    else
        (void)snprintf(out, size, "%s", host);
}

static bool same_url(const struct url *a, const struct url *b)
{
    char left[NI_MAXHOST];
    char right[NI_MAXHOST];

    if (a->scheme != b->scheme || a->port != b->port)
        return false;
    normal_host(a->host, left, sizeof(left));
    normal_host(b->host, right, sizeof(right));
    return strcmp(left, right) == 0;
}

static bool same_urls(const struct url_list *a, const struct url_list *b,
                      struct errmsg *msg)
{
    for (size_t i = 0; i < a->n; i++) {
        if (!same_url(&a->items[i], &b->items[i])) {
            err_set(msg, ERR_INVALID, "resolved urls: \"%s\" != \"%s\"",
                    a->items[i].text, b->items[i].text);
            return false;
        }
    }
    return true;
}

/* Puts an address in the place of the host. */
static int resolve_url(struct url *url, const struct config_resolver *resolver,
                       struct errmsg *msg)
{
    char address[NI_MAXHOST];
    char *text;

    if (url_is_unix(url) || strcmp(url->host, "localhost") == 0)
        return 0;
    normal_host(url->host, address, sizeof(address));
    for (int i = 0; resolver->resolve(resolver->arg, url->host, address,
                                      sizeof(address)) != 0;) {
        const struct timespec second = {.tv_sec = 1};

        if (++i >= resolver->attempts)
            return err_set(msg, ERR_NOTFOUND, "failed to resolve \"%s\"",
                           url->text);
        (void)nanosleep(&second, NULL);
    }
    text = mem_printf(
        strchr(address, ':') == NULL ? "%s://%s:%d" : "%s://[%s]:%d",
        url->scheme == URL_HTTPS ? "https" : "http", address, url->port);
    free(url->text);
    url->text = text;
    value_str(&url->host, address);
    return 0;
}

static int resolve_copy(struct url_list *out, const struct url_list *urls,
                        const struct config_resolver *resolver,
                        struct errmsg *msg)
{
    int err = 0;

    for (size_t i = 0; i < urls->n && err == 0; i++) {
        urls_add(out, &urls->items[i]);
        err = resolve_url(&out->items[i], resolver, msg);
    }
    urls_sort(out);
    return err;
}

/* Whether both lists mean the same addresses; otherwise a text why not. */
static bool urls_match(const struct url_list *a, const struct url_list *b,
                       const struct config_resolver *resolver,
                       struct errmsg *msg)
{
    struct url_list left = {0};
    struct url_list right = {0};
    bool same;

    if (a->n != b->n) {
        err_set(msg, ERR_INVALID, "%zu URLs != %zu URLs", a->n, b->n);
        return false;
    }
    if (same_urls(a, b, NULL))
        return true;
    same = resolve_copy(&left, a, resolver, msg) == 0 &&
           resolve_copy(&right, b, resolver, msg) == 0 &&
           same_urls(&left, &right, msg);
    urls_close(&left);
    urls_close(&right);
    return same;
}

static int parse_list(struct url_list *out, const char *const *texts,
                      struct errmsg *msg)
{
    int err = 0;

    for (size_t i = 0; texts[i] != NULL && err == 0; i++) {
        struct url url;

        err = url_parse(&url, texts[i], msg);
        if (err == 0) {
            urls_add(out, &url);
            url_close(&url);
        }
    }
    urls_sort(out);
    return err;
}

bool config_same_urls(const char *const *a, const char *const *b,
                      const struct config_resolver *resolver,
                      struct errmsg *why)
{
    struct url_list left = {0};
    struct url_list right = {0};
    bool same;

    same =
        parse_list(&left, a, why) == 0 && parse_list(&right, b, why) == 0 &&
        urls_match(&left, &right,
                   resolver == NULL ? &config_system_resolver : resolver, why);
    urls_close(&left);
    urls_close(&right);
    return same;
}

/* The URLs of `a` that are not in `b`, as "prefix url,...", or NULL. */
static char *missing_urls(const struct url_list *a, const struct url_list *b,
                          const char *prefix)
{
    struct url_list missing = {0};
    char *text = NULL;

    for (size_t i = 0; i < a->n; i++) {
        bool found = false;

        for (size_t j = 0; j < b->n; j++)
            found = found || strcmp(a->items[i].text, b->items[j].text) == 0;
        if (!found)
            urls_add(&missing, &a->items[i]);
    }
    if (missing.n > 0)
        text = urls_join(&missing, prefix);
    urls_close(&missing);
    return text;
}

static int mismatch(const struct config *config, const struct url_list *initial,
                    const char *why, struct errmsg *msg)
{
    const struct url_list *advertised = &config->initial_advertise_peer_urls;
    char *prefix = mem_printf("%s=", config->name);
    char *all = urls_join(advertised, "");
    char *own = urls_join(advertised, prefix);
    char *missing = missing_urls(initial, advertised, prefix);

    if (missing != NULL) {
        err_set(msg, ERR_INVALID,
                "--initial-cluster has %s but missing from "
                "--initial-advertise-peer-urls=%s (%s)",
                missing, all, why);
    } else {
        missing = missing_urls(advertised, initial, "");
        if (missing != NULL)
            err_set(msg, ERR_INVALID,
                    "--initial-advertise-peer-urls has %s but missing from "
                    "--initial-cluster=%s",
                    missing, own);
        else
            err_set(msg, ERR_INVALID,
                    "failed to resolve %s to match --initial-cluster=%s (%s)",
                    all, own, why);
    }
    free(missing);
    free(own);
    free(all);
    free(prefix);
    return ERR_INVALID;
}

static bool has_double(const struct config_member *members, size_t n)
{
    struct config_strs all = {0};
    size_t count;
    bool doubled;

    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < members[i].peer_urls.n; j++) {
            const char *text = members[i].peer_urls.items[j].text;

            strs_add(&all, text, strlen(text));
        }
    }
    count = all.n;
    strs_unique(&all);
    doubled = all.n < count;
    strs_close(&all);
    return doubled;
}

/* --initial-cluster again, sorted, in fresh memory. */
static char *initial_text(const struct config_member *members, size_t n)
{
    struct buf buf = {0};

    for (size_t i = 0; i < n; i++) {
        char *prefix = mem_printf("%s=", members[i].name);
        char *urls = urls_join(&members[i].peer_urls, prefix);

        buf_printf(&buf, "%s%s", i == 0 ? "" : ",", urls);
        free(urls);
        free(prefix);
    }
    buf_append(&buf, "", 1);
    return (char *)buf.data;
}

static int check_members(const struct config *config,
                         const struct config_member *members, size_t n,
                         const struct config_resolver *resolver,
                         struct errmsg *msg)
{
    const struct config_member *self =
        config_initial_find(members, n, config->name);
    bool joining = strcmp(config->initial_cluster_state, "existing") == 0;
    struct errmsg why = {0};

    if (self == NULL)
        return err_set(msg, ERR_INVALID,
                       "couldn't find local name \"%s\" in the initial cluster "
                       "configuration",
                       config->name);
    if (!joining && !urls_match(&config->initial_advertise_peer_urls,
                                &self->peer_urls, resolver, &why))
        return mismatch(config, &self->peer_urls, why.text, msg);
    if (has_double(members, n)) {
        char *text = initial_text(members, n);

        err_set(msg, ERR_INVALID, "initial cluster %s has duplicate url", text);
        free(text);
        return ERR_INVALID;
    }
    return 0;
}

int config_check_bootstrap(const struct config *config,
                           const struct config_resolver *resolver,
                           struct errmsg *msg)
{
    struct config_member *members;
    size_t n;
    int err = config_initial_parse(config->initial_cluster, &members, &n, msg);

    if (err != 0)
        return err;
    err = check_members(config, members, n,
                        resolver == NULL ? &config_system_resolver : resolver,
                        msg);
    config_initial_free(members, n);
    return err;
}
