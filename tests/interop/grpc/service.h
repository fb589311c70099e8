/* grpc.testing.TestService on the seam of rpc.h: what the clients of gRPC's
 * interoperability tests call. Without a state of its own: all of it lives in
 * the calls. */
#ifndef INTEROP_GRPC_SERVICE_H
#define INTEROP_GRPC_SERVICE_H

#include "chorad/rpc.h"

/* EmptyCall, UnaryCall, StreamingOutputCall, StreamingInputCall,
 * FullDuplexCall, and UnimplementedCall, which has no handler. */
extern const struct rpc_service test_service;

#endif
