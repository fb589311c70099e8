/* Start and stop of the parts, in order. */
#include "begin.h"
#include "chorad/app.h"
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/front.h"
#include "chorad/http.h"
#include "chorad/node.h"
#include "chorad/rpc.h"
#include "chorad/services.h"
#include "dirs.h"
#include "signals.h"
#include "turns.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)
/* Calls in flight get that long when the member stops. */
#define DRAIN_MS 1000
/* A Ctrl-C that follows another that soon is the same one: the terminal's, and
 * a wrapper's that passes it on. */
#define SAME_SIGNAL_MS 1000
/* Added to the signal it is the exit code of a stop that was cut short. */
#define EXIT_SIGNAL 128
#define REQUEST_OVERHEAD (UINT64_C(512) * 1024)

struct app {
    const struct config *config;
    uv_loop_t loop;
    struct signals signals;
    struct app_turns turns;
    uv_timer_t watch_tick;
    uv_timer_t leader_tick;
    unsigned leaderless; /* ticks in a row */
    uv_work_t stopping_rpc;
    struct auth_tokens *auth_tokens;
    unsigned bcrypt_cost;
    struct node *node;
    struct services *services;
    struct rpc_server *rpc;
    struct http *http;
    struct front *front;
    const char **peer_urls;
    const char **client_urls;
    struct node_transfer handing_over;
    bool discovering; /* its first start, not done yet */
    bool stopping;
    uint64_t stopping_ms; /* since when, by the loop */
};

/* ---- settings ---- */

/* The texts of a list of URLs, ended by NULL; borrowed from the settings. */
static const char **url_texts(const struct url_list *urls)
{
    const char **texts = mem_zalloc((urls->n + 1) * sizeof(char *));

    for (size_t i = 0; i < urls->n; i++)
        texts[i] = urls->items[i].text;
    return texts;
}

static void on_ready(void *arg);
static void on_removed(void *arg);

/* A member that can't trust its disk must not go on for another moment. */
static void on_fatal(void *arg, const char *why)
{
    (void)arg;
    log_fatal("the member has stopped", LOG_STR("error", why));
}

/* As etcd has it, a cost that can't be is no reason not to start. */
static unsigned bcrypt_cost(const struct config *c)
{
    if (c->bcrypt_cost >= AUTH_COST_MIN && c->bcrypt_cost <= AUTH_COST_MAX)
        return (unsigned)c->bcrypt_cost;
    log_warn("using the default bcrypt cost instead of an invalid one",
             LOG_U64("given-cost", c->bcrypt_cost),
             LOG_U64("min-cost", AUTH_COST_MIN),
             LOG_U64("max-cost", AUTH_COST_MAX),
             LOG_U64("default-cost", AUTH_COST_DEFAULT));
    return AUTH_COST_DEFAULT;
}

static int on_start(void *arg, struct cluster_start *start, struct errmsg *msg)
{
    struct app *app = arg;
    int rc;

    app->discovering = true;
    rc = app_begin(app->config, start, msg);
    app->discovering = rc < 0;
    return rc;
}

static struct node_config node_settings(struct app *app)
{
    const struct config *c = app->config;

