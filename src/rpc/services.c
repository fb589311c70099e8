/* The list of services. */
#include "call.h"

#include "chorad/rpc.h"

const struct rpc_service *const rpc_services[] = {
    &rpc_service_kv,          &rpc_service_watch,
    &rpc_service_lease,       &rpc_service_cluster,
    &rpc_service_maintenance, &rpc_service_auth,
    &rpc_service_health,      &rpc_service_lock,
    &rpc_service_election,    NULL,
};
