#ifndef SIM_WATCHER_H
#define SIM_WATCHER_H

#include "chorad/mvcc.h"
#include "sim.h"

void watcher_life_begins(struct life *life);
/* In order: its node is about to close. */
void watcher_life_stops(struct life *life);
void watcher_life_ended(const struct life *life);
/* A reader of the life's, for the loop. */
struct mvcc_reader *watcher_reader(const struct life *life);
/* One of those who move goes somewhere, and on from where it was. */
void watcher_move(void);
/* Reads all the history that the life has, and compares. */
void watcher_look_back(const struct life *life);

#endif
