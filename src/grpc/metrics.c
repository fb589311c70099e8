/* The grpc_server_* families and their neighbours. A shard's thread counts
 * in numbers that it alone writes; a scrape adds the shards up. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

enum series_kind {
    SERIES_STARTED,
    SERIES_RECEIVED,
    SERIES_SENT,
    SERIES_HANDLED
};

/* One line of the page; `kind` and `code` say which of a slot's numbers. */
struct series {
    struct rpc_server *server;
    unsigned method;
    enum series_kind kind;
    unsigned code;
};

#define SERIES_PER_METHOD (3 + RPC_CODES)

static const char *const code_names[RPC_CODES] = {
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
};

static const char *const kind_names[] = {
    [RPC_UNARY] = "unary",
    [RPC_SERVER_STREAM] = "server_stream",
    [RPC_BIDI] = "bidi_stream",
};

static const char *const family_names[] = {
    [SERIES_STARTED] = "grpc_server_started_total",
    [SERIES_RECEIVED] = "grpc_server_msg_received_total",
    [SERIES_SENT] = "grpc_server_msg_sent_total",
    [SERIES_HANDLED] = "grpc_server_handled_total",
};

static const char handled_help[] =
    "Total number of RPCs completed on the server, regardless of success or "
    "failure.";

static const char *const family_helps[] = {
    [SERIES_STARTED] = "Total number of RPCs started on the server.",
    [SERIES_RECEIVED] =
        "Total number of RPC stream messages received on the server.",
    [SERIES_SENT] = "Total number of gRPC stream messages sent by the server.",
    [SERIES_HANDLED] = handled_help,
};

static const double seconds_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                        0.5,   1,    2.5,   5,    10};

static const counter *counter_of(const struct slot *slot,
                                 const struct series *series)
{
    switch (series->kind) {
    case SERIES_STARTED:
        return &slot->started;
    case SERIES_RECEIVED:
        return &slot->received;
    case SERIES_SENT:
        return &slot->sent;
    default:
        return &slot->handled[series->code];
    }
}

static double read_series(void *arg)
{
    const struct series *series = arg;
    const struct rpc_server *server = series->server;
    uint64_t sum = 0;

    for (unsigned i = 0; i < server->shards_n; i++)
        sum += counted(
            counter_of(&server->shards[i].slots[series->method], series));
    return (double)sum;
}

static double read_bytes_in(void *arg)
{
    const struct rpc_server *server = arg;
    uint64_t sum = 0;

    for (unsigned i = 0; i < server->shards_n; i++)
        sum += counted(&server->shards[i].bytes_in);
    return (double)sum;
}

static double read_bytes_out(void *arg)
{
    const struct rpc_server *server = arg;
    uint64_t sum = 0;

    for (unsigned i = 0; i < server->shards_n; i++)
        sum += counted(&server->shards[i].bytes_out);
    return (double)sum;
}

static void add_series(struct rpc_server *server, unsigned method,
                       enum series_kind kind, unsigned code)
{
    const struct slot *slot = &server->methods[method];
    struct metric_label labels[] = {
        {"grpc_code", code_names[code]},
        {"grpc_method", slot->method->name},
        {"grpc_service", slot->service->name},
        {"grpc_type", kind_names[slot->method->kind]},
    };
    size_t skip = kind == SERIES_HANDLED ? 0 : 1;
    struct series *series = &server->series[server->series_n++];

    *series = (struct series){server, method, kind, code};
    metric_read(METRIC_COUNTER, family_names[kind], family_helps[kind],
                labels + skip, 4 - skip, read_series, series);
}

static void add_seconds(struct rpc_server *server, unsigned method)
{
    struct slot *slot = &server->methods[method];
    const struct metric_label labels[] = {
        {"grpc_method", slot->method->name},
        {"grpc_service", slot->service->name},
        {"grpc_type", kind_names[slot->method->kind]},
    };

    slot->seconds = metric_histogram(
        "grpc_server_handling_seconds",
        "Histogram of response latency (seconds) of gRPC that had been "
        "application-level handled by the server.",
        seconds_bounds, sizeof(seconds_bounds) / sizeof(seconds_bounds[0]),
        labels, 3);
}

