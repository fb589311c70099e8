/* Inside of the node. All of it belongs to the loop thread but what is marked
 * otherwise. */
#ifndef CHORAD_NODE_INTERNAL_H
#define CHORAD_NODE_INTERNAL_H

#include "chorad/base/metrics.h"
#include "chorad/node.h"
#include "chorad/peer.h"
#include "chorad/raft.h"
#include "chorad/wal.h"

/* How long a request may wait beyond two election timeouts (source: etcd's
 * ReqTimeout). */
#define REQUEST_TIMEOUT_NS UINT64_C(5000000000)
/* With so many queued bytes behind the disk proposals wait. */
#define PENDING_BYTES_MAX ((uint64_t)256 << 20)
/* Committed but not applied: beyond that nothing new is taken. */
#define APPLY_BEHIND_MAX 5000
/* The same for requests that set memory and clients free. */
#define APPLY_BEHIND_PRIORITY_MAX 10000

/* Requests by id, and in the order of their timeouts. */
struct waiting {
    struct node_request **buckets;
    size_t n_buckets; /* a power of two */
    size_t count;
    struct node_request *first;
    struct node_request **last;
};

void waiting_init(struct waiting *waiting);
void waiting_close(struct waiting *waiting);
void waiting_add(struct waiting *waiting, struct node_request *request);
struct node_request *waiting_find(const struct waiting *waiting, uint64_t id);
void waiting_remove(struct waiting *waiting, struct node_request *request);

/* One append on its way through the log's thread. One that only moves the
 * commit index isn't written: what was committed is found out again after a
 * restart. It rides on the job before it, because its responses may speak of
 * that job's entries. */
struct append_job {
    struct wal_job wal;
    struct queue_node back; /* to the loop */
    struct node *node;
    struct raft_append *append;
    struct append_job *riders;
    struct append_job *next_rider;
};

struct node_metrics {
    struct metric *leader_changes;
    struct metric *failed;
    struct metric *read_failed;
    struct metric *read_slow;
    struct metric *expired;
    struct metric *late_heartbeats;
    struct metric *promoted;
};

struct compactor;
struct corrupt_check;
struct version_poll;
struct snapshot_send;

/* A request to whoever leads: tried again until it is answered or its time is
 * over (forward.c). */
struct node_forward {
    /* Set by the owner, lent until one of the callbacks that end it. */
    const char *method;
    char path[64];
    const char *content_type;
    const char *authorization; /* or NULL */
    struct buf body;           /* goes with the forward */
    size_t answer_max;
    void *arg;
    /* This member leads itself: true ends it, false waits on. */
    bool (*local)(struct node_forward *forward);
    /* The leader has answered: true ends it, false tries again. */
    bool (*answered)(struct node_forward *forward, unsigned status,
                     struct bytes body);
    /* Ends it: ERR_TIMEOUT, ERR_NO_LEADER, ERR_STOPPED. */
    void (*failed)(struct node_forward *forward, int err);

    struct node *node;
    struct peers_call call;
    bool calling;
    bool canceled;
    uint64_t timeout_ns;
    struct node_forward *next;
    struct node_forward **prev;
};

struct node {
    struct node_config config;
    char *wal_dir;
    char *kv_dir;
    uint64_t member_id;
    uint64_t cluster_id;
    uint64_t quota_bytes;

    struct store *store;
    struct mvcc *mvcc;
    struct lessor *lessor;
    struct alarms *alarms;
    struct cluster *cluster;
    struct auth *auth;
    struct apply *apply;
    struct watch_feed *feed;
    struct raft *raft;
    struct wal *wal;
    struct wal_writer *writer;
    struct peers *peers;
    struct raft_ids peer_ids; /* whom the peers know */
    struct compactor *compactor;
    char *snap_dir;

