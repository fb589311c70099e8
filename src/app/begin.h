/* Where a member without data begins. */
#ifndef CHORAD_APP_BEGIN_H
#define CHORAD_APP_BEGIN_H

#include "chorad/cluster.h"
#include "chorad/config.h"

/* The cluster of the settings: a new one, or one that runs already, of which
 * its members are asked. Blocks. ERR_* with etcd's text. */
int app_begin(const struct config *config, struct cluster_start *start,
              struct errmsg *msg);

#endif
