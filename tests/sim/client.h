/* Clients: each has one request under way, at any member, and goes on with
 * another one when it is answered or has taken too long. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "history.h"
#include "sim.h"

struct client_settings {
    unsigned clients;
    unsigned keys;
    unsigned lessees; /* those who hold leases besides, four at most */
    unsigned leasing; /* permille of their requests */
    unsigned
        faithful; /* permille of requests that go where the last one went */
    uint64_t think_ns; /* between two requests, up to twice as long */
};
extern struct client_settings client_settings;

void client_start(void);
/* No new requests but those that are left of leases. */
void client_quiet(void);
/* Whoever waits for that life waits in vain. */
void client_life_ended(const struct life *life);
/* Answered requests so far. */
uint64_t client_answers(void);
/* Everything they were told; events are the caller's to fill in. */
struct history client_history(void);

#endif
