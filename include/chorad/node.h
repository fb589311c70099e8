/* The node: one member. Owns the loop's state: Raft, the log, the store and
 * all that is applied to it; carries out what Raft asks for, talks to the other
 * members.
 *
 * "The loop" is the thread that runs the uv_loop_t given to node_open. Other
 * threads come in through the functions marked "any thread". */
#ifndef CHORAD_NODE_H
#define CHORAD_NODE_H

#include "chorad/alarm.h"
#include "chorad/apply.h"
#include "chorad/auth.h"
#include "chorad/base/queue.h"
#include "chorad/cluster.h"
#include "chorad/lease.h"
#include "chorad/mvcc.h"
#include "chorad/store.h"
#include "chorad/watch.h"
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct node;

enum node_compact_mode { NODE_COMPACT_PERIODIC, NODE_COMPACT_REVISION };

struct node_config {
    const char *name;
    const char *data_dir;           /* made 0700 */
    const char *wal_dir;            /* NULL: <data_dir>/member/wal */
    const char *const *peer_urls;   /* own, advertised; ended by NULL */
    const char *const *client_urls; /* advertised; ended by NULL */
    /* The cluster to begin in; asked for once, from node_open, when the data
     * directory doesn't say. May block. The node closes it. */
    int (*start)(void *arg, struct cluster_start *start, struct errmsg *msg);

    uint64_t heartbeat_ms;
    uint64_t election_ms;
    uint64_t peer_read_timeout_ms; /* 0: the transport's own */
    uint64_t peer_write_timeout_ms;
    bool pre_vote;
    bool election_tick_advance; /* shorten the first wait for a leader */
    bool strict_reconfig;
    size_t max_learners;
    uint64_t snapshot_count;
    uint64_t catchup_entries;
    uint32_t max_wals;
    bool unsafe_no_fsync;
    /* Whoever else belongs to the cluster is removed from it, unasked. */
    bool force_new_cluster;

    /* As given: 0 is the default of 2 GiB, negative is none. */
    int64_t quota_bytes;
    uint64_t flush_interval_ns;
    uint32_t flush_ops;
    /* Where so much of the store's file is free at the start it is
     * defragmented; 0: never. */
    uint64_t defrag_threshold_mib;
    uint32_t compact_batch;
    uint64_t compact_pause_ns;
    enum node_compact_mode compact_mode;
    int64_t compact_retention; /* ns, or revisions; 0: no auto-compaction */

    /* How often the leader compares all members' hashes of what they store,
     * and those stored with compactions; 0: never. */
    uint64_t corrupt_check_ns;
    uint64_t compact_check_ns;
    bool initial_check; /* the same before a start on data that is there */

    uint64_t warn_apply_ns;
    bool lease_checkpoint;         /* write down what is left of leases */
    bool lease_checkpoint_persist; /* for good, whatever the cluster's level */
    bool priority_requests; /* revokes go on where too much is unapplied */

    /* Taken over by node_open, also when it fails. */
    struct auth_tokens *auth_tokens;
    unsigned bcrypt_cost;

    /* The loop, once: the member has a leader, has published itself and
     * serves from now on. */
    void (*ready)(void *arg);
    /* Any thread: the member can't go on (its disk failed, its state is
     * damaged). The process has to end, with an error. */
    void (*fatal)(void *arg, const char *why);
    /* The loop, once: the member was removed from the cluster for good and has
     * nothing more to do. */
    void (*removed)(void *arg);
    void *arg;
};

/* Opens or makes the data directory, replays the log, starts the member on
 * the loop. ERR_BUSY when another process holds the directory, ERR_CORRUPT,
 * ERR_NOSPC, ERR_IO, ERR_UNSUPPORTED; `msg` says what to do. */
int node_open(uv_loop_t *loop, const struct node_config *config,
              struct node **out, struct errmsg *msg);

/* The loop: a connection to the peer port, non-blocking; taken over. */
void node_add_peer_connection(struct node *node, int fd);

/* The loop. First half of a stop: what waits is answered ERR_STOPPED, new
 * requests are refused so. Requests must still be able to arrive. */
void node_stop(struct node *node);

/* Second half: nobody calls in any more. Flushes, closes handles, frees;
 * `closed` is called on the loop when the loop may end. */
