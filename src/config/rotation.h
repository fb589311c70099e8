/* --log-rotation-config-json. Private to config. */
#ifndef CHORAD_CONFIG_ROTATION_H
#define CHORAD_CONFIG_ROTATION_H

#include "chorad/base/err.h"
#include "chorad/base/log.h"

/* ERR_INVALID with etcd's text: no JSON, or values of wrong types. A size of 0
 * or less is the default, 100 MB. */
int rotation_parse(const char *json, struct log_rotation *out,
                   struct errmsg *msg);

#endif
