/* The Raft core: a pure state machine with etcd raft's semantics.
 *
 * It has no clock, does no I/O and draws random numbers from a seed only. The
 * caller feeds it events (a tick, a peer's message, proposals, "this is on
 * disk now", ...) and then takes out one `struct raft_update` saying what to
 * persist, send, apply and answer.
 *
 * One object belongs to one thread. The only things that may cross threads
 * are a `struct raft_append` (a unit of work for the log writer) and
 * references to `struct shared` payloads.
 *
 *       events -> raft_tick, raft_step, raft_propose, raft_read_index, ...
 *                         |
 *                    raft_update()  ------------------------------+
 *                         |                                       |
 *    messages: send now   |  committed: apply, then      append: to the log
 *                         |  raft_applied()              writer, then
 *                         |                              raft_append_done()
 *                         +---------> next raft_update() <--------+
 *
 * With `async_storage` (what the node uses) several appends may be under way
 * at once; they must reach the disk and come back in the order they were
 * taken out. A leader sends entries to its peers while its own copy is still
 * being written; messages that promise durability (append and vote responses,
 * the leader's own acknowledgement) wait inside `struct raft_append`.
 *
 * Without it one update is carried out completely (persist, then send, then
 * apply) and followed by raft_advance().
 *
 * Sources: Ongaro, "Consensus: Bridging Theory and Practice", 2014 (chapter 3
 * basics, 3.10 leader transfer, 4.3 joint consensus, 6.4 ReadIndex, 9.6
 * pre-vote); behaviour and log lines after go.etcd.io/raft/v3 3.6. */
#ifndef CHORAD_RAFT_H
#define CHORAD_RAFT_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct raft;

/* ---- what the log is made of ------------------------------------------- */

/* "No member": no leader, no vote. Never a valid id. */
#define RAFT_NONE UINT64_C(0)
/* Senders of RAFT_MSG_STORAGE_APPEND_RESP; never valid member ids. */
#define RAFT_APPEND_THREAD UINT64_MAX
#define RAFT_APPLY_THREAD (UINT64_MAX - 1)
#define RAFT_NO_LIMIT UINT64_MAX

/* Numbers as on the wire (raftpb.EntryType). */
enum raft_entry_type {
    RAFT_ENTRY_NORMAL = 0,
    RAFT_ENTRY_CONF_CHANGE = 1,
    RAFT_ENTRY_CONF_CHANGE_V2 = 2,
};

/* One log entry. `data` points into `owner` (anywhere in it: many entries may
 * share one received buffer). Without payload `owner` is NULL and `len` 0;
 * `data` then tells "absent" (NULL) from "empty". Each copy of the struct
 * that is kept holds one reference on `owner`. */
struct raft_entry {
    uint64_t term;
    uint64_t index;
    const uint8_t *data;
    uint32_t len;
    enum raft_entry_type type;
    struct shared *owner;
};

/* Takes one more reference for a copy of the entry. */
static inline void raft_entry_ref(const struct raft_entry *entry)
{
    if (entry->owner)
        shared_ref(entry->owner);
}

static inline void raft_entry_unref(const struct raft_entry *entry)
{
    if (entry->owner)
        shared_unref(entry->owner);
}

/* An entry (term and index 0) with a fresh copy of the bytes; the caller owns
 * its one reference. */
struct raft_entry raft_entry_new(enum raft_entry_type type, const void *data,
                                 size_t len);

/* The size as an encoded raftpb.Entry: the unit of all byte limits but
 * max_uncommitted_size, which counts payloads alone. */
uint64_t raft_entry_size(const struct raft_entry *entry);

/* Persistent besides entries and snapshot. A zeroed one means "none yet". */
struct raft_hard_state {
    uint64_t term;
    uint64_t vote;
    uint64_t commit;
};

/* A sorted set of member ids; zeroed memory is the empty set. `ids` is
 * malloc'ed. */
struct raft_ids {
    uint64_t *ids;
    size_t count;
};

