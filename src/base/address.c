/* Socket addresses as people read them. */
#include "chorad/base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

/* Of ::ffff:10.0.0.1 the last four bytes. */
#define MAPPED_AT 12

const char *address_text(const struct sockaddr_storage *address, char *out,
                         size_t size)
{
    const struct sockaddr_in *in = (const void *)address;
    const struct sockaddr_in6 *in6 = (const void *)address;
    char host[INET6_ADDRSTRLEN] = "";

    if (address->ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        (void)snprintf(out, size, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6 &&
               IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        (void)inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[MAPPED_AT], host,
                        sizeof(host));
        (void)snprintf(out, size, "%s:%u", host, ntohs(in6->sin6_port));
    } else if (address->ss_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        (void)snprintf(out, size, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        (void)snprintf(out, size, "@");
    }
    return out;
}
