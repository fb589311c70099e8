#include "record.h"
#include "chorad/base/be.h"
#include "chorad/base/crc32c.h"
#include "chorad/base/pb.h"

/* Frame and record up to the data, whose length is known; the record's
 * padding is left to put_padding. */
static uint8_t *put_head(uint8_t *p, enum wal_record_type type, uint32_t crc,
                         size_t data_len)
{
    uint64_t size = 2 + 1 + pb_varint_size(crc) + pb_len_size(3, data_len) +
                    (uint64_t)data_len;
    uint64_t pad = -size & 7;

    le_put_u64(p, pad ? size | (0x80 | pad) << 56 : size);
    p += WAL_FRAME_BYTES;
    p = pb_put_number(p, 1, type);
    p = pb_put_number(p, 2, crc);
    return pb_put_len(p, 3, data_len);
}

static uint8_t *put_padding(uint8_t *p, const uint8_t *start)
{
    size_t pad = -(size_t)(p - start) & 7;
    memset(p, 0, pad);
    return p + pad;
}

uint8_t *wal_record_put(uint8_t *p, uint32_t *crc, enum wal_record_type type,
                        struct bytes data)
{
    const uint8_t *start = p;

    *crc = crc32c(*crc, data.data, data.len);
    p = put_head(p, type, *crc, data.len);
    if (data.len > 0)
        memcpy(p, data.data, data.len);
    return put_padding(p + data.len, start);
}

uint8_t *wal_record_put_entry(uint8_t *p, uint32_t *crc,
                              const struct raft_entry *entry)
{
    uint8_t head[RAFTPB_ENTRY_HEAD_MAX];
    const uint8_t *start = p;
    size_t head_len = (size_t)(raftpb_entry_put_head(head, entry) - head);

    /* The crc stands before the data and its varint's length depends on it:
     * it is computed before anything is copied. */
    *crc = crc32c(*crc, head, head_len);
    if (entry->len > 0)
        *crc = crc32c(*crc, entry->data, entry->len);
    p = put_head(p, WAL_ENTRY, *crc, head_len + entry->len);
    memcpy(p, head, head_len);
    p += head_len;
    if (entry->len > 0)
        memcpy(p, entry->data, entry->len);
    return put_padding(p + entry->len, start);
}

uint8_t *wal_record_put_crc(uint8_t *p, uint32_t crc)
{
    const uint8_t *start = p;
    uint64_t size = 2 + 1 + pb_varint_size(crc);
    uint64_t pad = -size & 7;

    le_put_u64(p, pad ? size | (0x80 | pad) << 56 : size);
    p += WAL_FRAME_BYTES;
    p = pb_put_number(p, 1, WAL_CRC);
    p = pb_put_number(p, 2, crc);
    return put_padding(p, start);
}

uint8_t *wal_metadata_put(uint8_t *p, const struct wal_metadata *metadata)
{
    p = pb_put_number(p, 1, metadata->node_id);
    return pb_put_number(p, 2, metadata->cluster_id);
}

size_t wal_snapshot_size(uint64_t index, uint64_t term,
                         const struct raft_conf_state *cs)
{
    size_t size = 2 + pb_varint_size(index) + pb_varint_size(term);
    if (cs) {
        size_t conf = raftpb_conf_state_size(cs);
        size += pb_len_size(3, conf) + conf;
    }
    return size;
}

uint8_t *wal_snapshot_put(uint8_t *p, uint64_t index, uint64_t term,
                          const struct raft_conf_state *cs)
{
    p = pb_put_number(p, 1, index);
    p = pb_put_number(p, 2, term);
    if (cs) {
        p = pb_put_len(p, 3, raftpb_conf_state_size(cs));
        p = raftpb_conf_state_put(p, cs);
    }
    return p;
}

/* Goes over a varint; -1: it doesn't end within the bytes. */
static int read_varint(struct bytes in, size_t *at, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *at < in.len && shift < 64; shift += 7) {
        uint8_t byte = in.data[(*at)++];
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return 0;
    }
    return -1;
}

bool wal_record_contradicts(struct bytes head, uint64_t length)
{
    size_t at = 0;
    uint64_t value;

    for (uint32_t number = 1; number <= 3; number++) {
        enum pb_wire wire = number == 3 ? PB_LEN : PB_VARINT;
        if (number == 3 && at == length)
            return false;
        if (at == head.len)
            return false;
        if (head.data[at++] != pb_key(number, wire))
            return true;
        if (read_varint(head, &at, &value) < 0)
            return at < head.len;
    }
    return at + value != length;
}

int wal_record_get(struct wal_record *record, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct pb_field f;
    bool has_type = false;
    bool has_crc = false;
    int more;

    /* Nothing of this is under the checksum, so nothing is let pass that no
     * etcd has ever written. */
    *record = (struct wal_record){0};
    while ((more = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT && !has_type) {
            record->type = f.value;
            has_type = true;
        } else if (f.number == 2 && f.wire == PB_VARINT && !has_crc &&
                   f.value <= UINT32_MAX) {
            record->crc = (uint32_t)f.value;
            has_crc = true;
        } else if (f.number == 3 && f.wire == PB_LEN && !record->data.data) {
            record->data = f.bytes;
        } else {
            return ERR_CORRUPT;
        }
    }
    return more == 0 && has_type && has_crc ? 0 : ERR_CORRUPT;
}

int wal_metadata_get(struct wal_metadata *metadata, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct pb_field f;
    int more;

    *metadata = (struct wal_metadata){0};
    while ((more = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT)
            metadata->node_id = f.value;
        else if (f.number == 2 && f.wire == PB_VARINT)
            metadata->cluster_id = f.value;
    }
    return more < 0 ? ERR_CORRUPT : 0;
}

int wal_snapshot_get(struct wal_snapshot *snapshot, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct pb_field f;
    int more;

    *snapshot = (struct wal_snapshot){0};
    while ((more = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT) {
            snapshot->index = f.value;
        } else if (f.number == 2 && f.wire == PB_VARINT) {
            snapshot->term = f.value;
        } else if (f.number == 3 && f.wire == PB_LEN) {
            raft_conf_state_close(&snapshot->conf_state);
            more = raftpb_conf_state_get(&snapshot->conf_state, f.bytes);
            if (more < 0)
                break;
            snapshot->has_conf_state = true;
        }
    }
    if (more < 0) {
        raft_conf_state_close(&snapshot->conf_state);
        *snapshot = (struct wal_snapshot){0};
        return ERR_CORRUPT;
    }
    return 0;
}