bool raft_ids_has(const struct raft_ids *set, uint64_t id);
/* Puts the id at its place; nothing happens if it is there. */
void raft_ids_add(struct raft_ids *set, uint64_t id);
void raft_ids_remove(struct raft_ids *set, uint64_t id);
struct raft_ids raft_ids_copy(const struct raft_ids *set);
void raft_ids_close(struct raft_ids *set);

/* A configuration as it is stored (raftpb.ConfState). Joint if
 * voters_outgoing isn't empty. Zeroed memory is the empty configuration. */
struct raft_conf_state {
    struct raft_ids voters;
    struct raft_ids learners;
    struct raft_ids voters_outgoing;
    /* Voters that become learners when the joint state is left. */
    struct raft_ids learners_next;
    /* The joint state is left by raft itself once it has been applied. */
    bool auto_leave;
};

struct raft_conf_state raft_conf_state_copy(const struct raft_conf_state *cs);
void raft_conf_state_close(struct raft_conf_state *cs);
bool raft_conf_state_equal(const struct raft_conf_state *a,
                           const struct raft_conf_state *b);

/* A point of the log that a state machine image stands for. Reference
 * counted, immutable once handed to anybody else. */
struct raft_snapshot {
    atomic_uint refs;
    uint64_t index;
    uint64_t term;
    struct raft_conf_state conf_state;
    /* Opaque; the core passes it on. NULL for none. */
    struct shared *data;
};

/* One reference; copies conf_state (NULL: empty), takes over one reference on
 * `data` (may be NULL). */
struct raft_snapshot *raft_snapshot_new(uint64_t index, uint64_t term,
                                        const struct raft_conf_state *cs,
                                        struct shared *data);
struct raft_snapshot *raft_snapshot_ref(struct raft_snapshot *snapshot);
/* NULL is fine. */
void raft_snapshot_unref(struct raft_snapshot *snapshot);

/* ---- configuration changes --------------------------------------------- */

/* Numbers as on the wire (raftpb.ConfChangeType). */
enum raft_conf_change_type {
    RAFT_CONF_ADD_NODE = 0,
    RAFT_CONF_REMOVE_NODE = 1,
    RAFT_CONF_UPDATE_NODE = 2,
    RAFT_CONF_ADD_LEARNER = 3,
};

/* raftpb.ConfChangeTransition. */
enum raft_conf_transition {
    /* One change: simple. Several: joint, left automatically. */
    RAFT_CONF_AUTO = 0,
    RAFT_CONF_JOINT_IMPLICIT = 1,
    /* Joint until an empty change is proposed. */
    RAFT_CONF_JOINT_EXPLICIT = 2,
};

struct raft_conf_single {
    enum raft_conf_change_type type;
    uint64_t node_id;
};

#define RAFT_CONF_CHANGES_MAX 128

/* A raftpb.ConfChange (v1: exactly one change, automatic, with `id`) or a
 * raftpb.ConfChangeV2. Zeroed memory is the change that leaves the joint
 * state. `context` is opaque and borrowed. */
struct raft_conf_change {
    bool v1;
    uint64_t id; /* v1 only */
    enum raft_conf_transition transition;
    size_t change_count;
    struct raft_conf_single changes[RAFT_CONF_CHANGES_MAX];
    struct bytes context;
};

/* Decodes an entry of type CONF_CHANGE or CONF_CHANGE_V2; `cc->context` then
 * points into the entry. ERR_CORRUPT for bytes that don't decode and for
 * more than RAFT_CONF_CHANGES_MAX changes. */
int raft_conf_change_decode(struct raft_conf_change *cc,
                            enum raft_entry_type type, const uint8_t *data,
                            size_t len);
/* An entry carrying the change, in etcd's encoding; the caller owns its one
 * reference. */
struct raft_entry raft_conf_change_entry(const struct raft_conf_change *cc);

/* ---- messages ------------------------------------------------------------ */

