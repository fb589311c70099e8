#include "health.h"
#include "chorad/base/log.h"
#include "chorad/base/metrics.h"

#include <stdlib.h>
#include <string.h>

#define ALARMS_MAX 64

static struct metric *successes;
static struct metric *failures;

void health_metrics_open(void)
{
    successes = metric_counter("etcd_server_health_success",
                               "How often /health said yes.", NULL, 0);
    failures = metric_counter("etcd_server_health_failures",
                              "How often /health said no.", NULL, 0);
}

/* ---- inquiring
 * -----------------------------------------------------------------
 *
 *   start -> [barrier] -> read -> conclude -> answered
 *
 * A barrier can't be taken back: when the request ends before, the inquiry
 * lives on alone until the barrier is done with. */

struct inquiry {
    struct node_barrier barrier;
    struct request *request; /* NULL: nobody waits any more */
    /* Answers the request, given the read's result. */
    void (*conclude)(struct inquiry *inquiry, int err);
    enum probe_type type;
    struct probe_results results;
};

void health_drop(struct request *request)
{
    if (request->inquiry != NULL)
        request->inquiry->request = NULL;
    request->inquiry = NULL;
}

static int visit_none(void *arg, const struct mvcc_kv *kv)
{
    (void)arg;
    (void)kv;
    return 0;
}

/* A read of one key, as cheap as a read can be. */
static int read_locally(struct http *http)
{
    static const uint8_t key[] = {0};
    struct mvcc_range range = {
        .key = {key, sizeof(key)}, .limit = 1, .want = MVCC_KEYS};
    struct mvcc_range_result result;

    return mvcc_range(http->reader, &range, visit_none, NULL, &result);
}

static void on_barrier(struct node_barrier *barrier)
{
    struct inquiry *inquiry = container_of(barrier, struct inquiry, barrier);
    struct request *request = inquiry->request;

    if (request != NULL) {
        request->inquiry = NULL;
        inquiry->conclude(inquiry, barrier->err < 0
                                       ? barrier->err
                                       : read_locally(request->http));
    }
    free(inquiry);
}

static struct inquiry *new_inquiry(struct request *request,
                                   void (*conclude)(struct inquiry *inquiry,
                                                    int err))
{
    struct inquiry *inquiry = mem_zalloc(sizeof(*inquiry));

    inquiry->request = request;
    inquiry->conclude = conclude;
    inquiry->barrier.done = on_barrier;
    request->inquiry = inquiry;
    return inquiry;
}

/* With `linearizable` the read sees what the cluster has agreed on. */
static void start_read(struct inquiry *inquiry, bool linearizable)
{
    struct node *node = inquiry->request->http->config.node;

    if (!linearizable || node_barrier(node, &inquiry->barrier))
        on_barrier(&inquiry->barrier);
}

/* ---- /health ---- */

static void answer_health(struct request *request, const char *reason,
                          const char *detail)
{
    char *text;

    if (reason == NULL) {
        metric_inc(successes);
        request->status = MHD_HTTP_OK;
        request->content_type = "text/plain; charset=utf-8";
        buf_printf(&request->body, "{\"health\":\"true\",\"reason\":\"\"}");
        request_answer(request);
        return;
    }
    metric_inc(failures);
    text = mem_printf("{\"health\":\"false\",\"reason\":\"%s%s\"}", reason,
                      detail);
    log_warn("/health says no", LOG_STR("output", text));
    request_error(request, MHD_HTTP_SERVICE_UNAVAILABLE, text);
    free(text);
}

struct health_query {
    bool serializable;
    bool serializable_seen; /* the first one counts */
    bool no_space_excluded;
    bool corrupt_excluded;
};

static enum MHD_Result on_health_parameter(void *arg, enum MHD_ValueKind kind,
                                           const char *name, const char *value)
{
    struct health_query *query = arg;

    (void)kind;
    if (value == NULL)
        value = "";
    if (strcmp(name, "serializable") == 0 && !query->serializable_seen) {
        query->serializable_seen = true;
        query->serializable = strcmp(value, "true") == 0;
    } else if (strcmp(name, "exclude") == 0) {
        query->no_space_excluded |= strcmp(value, "NOSPACE") == 0;
        query->corrupt_excluded |= strcmp(value, "CORRUPT") == 0;
    }
    return MHD_YES;
}

/* NULL: none that isn't excluded. */
static const char *alarm_reason(struct request *request,
                                const struct health_query *query)
{
    struct alarm list[ALARMS_MAX];
    size_t n = alarms_list(node_alarms(request->http->config.node), ALARM_NONE,
                           list, ALARMS_MAX);

    for (size_t i = 0; i < n && i < ALARMS_MAX; i++) {
        if (list[i].type == ALARM_NOSPACE) {
            if (!query->no_space_excluded)
                return "ALARM NOSPACE";
        } else if (list[i].type == ALARM_CORRUPT) {
            if (!query->corrupt_excluded)
                return "ALARM CORRUPT";
        } else {
            return "ALARM UNKNOWN";
        }
    }
    return NULL;
}

