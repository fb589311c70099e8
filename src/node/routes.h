/* Answering other members. */
#ifndef CHORAD_NODE_ROUTES_H
#define CHORAD_NODE_ROUTES_H

#include "chorad/peer.h"

/* A text and a newline, as Go's http.Error does. */
void route_error(struct peers_request *request, unsigned status,
                 const char *text);
/* False: it is another one, and has been answered. */
bool route_method(struct peers_request *request,
                  const struct peers_query *query, const char *method);

/* route_leases.c */
void route_renew(void *arg, struct peers_request *request,
                 const struct peers_query *query);
void route_lease_info(void *arg, struct peers_request *request,
                      const struct peers_query *query);

/* hashes.c */
void route_hash_kv(void *arg, struct peers_request *request,
                   const struct peers_query *query);

#endif
