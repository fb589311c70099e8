/* Which path is whose. */
#include "health.h"
#include "metrics_page.h"
#include "server.h"

#include <string.h>

static void livez(struct request *request)
{
    health_run_probes(request, PROBE_LIVEZ);
}

static void readyz(struct request *request)
{
    health_run_probes(request, PROBE_READYZ);
}

static const struct route {
    const char *path;
    bool client_only;
    bool any_method; /* else GET alone */
    void (*run)(struct request *request);
} routes[] = {
    {"/health", false, false, health_run},
    {"/livez", false, false, livez},
    {"/readyz", false, false, readyz},
    {"/metrics", false, true, metrics_page_run},
    {"/version", true, false, info_version},
    {"/debug/vars", true, false, info_vars},
};

static const struct route *find_route(const struct request *request)
{
    const char *path = request->path;
    enum probe_type type;
    enum probe probe;

    /* A check of its own stands under the path of its type. */
    if (probe_parse_path(path, &type, &probe))
        path = type == PROBE_LIVEZ ? "/livez" : "/readyz";
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];

        if (strcmp(path, route->path) == 0)
            return route->client_only && request->surface != HTTP_CLIENT
                       ? NULL
                       : route;
    }
    return NULL;
}

void routes_run(struct request *request)
{
    const struct route *route;

    if (request->surface == HTTP_CLIENT) {
        if (!access_check(request))
            return;
        if (strcmp(request->method, MHD_HTTP_METHOD_OPTIONS) == 0) {
            request->status = MHD_HTTP_OK;
            request_answer(request);
            return;
        }
    }
    route = find_route(request);
    if (route == NULL) {
        request_not_found(request);
    } else if (!route->any_method &&
               strcmp(request->method, MHD_HTTP_METHOD_GET) != 0) {
        request->allow = MHD_HTTP_METHOD_GET;
        request_error(request, MHD_HTTP_METHOD_NOT_ALLOWED,
                      "Method Not Allowed");
    } else {
        route->run(request);
    }
}
