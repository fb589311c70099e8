/* The server: its shards, its connections, its start and its stop. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- start ----------------------------------------------------------- */

static void list_methods(struct rpc_server *server)
{
    const struct rpc_service *const *service;
    unsigned n = 0;

    for (service = server->config.services; *service != NULL; service++)
        server->methods_n += (unsigned)(*service)->n;
    server->methods =
        mem_zalloc((server->methods_n + 1) * sizeof(server->methods[0]));
    for (service = server->config.services; *service != NULL; service++)
        for (size_t i = 0; i < (*service)->n; i++, n++) {
            server->methods[n].service = *service;
            server->methods[n].method = &(*service)->methods[i];
            server->methods[n].index = n;
        }
    for (server->paths_n = 16; server->paths_n < 4 * server->methods_n;)
        server->paths_n *= 2;
}

static struct http2_config http2_settings(struct rpc_server *server)
{
    const struct rpc_config *config = &server->config;

    return (struct http2_config){
        .handler = &grpc_handler,
        .max_concurrent_streams = config->max_concurrent_streams,
        .keepalive_min_ms = config->keepalive_min_ms,
        .keepalive_interval_ms = config->keepalive_interval_ms,
        .keepalive_timeout_ms = config->keepalive_timeout_ms,
        .arg = server,
    };
}

/* On the shard's thread. */
static void open_shard(void *arg, struct shard *thread)
{
    struct rpc_server *server = arg;
    struct rpc_shard *shard = &server->shards[shard_index(thread)];

    shard_set_local(thread, shard);
    if (server->config.open_local != NULL)
        shard->local =
            server->config.open_local(server->config.ctx, shard->index);
}

static void close_shard(void *arg, struct shard *thread)
{
    struct rpc_server *server = arg;
    struct rpc_shard *shard = shard_local(thread);

    shard_run_posted(&shard->run_posted);
    if (server->config.close_local != NULL)
        server->config.close_local(server->config.ctx, shard->local);
}

static void init_shards(struct rpc_server *server)
{
    server->shards = mem_zalloc(server->shards_n * sizeof(server->shards[0]));
    for (unsigned i = 0; i < server->shards_n; i++) {
        struct rpc_shard *shard = &server->shards[i];

        shard->server = server;
        shard->index = i;
        shard->run_posted.run = shard_run_posted;
        queue_init(&shard->posted);
        paths_open(shard);
    }
}

static void init_locks(struct rpc_server *server)
{
    pthread_condattr_t attr;
    int rv = pthread_rwlock_init(&server->gate, NULL);

    CHECK(rv == 0);
    rv = pthread_mutex_init(&server->lock, NULL);
    CHECK(rv == 0);
    rv = pthread_condattr_init(&attr);
    CHECK(rv == 0);
    rv = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    CHECK(rv == 0);
    rv = pthread_cond_init(&server->changed, &attr);
    CHECK(rv == 0);
    (void)pthread_condattr_destroy(&attr);
}

struct rpc_server *rpc_start(const struct rpc_config *config)
{
    struct rpc_server *server = mem_zalloc(sizeof(*server));
    struct shards_config threads = {
        .name = "rpc", .open = open_shard, .close = close_shard, .arg = server};

    server->config = *config;
    server->shards_n = config->shards > 0 ? config->shards : shards_default_n();
    threads.n = server->shards_n;
    init_locks(server);
    list_methods(server);
    server->http2 = http2_settings(server);
    http2_metrics_open();
    rpc_metrics_open(server);
    init_shards(server);
    server->threads = shards_open(&threads);
    for (unsigned i = 0; i < server->shards_n; i++)
        server->shards[i].shard = shards_at(server->threads, i);
    shards_start(server->threads);
    return server;
}

/* ---- connections ----------------------------------------------------- */

void rpc_add_connection(struct rpc_server *server, int fd)
{
    pthread_rwlock_rdlock(&server->gate);
    if (server->draining)
        (void)close(fd);
    else
        shards_take(server->threads, fd, &http2_protocol, &server->http2);
    pthread_rwlock_unlock(&server->gate);
}

uint64_t rpc_calls_open(const struct rpc_server *server)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < server->shards_n; i++)
        sum += counted(&server->shards[i].open_n);
    return sum;
}

/* ---- stop ------------------------------------------------------------ */

void rpc_leader_lost(struct rpc_server *server)
{
    for (unsigned i = 0; i < server->shards_n; i++)
        shard_leader_lost(&server->shards[i]);
}

void rpc_drain(struct rpc_server *server)
{
    bool first;

    pthread_rwlock_wrlock(&server->gate);
    first = !server->draining;
    server->draining = true;
    pthread_rwlock_unlock(&server->gate);
    if (!first)
        return;
    for (unsigned i = 0; i < server->shards_n; i++)
        shard_drain(&server->shards[i]);
}

/* Until all shards are without calls, or (timeout_ms not UINT64_MAX) that long
 * at most. */
static void wait_quiet(struct rpc_server *server, uint64_t timeout_ms)
{
    struct timespec until = {0};
    int rv = 0;

    if (timeout_ms != UINT64_MAX) {
        uint64_t until_ns = clock_mono_ns() + timeout_ms * 1000000u;

        until.tv_sec = (time_t)(until_ns / 1000000000u);
        until.tv_nsec = (long)(until_ns % 1000000000u);
    }
    pthread_mutex_lock(&server->lock);
    while (server->quiet_n < server->shards_n && rv == 0)
        rv = timeout_ms == UINT64_MAX
                 ? pthread_cond_wait(&server->changed, &server->lock)
                 : pthread_cond_timedwait(&server->changed, &server->lock,
                                          &until);
    pthread_mutex_unlock(&server->lock);
}

static void free_shards(struct rpc_server *server)
{
    for (unsigned i = 0; i < server->shards_n; i++) {
        struct rpc_shard *shard = &server->shards[i];

        call_close_pool(shard);
        buf_close(&shard->scratch);
        buf_close(&shard->joined);
        queue_close(&shard->posted);
        free(shard->slots);
        free(shard->by_path);
    }
    free(server->shards);
}

void rpc_stop(struct rpc_server *server, uint64_t timeout_ms)
{
    rpc_drain(server);
    wait_quiet(server, timeout_ms);
    for (unsigned i = 0; i < server->shards_n; i++)
        shard_cancel(&server->shards[i]);
    rpc_metrics_close(server);
    /* Handlers answer what they hold: their calls are ours until then. */
    wait_quiet(server, UINT64_MAX);
    shards_close(server->threads);
    free_shards(server);
    free(server->methods);
    (void)pthread_cond_destroy(&server->changed);
    (void)pthread_mutex_destroy(&server->lock);
    (void)pthread_rwlock_destroy(&server->gate);
    free(server);
}
