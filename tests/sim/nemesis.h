/* The faults: crashes, stops, pauses, cuts, bad disks, changes of the
 * membership, compactions, leaders told to hand over. */
#ifndef SIM_NEMESIS_H
#define SIM_NEMESIS_H

#include "sim.h"

struct nemesis_settings {
    uint64_t every_ns; /* between two faults, up to twice as long */
    unsigned crash;    /* the weights of the kinds */
    unsigned stop;
    unsigned pause;
    unsigned cut;
    unsigned disk;
    unsigned change;
    unsigned compact;
    unsigned transfer;
    unsigned flip;   /* permille of the crashes */
    unsigned moment; /* of the moments at which a crash would hurt most */
};
extern struct nemesis_settings nemesis_settings;

void nemesis_start(void);
/* Something is under way that a crash may break. */
void nemesis_moment(const struct life *life);
/* No more faults; all that was broken is repaired, who is down comes up. */
void nemesis_end(void);

#endif