/* Numbers as on the wire (raftpb.MessageType). */
enum raft_message_type {
    RAFT_MSG_HUP = 0,
    RAFT_MSG_BEAT = 1,
    RAFT_MSG_PROP = 2,
    RAFT_MSG_APP = 3,
    RAFT_MSG_APP_RESP = 4,
    RAFT_MSG_VOTE = 5,
    RAFT_MSG_VOTE_RESP = 6,
    RAFT_MSG_SNAP = 7,
    RAFT_MSG_HEARTBEAT = 8,
    RAFT_MSG_HEARTBEAT_RESP = 9,
    RAFT_MSG_UNREACHABLE = 10,
    RAFT_MSG_SNAP_STATUS = 11,
    RAFT_MSG_CHECK_QUORUM = 12,
    RAFT_MSG_TRANSFER_LEADER = 13,
    RAFT_MSG_TIMEOUT_NOW = 14,
    RAFT_MSG_READ_INDEX = 15,
    RAFT_MSG_READ_INDEX_RESP = 16,
    RAFT_MSG_PRE_VOTE = 17,
    RAFT_MSG_PRE_VOTE_RESP = 18,
    RAFT_MSG_STORAGE_APPEND = 19,
    RAFT_MSG_STORAGE_APPEND_RESP = 20,
    RAFT_MSG_STORAGE_APPLY = 21,
    RAFT_MSG_STORAGE_APPLY_RESP = 22,
    RAFT_MSG_FORGET_LEADER = 23,
};
#define RAFT_MSG_TYPES 24

/* raftpb.Message. What a type uses of it:
 *
 *   PROP                entries (term 0: forwarded to the leader)
 *   APP                 log_term/index before the entries, entries, commit
 *   APP_RESP            index acknowledged, or: reject, index asked for,
 *                       reject_hint/log_term where the logs may meet
 *   VOTE, PRE_VOTE      log_term/index of the candidate's last entry,
 *                       context "CampaignTransfer" if it was told to campaign
 *   SNAP                snapshot
 *   HEARTBEAT(_RESP)    commit, context (of a read request)
 *   READ_INDEX          entries[0].data: the request's context
 *   READ_INDEX_RESP     the same, and index
 *   TRANSFER_LEADER     from: whom to transfer to
 *   STORAGE_APPEND_RESP index/log_term of the last entry written, snapshot
 */
struct raft_message {
    enum raft_message_type type;
    bool reject;
    uint64_t to;
    uint64_t from;
    uint64_t term;
    uint64_t log_term;
    uint64_t index;
    uint64_t commit;
    uint64_t reject_hint;
    /* A malloc'ed array, each entry with its reference. */
    struct raft_entry *entries;
    size_t entry_count;
    /* One reference, or NULL. */
    struct raft_snapshot *snapshot;
    /* One reference, or NULL. */
    struct shared *context;
};

/* Lets go of what the message owns and zeroes it. */
void raft_message_close(struct raft_message *message);
/* A message that owns the same things once more. */
struct raft_message raft_message_copy(const struct raft_message *message);
/* "MsgApp"; never NULL. */
const char *raft_message_type_name(enum raft_message_type type);
/* Types that must never come from the network. */
bool raft_message_is_local(enum raft_message_type type);

/* ---- settings ------------------------------------------------------------ */

enum raft_log_level {
    RAFT_LOG_DEBUG,
    RAFT_LOG_INFO,
    RAFT_LOG_WARN,
    RAFT_LOG_ERROR,
    RAFT_LOG_FATAL, /* the member aborts right after */
};

/* One line without newline, valid during the call. */
typedef void (*raft_log_cb)(void *arg, enum raft_log_level level,
                            const char *line);

enum raft_read_option {
    /* The leader confirms its leadership with a round of heartbeats. */
    RAFT_READ_SAFE,
    /* The leader trusts its lease; needs check_quorum and sane clocks. */
    RAFT_READ_LEASE,
};

