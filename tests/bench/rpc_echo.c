/* A server that does nothing: what a call costs in the transport alone.
 *
 * usage: rpc_echo PORT [SHARDS]
 *
 * KV/Range answers at once on the shard's thread, KV/Put by way of another
 * thread, as a write does. Ends on SIGINT and prints the CPU time per call.
 *
 *   h2load -n 500000 -c100 -m10 -d BODY -H 'content-type: application/grpc' \
 *       -H 'te: trailers' http://127.0.0.1:PORT/etcdserverpb.KV/Range
 */
#include "chorad/rpc.h"

#include "chorad/base/check.h"
#include "chorad/rpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct write {
    struct queue_node node;
    struct rpc_task task;
    struct rpc_call *call;
};

static struct queue writes;
static int writes_pipe[2];
static atomic_ulong calls;

static void reply(struct rpc_call *call)
{
    static const uint8_t answer[28] = {0x0a, 26};

    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    rpc_reply_copy(call, bytes_of(answer, sizeof(answer)));
}

static void write_done(struct rpc_task *task)
{
    reply(container_of(task, struct write, task)->call);
}

static void open_write(struct rpc_call *call)
{
    struct write *write_ = arena_alloc(&call->arena, sizeof(*write_));
    uint64_t one = 1;

    write_->call = call;
    if (queue_push(&writes, &write_->node))
        CHECK(write(writes_pipe[1], &one, 1) == 1);
}

static void *write_thread(void *arg)
{
    char byte[64];

    (void)arg;
    while (read(writes_pipe[0], byte, sizeof(byte)) > 0) {
        struct queue_node *node = queue_take_all(&writes);

        while (node != NULL) {
            struct write *w = container_of(node, struct write, node);

            node = node->next;
            w->task.run = write_done;
            rpc_post(w->call->shard, &w->task);
        }
    }
    return NULL;
}

static const struct rpc_method methods[] = {
    {.name = "Range", .kind = RPC_UNARY, .open = reply, .depth = 64},
    {.name = "Put", .kind = RPC_UNARY, .open = open_write, .depth = 64},
};
static const struct rpc_service kv = {
    .name = "etcdserverpb.KV", .methods = methods, .n = 2};
static const struct rpc_service *const services[] = {&kv, NULL};

static int listen_on(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    CHECK(fd >= 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
    CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    CHECK(listen(fd, 1024) == 0);
    return fd;
}

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
    struct rpc_config config = {.services = services,
                                .max_recv_bytes = 2 << 20,
                                .max_concurrent_streams = UINT32_MAX,
                                .keepalive_min_ms = 5000,
                                .keepalive_interval_ms = 7200000,
                                .keepalive_timeout_ms = 20000};
    struct sigaction action = {.sa_handler = on_signal};
    struct rpc_server *server;
    struct rusage usage;
    pthread_t thread;
    double user, sys;
    int fd;

    if (argc < 2)
        return 2;
    config.shards = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
    queue_init(&writes);
    CHECK(pipe(writes_pipe) == 0);
    server = rpc_start(&config);
    CHECK(pthread_create(&thread, NULL, write_thread, NULL) == 0);
    fd = listen_on(atoi(argv[1]));
    (void)sigaction(SIGINT, &action, NULL);
    while (!stopping) {
        int conn = accept(fd, NULL, NULL);

        if (conn >= 0)
            rpc_add_connection(server, conn);
    }
    (void)getrusage(RUSAGE_SELF, &usage);
    user = seconds(usage.ru_utime);
    sys = seconds(usage.ru_stime);
    printf("calls %lu user %.2f us sys %.2f us total %.2f us a call\n",
           atomic_load(&calls), user * 1e6 / (double)atomic_load(&calls),
           sys * 1e6 / (double)atomic_load(&calls),
           (user + sys) * 1e6 / (double)atomic_load(&calls));
    rpc_stop(server, 500);
    (void)close(writes_pipe[1]);
    (void)pthread_join(thread, NULL);
    return 0;
}
