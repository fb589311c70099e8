/* What must hold at every step, whoever crashes: one leader a term; a leader
 * has all that is committed; what is committed never changes and is the same
 * everywhere; entries of one term and index are the same; what a member has
 * promised to others it still knows after a crash; equal indexes have equal
 * revisions; watchers see every change once and in order. */
#ifndef SIM_RULES_H
#define SIM_RULES_H

#include "chorad/mvcc.h"
#include "chorad/wal.h"
#include "history.h"
#include "sim.h"

struct raft_message;

void rules_init(void);

/* After each event of the life. */
void rules_step(struct life *life);
/* The life begins: what it has promised before, it must know. */
void rules_booted(struct life *life);
/* The slot's disk is a new one. */
void rules_forget(unsigned slot);
/* Before a message goes out. */
void rules_sent(const struct life *life, const struct raft_message *m);

/* A life shows the changes of a revision (encoded events, as watchers get
 * them). */
void rules_changes(const struct life *life, int64_t rev, struct bytes events);
/* All changes that anybody has shown so far, by revision from 2 on. */
const struct history_event *rules_events(size_t *n);
/* Up to which revision. */
int64_t rules_revision(void);
/* Elections and committed entries so far. */
uint64_t rules_elections(void);
uint64_t rules_committed(void);

#endif
