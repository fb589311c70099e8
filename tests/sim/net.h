/* The network between the members, and what the faults may do to it. */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "sim.h"

struct raft_message;

struct net_faults {
    unsigned lose;      /* permille of messages */
    unsigned duplicate; /* permille */
    uint64_t delay_ns;  /* up to twice as long, and now and then much longer */
    bool reorder;       /* else each link keeps the order */
};
extern struct net_faults net_faults;

/* Nothing goes from one slot to the other, in this direction. */
void net_cut(unsigned from, unsigned to, bool cut);
void net_heal(void);
bool net_is_cut(unsigned from, unsigned to);

/* The life is over: what it had asked for is forgotten. */
void net_life_ended(const struct life *life);
/* The life with that member id that is up, or NULL. */
struct life *net_life(uint64_t member_id);

#endif
