/* Transports of several members on one loop, over loopback. */
#ifndef CHORAD_TEST_PEER_FIXTURE_H
#define CHORAD_TEST_PEER_FIXTURE_H

#include "chorad/peer.h"
#include "message_random.h"
#include "peer/peers.h"

#define MEMBERS_MAX 4
#define GOT_MAX 8192

/* One member: what its transport has told. */
struct member {
    struct bed *bed;
    struct peers *peers;
    uint64_t id;
    struct peers_config config;
    char url[64];
    const char *urls[2];
    char snap_dir[128];
    int listen_fd;
    uv_poll_t listen;
    bool listening;
    bool deaf; /* takes no connections */
    bool closed;

    struct raft_message got[GOT_MAX];
    size_t got_count;
    size_t batches;
    uint64_t unreachable[MEMBERS_MAX + 1]; /* by id */
    size_t snapshots;
    struct raft_message snapshot;
    char snapshot_path[256];
    size_t sent_ok;
    size_t sent_failed;
    size_t removed;
    const char *refuses; /* everything, for that reason */
    bool refuses_databases;
    uint64_t removed_id;           /* is_removed says so of this one */
    struct peers_request *waiting; /* of the route /later */
    /* Called after each batch. */
    void (*then)(struct member *member);
};

struct bed {
    uv_loop_t loop;
    uv_timer_t limit;
    bool out_of_time;
    struct member members[MEMBERS_MAX];
    size_t count;
    char dir[64];
};

/* Members 1..count of one cluster, listening, not knowing of each other. */
void bed_open(struct bed *bed, size_t count);
/* Also closes what is open still and ends the loop. */
void bed_close(struct bed *bed);
struct member *bed_member(struct bed *bed, uint64_t id);

/* (Re)starts a member's transport with its config. */
void member_start(struct member *member);
void member_stop(struct member *member);
/* Starts and stops taking connections. */
void member_listen(struct member *member, bool listen);
/* Each knows all others. */
void bed_introduce(struct bed *bed);

/* Runs the loop until the condition holds; fails after some seconds. */
#define bed_until(bed, cond)                                                   \
    do {                                                                       \
        bed_limit(bed, 20000);                                                 \
        while (!(cond) && !(bed)->out_of_time)                                 \
            (void)uv_run(&(bed)->loop, UV_RUN_ONCE);                           \
        if (!(cond))                                                           \
            bed_fail(#cond, __FILE__, __LINE__);                               \
    } while (0)
void bed_limit(struct bed *bed, uint64_t ms);
_Noreturn void bed_fail(const char *cond, const char *file, int line);
/* Runs the loop for so long. */
void bed_run(struct bed *bed, uint64_t ms);

/* A message as the core makes it; entries of `len` bytes that tell their
 * index. */
struct raft_message message_of(enum raft_message_type type, uint64_t from,
                               uint64_t to);
struct raft_message append_of(uint64_t from, uint64_t to, uint64_t term,
                              uint64_t index, size_t entries, size_t len);
void member_forget(struct member *member);

/* The value of a series of the metrics; -1 if it isn't on the page. */
double series(const char *name);

#endif
