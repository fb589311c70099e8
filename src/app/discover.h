/* The initial cluster out of a domain's records: --discovery-srv. */
#ifndef CHORAD_APP_DISCOVER_H
#define CHORAD_APP_DISCOVER_H

#include "chorad/config.h"
#include "srv.h"

/* What is asked of the domain name system. */
struct discover_dns {
    /* The targets of a name's SRV records. ERR_NOTFOUND with a text. */
    int (*targets)(const char *name, struct srv_targets *targets,
                   struct errmsg *msg);
    const struct config_resolver *resolver; /* is asked once */
};

/* What the domain of the settings says, as the text of --initial-cluster in
 * fresh memory. The member that has the address of an advertised peer URL gets
 * this one's name, others are numbered. `dns` NULL: the system's. Blocks.
 * Source: etcd's client/pkg/srv. ERR_NOTFOUND, ERR_INVALID with etcd's text. */
int discover_cluster(const struct config *config,
                     const struct discover_dns *dns, char **cluster,
                     struct errmsg *msg);

#endif
