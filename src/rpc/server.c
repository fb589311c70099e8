/* The server: its shards, its connections, its start and its stop. */
#include "transport.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SHARDS_MAX 8
/* What gRPC may hold for all connections together before it cancels calls:
 * the one bound on a message that claims to be long while it comes in. */
#define QUOTA_BYTES ((size_t)256 << 20)
/* etcd takes far more, but every connection may use that much. */
#define METADATA_MAX (64 << 10)

/* ---- gRPC's settings ------------------------------------------------- */

static int clamp_int(uint64_t v)
{
    return v > INT_MAX ? INT_MAX : (int)v;
}

static grpc_arg int_arg(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER,
                      .key = (char *)(uintptr_t)key,
                      .value.integer = value};
}

#define ARGS_MAX 32

static size_t make_args(const struct rpc_server *server, grpc_arg *args)
{
    const struct rpc_config *config = &server->config;
    size_t n = 0;

    args[n++] = int_arg(GRPC_ARG_MAX_METADATA_SIZE, METADATA_MAX);
    args[n++] = int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                        clamp_int(config->max_concurrent_streams));
    args[n++] = int_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                        clamp_int(config->keepalive_min_ms));
    if (config->keepalive_interval_ms > 0) {
        args[n++] = int_arg(GRPC_ARG_KEEPALIVE_TIME_MS,
                            clamp_int(config->keepalive_interval_ms));
        args[n++] = int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                            clamp_int(config->keepalive_timeout_ms));
    }
    /* Without the filters for compression, message size and deadlines: what
     * of that a service needs is done here, for less. */
    args[n++] = int_arg(GRPC_ARG_MINIMAL_STACK, 1);
    args[n++] = int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    args[n++] = int_arg(GRPC_ARG_ENABLE_CHANNELZ, 0);
    args[n++] = int_arg(GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0);
    args[n++] = (grpc_arg){
        .type = GRPC_ARG_POINTER,
        .key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA,
        .value.pointer = {server->quota, grpc_resource_quota_arg_vtable()}};
    CHECK(n <= ARGS_MAX);
    return n;
}

/* ---- start ----------------------------------------------------------- */

/* Half the cores: the rest is for the loop, the log and the disk, and all
 * shards share one epoll set inside gRPC, so that each one more makes a call
 * dearer (measured: 2 shards on 2 cores cost a fifth more than 1). */
static unsigned default_shards(void)
{
    long shards = sysconf(_SC_NPROCESSORS_ONLN) / 2;

    if (shards < 1)
        return 1;
    return shards > SHARDS_MAX ? SHARDS_MAX : (unsigned)shards;
}

/* Abseil as Debian builds it looks for deadlocks at each of gRPC's mutexes, at
 * the price of a fifteenth of a call. The switch is C++, so it is looked up by
 * its linker name; where that isn't found, nothing is lost but the time. */
static void quiet_abseil(void)
{
    static const char name[] =
        "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_"
        "15OnDeadlockCycleE";
    void (*set_mode)(int);
    void *symbol = dlsym(RTLD_DEFAULT, name);

    memcpy(&set_mode, &symbol, sizeof(set_mode));
    if (set_mode != NULL)
        set_mode(0 /* kIgnore */);
}

static void list_methods(struct rpc_server *server)
{
    const struct rpc_service *const *service;
    unsigned n = 0;

    for (service = server->config.services; *service != NULL; service++)
        server->methods_n += (unsigned)(*service)->n;
    server->methods =
        mem_zalloc(server->methods_n * sizeof(server->methods[0]));
    for (service = server->config.services; *service != NULL; service++)
        for (size_t i = 0; i < (*service)->n; i++, n++) {
            server->methods[n].service = *service;
            server->methods[n].method = &(*service)->methods[i];
            server->methods[n].index = n;
        }
}