struct raft_config {
    uint64_t id;
    /* Ticks. An election starts after [election_tick, 2 * election_tick - 1]
     * ticks without a leader. election_tick > heartbeat_tick > 0. */
    unsigned election_tick;
    unsigned heartbeat_tick;
    /* Bytes of entries in one append message; 0: one entry each. */
    uint64_t max_size_per_msg;
    /* Bytes of entries handed out and not yet reported as applied; 0: as
     * max_size_per_msg. */
    uint64_t max_committed_size;
    /* Append messages, and bytes in them, under way to one peer; the bytes
     * may be 0: no limit. */
    size_t max_inflight_msgs;
    uint64_t max_inflight_bytes;
    /* Payload bytes a leader takes before they commit; 0: no limit. */
    uint64_t max_uncommitted_size;
    bool check_quorum;
    bool pre_vote;
    bool async_storage;
    bool disable_proposal_forwarding;
    bool disable_conf_change_validation;
    bool step_down_on_removal;
    /* Asynchronous storage: asks for votes before the own term and vote, and
     * the entries the request speaks of, are durable. Unsafe: who crashes then
     * may stand in that term once more, with fewer entries, and count what was
     * granted to the longer log. For comparing with etcd, which does it. */
    bool early_vote_requests;
    enum raft_read_option read_option;
    uint64_t seed;
    /* Lines below log_level aren't even formatted; log may be NULL. */
    raft_log_cb log;
    void *log_arg;
    enum raft_log_level log_level;
};

/* What is set: election_tick 10, heartbeat_tick 1, max_size_per_msg 512 KiB,
 * max_inflight_msgs 512, max_uncommitted_size 1 GiB, check_quorum, pre_vote,
 * async_storage; id and seed are the caller's to set. */
void raft_config_init(struct raft_config *config);

/* What storage holds when a member starts; all borrowed. Zeroed memory is a
 * member that has never run. */
struct raft_init {
    /* Its commit index may be behind: it is raised to `applied`. */
    struct raft_hard_state hard_state;
    /* The entry before entries[0]; entries up to here are compacted away.
     * 0/0 when the log starts at 1. */
    uint64_t base_index;
    uint64_t base_term;
    /* The configuration at index `applied`. */
    const struct raft_conf_state *conf_state;
    /* The newest snapshot that can be sent, or NULL. */
    struct raft_snapshot *snapshot;
    /* Contiguous from base_index + 1; the core takes its own references. */
    const struct raft_entry *entries;
    size_t entry_count;
    /* The last entry the state machine has; base_index or 0: none after
     * base_index. */
    uint64_t applied;
};

/* A follower of the term in hard_state. ERR_INVALID for a wrong config,
 * ERR_CORRUPT for stored state that contradicts itself (entries with gaps or
 * falling terms, commit or applied outside of the log, a configuration that
 * can't be). `msg` may be NULL. */
int raft_new(struct raft **out, const struct raft_config *config,
             const struct raft_init *init, struct errmsg *msg);
/* Frees everything. Appends that haven't come back are freed with
 * raft_append_close. */
void raft_free(struct raft *raft);

/* Starts a new cluster: one CONF_CHANGE entry per member at indexes 1..n of
 * term 1, already committed. `changes` are v1 ADD_NODE changes whose context
 * the state machine understands; every first member is given the same list.
 * The entries come out of raft_update() like any other; the configuration is
 * active at once and applying them again is harmless. ERR_INVALID if the log
 * isn't empty. */
int raft_bootstrap(struct raft *raft, const struct raft_conf_change *changes,
                   size_t count);

/* ---- events ----------------------------------------------------------------
 * Each may leave something for the next raft_update(). */

/* One tick of the caller's clock has passed. */
void raft_tick(struct raft *raft);

/* Why a message from the network can't be: NULL, or a word of a fixed set,
 * "commit-beyond-log". To be asked before raft_step(), which takes for granted
 * what the rules of Raft say of the others, and ends the member where it isn't
 * so. Messages of members that keep to the rules are never refused, however
 * late, old, doubled or out of order they are; nor those of a member that is
 * behind, has restarted, or is etcd. What is refused must be treated as never
 * said. Payloads are the caller's to look at. */
const char *raft_refusal(const struct raft *raft,
                         const struct raft_message *message);

/* A message from a peer (or one of an append's responses). Borrowed; the core
 * takes the references it needs. ERR_INVALID: a local type from the network
 * or a malformed message; ERR_MEMBER_NOT_FOUND: a response from a member that
 * isn't in the configuration; ERR_AGAIN: a forwarded proposal was dropped.
 * Errors need nothing but perhaps a log line. The caller has made sure that
 * `from` is who sent it, and asked raft_refusal(). */
int raft_step(struct raft *raft, const struct raft_message *message);

