/* Messages of raftpb that the log and the peers write by hand: entries, hard
 * state, configuration and snapshot metadata.
 *
 * The bytes are etcd 3.7's: proto2 fields in the order of their numbers,
 * numbers written even when 0 where etcd sets them (term, index, vote,
 * commit, auto_leave), an entry's type only when it isn't 0, its data only
 * when it isn't absent, term and index not in a proposal, which is in no log
 * yet. Reading takes what 3.4 to 3.7 write: any order,
 * explicit zeros, packed or single ids, unknown fields skipped.
 *
 *   Entry            type 1, term 2, index 3, data 4
 *   HardState        term 1, vote 2, commit 3
 *   ConfState        voters 1, learners 2, voters_outgoing 3,
 *                    learners_next 4, auto_leave 5
 *   SnapshotMetadata conf_state 1, index 2, term 3
 *   Snapshot         data 1, metadata 2
 *   Message          type 1, to 2, from 3, term 4, logTerm 5, index 6,
 *                    entries 7, commit 8, snapshot 9, reject 10,
 *                    rejectHint 11, context 12
 *
 * ConfChange and ConfChangeV2 are in raft.h. All functions are pure. The
 * *_put functions write exactly *_size bytes at `p`, which the caller has
 * made room for, and return the end. The *_get functions return 0 or
 * ERR_CORRUPT and leave nothing allocated on error. */
#ifndef CHORAD_RAFTPB_H
#define CHORAD_RAFTPB_H

#include "chorad/base/mem.h"
#include "chorad/raft.h"
#include <stdint.h>

/* All of an Entry but the content of `data`, which follows as its end. */
#define RAFTPB_ENTRY_HEAD_MAX 40

size_t raftpb_entry_size(const struct raft_entry *entry);
/* The fields before the data's content; at most RAFTPB_ENTRY_HEAD_MAX. */
uint8_t *raftpb_entry_put_head(uint8_t *p, const struct raft_entry *entry);
uint8_t *raftpb_entry_put(uint8_t *p, const struct raft_entry *entry);
/* `entry->data` points into `in`; `entry->owner` is `owner`, of which one
 * reference is taken if the entry has data (NULL: the caller sees to it that
 * `in` lives long enough, or copies). */
int raftpb_entry_get(struct raft_entry *entry, struct bytes in,
                     struct shared *owner);

#define RAFTPB_HARD_STATE_MAX 33

uint8_t *raftpb_hard_state_put(uint8_t *p, const struct raft_hard_state *hs);
int raftpb_hard_state_get(struct raft_hard_state *hs, struct bytes in);

size_t raftpb_conf_state_size(const struct raft_conf_state *cs);
uint8_t *raftpb_conf_state_put(uint8_t *p, const struct raft_conf_state *cs);
/* The ids come out sorted and once each; the caller closes `cs`. */
int raftpb_conf_state_get(struct raft_conf_state *cs, struct bytes in);

/* A Snapshot with its data; as a message's field for the peers. */
size_t raftpb_snapshot_size(const struct raft_snapshot *snapshot);
uint8_t *raftpb_snapshot_put(uint8_t *p, const struct raft_snapshot *snapshot);
/* One reference; the data is copied. An empty message (what older peers send
 * with every message) gives a snapshot with index 0. */
int raftpb_snapshot_get(struct raft_snapshot **snapshot, struct bytes in);

/* ---- Message ------------------------------------------------------------- */

/* More than fit into one message under any setting; bounds the memory that a
 * hostile one can cause. */
#define RAFTPB_ENTRIES_MAX (1U << 20)
/* The fields up to `index`; key, length and head of one entry. */
#define RAFTPB_MESSAGE_HEAD_MAX 58
#define RAFTPB_MESSAGE_ENTRY_HEAD_MAX (RAFTPB_ENTRY_HEAD_MAX + 11)

size_t raftpb_message_size(const struct raft_message *message);
uint8_t *raftpb_message_put(uint8_t *p, const struct raft_message *message);
/* The same in parts, for those who send payloads from where they lie: the
 * head; for each entry its head, behind which its data follows; the tail. */
uint8_t *raftpb_message_put_head(uint8_t *p,
                                 const struct raft_message *message);
uint8_t *raftpb_message_put_entry_head(uint8_t *p,
                                       const struct raft_entry *entry);
size_t raftpb_message_tail_size(const struct raft_message *message);
uint8_t *raftpb_message_put_tail(uint8_t *p,
                                 const struct raft_message *message);

/* The entries' data points into `in` without an owner: whoever keeps the
 * message gives it one. Context and snapshot are copies. The caller closes the
 * message. Besides ERR_CORRUPT: ERR_UNSUPPORTED, a type that we don't know;
 * ERR_TOOBIG. */
int raftpb_message_get(struct raft_message *message, struct bytes in);

#endif
