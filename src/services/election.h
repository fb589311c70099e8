/* Election's methods that look at who leads (observe.c). */
#ifndef CHORAD_SERVICES_ELECTION_H
#define CHORAD_SERVICES_ELECTION_H

#include "chorad/rpc.h"

void leader_open(struct rpc_call *call);
void leader_drain(struct rpc_call *call);

void observe_open(struct rpc_call *call);
void observe_drained(struct rpc_call *call);
void observe_done(struct rpc_call *call);

#endif
