/* Where a connection comes from, as text. */
#include "internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
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

const char *connection_peer(struct connection *c)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);

    if (c->peer != NULL)
        return c->peer;
    if (getpeername(c->fd, (struct sockaddr *)&addr, &len) == 0)
        c->peer = address_text(&addr);
    else
        c->peer = mem_strdup("unknown");
    return c->peer;
}
