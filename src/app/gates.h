/* Feature gates: "name=true,name=false". Pure but for the
 * metrics. */
#ifndef CHORAD_APP_GATES_H
#define CHORAD_APP_GATES_H

#include "chorad/config.h"

void gates_default(struct config_gates *gates);

/* Applies the list to what is set; AllAlpha and AllBeta cover the gates of
 * their stage that nothing else names. ERR_INVALID with etcd's text, the
 * gates then unchanged. */
int gates_set(struct config_gates *gates, const char *text, struct errmsg *msg);

/* "AllAlpha=true|false (ALPHA - default=false)", NULL past the last. */
const char *gates_help(size_t i);
const char *gates_name(size_t i);

/* Registers etcd_server_feature_enabled. */
void gates_metrics_open(const struct config_gates *gates);

#endif