    uv_loop_t *loop;
    uv_poll_t wake;
    uv_prepare_t before_poll;
    int wake_fd;
    uv_timer_t tick;
    int handles; /* open ones, while closing */
    bool stopping;
    atomic_bool published;
    bool campaigned;    /* alone, at start */
    bool ticks_settled; /* the first wait for a leader isn't to be shortened */
    bool removed;       /* from the cluster: about to stop */
    bool removed_told;
    struct install *install; /* a snapshot's, from its coming to its cleaning
                                up, see snapshot_install.c */
    struct arena scratch;    /* of a payload that is looked at */
    bool replacing;  /* a snapshot of the leader's takes the state's place:
                        nothing is applied from its append on */
    bool installing; /* it is in the log */
    uint64_t removed_ns;
    uint64_t opened_ns;
    uint64_t last_tick_ns;
    uint64_t awake_since_ns;
    bool gives_up; /* leadership, at the next tick */
    /* How often there was reason for doubt, and what is settled of it. */
    uint64_t doubts;
    uint64_t doubts_asked;
    uint64_t doubts_settled;
    bool doubt_asked; /* the barrier is under way */
    struct node_barrier doubt_barrier;
    uint64_t last_beat_ns; /* heartbeats sent; 0: none as this leader */
    atomic_bool failed;
    atomic_bool stop_works; /* long ones on the pool should end */
    void (*closed)(void *arg);
    void *closed_arg;
    unsigned works;                    /* on the pool */
    struct append_job *last_append;    /* with the log's thread; NULL: none */
    struct append_job *idle_appends;   /* riders with no job to ride on */
    struct append_job *behind_install; /* written, in order */
    struct append_job **behind_install_tail;
    bool pumping;

    /* From other threads. */
    struct queue requests; /* node_request.node */
    struct queue barriers; /* node_barrier.node */
    struct queue tasks;    /* node_task.node */
    struct queue appended; /* append_job.back */

    struct waiting waiting;
    struct node_request *held; /* proposals that wait, see propose.c */
    struct node_request **held_tail;
    struct stray *strays; /* other members' proposals that wait, see stray.c */
    uint64_t stray_bytes;

    /* Read barriers: those that wait for the round under way, and those for
     * the next one. */
    struct node_barrier *reads_round;
    struct node_barrier *reads_next;
    struct node_barrier *reads_index; /* an index is known, not applied yet */
    uint64_t round_id;
    uint64_t round_started_ns;

    uint64_t applied;
    uint64_t applied_term;
    uint64_t term;
    uint64_t snapshot_index;
    bool snapshot_under_way;
    uint64_t conf_index; /* of the newest configuration change */
    uint64_t last_expiry_ns;
    uint64_t last_tokens_ns;
    uint64_t leader_since_ns; /* when the newest leader became known */
    struct node_forward *forwards;
    struct snapshot_send *sends; /* snapshots under way to members */
    uint64_t hold_until_ns;      /* entries stay in memory */
    struct node_transfer *transfers;
    struct version_poll *version_poll;   /* under way, or NULL */
    struct corrupt_check *corrupt_check; /* under way, or NULL */
    struct corrupt_check *compact_check;
    uint64_t corrupt_due_ns;
    uint64_t compact_due_ns;
    int64_t compact_checked_rev;
    uint64_t version_due_ns;
    uint64_t leader;
    enum raft_role role;
    struct raft_conf_state conf;

    /* For other threads. */
    _Atomic uint64_t status_leader;
    _Atomic uint64_t status_term;
    _Atomic uint64_t status_commit;
    _Atomic uint64_t status_applied;
    atomic_bool status_is_leader;
    atomic_bool status_is_learner;
    /* A single voter that leads and has applied an entry of its term: what is
     * applied is all that was ever acknowledged. */
    atomic_bool reads_free;
    _Atomic uint64_t next_id;
    atomic_uint wake_state;    /* see wake.c */
    atomic_bool batching;      /* see propose.c */
    atomic_uint alarm_raising; /* mask of types under way */

    struct node_metrics metrics;
    struct raft_ids shown_ids; /* that there are series for */
    char *shown_version;
};

/* ---- boot.c ---- */

/* Opens store, log and Raft; the node's config is set. */
int node_boot(struct node *node, struct errmsg *msg);
void node_shut(struct node *node);
/* For the store in this directory. */
struct store_config node_store_config(const struct node *node, const char *dir);
int64_t node_min_ttl_s(const struct node *node);
/* Makes what applies entries, of the parts there are now. */
void node_open_apply(struct node *node);

/* ---- force.c ---- */

/* Appends to the log, which isn't Raft's yet, what makes this member its
 * cluster's only one, and to `log` the same. */
int node_force_alone(struct node *node, struct wal_contents *log,
                     uint64_t applied, struct errmsg *msg);

/* ---- pump.c ---- */

/* Carries out what Raft asks for until it asks for nothing. */
void node_pump(struct node *node);
/* Appends that the log's thread has given back. */
void node_take_appended(struct node *node);
/* The append's snapshot is installed, or can't be. */
void node_install_done(struct node *node, struct append_job *job, bool failed);

/* ---- snapshot_install.c ---- */

/* Where the store is built that takes the place of ours; malloc'ed. */
char *node_install_dir(const struct node *node);
/* A SNAP message has come with its image, which is taken over: looks whether it
 * is one, and gives it to Raft then. The request is answered. */
