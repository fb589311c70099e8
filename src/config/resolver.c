/* The system's resolver of host names. */
#include "chorad/config.h"

#include <netdb.h>
#include <sys/socket.h>

/* etcd gives name servers that come up with the cluster half a minute. */
#define ATTEMPTS 30

/* The first address. */
static int resolve_host(void *arg, const char *host, char *out, size_t size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int rc;

    (void)arg;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return ERR_NOTFOUND;
    rc = getnameinfo(found->ai_addr, found->ai_addrlen, out, (socklen_t)size,
                     NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(found);
    return rc == 0 ? 0 : ERR_NOTFOUND;
}

const struct config_resolver config_system_resolver = {resolve_host, NULL,
                                                       ATTEMPTS};
