/* What the Auth service's files share. */
#ifndef CHORAD_SERVICES_AUTH_H
#define CHORAD_SERVICES_AUTH_H

#include "service.h"

/* Decodes the call's request. False: it has been answered. */
bool auth_request_read(struct rpc_call *call, uint32_t kind,
                       struct apply_auth_request *req);

/* ---- authenticate.c ---- */

void authenticate_open(struct rpc_call *call);

/* ---- auth_password.c: requests with a password in them ---- */

void auth_user_add_open(struct rpc_call *call);
void auth_change_password_open(struct rpc_call *call);

#endif