void node_close(struct node *node, void (*closed)(void *arg), void *arg);

/* ---- writes ------------------------------------------------------------- */

/* A request on its way through the log. The caller's memory until `done`,
 * which is called exactly once, on the loop. */
struct node_request {
    /* Set by the caller. */
    enum apply_kind kind;
    struct bytes payload; /* the encoded request; borrowed until `done` */
    struct bytes user;    /* while auth is on; borrowed by node_propose only */
    uint64_t auth_rev;
    void (*done)(struct node_request *request);

    /* Set when `done` is called. */
    int err;
    struct buf body; /* the encoded response; `done`'s to take or close */

    /* Monotonic ns: taken in, proposed, applied. For the slow log. */
    uint64_t queued_ns;
    uint64_t proposed_ns;
    uint64_t applied_ns;

    /* The node's own. */
    struct queue_node node;
    uint64_t id;
    uint64_t timeout_ns;
    bool conf_change;   /* the entry is a change of the configuration */
    uint64_t only_term; /* 0, or: dropped unless this member leads in that
                           term */
    struct node_request *hash_next;
    struct node_request *next;
    struct node_request **prev;
    struct node *owner;
    struct shared *entry;
};

/* Any thread. Checks of content are the caller's. The request is copied into
 * the log's entry before this returns. Errors come through `done`. */
void node_propose(struct node *node, struct node_request *request);

/* A fresh id, as requests and leases get them: unique among members and over
 * restarts. Any thread. */
uint64_t node_next_id(struct node *node);

/* ---- reads --------------------------------------------------------------- */

/* A read barrier: when it is done with err 0, everything acknowledged before
 * it was asked for can be read. */
struct node_barrier {
    void (*done)(struct node_barrier *barrier); /* on the loop */
    int err;

    /* The node's own. */
    struct queue_node node;
    struct node_barrier *next;
    uint64_t timeout_ns;
    uint64_t index;
    bool awaits; /* an index, no round */
};

/* Any thread. True: passed at once, `done` isn't called. Else `done` comes. */
bool node_barrier(struct node *node, struct node_barrier *barrier);

/* Any thread. `done` comes when the log has been applied up to `index`, or
 * after a second with ERR_TIMEOUT. */
void node_await_index(struct node *node, struct node_barrier *barrier,
                      uint64_t index);

/* ---- the membership: the loop ---------------------------------------------
 */

enum node_change_kind {
    NODE_ADD_MEMBER, /* `member` without a name; a learner or a voter */
    NODE_REMOVE_MEMBER,
    NODE_UPDATE_MEMBER, /* `member`: id and peer URLs */
    NODE_PROMOTE_MEMBER,
};

/* A change of the membership. The caller's memory until `done`, which is called
 * exactly once, maybe from inside. */
struct node_change {
    /* Set by the caller; lent until `done`. */
    enum node_change_kind kind;
    uint64_t id;
    const struct cluster_member *member;
    const char *authorization; /* for the leader, or NULL */
    void (*done)(struct node_change *change);

    /* Set when `done` is called; the members are the callee's to close. */
    int err;
    struct errmsg text; /* where another member's words are known: else "" */
    struct cluster_list members;

    /* The node's own. */
    struct node_request request;
    struct node *node;
    struct node_forward *forward;
};

void node_change_members(struct node *node, struct node_change *change);

/* Hands leadership to `to`: ERR_NOT_LEADER, ERR_BAD_TRANSFEREE,
 * ERR_TIMEOUT_TRANSFER. The caller's memory until `done`, which is called
 * exactly once, maybe from inside. */
struct node_transfer {
    uint64_t to;
    void (*done)(struct node_transfer *transfer);
    int err;

    /* The node's own. */
    struct node_transfer *next;
    uint64_t timeout_ns;
};

void node_move_leader(struct node *node, struct node_transfer *transfer);
/* Before a stop: to whom it has been connected for longest, if it leads. Waits
 * an election timeout for it at most. */
void node_hand_over(struct node *node, struct node_transfer *transfer);

/* ---- the cluster's version: the loop --------------------------------------
 */

enum node_downgrade_action {
    NODE_DOWNGRADE_VALIDATE,
    NODE_DOWNGRADE_ENABLE,
    NODE_DOWNGRADE_CANCEL,
};

