/* Where a call comes from. gRPC knows a handed-over connection by its number
 * only, so the kernel is asked. */
#include "transport.h"

#include <arpa/inet.h>
#include <grpc/support/alloc.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static char *address_text(const struct sockaddr_storage *addr)
{
    char host[INET6_ADDRSTRLEN] = "";

    if (addr->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)addr;

        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        return mem_printf("%s:%u", host, ntohs(in->sin_port));
    }
    if (addr->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)addr;

        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        return mem_printf("[%s]:%u", host, ntohs(in6->sin6_port));
    }
    return mem_strdup("@");
}

const char *rpc_peer(struct rpc_call *pub)
{
    struct call *call = call_of(pub);
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    char *text;
    char *end;
    long fd = -1;

    if (call->peer != NULL)
        return call->peer;
    text = grpc_call_get_peer(call->core);
    if (text != NULL && strncmp(text, "fd:", 3) == 0)
        fd = strtol(text + 3, &end, 10);
    gpr_free(text);
    if (fd >= 0 && getpeername((int)fd, (struct sockaddr *)&addr, &len) == 0)
        call->peer = address_text(&addr);
    else
        call->peer = mem_strdup("unknown");
    return call->peer;
}
