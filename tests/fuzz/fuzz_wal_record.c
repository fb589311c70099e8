/* The log's small decoders: whatever decodes is encoded and decodes again to
 * the same bytes. */
#include "chorad/base/check.h"
#include "wal/record.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void entry(struct bytes in)
{
    struct raft_entry e;
    struct raft_entry back;

    if (raftpb_entry_get(&e, in, NULL) < 0)
        return;
    size_t len = raftpb_entry_size(&e);
    uint8_t *out = malloc(len);
    CHECK(out && raftpb_entry_put(out, &e) == out + len);
    CHECK(raftpb_entry_get(&back, bytes_of(out, len), NULL) == 0);
    CHECK(back.term == e.term && back.index == e.index && back.len == e.len);
    free(out);
}

static void snapshots(struct bytes in)
{
    struct raft_snapshot *snapshot;
    struct wal_snapshot record;

    if (raftpb_snapshot_get(&snapshot, in) == 0) {
        size_t len = raftpb_snapshot_size(snapshot);
        uint8_t *out = malloc(len);
        CHECK(out && raftpb_snapshot_put(out, snapshot) == out + len);
        free(out);
        raft_snapshot_unref(snapshot);
    }
    if (wal_snapshot_get(&record, in) == 0)
        raft_conf_state_close(&record.conf_state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct raft_hard_state hs;
    struct wal_metadata metadata;
    struct wal_record record;

    (void)raftpb_hard_state_get(&hs, in);
    (void)wal_metadata_get(&metadata, in);
    if (wal_record_get(&record, in) == 0)
        entry(record.data);
    entry(in);
    snapshots(in);
    return 0;
}
