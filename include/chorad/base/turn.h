/* How long the loop's turns take, and which part of the member takes the time.
 * Nothing else of the loop's goes on meanwhile: heartbeats, above all.
 *
 *    poll | part | part | ... | part | poll
 *         ^ the first turn_part      ^ turn_end
 *
 * A turn of 50 ms is one too many: the log says so, once a second at most, and
 * names the part that took most of it.
 *
 * All of it is of the calling thread; on one that turn_open wasn't called on
 * the rest does nothing. */
#ifndef CHORAD_BASE_TURN_H
#define CHORAD_BASE_TURN_H

#include <stdint.h>

/* name, text in the log and on the metrics page */
#define TURN_PARTS(X)                                                          \
    X(OTHER, "other")                                                          \
    X(PEERS_READ, "peers-read")                                                \
    X(PEERS_WRITE, "peers-write")                                              \
    X(LOG, "log")                                                              \
    X(REQUESTS, "requests")                                                    \
    X(READS, "reads")                                                          \
    X(RAFT, "raft")                                                            \
    X(APPLY, "apply")                                                          \
    X(WATCH_FEED, "watch-feed")                                                \
    X(SNAPSHOT, "snapshot")                                                    \
    X(TASKS, "tasks")                                                          \
    X(DUTIES, "duties")                                                        \
    X(LEASES, "leases")                                                        \
    X(HTTP, "http")                                                            \
    X(CONNECTIONS, "connections")

enum turn_part {
#define X(name, text) TURN_##name,
    TURN_PARTS(X)
#undef X
        TURN_PARTS_N
};

/* The calling thread's turns are measured from now on, on the metrics page:
 * chorad_loop_turn_seconds, chorad_loop_longest_turn_seconds and
 * chorad_loop_long_turns_total. */
void turn_open(void);
/* This part has its turn; returns the one that had it, to be given back to. */
enum turn_part turn_part(enum turn_part part);
/* The loop has polled, and did something since that time at the latest: for
 * what no part was named. In ns, as clock_mono_ns. */
void turn_polled(uint64_t polled_ns);
/* The loop is about to poll. */
void turn_end(void);

#endif
