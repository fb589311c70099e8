/* Feature gates: "name=true,name=false". */
#ifndef CHORAD_CONFIG_GATES_H
#define CHORAD_CONFIG_GATES_H

#include "chorad/config.h"

void gates_default(struct config_gates *gates);

/* Applies the list to what is set; AllAlpha and AllBeta cover the gates of
 * their stage that nothing else names. ERR_INVALID with etcd's text, the
 * gates then unchanged. */
int gates_set(struct config_gates *gates, const char *text, struct errmsg *msg);

/* "AllAlpha=true|false (ALPHA - default=false)", NULL past the last. */
const char *gates_help(size_t i);
const char *gates_name(size_t i);

#endif
