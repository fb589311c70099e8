/* SRV records of the domain name system. */
#ifndef CHORAD_APP_SRV_H
#define CHORAD_APP_SRV_H

#include <stddef.h>
#include <stdint.h>

#include "chorad/base/err.h"

struct srv_target {
    char *host; /* without the dot at its end */
    uint16_t port;
};

/* Zeroed memory is an empty list. */
struct srv_targets {
    struct srv_target *items;
    size_t n;
};

void srv_add(struct srv_targets *targets, const char *host, uint16_t port);
void srv_close(struct srv_targets *targets);

/* Adds what the SRV records of a name server's answer point to. Pure.
 * ERR_MALFORMED: that is no whole answer. */
int srv_read(const unsigned char *answer, size_t len,
             struct srv_targets *targets);

/* Asks the system's name servers; blocks. ERR_NOTFOUND with a text. */
int srv_lookup(const char *name, struct srv_targets *targets,
               struct errmsg *msg);

#endif