/* Proposes a batch: type, data, len and owner are read. A leader appends them
 * and writes the term and index they got into the array; a follower forwards
 * them (terms and indexes stay 0). On success the references in `entries`
 * belong to the core, the array stays the caller's. ERR_AGAIN: dropped, no
 * leader is known, leadership is being transferred, this member was removed,
 * or too much is uncommitted; the references stay the caller's, while
 * configuration changes may have been replaced as below.
 * A configuration change that can't be made now is replaced by an empty
 * normal entry. */
int raft_propose(struct raft *raft, struct raft_entry *entries, size_t count);
/* The same with one configuration change. */
int raft_propose_conf_change(struct raft *raft,
                             const struct raft_conf_change *cc);
/* True of a leader that has, or may have, a configuration change in its log
 * that isn't applied yet: another one would be replaced. */
bool raft_is_reconfiguring(const struct raft *raft);

/* A committed configuration change is being applied: must be called for each
 * such entry, in order, before raft_applied() for it, unless the application
 * refuses it. The new configuration is copied to `out` (closed by the
 * caller), which may be NULL. ERR_INVALID: it doesn't fit the configuration;
 * nothing has changed. */
int raft_apply_conf_change(struct raft *raft, const struct raft_conf_change *cc,
                           struct raft_conf_state *out);

/* Asks for an index that is safe to read at; the answer comes as a
 * `struct raft_read` with the same context (at least 1 byte, unique among the
 * requests under way). No answer comes if there is no leader or leadership
 * is lost: the caller asks again after a while. A single voter answers in
 * the next update once it has committed an entry of its term. */
void raft_read_index(struct raft *raft, const void *context, size_t len);

/* Starts an election now (refused, with a log line, if not a voter). */
void raft_campaign(struct raft *raft);
/* Leader: hand over to `to`. Follower: ask the leader to. */
void raft_transfer_leader(struct raft *raft, uint64_t to);
/* A follower forgets who leads, so that it votes for others. */
void raft_forget_leader(struct raft *raft);
/* The leader stops leading at this term, e.g. because its disk stalls. No
 * effect on others. */
void raft_step_down(struct raft *raft);
/* Sending to this peer failed. */
void raft_report_unreachable(struct raft *raft, uint64_t id);
/* Sending the snapshot to this peer has ended. */
void raft_report_snapshot(struct raft *raft, uint64_t id, bool ok);

/* ---- what to do ---------------------------------------------------------- */

enum raft_role {
    RAFT_FOLLOWER,
    RAFT_CANDIDATE,
    RAFT_LEADER,
    RAFT_PRE_CANDIDATE,
};
/* "StateFollower"; never NULL. */
const char *raft_role_name(enum raft_role role);

struct raft_soft_state {
    uint64_t leader;
    enum raft_role role;
};

/* Reads asked for with `context` may be served once `index` is applied. */
struct raft_read {
    uint64_t index;
    struct shared *context; /* owned by the core, valid as the update is */
};

/* Work for the log writer, to be done in this order:
 *  1. if `snapshot`: install it; it replaces log and state machine;
 *  2. write the entries: entries[0].index may be at or below the last one
 *     written, which is then overwritten and truncated;
 *  3. write the hard state if has_hard_state;
 *  4. if must_sync or `snapshot`: make it durable;
 * then give it back to raft_append_done(). Appends are done in order; several
 * may share one sync. One that needs no sync of its own (the commit index
 * moved, a message is to be answered) still comes back after all earlier ones:
 * its responses may speak of what they wrote. Self-contained: it may be read
 * on another thread. */
struct raft_append {
    bool has_hard_state;
    bool must_sync;
    struct raft_hard_state hard_state;
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    size_t entry_count;
    /* Messages that may go out, or be handled here (to == own id), once this
     * and all earlier appends are durable. raft_append_done does it. */
    struct raft_message *responses;
    size_t response_count;
    /* The core's own. */
    size_t entry_cap;
    size_t response_cap;
    struct raft_append *next;
};

/* Everything that has come up since the last update. The arrays belong to
 * the core and are valid until the next event or raft_update(), but for
 * raft_apply_conf_change(), which may be called while `committed` is walked;
 * `append` belongs to the caller until raft_append_done(). */
