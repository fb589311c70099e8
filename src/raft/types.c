#include "types.h"
#include "chorad/base/check.h"
#include "chorad/base/pb.h"
#include "chorad/raft.h"
#include <stdlib.h>
#include <string.h>

struct raft_entry raft_entry_new(enum raft_entry_type type, const void *data,
                                 size_t len)
{
    CHECK(len <= UINT32_MAX);
    struct raft_entry entry = {.type = type};
    if (len > 0) {
        entry.owner = shared_new(len);
        memcpy(entry.owner->data, data, len);
        entry.data = entry.owner->data;
        entry.len = (uint32_t)len;
    } else if (data) {
        entry.data = (const uint8_t *)"";
    }
    return entry;
}

uint64_t raft_entry_size(const struct raft_entry *entry)
{
    /* Three varint fields, which etcd writes even when they are zero, with a
     * key of one byte each. */
    uint64_t size = 3 + pb_varint_size((uint64_t)entry->type) +
                    pb_varint_size(entry->term) + pb_varint_size(entry->index);
    if (entry->data)
        size += 1 + pb_varint_size(entry->len) + entry->len;
    return size;
}

struct raft_entry *entries_copy(const struct raft_entry *entries, size_t count)
{
    if (count == 0)
        return NULL;
    struct raft_entry *copy = mem_alloc(count * sizeof(*copy));
    memcpy(copy, entries, count * sizeof(*copy));
    for (size_t i = 0; i < count; i++)
        raft_entry_ref(&copy[i]);
    return copy;
}

struct raft_snapshot *raft_snapshot_new(uint64_t index, uint64_t term,
                                        const struct raft_conf_state *cs,
                                        struct shared *data)
{
    struct raft_snapshot *snapshot = mem_zalloc(sizeof(*snapshot));
    atomic_init(&snapshot->refs, 1);
    snapshot->index = index;
    snapshot->term = term;
    if (cs)
        snapshot->conf_state = raft_conf_state_copy(cs);
    snapshot->data = data;
    return snapshot;
}

struct raft_snapshot *raft_snapshot_ref(struct raft_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    return snapshot;
}

void raft_snapshot_unref(struct raft_snapshot *snapshot)
{
    if (!snapshot || atomic_fetch_sub_explicit(&snapshot->refs, 1,
                                               memory_order_acq_rel) != 1)
        return;
    raft_conf_state_close(&snapshot->conf_state);
    shared_unref(snapshot->data);
    free(snapshot);
}

void raft_message_close(struct raft_message *message)
{
    for (size_t i = 0; i < message->entry_count; i++)
        raft_entry_unref(&message->entries[i]);
    free(message->entries);
    raft_snapshot_unref(message->snapshot);
    shared_unref(message->context);
    memset(message, 0, sizeof(*message));
}

struct raft_message raft_message_copy(const struct raft_message *message)
{
    struct raft_message copy = *message;
    copy.entries = entries_copy(message->entries, message->entry_count);
    if (copy.snapshot)
        raft_snapshot_ref(copy.snapshot);
    if (copy.context)
        shared_ref(copy.context);
    return copy;
}

struct message_kind {
    const char *name;
    bool local;
    bool response;
};

static const struct message_kind kinds[RAFT_MSG_TYPES] = {
    [RAFT_MSG_HUP] = {"MsgHup", true, false},
    [RAFT_MSG_BEAT] = {"MsgBeat", true, false},
    [RAFT_MSG_PROP] = {"MsgProp", false, false},
    [RAFT_MSG_APP] = {"MsgApp", false, false},
    [RAFT_MSG_APP_RESP] = {"MsgAppResp", false, true},
    [RAFT_MSG_VOTE] = {"MsgVote", false, false},
    [RAFT_MSG_VOTE_RESP] = {"MsgVoteResp", false, true},
    [RAFT_MSG_SNAP] = {"MsgSnap", false, false},
    [RAFT_MSG_HEARTBEAT] = {"MsgHeartbeat", false, false},
    [RAFT_MSG_HEARTBEAT_RESP] = {"MsgHeartbeatResp", false, true},
    [RAFT_MSG_UNREACHABLE] = {"MsgUnreachable", true, true},
    [RAFT_MSG_SNAP_STATUS] = {"MsgSnapStatus", true, false},
    [RAFT_MSG_CHECK_QUORUM] = {"MsgCheckQuorum", true, false},
    [RAFT_MSG_TRANSFER_LEADER] = {"MsgTransferLeader", false, false},
    [RAFT_MSG_TIMEOUT_NOW] = {"MsgTimeoutNow", false, false},
    [RAFT_MSG_READ_INDEX] = {"MsgReadIndex", false, false},
    [RAFT_MSG_READ_INDEX_RESP] = {"MsgReadIndexResp", false, true},
    [RAFT_MSG_PRE_VOTE] = {"MsgPreVote", false, false},
    [RAFT_MSG_PRE_VOTE_RESP] = {"MsgPreVoteResp", false, true},
    [RAFT_MSG_STORAGE_APPEND] = {"MsgStorageAppend", true, false},
    [RAFT_MSG_STORAGE_APPEND_RESP] = {"MsgStorageAppendResp", true, true},
    [RAFT_MSG_STORAGE_APPLY] = {"MsgStorageApply", true, false},
    [RAFT_MSG_STORAGE_APPLY_RESP] = {"MsgStorageApplyResp", true, true},
    [RAFT_MSG_FORGET_LEADER] = {"MsgForgetLeader", false, false},
};

const char *raft_message_type_name(enum raft_message_type type)
{
    return (unsigned)type < RAFT_MSG_TYPES ? kinds[type].name : "MsgUnknown";
}

bool raft_message_is_local(enum raft_message_type type)
{
    return (unsigned)type < RAFT_MSG_TYPES && kinds[type].local;
}

bool message_is_response(enum raft_message_type type)
{
    return (unsigned)type < RAFT_MSG_TYPES && kinds[type].response;
}

void messages_push(struct messages *list, const struct raft_message *message)
{
    if (list->count == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 8;
        list->items = mem_realloc(list->items, list->cap * sizeof(*message));
    }
    list->items[list->count++] = *message;
}

void messages_clear(struct messages *list)
{
    for (size_t i = 0; i < list->count; i++)
        raft_message_close(&list->items[i]);
    list->count = 0;
}

void messages_close(struct messages *list)
{
    messages_clear(list);
    free(list->items);
    *list = (struct messages){0};
}

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {"StateFollower", "StateCandidate",
                                        "StateLeader", "StatePreCandidate"};
    return names[role];
}
