/* Entry and HardState. */
#include "chorad/base/pb.h"
#include "chorad/raftpb.h"

/* A proposal on its way to the leader is in no log yet. */
static bool in_a_log(const struct raft_entry *entry)
{
    return entry->term != 0 || entry->index != 0;
}

static size_t entry_head_size(const struct raft_entry *entry)
{
    size_t size = 0;
    if (in_a_log(entry))
        size = pb_number_size(2, entry->term) + pb_number_size(3, entry->index);
    if (entry->type != RAFT_ENTRY_NORMAL)
        size += pb_number_size(1, entry->type);
    if (entry->data)
        size += pb_len_size(4, entry->len);
    return size;
}

size_t raftpb_entry_size(const struct raft_entry *entry)
{
    return entry_head_size(entry) + entry->len;
}

uint8_t *raftpb_entry_put_head(uint8_t *p, const struct raft_entry *entry)
{
    if (entry->type != RAFT_ENTRY_NORMAL)
        p = pb_put_number(p, 1, entry->type);
    if (in_a_log(entry)) {
        p = pb_put_number(p, 2, entry->term);
        p = pb_put_number(p, 3, entry->index);
    }
    if (entry->data)
        p = pb_put_len(p, 4, entry->len);
    return p;
}

uint8_t *raftpb_entry_put(uint8_t *p, const struct raft_entry *entry)
{
    p = raftpb_entry_put_head(p, entry);
    if (entry->len > 0)
        memcpy(p, entry->data, entry->len);
    return p + entry->len;
}

int raftpb_entry_get(struct raft_entry *entry, struct bytes in,
                     struct shared *owner)
{
    struct pb_reader r = pb_over(in);
    struct pb_field f;
    int more;

    *entry = (struct raft_entry){0};
    while ((more = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT) {
            if (f.value > RAFT_ENTRY_CONF_CHANGE_V2)
                return ERR_CORRUPT;
            entry->type = (enum raft_entry_type)f.value;
        } else if (f.number == 2 && f.wire == PB_VARINT) {
            entry->term = f.value;
        } else if (f.number == 3 && f.wire == PB_VARINT) {
            entry->index = f.value;
        } else if (f.number == 4 && f.wire == PB_LEN) {
            if (f.bytes.len > UINT32_MAX)
                return ERR_CORRUPT;
            entry->data = f.bytes.data;
            entry->len = (uint32_t)f.bytes.len;
        }
    }
    if (more < 0)
        return ERR_CORRUPT;
    if (owner && entry->len > 0)
        entry->owner = shared_ref(owner);
    else if (entry->len == 0 && entry->data)
        /* Empty but there: any address says so, and holds no buffer. */
        entry->data = (const uint8_t *)"";
    return 0;
}

/* ---- HardState ----------------------------------------------------------- */

uint8_t *raftpb_hard_state_put(uint8_t *p, const struct raft_hard_state *hs)
{
    p = pb_put_number(p, 1, hs->term);
    p = pb_put_number(p, 2, hs->vote);
    return pb_put_number(p, 3, hs->commit);
}

int raftpb_hard_state_get(struct raft_hard_state *hs, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct pb_field f;
    int more;

    *hs = (struct raft_hard_state){0};
    while ((more = pb_next(&r, &f)) > 0) {
        if (f.wire != PB_VARINT)
            continue;
        if (f.number == 1)
            hs->term = f.value;
        else if (f.number == 2)
            hs->vote = f.value;
        else if (f.number == 3)
            hs->commit = f.value;
    }
    return more < 0 ? ERR_CORRUPT : 0;
}