static void register_slots(struct rpc_shard *shard)
{
    struct rpc_server *server = shard->server;

    shard->slots = mem_zalloc(server->methods_n * sizeof(shard->slots[0]));
    for (unsigned i = 0; i < server->methods_n; i++) {
        const struct slot *method = &server->methods[i];
        struct slot *slot = &shard->slots[i];
        char *path =
            mem_printf("/%s/%s", method->service->name, method->method->name);

        slot->service = method->service;
        slot->method = method->method;
        slot->index = i;
        slot->seconds = method->seconds;
        slot->shown = method->shown;
        slot->handle = grpc_server_register_method(
            shard->core, path, NULL,
            method->method->kind == RPC_BIDI
                ? GRPC_SRM_PAYLOAD_NONE
                : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER,
            0);
        CHECK(slot->handle != NULL);
        free(path);
    }
}

static void init_shard(struct rpc_server *server, unsigned index)
{
    struct rpc_shard *shard = &server->shards[index];
    grpc_arg args[ARGS_MAX];
    grpc_channel_args list = {.args = args};

    list.num_args = make_args(server, args);
    shard->server = server;
    shard->index = index;
    shard->core = grpc_server_create(&list, NULL);
    shard->cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(shard->core, shard->cq, NULL);
    register_slots(shard);
}

struct rpc_server *rpc_start(const struct rpc_config *config)
{
    struct rpc_server *server = mem_zalloc(sizeof(*server));
    pthread_condattr_t attr;
    int rv;

    quiet_abseil();
    grpc_init();
    server->config = *config;
    server->shards_n = config->shards > 0 ? config->shards : default_shards();
    rv = pthread_rwlock_init(&server->gate, NULL);
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
    server->creds = grpc_insecure_server_credentials_create();
    server->quota = grpc_resource_quota_create("rpc");
    grpc_resource_quota_resize(server->quota, QUOTA_BYTES);
    list_methods(server);
    server->shards = mem_zalloc(server->shards_n * sizeof(server->shards[0]));
    rpc_metrics_open(server);
    for (unsigned i = 0; i < server->shards_n; i++)
        init_shard(server, i);
    for (unsigned i = 0; i < server->shards_n; i++)
        shard_open(&server->shards[i]);
    return server;
}

/* ---- connections ----------------------------------------------------- */

void rpc_add_connection(struct rpc_server *server, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    int on = 1;
    unsigned turn;

    /* Fails on a unix socket, where there is no delay to switch off. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        log_warn("failed to make a connection non-blocking",
                 LOG_I64("errno", errno));
        (void)close(fd);
        return;
    }
    pthread_rwlock_rdlock(&server->gate);
    if (server->draining) {
        (void)close(fd);
    } else {
        turn = atomic_fetch_add_explicit(&server->next_shard, 1,
                                         memory_order_relaxed);
        grpc_server_add_channel_from_fd(
            server->shards[turn % server->shards_n].core, fd, server->creds);
    }
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

static void wait_quiet(struct rpc_server *server, uint64_t timeout_ms)
{
    uint64_t until_ns = clock_mono_ns() + timeout_ms * 1000000u;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};
    int rv = 0;

    pthread_mutex_lock(&server->lock);
    while (server->quiet_n < server->shards_n && rv == 0)
        rv = pthread_cond_timedwait(&server->changed, &server->lock, &until);
    pthread_mutex_unlock(&server->lock);
}

void rpc_stop(struct rpc_server *server, uint64_t timeout_ms)
{
    rpc_drain(server);
    wait_quiet(server, timeout_ms);
    for (unsigned i = 0; i < server->shards_n; i++)
        shard_cancel(&server->shards[i]);
    rpc_metrics_close(server);
    for (unsigned i = 0; i < server->shards_n; i++)
        shard_close(&server->shards[i]);
    free(server->shards);
    free(server->methods);
    grpc_server_credentials_release(server->creds);
    grpc_resource_quota_unref(server->quota);
    (void)pthread_cond_destroy(&server->changed);
    (void)pthread_mutex_destroy(&server->lock);
    (void)pthread_rwlock_destroy(&server->gate);
    free(server);
    grpc_shutdown_blocking();
}
