/* Who may ask: --host-whitelist and --cors. */
#include "host.h"
#include "server.h"

#include <stdlib.h>
#include <string.h>

static bool in_list(const char *const *list, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i], text) == 0)
            return true;
    }
    return false;
}

static bool is_any(const char *const *list, size_t n)
{
    return n == 0 || in_list(list, n, "*");
}

static const char *header(const struct request *request, const char *name)
{
    const char *value =
        MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);

    return value != NULL ? value : "";
}

/* A page in a browser can have its host's name resolve to this machine, and
 * then ask this server as its own (CVE-2018-5702). The Host header still
 * names the page's host. */
static bool host_allowed(struct request *request)
{
    const struct http_config *config = &request->http->config;
    char *host;
    char *text;
    bool allowed;

    if (is_any(config->hosts, config->n_hosts))
        return true;
    host = host_without_port(header(request, MHD_HTTP_HEADER_HOST));
    allowed = in_list(config->hosts, config->n_hosts, host);
    if (!allowed) {
        text = mem_printf("The host %s is not one of --host-whitelist, which "
                          "guards against DNS rebinding (CVE-2018-5702). Add "
                          "it there to be served under that name.",
                          host);
        request_error(request, MHD_HTTP_MISDIRECTED_REQUEST, text);
        free(text);
    }
    free(host);
    return allowed;
}

bool access_check(struct request *request)
{
    const struct http_config *config = &request->http->config;
    const char *origin;

    if (!host_allowed(request))
        return false;
    if (is_any(config->cors, config->n_cors)) {
        request->origin = "*";
        return true;
    }
    origin = header(request, MHD_HTTP_HEADER_ORIGIN);
    if (in_list(config->cors, config->n_cors, origin))
        request->origin = origin;
    return true;
}