void node_prepare_install(struct node *node, struct peers_request *request,
                          const struct raft_message *message, const char *path);
/* The record of the append's snapshot is in the log. */
void node_install(struct node *node, struct append_job *job);
/* The member is closed: what was prepared comes to nothing, or is done again at
 * the next start. */
void node_forget_install(struct node *node);

/* ---- hear.c ---- */

/* Why no member sends the message, as raft_refusal has it; NULL: it may. */
const char *node_refusal(struct node *node, const struct raft_message *message);
/* Gives it to Raft unless there is a reason not to, which is returned. */
const char *node_hear(struct node *node, const struct raft_message *message);

/* ---- propose.c ---- */

void node_take_requests(struct node *node);
/* As node_propose; dropped (ERR_NOT_LEADER) unless this member leads in that
 * term when its turn comes: what a leader decides must not reach the log
 * through its successor. */
void node_propose_in_term(struct node *node, struct node_request *request,
                          uint64_t term);
/* The loop: proposes a request whose id, entry, kind of entry and term are
 * set, behind those that wait. */
void node_propose_now(struct node *node, struct node_request *request);
/* To be called when an append has gone to the log's thread or come back, before
 * requests are taken. */
void node_set_batching(struct node *node);
void node_release_held(struct node *node);
void node_expire_requests(struct node *node, uint64_t now_ns);
/* Answers all that waits. */
void node_fail_requests(struct node *node, int err);

/* An entry with that request id was applied. */
void node_finish_request(struct node *node, struct node_request *request,
                         struct apply_result *result);
/* For how long a request may take. */
uint64_t node_request_timeout_ns(const struct node *node);

/* ---- doubt.c: has this member missed something? ---- */

/* There is a reason to think so. */
void node_doubt(struct node *node);
bool node_in_doubt(const struct node *node);
/* Before a tick is noted. */
void node_check_sleep(struct node *node);
/* Asks, if there is a leader to be asked. */
void node_settle_doubt(struct node *node);

/* ---- stray.c ---- */

/* Raft would make nothing of the message's change to the configuration. */
bool node_must_stray(const struct node *node,
                     const struct raft_message *message);
/* Keeps the proposals of a message that Raft has just refused, or would. */
void node_keep_stray(struct node *node, const struct raft_message *message);
/* Proposes them if there is somebody who takes them. */
void node_release_strays(struct node *node);
/* Drops those that are due by then; UINT64_MAX: all. */
void node_expire_strays(struct node *node, uint64_t now_ns);

/* ---- own.c: requests of the node's own ---- */

/* With root's rights; nobody waits for the answer. With a term:
 * node_propose_in_term; 0: any. */
void node_propose_own(struct node *node, enum apply_kind kind,
                      const ProtobufCMessage *message, uint64_t only_term);

/* One whose answer matters: embedded in what the callback is to find. */
struct own_request {
    struct node_request request;
    struct buf payload;
};
void node_own_propose(struct node *node, struct own_request *own,
                      enum apply_kind kind, const ProtobufCMessage *message,
                      void (*done)(struct node_request *request));
/* In the callback: frees what the two functions have made. */
struct own_request *node_own_done(struct node_request *request);

/* ---- read.c ---- */

void node_take_barriers(struct node *node);
void node_reads_ready(struct node *node, const struct raft_read *reads,
                      size_t n);
/* Lets those through whose index is applied. */
void node_release_barriers(struct node *node);
void node_expire_barriers(struct node *node, uint64_t now_ns);
void node_fail_barriers(struct node *node, int err);
/* Somebody else leads now: whoever waits asks there. */
void node_ask_again(struct node *node);

/* ---- duties.c: what a member does by the clock ---- */

/* Proposes this member's name and URLs until that is through. */
void node_publish(struct node *node);
void node_duties(struct node *node, uint64_t now_ns);

/* ---- snapshot.c: the log taken back ---- */

void node_maybe_snapshot(struct node *node);
/* The log before the index is in the store, and a record of that in the log. */
void node_release_log(struct node *node, uint64_t index);

/* ---- snapshot_send.c ---- */

/* A SNAP message of Raft's: sends the newest there is. Takes it over. */
void node_send_snapshot(struct node *node, struct raft_message *message);
void node_snapshot_sent(struct node *node, uint64_t id, bool ok);
/* The peers are gone: they have nothing of it any more. */
void node_forget_sends(struct node *node);
/* Entries behind a snapshot under way have to stay in memory. */
bool node_snapshot_holds(const struct node *node);

/* ---- lead.c: who leads ---- */

