/* A server of grpc.testing.TestService, for clients of other makers.
 *
 * usage: interop_grpc
 *
 * Listens on a free port of 127.0.0.1, prints it, and ends on SIGTERM or
 * SIGINT with the exit code 0, or 1 when calls were still open then. */
#include "service.h"

#include "chorad/base/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct rpc_service *const services[] = {&test_service, NULL};

static int listen_anywhere(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    CHECK(listen(fd, 128) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&addr, &len) == 0);
    printf("%d\n", ntohs(addr.sin_port));
    CHECK(fflush(stdout) == 0);
    return fd;
}

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

int main(void)
{
    struct rpc_config config = {.services = services,
                                .shards = 2,
                                .max_recv_bytes = 4 << 20,
                                .max_concurrent_streams = UINT32_MAX,
                                .keepalive_min_ms = 5000,
                                .keepalive_interval_ms = 7200000,
                                .keepalive_timeout_ms = 20000};
    struct sigaction action = {.sa_handler = on_signal};
    struct rpc_server *server = rpc_start(&config);
    int fd = listen_anywhere();
    uint64_t open;

    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    while (!stopping) {
        int conn = accept(fd, NULL, NULL);

        if (conn >= 0)
            rpc_add_connection(server, conn);
    }
    (void)close(fd);
    open = rpc_calls_open(server);
    rpc_stop(server, 1000);
    if (open > 0)
        (void)fprintf(stderr, "%llu calls were open\n",
                      (unsigned long long)open);
    return open > 0 ? 1 : 0;
}
