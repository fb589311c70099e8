/* From one configuration to the next: simple changes, into a joint
 * configuration and out of it (dissertation, 4.3). */
#ifndef RAFT_CONFCHANGE_H
#define RAFT_CONFCHANGE_H

#include "tracker.h"

/* What a tracker would become. The window memory of members that stay is
 * shared with the tracker. */
struct conf_next {
    struct raft_conf_state conf;
    struct progress *progress;
    size_t count;
};

/* Each computes a configuration without touching the tracker: 0, or
 * ERR_INVALID with the reason in `why` and nothing to close. `last_index` is
 * where new members are probed first. */
int confchange_simple(const struct tracker *trk, uint64_t last_index,
                      const struct raft_conf_single *changes, size_t count,
                      struct conf_next *next, struct errmsg *why);
int confchange_enter_joint(const struct tracker *trk, uint64_t last_index,
                           bool auto_leave,
                           const struct raft_conf_single *changes, size_t count,
                           struct conf_next *next, struct errmsg *why);
int confchange_leave_joint(const struct tracker *trk, struct conf_next *next,
                           struct errmsg *why);
/* Whichever of them the change asks for. */
int confchange_apply(const struct tracker *trk, uint64_t last_index,
                     const struct raft_conf_change *cc, struct conf_next *next,
                     struct errmsg *why);

/* The tracker takes the configuration over. */
void confchange_switch(struct tracker *trk, struct conf_next *next);

/* Puts a stored configuration into an empty tracker. ERR_INVALID if no chain
 * of changes leads there. */
int confchange_restore(struct tracker *trk, uint64_t last_index,
                       const struct raft_conf_state *cs, struct errmsg *why);

#endif
