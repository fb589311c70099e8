#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chorad/app.h"
#include "chorad/base/err.h"

/* Connecting a datagram socket sends nothing, but has the kernel look up the
 * route and with it the source address. The targets are addresses that belong
 * to nobody (RFC 5737, RFC 3849), so only a default route leads there. */
static int source_address(int family, const char *target, char *out,
                          size_t size)
{
    struct sockaddr_storage addr = {.ss_family = (sa_family_t)family};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&addr;
    void *ip =
        family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr;
    socklen_t len = family == AF_INET ? sizeof(*v4) : sizeof(*v6);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int err = ERR_NOTFOUND;

    if (fd < 0)
        return ERR_NOTFOUND;
    /* The port stands at the same place in both. */
    v4->sin_port = htons(9);
    if (inet_pton(family, target, ip) == 1 &&
        connect(fd, (struct sockaddr *)&addr, len) == 0 &&
        getsockname(fd, (struct sockaddr *)&addr, &len) == 0 &&
        inet_ntop(family, ip, out, (socklen_t)size) != NULL)
        err = 0;
    (void)close(fd);
    return err;
}

int app_default_host(char *out, size_t size)
{
    if (source_address(AF_INET, "192.0.2.1", out, size) == 0)
        return 0;
    return source_address(AF_INET6, "2001:db8::1", out, size);
}