    app->peer_urls = url_texts(&c->initial_advertise_peer_urls);
    app->client_urls = url_texts(&c->advertise_client_urls);
    return (struct node_config){
        .name = c->name,
        .data_dir = c->data_dir,
        .wal_dir = c->wal_dir[0] ? c->wal_dir : NULL,
        .peer_urls = app->peer_urls,
        .client_urls = app->client_urls,
        .start = on_start,
        .heartbeat_ms = c->heartbeat_interval_ms,
        .election_ms = c->election_timeout_ms,
        .peer_read_timeout_ms = (uint64_t)c->raft_read_timeout_ns / MS_NS,
        .peer_write_timeout_ms = (uint64_t)c->raft_write_timeout_ns / MS_NS,
        .pre_vote = c->pre_vote,
        .election_tick_advance = c->initial_election_tick_advance,
        .strict_reconfig = c->strict_reconfig_check,
        .max_learners = c->max_learners < 0 ? 0 : (size_t)c->max_learners,
        .snapshot_count = c->snapshot_count,
        .catchup_entries = c->snapshot_catchup_entries,
        .max_wals = (uint32_t)c->max_wals,
        .unsafe_no_fsync = c->unsafe_no_fsync,
        .force_new_cluster = c->force_new_cluster,
        .quota_bytes = c->quota_backend_bytes,
        .flush_interval_ns = (uint64_t)c->backend_batch_interval_ns,
        .flush_ops = (uint32_t)c->backend_batch_limit,
        .defrag_threshold_mib = c->bootstrap_defrag_threshold_megabytes,
        .compact_batch = (uint32_t)c->compaction_batch_limit,
        .compact_pause_ns = (uint64_t)c->compaction_sleep_interval_ns,
        .compact_mode = c->compaction_mode == CONFIG_COMPACT_REVISION
                            ? NODE_COMPACT_REVISION
                            : NODE_COMPACT_PERIODIC,
        .compact_retention = c->compaction_mode == CONFIG_COMPACT_OFF
                                 ? 0
                                 : c->compaction_retention,
        .corrupt_check_ns = (uint64_t)c->corrupt_check_time_ns,
        .compact_check_ns = config_gate(c, CONFIG_GATE_CompactHashCheck)
                                ? (uint64_t)c->compact_hash_check_time_ns
                                : 0,
        .initial_check = config_gate(c, CONFIG_GATE_InitialCorruptCheck),
        .warn_apply_ns = (uint64_t)c->warning_apply_duration_ns,
        .auth_tokens = app->auth_tokens,
        .bcrypt_cost = app->bcrypt_cost,
        .lease_checkpoint = config_gate(c, CONFIG_GATE_LeaseCheckpoint),
        .lease_checkpoint_persist =
            config_gate(c, CONFIG_GATE_LeaseCheckpointPersist),
        .priority_requests = config_gate(c, CONFIG_GATE_PriorityRequest),
        .ready = on_ready,
        .fatal = on_fatal,
        .removed = on_removed,
        .arg = app,
    };
}

static struct services *open_services(struct app *app)
{
    const struct config *c = app->config;
    struct services_config config = {
        .node = app->node,
        .max_request_bytes = c->max_request_bytes,
        .max_txn_ops = (uint32_t)c->max_txn_ops,
        .warn_unary_ns = (uint64_t)c->warning_unary_request_duration_ns,
        .warn_apply_ns = (uint64_t)c->warning_apply_duration_ns,
        .watch_progress_ns = (uint64_t)c->watch_progress_notify_interval_ns,
        .quota_bytes = c->quota_backend_bytes,
        .bcrypt_cost = app->bcrypt_cost,
        .stop_on_defrag = config_gate(c, CONFIG_GATE_StopGRPCServiceOnDefrag),
    };

    return services_open(&config);
}

static struct rpc_server *start_rpc(struct app *app)
{
    const struct config *c = app->config;
    struct rpc_config config = {
        .services = services_all,
        .max_recv_bytes = (uint32_t)(c->max_request_bytes + REQUEST_OVERHEAD),
        .max_concurrent_streams = c->max_concurrent_streams,
        .keepalive_min_ms = (uint64_t)c->grpc_keepalive_min_time_ns / MS_NS,
        .keepalive_interval_ms =
            (uint64_t)c->grpc_keepalive_interval_ns / MS_NS,
        .keepalive_timeout_ms = (uint64_t)c->grpc_keepalive_timeout_ns / MS_NS,
        .extensive_metrics = strcmp(c->metrics, "extensive") == 0,
        .has_leader = services_has_leader,
        .admit = services_admit,
        .is_learner = services_is_learner,
        .open_local = services_open_local,
        .close_local = services_close_local,
        .ctx = app->services,
    };

    return rpc_start(&config);
}

static struct http *open_http(struct app *app)
{
    const struct config *c = app->config;
    struct http_config config = {
        .node = app->node,
        .cors = (const char *const *)c->cors.items,
        .n_cors = c->cors.n,
        .hosts = (const char *const *)c->host_whitelist.items,
        .n_hosts = c->host_whitelist.n,
    };

    return http_open(&config);
}

/* ---- connections ---- */

static void on_rpc(void *arg, int fd)
{
    struct app *app = arg;

    rpc_add_connection(app->rpc, fd);
}

static void on_http(void *arg, int fd)
{
    struct app *app = arg;

    http_add_connection(app->http, HTTP_CLIENT, fd);
}

static void on_metrics(void *arg, int fd)
{
    struct app *app = arg;

    http_add_connection(app->http, HTTP_METRICS, fd);
}

static void on_peer(void *arg, int fd)
{
    struct app *app = arg;

    node_add_peer_connection(app->node, fd);
}

