/* ConfState and Snapshot. */
#include "chorad/base/pb.h"
#include "chorad/raftpb.h"

/* More members than any cluster has; bounds the work a damaged or hostile
 * message can cause. */
#define CONF_IDS_MAX 4096

/* ---- ConfState ----------------------------------------------------------- */

static size_t ids_size(const struct raft_ids *set)
{
    size_t size = 0;
    for (size_t i = 0; i < set->count; i++)
        size += pb_number_size(1, set->ids[i]);
    return size;
}

static uint8_t *ids_put(uint8_t *p, uint32_t field, const struct raft_ids *set)
{
    for (size_t i = 0; i < set->count; i++)
        p = pb_put_number(p, field, set->ids[i]);
    return p;
}

size_t raftpb_conf_state_size(const struct raft_conf_state *cs)
{
    return ids_size(&cs->voters) + ids_size(&cs->learners) +
           ids_size(&cs->voters_outgoing) + ids_size(&cs->learners_next) +
           pb_number_size(5, cs->auto_leave);
}

uint8_t *raftpb_conf_state_put(uint8_t *p, const struct raft_conf_state *cs)
{
    p = ids_put(p, 1, &cs->voters);
    p = ids_put(p, 2, &cs->learners);
    p = ids_put(p, 3, &cs->voters_outgoing);
    p = ids_put(p, 4, &cs->learners_next);
    return pb_put_number(p, 5, cs->auto_leave);
}

static int ids_get(struct raft_ids *set, const struct pb_field *f)
{
    if (f->wire == PB_VARINT) {
        if (set->count == CONF_IDS_MAX)
            return ERR_CORRUPT;
        raft_ids_add(set, f->value);
        return 0;
    }
    if (f->wire != PB_LEN)
        return 0;
    const uint8_t *at = f->bytes.data;
    const uint8_t *end = at + f->bytes.len;
    while (at < end) {
        uint64_t id = 0;
        unsigned shift = 0;
        uint8_t byte;
        do {
            if (at == end || shift > 63)
                return ERR_CORRUPT;
            byte = *at++;
            id |= (uint64_t)(byte & 0x7f) << shift;
            shift += 7;
        } while (byte & 0x80);
        if (set->count == CONF_IDS_MAX)
            return ERR_CORRUPT;
        raft_ids_add(set, id);
    }
    return 0;
}

int raftpb_conf_state_get(struct raft_conf_state *cs, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct raft_ids *sets[] = {&cs->voters, &cs->learners, &cs->voters_outgoing,
                               &cs->learners_next};
    struct pb_field f;
    int more;

    *cs = (struct raft_conf_state){0};
    while ((more = pb_next(&r, &f)) > 0) {
        if (f.number >= 1 && f.number <= 4) {
            more = ids_get(sets[f.number - 1], &f);
            if (more < 0)
                break;
        } else if (f.number == 5 && f.wire == PB_VARINT) {
            cs->auto_leave = f.value != 0;
        }
    }
    if (more < 0) {
        raft_conf_state_close(cs);
        *cs = (struct raft_conf_state){0};
        return ERR_CORRUPT;
    }
    return 0;
}

/* ---- Snapshot ------------------------------------------------------------ */

static size_t metadata_size(const struct raft_snapshot *snapshot)
{
    size_t conf = raftpb_conf_state_size(&snapshot->conf_state);
    return pb_len_size(1, conf) + conf + pb_number_size(2, snapshot->index) +
           pb_number_size(3, snapshot->term);
}

size_t raftpb_snapshot_size(const struct raft_snapshot *snapshot)
{
    size_t metadata = metadata_size(snapshot);
    size_t size = pb_len_size(2, metadata) + metadata;
    if (snapshot->data)
        size += pb_len_size(1, snapshot->data->len) + snapshot->data->len;
    return size;
}

uint8_t *raftpb_snapshot_put(uint8_t *p, const struct raft_snapshot *snapshot)
{
    if (snapshot->data) {
        p = pb_put_len(p, 1, snapshot->data->len);
        memcpy(p, snapshot->data->data, snapshot->data->len);
        p += snapshot->data->len;
    }
    p = pb_put_len(p, 2, metadata_size(snapshot));
    p = pb_put_len(p, 1, raftpb_conf_state_size(&snapshot->conf_state));
    p = raftpb_conf_state_put(p, &snapshot->conf_state);
    p = pb_put_number(p, 2, snapshot->index);
    return pb_put_number(p, 3, snapshot->term);
}

static int metadata_get(struct raft_conf_state *cs, uint64_t *index,
                        uint64_t *term, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct pb_field f;
    int more;

    while ((more = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_LEN) {
            raft_conf_state_close(cs);
            more = raftpb_conf_state_get(cs, f.bytes);
            if (more < 0)
                return more;
        } else if (f.number == 2 && f.wire == PB_VARINT) {
            *index = f.value;
        } else if (f.number == 3 && f.wire == PB_VARINT) {
            *term = f.value;
        }
    }
    return more < 0 ? ERR_CORRUPT : 0;
}

int raftpb_snapshot_get(struct raft_snapshot **snapshot, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct raft_conf_state cs = {0};
    struct bytes content = {0};
    struct shared *data = NULL;
    uint64_t index = 0;
    uint64_t term = 0;
    struct pb_field f;
    int more;

    while ((more = pb_next(&r, &f)) > 0) {
        if (f.wire != PB_LEN)
            continue;
        if (f.number == 1)
            content = f.bytes;
        else if (f.number == 2)
            more = metadata_get(&cs, &index, &term, f.bytes);
        if (more < 0)
            break;
    }
    if (more == 0 && content.len <= UINT32_MAX) {
        if (content.data) {
            data = shared_new(content.len);
            memcpy(data->data, content.data, content.len);
        }
        *snapshot = raft_snapshot_new(index, term, &cs, data);
    } else {
        more = ERR_CORRUPT;
    }
    raft_conf_state_close(&cs);
    return more;
}
