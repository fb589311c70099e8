/* Records of the log: frame, walpb.Record, and what is inside. Pure. */
#ifndef CHORAD_WAL_RECORD_H
#define CHORAD_WAL_RECORD_H

#include "chorad/raftpb.h"
#include "chorad/wal.h"

enum wal_record_type {
    WAL_METADATA = 1,
    WAL_ENTRY = 2,
    WAL_STATE = 3,
    WAL_CRC = 4,
    WAL_SNAPSHOT = 5,
};

#define WAL_FRAME_BYTES 8
/* The longest frame, record head and padding around the data. */
#define WAL_RECORD_OVERHEAD (WAL_FRAME_BYTES + 2 + 6 + 11 + 7)

struct wal_record {
    uint64_t type;
    uint32_t crc;
    struct bytes data; /* borrowed */
};

/* ---- writing ------------------------------------------------------------ */

/* Each writes one whole record at `p`, with room for WAL_RECORD_OVERHEAD more
 * than the data's size, moves `crc` on over the data and returns the end. */
uint8_t *wal_record_put(uint8_t *p, uint32_t *crc, enum wal_record_type type,
                        struct bytes data);
uint8_t *wal_record_put_entry(uint8_t *p, uint32_t *crc,
                              const struct raft_entry *entry);
/* The head of a segment: no data, the running crc as it stands. */
uint8_t *wal_record_put_crc(uint8_t *p, uint32_t crc);

#define WAL_METADATA_MAX 22
uint8_t *wal_metadata_put(uint8_t *p, const struct wal_metadata *metadata);

/* walpb.Snapshot; `cs` NULL for the first record of a log. */
size_t wal_snapshot_size(uint64_t index, uint64_t term,
                         const struct raft_conf_state *cs);
uint8_t *wal_snapshot_put(uint8_t *p, uint64_t index, uint64_t term,
                          const struct raft_conf_state *cs);

/* ---- reading ------------------------------------------------------------ */

/* What a frame announces. */
static inline uint64_t wal_frame_record_bytes(uint64_t frame)
{
    return frame & ((UINT64_C(1) << 56) - 1);
}

static inline uint64_t wal_frame_pad_bytes(uint64_t frame)
{
    return frame >> 63 ? (frame >> 56) & 7 : 0;
}

/* Do these bytes, which may end within the record's head, show that no record
 * of `length` bytes begins with them? */
bool wal_record_contradicts(struct bytes head, uint64_t length);

/* ERR_CORRUPT if it isn't a walpb.Record. */
int wal_record_get(struct wal_record *record, struct bytes in);
int wal_metadata_get(struct wal_metadata *metadata, struct bytes in);
/* The caller closes snapshot->conf_state. */
int wal_snapshot_get(struct wal_snapshot *snapshot, struct bytes in);

#endif