/* The caller's memory until `done`, which is called exactly once, maybe from
 * inside. */
struct node_downgrade {
    enum node_downgrade_action action;
    const char *version; /* of the first two; lent until `done` */
    void (*done)(struct node_downgrade *downgrade);
    int err;

    /* The node's own. */
    struct node *node;
    struct node_barrier barrier;
    struct cluster_semver target;
};

void node_downgrade(struct node *node, struct node_downgrade *downgrade);

/* Appends what GET /version answers: the versions of server, cluster and
 * storage as JSON. */
void node_put_version(const struct node *node, struct buf *out);

/* ---- leases: the loop ------------------------------------------------------
 * Answered by the leader: here, or by a request to it. The caller's memory
 * until `done`, which is called exactly once, maybe from inside. */

struct node_renewal {
    int64_t id;
    bool here_only; /* another leader isn't asked: ERR_NOT_PRIMARY */
    void (*done)(struct node_renewal *renewal);
    int err; /* ERR_LEASE_NOT_FOUND, ERR_TIMEOUT, ERR_NO_LEADER, ... */
    int64_t ttl_s;

    /* The node's own. */
    struct node *node;
    struct node_forward *forward;
    struct node_barrier barrier;
    bool with_lessor;
    bool sure; /* that this member leads, or did after it was asked */
    bool held; /* something of it is under way that can't be taken back */
    bool canceled;
};

void node_renew(struct node *node, struct node_renewal *renewal);
/* True: `done` isn't called any more. False: it will be, with ERR_CANCELED. */
bool node_renew_cancel(struct node *node, struct node_renewal *renewal);

struct node_lease_query {
    int64_t id;
    bool keys;
    struct arena *arena; /* where the keys go */
    void (*done)(struct node_lease_query *query);
    int err; /* ERR_LEASE_NOT_FOUND, ... */
    int64_t ttl_s;
    int64_t granted_s;
    struct bytes *key_list;
    size_t key_count;

    /* The node's own. */
    struct node *node;
    struct node_forward *forward;
    struct node_barrier barrier;
    bool sure; /* cf. node_renewal */
};

void node_lease_info(struct node *node, struct node_lease_query *query);

/* ---- anything else on the loop --------------------------------------------
 */

struct node_task {
    void (*run)(struct node_task *task);
    struct queue_node node;
};

/* Any thread; `run` is called on the loop, in order, also while stopping. */
void node_run(struct node *node, struct node_task *task);

/* Blocking work on a worker thread of the loop's pool; `run` there, then `done`
 * on the loop. The loop only (or node_run first). */
struct node_work {
    void (*run)(struct node_work *work);
    void (*done)(struct node_work *work);
    uv_work_t uv;
};
void node_work(struct node *node, struct node_work *work);

/* ---- looking: any thread ---- */

struct node_status {
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t leader; /* 0: none */
    uint64_t raft_term;
    uint64_t raft_index; /* committed */
    uint64_t applied_index;
    bool is_leader;
    bool is_learner;      /* of the cluster, but not a voter yet */
    bool is_ready;        /* `ready` was called */
    uint64_t quota_bytes; /* 0: none */
};
struct node_status node_status(const struct node *node);

/* For answers: ids and term; revision 0. */
struct apply_header node_header(const struct node *node);

/* A learner serves little. Any thread. */
bool node_is_learner(const struct node *node);
/* Knows of a leader. Any thread. */
bool node_has_leader(const struct node *node);

struct mvcc *node_mvcc(struct node *node);
struct store *node_store(struct node *node);
struct alarms *node_alarms(struct node *node);
struct watch_feed *node_watch_feed(struct node *node);
struct auth *node_auth(struct node *node);

/* The loop only. */
struct lessor *node_lessor(struct node *node);
struct cluster *node_cluster(struct node *node);
uv_loop_t *node_loop(struct node *node);

/* Raises an alarm of this member through the log, unless it is raised
 * already. Any thread. */
void node_raise_alarm(struct node *node, enum alarm_type type);

/* The store has room for a request of that cost. Any thread. */
bool node_within_quota(const struct node *node, uint64_t cost);

#endif