struct raft_update {
    /* Something changed since the last update. */
    bool has_soft_state;
    struct raft_soft_state soft_state;
    const struct raft_read *reads;
    size_t read_count;
    /* To peers. Async: send at once. Otherwise: after `append` is durable.
     * Whoever wants to keep one copies the struct and zeroes the original. */
    struct raft_message *messages;
    size_t message_count;
    /* NULL: nothing to persist. */
    struct raft_append *append;
    /* Entries to apply, in order; async: durable here, otherwise durable
     * after `append`. Followed by raft_applied() for the last one. */
    const struct raft_entry *committed;
    size_t committed_count;
};

/* Anything for raft_update()? Cheap. */
bool raft_has_update(const struct raft *raft);

/* Takes out what is to be done. In synchronous mode raft_advance() must come
 * before the next call. */
void raft_update(struct raft *raft, struct raft_update *update);

/* Async mode: the append is durable (see there); frees or recycles it. Its
 * responses to peers come out with the next update, the others are handled
 * here. */
void raft_append_done(struct raft *raft, struct raft_append *append);
/* Frees an append that can't come back (at shutdown). */
void raft_append_close(struct raft_append *append);

/* Async mode: the committed entries of an update have been applied, up to and
 * including `index`, the last entry of that update. In order. */
void raft_applied(struct raft *raft, uint64_t index);

/* Synchronous mode: the last update has been carried out completely. */
void raft_advance(struct raft *raft);

/* ---- log and snapshots --------------------------------------------------- */

/* The log from first_index to last_index is in memory. */
uint64_t raft_first_index(const struct raft *raft);
uint64_t raft_last_index(const struct raft *raft);
/* first_index - 1 <= index <= last_index, else ERR_NOTFOUND. */
int raft_term_at(const struct raft *raft, uint64_t index, uint64_t *term);
/* Borrowed until the next event; NULL if the entry isn't there. */
const struct raft_entry *raft_entry_at(const struct raft *raft, uint64_t index);

/* Drops the entries up to and including `index`. index <= applied, and a
 * snapshot at or after `index` must have been set if there are peers.
 * ERR_INVALID: compacted already, or not applied and written yet. */
int raft_compact(struct raft *raft, uint64_t index);

/* The snapshot that members are sent whose entries are compacted away. Takes
 * over the reference; a new one replaces the old one. Whoever sends a SNAP
 * message should put a newer snapshot in: a member that joined after this one
 * was made refuses it. */
void raft_set_snapshot(struct raft *raft, struct raft_snapshot *snapshot);

/* ---- status ---- */

struct raft_status {
    uint64_t id;
    uint64_t term;
    uint64_t vote;
    uint64_t commit;
    uint64_t applied;
    uint64_t leader;
    uint64_t lead_transferee;
    enum raft_role role;
    bool is_learner;
    uint64_t uncommitted_size;
};

void raft_status(const struct raft *raft, struct raft_status *status);
/* Borrowed until the next raft_apply_conf_change() or message. Not joint:
 * voters_outgoing is empty. */
const struct raft_conf_state *raft_conf_state(const struct raft *raft);

enum raft_progress_state {
    /* At most one append per heartbeat, to find where the logs meet. */
    RAFT_PROGRESS_PROBE,
    /* Appends stream without waiting. */
    RAFT_PROGRESS_REPLICATE,
    /* Waiting for a snapshot to arrive. */
    RAFT_PROGRESS_SNAPSHOT,
};
/* "StateProbe"; never NULL. */
const char *raft_progress_state_name(enum raft_progress_state state);

/* What a leader knows of a member (itself included). */
struct raft_progress_status {
    uint64_t id;
    uint64_t match;
    uint64_t next;
    enum raft_progress_state state;
    uint64_t pending_snapshot;
    size_t inflight_msgs;
    bool inflight_full;
    bool recent_active;
    bool is_learner;
    bool paused;
};

/* Members in order of their ids; returns how many there are and fills at most
 * `max`. Leader only: otherwise 0. */
size_t raft_progress(const struct raft *raft, struct raft_progress_status *out,
                     size_t max);

#endif