/* What Raft tells of it. No event for Raft may come from here. */
void node_note_leader(struct node *node, const struct raft_soft_state *soft);
/* Raft's update has been carried out: what waits for a leader goes to the new
 * one. */
void node_follow_leader(struct node *node);
/* The first entry of this member's term as leader is applied: it has all that
 * was ever acknowledged. */
void node_caught_up_leader(struct node *node);
/* Whom it would hand leadership to: the one it has been connected to for
 * longest; 0: nobody. */
uint64_t node_longest_connected(const struct node *node);
void node_check_transfers(struct node *node, uint64_t now_ns);
/* A leader whose log stalls makes room for another. */
void node_check_stall(struct node *node);
/* May the member's clock for elections go on? */
bool node_may_tick(const struct node *node);

/* ---- membership.c ---- */

/* An entry that changes the configuration. */
void node_apply_conf_change(struct node *node, const struct raft_entry *entry);
/* Proposes the change; takes the context (malloc'ed, or NULL). */
void node_propose_change(struct node *node, struct node_change *change,
                         enum cluster_change_type type, char *context);
void node_save_conf_state(struct node *node);
/* Connected to so many of the members without a break since then, itself
 * counted in. */
size_t node_connected_since(const struct node *node, uint64_t since_ns,
                            bool voters_only);
/* Takes the membership over for the peers and for the threads that look. */
void node_membership_changed(struct node *node);
/* It isn't a member any more. */
void node_was_removed(struct node *node);
void node_check_removed(struct node *node, uint64_t now_ns);

/* ---- promote.c ---- */

void node_promote(struct node *node, struct node_change *change);

/* ---- forward.c ---- */

struct node_forward *node_forward_new(struct node *node, const char *method,
                                      const char *path);
void node_forward_start(struct node_forward *forward);
/* None of its callbacks is called any more. */
void node_forward_cancel(struct node_forward *forward);
/* What has ended, or never begun. */
void node_forward_free(struct node_forward *forward);
void node_forwards_tick(struct node *node, uint64_t now_ns);
void node_fail_forwards(struct node *node, int err);

/* ---- leases.c ---- */

void node_revoke_expired(struct node *node, uint64_t now_ns);
/* From this member's own lessor: ERR_NOT_PRIMARY if others lead,
 * ERR_TIMEOUT_APPLIED. */
void node_lease_info_here(struct node *node, struct node_lease_query *query);

/* ---- corrupt.c: are all members equal? ---- */

void node_check_corruption(struct node *node, uint64_t now_ns);
/* Blocks; ERR_CORRUPT: another member's hash differs from this one's. */
int node_check_initially(struct node *node, struct errmsg *msg);

/* ---- version.c: the cluster's version ---- */

void node_check_versions(struct node *node, uint64_t now_ns);

/* ---- net.c: the other members ---- */

/* `start`: where a member without data begins; else empty. */
void node_net_open(struct node *node, const struct cluster_start *start);
/* Raft's messages, which are taken over. */
void node_send(struct node *node, struct raft_message *messages, size_t n);
void node_know_peer(struct node *node, const struct cluster_member *member);
void node_forget_peer(struct node *node, uint64_t id);
/* Those of the membership, and nobody else. */
void node_know_peers(struct node *node);
/* How many of them can be reached now. */
size_t node_active_peers(const struct node *node);

/* ---- routes.c: what other members ask ---- */

extern const struct peers_route node_routes[];

/* ---- compactor.c ---- */

struct compactor *node_compactor_new(enum node_compact_mode mode,
                                     int64_t retention, uint64_t now_ns);
void node_compactor_free(struct compactor *compactor);
/* The revision to compact to now, or 0. Called every so often with the current
 * revision; pure but for its memory of revisions. */
int64_t node_compactor_due(struct compactor *compactor, uint64_t now_ns,
                           int64_t revision);
/* How the last one went. */
void node_compactor_done(struct compactor *compactor, bool ok);

/* ---- metrics.c ---- */

void node_metrics_open(struct node *node);
void node_metrics_close(struct node *node);
/* The series that name members and versions. */
void node_metrics_members(struct node *node);

/* The member can't go on. Any thread. */
void node_fail(struct node *node, const char *what, const char *why);

/* ---- wake.c ---- */

int node_wake_open(struct node *node, struct errmsg *msg);
/* The loop's side of it; behind what writes from a prepare handle of its own.
 */
void node_wake_start(struct node *node);
void node_wake_close(struct node *node);
/* Has the loop do a turn soon: after something was queued for it. Any
 * thread. */
void node_wake(struct node *node);
/* Takes what other threads have queued. */
void node_turn(struct node *node);

#endif