static int listen_on(struct app *app, const struct url_list *urls,
                     struct front_target target, const char *traffic,
                     struct errmsg *msg)
{
    target.arg = app;
    for (size_t i = 0; i < urls->n; i++) {
        int rc = front_listen(app->front, urls->items[i].text, &target, msg);
        if (rc < 0)
            return rc;
        log_info("serving client traffic insecurely; this is strongly "
                 "discouraged!",
                 LOG_STR("traffic", traffic),
                 LOG_STR("address", urls->items[i].text));
    }
    return 0;
}

static int listen_for_peers(struct app *app, struct errmsg *msg)
{
    const struct url_list *urls = &app->config->listen_peer_urls;
    struct front_target target = {.http = on_peer, .arg = app};

    for (size_t i = 0; i < urls->n; i++) {
        int rc = front_listen(app->front, urls->items[i].text, &target, msg);
        if (rc < 0)
            return rc;
        log_info("serving peer traffic",
                 LOG_STR("address", urls->items[i].text));
    }
    return 0;
}

static int open_front(struct app *app, struct errmsg *msg)
{
    const struct config *c = app->config;
    struct front_config config = {
        .loop = &app->loop,
        .reuse_port = c->socket_reuse_port,
        .reuse_address = c->socket_reuse_address,
    };
    bool split = c->listen_client_http_urls.n > 0;
    int rc;

    app->front = front_open(&config);
    rc = listen_for_peers(app, msg);
    if (rc == 0)
        rc = listen_on(app, &c->listen_client_urls,
                       (struct front_target){.rpc = on_rpc,
                                             .http = split ? NULL : on_http},
                       split ? "grpc" : "grpc+http", msg);
    if (rc == 0)
        rc = listen_on(app, &c->listen_client_http_urls,
                       (struct front_target){.http = on_http}, "http", msg);
    if (rc == 0)
        rc = listen_on(app, &c->listen_metrics_urls,
                       (struct front_target){.http = on_metrics}, "metrics",
                       msg);
    return rc;
}

static void on_ready(void *arg)
{
    (void)arg;
    log_info("ready to serve client requests");
    (void)app_notify("READY=1");
}

/* ---- the end
 * ----------------------------------------------------------------------
 *
 *   signal -> leadership handed on -> listeners closed, gRPC drained -> calls
 * in flight answered (the loop goes on for them) -> gRPC stopped -> HTTP closed
 * -> node closed -> the loop runs out of handles */

