/* KV.RangeStream: a range in pieces. */
#ifndef CHORAD_SERVICES_RANGE_STREAM_H
#define CHORAD_SERVICES_RANGE_STREAM_H

#include "chorad/rpc.h"

void range_stream_open(struct rpc_call *call);
void range_stream_drained(struct rpc_call *call);
void range_stream_done(struct rpc_call *call);

/* How many keys the next piece may have, from those the last one had and the
 * bytes it came to (pure). */
int64_t range_stream_limit(int64_t limit, size_t bytes, uint64_t target_bytes);

#endif
