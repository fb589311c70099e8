#include "host.h"
#include "chorad/base/mem.h"

#include <string.h>

static char *copy(const char *from, size_t len)
{
    return mem_printf("%.*s", (int)len, from);
}

char *host_without_port(const char *host)
{
    const char *colon = strrchr(host, ':');
    const char *close;
    size_t len;

    if (colon == NULL)
        return mem_strdup(host);
    len = (size_t)(colon - host);
    if (host[0] == '[') {
        close = strchr(host, ']');
        if (close == NULL || close + 1 != colon ||
            memchr(host + 1, '[', strlen(host + 1)) != NULL ||
            strchr(close + 1, ']') != NULL)
            return mem_strdup(host);
        return copy(host + 1, len - 2);
    }
    /* An address of IPv6 has to stand in brackets. */
    if (memchr(host, ':', len) != NULL || strpbrk(host, "[]") != NULL)
        return mem_strdup(host);
    return copy(host, len);
}