static void on_node_closed(void *arg)
{
    struct app *app = arg;

    app->node = NULL;
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_http_closed(void *arg)
{
    struct app *app = arg;

    services_close(app->services);
    node_close(app->node, on_node_closed, app);
    app_turns_close(&app->turns);
}

static void stop_rpc(uv_work_t *work)
{
    struct app *app = work->data;

    rpc_stop(app->rpc, DRAIN_MS);
}

static void on_rpc_stopped(uv_work_t *work, int status)
{
    struct app *app = work->data;

    (void)status;
    node_stop(app->node);
    http_close(app->http, on_http_closed, app);
}

static void on_front_closed(void *arg)
{
    (void)arg;
}

/* The node goes on for the calls that it was given before; what comes later is
 * refused. */
static void stop_serving(struct node_transfer *transfer)
{
    struct app *app = container_of(transfer, struct app, handing_over);

    front_close(app->front, on_front_closed, app);
    close_handle((uv_handle_t *)&app->watch_tick);
    close_handle((uv_handle_t *)&app->leader_tick);
    rpc_drain(app->rpc);
    services_stop(app->services);
    watch_feed_stop(node_watch_feed(app->node));
    app->stopping_rpc.data = app;
    CHECK(uv_queue_work(&app->loop, &app->stopping_rpc, stop_rpc,
                        on_rpc_stopped) == 0);
}

static void begin_stop(struct app *app)
{
    app->stopping = true;
    app->stopping_ms = uv_now(&app->loop);
    (void)app_notify("STOPPING=1");
    app->handing_over.done = stop_serving;
    node_hand_over(app->node, &app->handing_over);
}

/* What the member holds is of no use any more, and nobody asks it. */
static void on_removed(void *arg)
{
    struct app *app = arg;

    if (app->stopping)
        return;
    log_error("the member has been permanently removed from the cluster; its "
              "data-dir must be removed",
              LOG_STR("data-dir", app->config->data_dir));
    begin_stop(app);
}

/* Somebody at a terminal is tired of waiting; what is acknowledged is on disk.
 * Whoever sends SIGTERM again has SIGKILL for that. */
static void on_stop_again(const struct app *app, int signum)
{
    if (signum == SIGINT &&
        uv_now(&app->loop) - app->stopping_ms >= SAME_SIGNAL_MS) {
        log_warn("stopping at once on a second signal",
                 LOG_STR("signal", strsignal(signum)));
        _exit(EXIT_SIGNAL + signum);
    }
    log_info("received another signal; still shutting down",
             LOG_STR("signal", strsignal(signum)));
}

static void on_stop(void *arg, int signum)
{
    struct app *app = arg;

    if (app->stopping) {
        on_stop_again(app, signum);
        return;
    }
    log_info("received signal; shutting down",
             LOG_STR("signal", strsignal(signum)));
    begin_stop(app);
}

/* ---- the beginning ---- */

static void on_watch_tick(uv_timer_t *timer)
{
    struct app *app = timer->data;

    services_tick(app->services);
}

/* Streams that asked for a leader end when there has been none for so many
 * election timeouts (source: etcd's maxNoLeaderCnt). */
#define LEADERLESS_MAX 3

static void on_leader_tick(uv_timer_t *timer)
{
    struct app *app = timer->data;

    app->leaderless = node_has_leader(app->node) ? 0 : app->leaderless + 1;
    if (app->leaderless >= LEADERLESS_MAX)
        rpc_leader_lost(app->rpc);
}

static void start_timer(struct app *app, uv_timer_t *timer, uv_timer_cb tick,
                        uint64_t every_ms)
{
    CHECK(uv_timer_init(&app->loop, timer) == 0);
    timer->data = app;
    CHECK(uv_timer_start(timer, tick, every_ms, every_ms) == 0);
}

static void start_handles(struct app *app)
{
    uint64_t every_ms =
        (uint64_t)app->config->watch_progress_notify_interval_ns / MS_NS / 10;

    signals_listen(&app->signals, &app->loop, on_stop, app);
    start_timer(app, &app->watch_tick, on_watch_tick,
                every_ms < 10 ? 10 : every_ms);
    start_timer(app, &app->leader_tick, on_leader_tick,
                app->config->election_timeout_ms);
}

/* What is in memory stays there, and what comes once it is there: the store's
 * pages as they are read, rather than all of its address space at once. Behind
 * the opening of the store, as a limit too low for it is found here then. */
static int lock_memory(const struct config *c, struct errmsg *msg)
{
    if (!c->memory_mlock ||
        mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
        return 0;
    return err_errno(msg, errno,
                     "--memory-mlock: the memory can't be locked; the right to "
                     "(CAP_IPC_LOCK) or a higher limit (ulimit -l) is needed");
}

static int start(struct app *app, struct errmsg *msg)
{
    const struct config *c = app->config;
    struct node_config settings;
    int rc = auth_tokens_open(c->auth_token, c->auth_token_ttl_s,
                              &app->auth_tokens, msg);

    if (rc < 0)
        return rc;
    app->bcrypt_cost = bcrypt_cost(c);
    settings = node_settings(app);
    rc = node_open(&app->loop, &settings, &app->node, msg);
    if (rc == 0)
        rc = lock_memory(c, msg);
    if (rc < 0)
        return rc;
    app->services = open_services(app);
    app->rpc = start_rpc(app);
    app->http = open_http(app);
    config_gates_metrics(&app->config->gates);
    return open_front(app, msg);
}

int app_run(const struct config *config)
{
    struct app app = {.config = config};
    struct errmsg msg = {""};

    signals_begin();
    log_info("starting chorad", LOG_STR("version", CHORAD_VERSION),
             LOG_STR("etcd-version", CONFIG_ETCD_VERSION),
             LOG_STR("name", config->name),
             LOG_STR("data-dir", config->data_dir),
             LOG_U64("max-open-files", front_raise_fd_limit()));
    app_check_dirs(config);
    CHECK(uv_loop_init(&app.loop) == 0);
    app_turns_start(&app.turns, &app.loop);
    if (start(&app, &msg) < 0)
        log_fatal(app.discovering ? "discovery failed" : "failed to start",
                  LOG_STR("error", msg.text));
    start_handles(&app);
    CHECK(uv_run(&app.loop, UV_RUN_DEFAULT) == 0);
    /* All else is closed: a signal may cut the rest short, but not before. */
    signals_close(&app.signals);
    CHECK(uv_run(&app.loop, UV_RUN_DEFAULT) == 0);
    signals_begin();
    CHECK(uv_loop_close(&app.loop) == 0);
    free(app.peer_urls);
    free(app.client_urls);
    log_info("stopped");
    return 0;
}
