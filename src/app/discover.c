#include "discover.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"
#include "chorad/base/url.h"

static const struct discover_dns system_dns = {srv_lookup,
                                               &config_system_resolver};

/* The search for the members of one service. */
struct search {
    const struct config *config;
    const struct discover_dns *dns;
    const char *scheme;
    const char *service;
    char (*own)[NI_MAXHOST]; /* addresses of the advertised peer URLs */
    size_t found;
    unsigned unnamed;
    struct buf *cluster;
};

static int resolve(const struct search *search, const char *host,
                   char out[NI_MAXHOST])
{
    const struct config_resolver *resolver = search->dns->resolver;

    return resolver->resolve(resolver->arg, host, out, NI_MAXHOST);
}

static int resolve_own(struct search *search, struct errmsg *msg)
{
    const struct url_list *urls = &search->config->initial_advertise_peer_urls;

    search->own = mem_zalloc((urls->n + 1) * sizeof(*search->own));
    for (size_t i = 0; i < urls->n; i++)
        if (resolve(search, urls->items[i].host, search->own[i]) != 0)
            return err_set(msg, ERR_NOTFOUND, "failed to resolve \"%s\"",
                           urls->items[i].text);
    return 0;
}

/* The advertised URL that the target is, or NULL. */
static const struct url *own_url(const struct search *search,
                                 const char *address, uint16_t port)
{
    const struct url_list *urls = &search->config->initial_advertise_peer_urls;

    for (size_t i = 0; i < urls->n; i++)
        if (urls->items[i].port == port && strcmp(search->own[i], address) == 0)
            return &urls->items[i];
    return NULL;
}

static const char *scheme_of(const struct url *url)
{
    return url->scheme == URL_HTTPS ? "https" : "http";
}

static int take(struct search *search, const struct srv_target *target,
                struct errmsg *msg)
{
    char address[NI_MAXHOST];
    const struct url *own;

    if (resolve(search, target->host, address) != 0)
        return err_set(msg, ERR_NOTFOUND, "lookup %s: no such host",
                       target->host);
    own = own_url(search, address, target->port);
    if (own != NULL && strcmp(scheme_of(own), search->scheme) != 0)
        return err_set(msg, ERR_INVALID,
                       "bootstrap at %s://%s:%u from DNS for %s has scheme "
                       "mismatch with expected peer %s",
                       search->scheme, target->host, target->port,
                       search->service, own->text);
    if (search->cluster->len > 0)
        buf_printf(search->cluster, ",");
    if (own != NULL)
        buf_printf(search->cluster, "%s", search->config->name);
    else
        buf_printf(search->cluster, "%u", search->unnamed++);
    buf_printf(search->cluster, "=%s://%s:%u", search->scheme, target->host,
               target->port);
    search->found++;
    return 0;
}

/* A target that can't be taken is left out, as long as there is another. */
static int ask(struct search *search, struct errmsg *msg)
{
    struct srv_targets targets = {0};
    char *name = mem_printf("_%s._tcp.%s", search->service,
                            search->config->discovery.srv);
    int rc = resolve_own(search, msg);
    int last = ERR_NOTFOUND;

    if (rc == 0)
        rc = search->dns->targets(name, &targets, msg);
    if (rc == 0 && targets.n == 0)
        rc = err_set(msg, ERR_NOTFOUND, "lookup %s: no such host", name);
    for (size_t i = 0; i < targets.n && rc == 0; i++) {
        int err = take(search, &targets.items[i], msg);

        last = err == 0 ? last : err;
    }
    if (rc == 0 && search->found == 0)
        rc = last;
    srv_close(&targets);
    free(search->own);
    free(name);
    if (rc != 0)
        err_wrap(msg, rc, "error querying DNS SRV records for _%s",
                 search->service);
    return rc;
}

static int ask_service(const struct config *config,
                       const struct discover_dns *dns, const char *scheme,
                       const char *base, struct buf *cluster,
                       struct errmsg *msg)
{
    const char *suffix = config->discovery.srv_name;
    char *service =
        mem_printf("%s%s%s", base, suffix[0] == '\0' ? "" : "-", suffix);
    struct search search = {.config = config,
                            .dns = dns,
                            .scheme = scheme,
                            .service = service,
                            .cluster = cluster};
    int rc = ask(&search, msg);

    if (rc != 0)
        log_warn("failed to resolve during SRV discovery",
                 LOG_STR("error", msg->text));
    free(service);
    return rc;
}

static int check_self(const struct config *config, const char *cluster,
                      struct errmsg *msg)
{
    struct config_member *members;
    size_t n;
    int rc = config_initial_parse(cluster, &members, &n, msg);

    if (rc == 0 && config_initial_find(members, n, config->name) == NULL)
        rc = err_set(msg, ERR_INVALID,
                     "error setting up initial cluster: cannot find local etcd "
                     "member \"%s\" in SRV records",
                     config->name);
    config_initial_free(members, n);
    return rc;
}

int discover_cluster(const struct config *config,
                     const struct discover_dns *dns, char **cluster,
                     struct errmsg *msg)
{
    struct buf text = {0};
    struct errmsg secure = {0};
    struct errmsg plain = {0};
    int rc;

    *cluster = NULL;
    dns = dns == NULL ? &system_dns : dns;
    (void)ask_service(config, dns, "https", "etcd-server-ssl", &text, &secure);
    rc = ask_service(config, dns, "http", "etcd-server", &text, &plain);
    if (text.len == 0)
        return err_set(msg, rc, "error setting up initial cluster: %s\n%s",
                       secure.text, plain.text);
    buf_append(&text, "", 1);
    rc = check_self(config, (char *)text.data, msg);
    if (rc != 0) {
        buf_close(&text);
        return rc;
    }
    log_info("got bootstrap from DNS for etcd-server",
             LOG_STR("initial-cluster", (char *)text.data));
    *cluster = (char *)text.data;
    return 0;
}
