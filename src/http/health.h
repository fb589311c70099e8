/* /health, /livez and /readyz: whether the member can do its work. */
#ifndef CHORAD_HTTP_HEALTH_H
#define CHORAD_HTTP_HEALTH_H

#include "probe.h"
#include "server.h"

void health_metrics_open(void);

/* Alarms, then the leader, then a read. */
void health_run(struct request *request);

/* All probes of that type but the excluded ones, or the one that the path
 * names. */
void health_run_probes(struct request *request, enum probe_type type);

/* The request ends; its inquiry must not answer it any more. */
void health_drop(struct request *request);

#endif