/* NULL: it has a leader and serves. */
static const char *cluster_reason(const struct request *request)
{
    struct node_status status = node_status(request->http->config.node);

    if (status.leader == 0)
        return "RAFT NO LEADER";
    /* etcd answers nothing at all until then. */
    return status.is_ready ? NULL : "NOT READY";
}

static void conclude_health(struct inquiry *inquiry, int err)
{
    answer_health(inquiry->request, err < 0 ? "RANGE ERROR:" : NULL,
                  err_text(err));
}

void health_run(struct request *request)
{
    struct health_query query = {0};
    const char *reason;

    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND,
                              on_health_parameter, &query);
    reason = alarm_reason(request, &query);
    if (reason == NULL && !query.serializable)
        reason = cluster_reason(request);
    if (reason != NULL)
        answer_health(request, reason, "");
    else
        start_read(new_inquiry(request, conclude_health), !query.serializable);
}

/* ---- /livez, /readyz ---- */

static void count_probes(const struct inquiry *inquiry)
{
    const char *type = probe_type_name(inquiry->type);

    for (int i = 0; i < PROBE_COUNT; i++) {
        bool ok = inquiry->results.errors[i] == NULL;
        struct metric_label labels[] = {{"name", probe_name((enum probe)i)},
                                        {"type", type}};
        struct metric_label counted[] = {
            labels[0], {"status", ok ? "success" : "error"}, labels[1]};

        if ((inquiry->results.ran & PROBE_BIT(i)) == 0)
            continue;
        metric_set(metric_gauge("etcd_server_healthcheck",
                                "1: the newest check of that kind passed.",
                                labels, 2),
                   ok);
        metric_inc(metric_counter("etcd_server_healthchecks_total",
                                  "Checks done, by what they came to.", counted,
                                  3));
    }
}

static bool is_verbose(const struct request *request)
{
    const char *value;
    size_t len;

    return MHD_lookup_connection_value_n(request->connection,
                                         MHD_GET_ARGUMENT_KIND, "verbose", 7,
                                         &value, &len) == MHD_YES;
}

static void answer_probes(struct inquiry *inquiry)
{
    struct request *request = inquiry->request;
    struct buf lines = {0};

    count_probes(inquiry);
    probe_print(&lines, &inquiry->results);
    buf_append(&lines, "", 1);
    if (probe_failed(&inquiry->results)) {
        log_warn("health check failed", LOG_STR("path", request->path),
                 LOG_STR("reason", (char *)lines.data));
        request_error(request, MHD_HTTP_SERVICE_UNAVAILABLE,
                      (char *)lines.data);
    } else {
        request->status = MHD_HTTP_OK;
        request->content_type = "text/plain; charset=utf-8";
        request->nosniff = true;
        buf_printf(&request->body, "%sok\n",
                   is_verbose(request) ? (char *)lines.data : "");
        request_answer(request);
    }
    buf_close(&lines);
}

static void conclude_probes(struct inquiry *inquiry, int err)
{
    if (err < 0)
        inquiry->results.errors[PROBE_LINEARIZABLE_READ] = err_text(err);
    answer_probes(inquiry);
}

/* Those that need no waiting. */
static void probe_now(struct inquiry *inquiry)
{
    struct http *http = inquiry->request->http;
    struct node *node = http->config.node;
    int err = read_locally(http);

    if (alarms_active(node_alarms(node), ALARM_CORRUPT))
        inquiry->results.errors[PROBE_DATA_CORRUPTION] =
            "alarm activated: CORRUPT";
    if (node_status(node).is_learner)
        inquiry->results.errors[PROBE_NON_LEARNER] =
            "not supported for learner";
    if (err < 0)
        inquiry->results.errors[PROBE_SERIALIZABLE_READ] = err_text(err);
}

static enum MHD_Result on_check_parameter(void *arg, enum MHD_ValueKind kind,
                                          const char *name, const char *value)
{
    unsigned *excluded = arg;

    (void)kind;
    if (value != NULL && strcmp(name, "exclude") == 0)
        *excluded |= probe_bit(value);
    return MHD_YES;
}

void health_run_probes(struct request *request, enum probe_type type)
{
    struct inquiry *inquiry = new_inquiry(request, conclude_probes);
    unsigned excluded = 0;
    enum probe named;

    inquiry->type = type;
    if (probe_parse_path(request->path, &type, &named)) {
        inquiry->results.ran = PROBE_BIT(named);
    } else {
        MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND,
                                  on_check_parameter, &excluded);
        inquiry->results.ran = probe_all(type) & ~excluded;
    }
    probe_now(inquiry);
    start_read(inquiry, (inquiry->results.ran &
                         PROBE_BIT(PROBE_LINEARIZABLE_READ)) != 0);
}
