/* Lease.LeaseKeepAlive. */
#ifndef CHORAD_SERVICES_KEEPALIVE_H
#define CHORAD_SERVICES_KEEPALIVE_H

#include "chorad/rpc.h"

void keepalive_open(struct rpc_call *call);
void keepalive_message(struct rpc_call *call, struct bytes message);
void keepalive_half_close(struct rpc_call *call);
void keepalive_drained(struct rpc_call *call);
void keepalive_done(struct rpc_call *call);

#endif
