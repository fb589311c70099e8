/* The directives of the quorum and the configuration scenarios. */
#ifndef TESTS_RAFT_QUORUM_CMDS_H
#define TESTS_RAFT_QUORUM_CMDS_H

#include "datadriven.h"
#include "tracker.h"

void quorum_command(void *unused, const struct directive *d, struct buf *out);

/* Configurations are changed one after another, as in a log whose last index
 * grows with each directive. */
struct conf_env {
    struct tracker trk;
    uint64_t last_index;
};

void conf_command(void *conf_env, const struct directive *d, struct buf *out);

#endif
