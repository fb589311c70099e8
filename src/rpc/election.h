/* Election's methods that look at who leads (observe.c). */
#ifndef CHORAD_RPC_ELECTION_H
#define CHORAD_RPC_ELECTION_H

#include "call.h"

void leader_open(struct rpc_call *call);
void leader_drain(struct rpc_call *call);

void observe_open(struct rpc_call *call);
void observe_drained(struct rpc_call *call);
void observe_done(struct rpc_call *call);

#endif