static void add_method(struct rpc_server *server, unsigned method)
{
    add_series(server, method, SERIES_STARTED, 0);
    add_series(server, method, SERIES_RECEIVED, 0);
    add_series(server, method, SERIES_SENT, 0);
    for (unsigned code = 0; code < RPC_CODES; code++)
        add_series(server, method, SERIES_HANDLED, code);
}

void rpc_metrics_open(struct rpc_server *server)
{
    server->series = mem_alloc(server->methods_n * SERIES_PER_METHOD *
                               sizeof(server->series[0]));
    for (unsigned i = 0; i < server->methods_n; i++) {
        if (server->methods[i].service->preset_metrics) {
            add_method(server, i);
            server->methods[i].shown = true;
        }
        if (server->config.extensive_metrics)
            add_seconds(server, i);
    }
    metric_read(METRIC_COUNTER, "etcd_network_client_grpc_received_bytes_total",
                "The total number of bytes received from grpc clients.", NULL,
                0, read_bytes_in, server);
    metric_read(METRIC_COUNTER, "etcd_network_client_grpc_sent_bytes_total",
                "The total number of bytes sent to grpc clients.", NULL, 0,
                read_bytes_out, server);
}

/* A method whose service has no metrics from the start gets them with its
 * first call. */
void rpc_metrics_show(struct slot *slot, struct rpc_server *server)
{
    struct slot *method = &server->methods[slot->index];

    slot->shown = true;
    pthread_mutex_lock(&server->lock);
    if (!method->shown)
        add_method(server, slot->index);
    method->shown = true;
    pthread_mutex_unlock(&server->lock);
}

void rpc_metrics_close(struct rpc_server *server)
{
    metric_forget(server);
    for (size_t i = 0; i < server->series_n; i++)
        metric_forget(&server->series[i]);
    free(server->series);
}

/* ---- client versions ------------------------------------------------- */

/* Versions are the clients' choice: only so many and so long ones get a
 * series of their own. */
#define VERSION_MAX ((size_t)RPC_API_VERSION_SIZE - 1)
#define VERSION_NONE "unknown"

static struct metric *requests(const char *version, const char *type)
{
    const struct metric_label labels[] = {{"client_api_version", version},
                                          {"type", type}};

    return metric_counter("etcd_server_client_requests_total",
                          "The total number of client requests per client "
                          "version.",
                          labels, 2);
}

static struct api_version *version_find(struct rpc_shard *shard,
                                        struct bytes text)
{
    struct api_version *v;

    if (text.len == 0 || text.len > VERSION_MAX ||
        memchr(text.data, '\0', text.len) != NULL)
        text = bytes_of(VERSION_NONE, sizeof(VERSION_NONE) - 1);
    for (size_t i = 0; i < shard->versions_n; i++) {
        v = &shard->versions[i];
        if (v->len == text.len && memcmp(v->text, text.data, text.len) == 0)
            return v;
    }
    if (shard->versions_n == RPC_API_VERSIONS)
        return &shard->versions[0];
    /* The first one is the one for what gets none. */
    if (shard->versions_n == 0)
        text = bytes_of(VERSION_NONE, sizeof(VERSION_NONE) - 1);
    v = &shard->versions[shard->versions_n++];
    memcpy(v->text, text.data, text.len);
    v->len = text.len;
    return v;
}

void rpc_metrics_api_version(struct call *call)
{
    bool unary = call->pub.method->kind == RPC_UNARY;
    struct api_version *v =
        version_find(call->pub.shard, call->pub.api_version);
    struct metric **metric = unary ? &v->unary : &v->stream;

    if (*metric == NULL)
        *metric = requests(v->text, unary ? "unary" : "stream");
    metric_inc(*metric);
}
