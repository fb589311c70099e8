/* Configuration changes as text for the log. */
#ifndef RAFT_CONF_CODEC_H
#define RAFT_CONF_CODEC_H

#include "chorad/raft.h"

/* As Go prints raftpb's structs with %v, zero-terminated; the caller closes
 * `out`. */
const char *conf_change_text(const struct raft_conf_change *cc,
                             struct buf *out);

#endif
