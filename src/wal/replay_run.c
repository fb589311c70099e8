#include "replay.h"
#include <inttypes.h>
#include <stdlib.h>

/* No cluster elects that often, and hardly any member's id is as small. */
#define TERM_MAX (UINT64_C(1) << 40)

void wal_contents_close(struct wal_contents *contents)
{
    for (size_t i = 0; i < contents->entry_count; i++)
        raft_entry_unref(&contents->entries[i]);
    free(contents->entries);
    for (size_t i = 0; i < contents->snapshot_count; i++)
        raft_conf_state_close(&contents->snapshots[i].conf_state);
    free(contents->snapshots);
    raft_conf_state_close(&contents->snapshot.conf_state);
    *contents = (struct wal_contents){0};
}

void wal_replay_run_init(struct wal_replay_run *run, struct wal_replay *replay,
                         struct wal_contents *contents)
{
    *run = (struct wal_replay_run){.replay = replay, .contents = contents};
}

void wal_replay_run_close(struct wal_replay_run *run)
{
    wal_reader_close(&run->reader);
}

static void truncate_entries(struct wal_contents *c, size_t count)
{
    while (c->entry_count > count)
        raft_entry_unref(&c->entries[--c->entry_count]);
}

static int take_entry(struct wal_replay_run *run, struct bytes data,
                      struct errmsg *msg)
{
    struct wal_contents *c = run->contents;
    struct raft_entry entry;

    /* The record's type isn't under the checksum: a hard state must not pass
     * for an entry. Its vote, a member's id, stands where the term does. */
    if (raftpb_entry_get(&entry, data, NULL) < 0 || entry.term == 0 ||
        entry.term > TERM_MAX ||
        (entry.type == RAFT_ENTRY_CONF_CHANGE && entry.len == 0))
        return wal_reader_damaged(&run->reader, msg, "not an entry");
    uint64_t base = c->snapshot.index;
    uint64_t next = base + c->entry_count + 1;
    /* Only what isn't committed is ever written again. */
    if (entry.index <= c->hard_state.commit)
        return wal_reader_damaged(&run->reader, msg,
                                  "entry %" PRIu64 " written after %" PRIu64
                                  " was committed",
                                  entry.index, c->hard_state.commit);
    if (entry.index > next)
        return wal_reader_damaged(&run->reader, msg,
                                  "entry %" PRIu64 " where %" PRIu64
                                  " should follow",
                                  entry.index, next);
    run->replay->last_index = entry.index;
    /* Written again, it takes those behind it along, also from before where
     * the log starts now. */
    if (entry.index <= base) {
        truncate_entries(c, 0);
        return 0;
    }
    truncate_entries(c, (size_t)(entry.index - base - 1));
    if (c->entry_count == run->entry_cap) {
        run->entry_cap = run->entry_cap ? run->entry_cap * 2 : 256;
        c->entries =
            mem_realloc(c->entries, run->entry_cap * sizeof(c->entries[0]));
    }
    if (entry.len > 0)
        entry.owner = shared_ref(run->reader.window);
    c->entries[c->entry_count++] = entry;
    return 0;
}

static int take_state(struct wal_replay_run *run, struct bytes data,
                      struct errmsg *msg)
{
    uint8_t canonical[RAFTPB_HARD_STATE_MAX];
    struct raft_hard_state hs;

    /* As above. An entry has more fields, or none where the term of a hard
     * state stands. */
    if (raftpb_hard_state_get(&hs, data) < 0 || hs.term == 0 ||
        data.len > (size_t)(raftpb_hard_state_put(canonical, &hs) - canonical))
        return wal_reader_damaged(&run->reader, msg, "not a hard state");
    run->contents->hard_state = hs;
    return 0;
}

static int take_metadata(struct wal_replay_run *run, struct bytes data,
                         struct errmsg *msg)
{
    struct buf *metadata = &run->replay->metadata;

    if (!run->has_metadata) {
        if (wal_metadata_get(&run->contents->metadata, data) < 0)
            return wal_reader_damaged(&run->reader, msg, "not metadata");
        metadata->len = 0;
        if (data.len > 0)
            buf_append(metadata, data.data, data.len);
        run->has_metadata = true;
    } else if (bytes_cmp(data, bytes_of(metadata->data, metadata->len)) != 0) {
        return wal_reader_damaged(&run->reader, msg,
                                  "metadata of another member");
    }
    run->segment_has_metadata = true;
    return 0;
}

static int take_snapshot(struct wal_replay_run *run, struct bytes data,
                         struct errmsg *msg)
{
    struct wal_contents *c = run->contents;
    struct wal_snapshot snapshot;

    if (wal_snapshot_get(&snapshot, data) < 0)
        return wal_reader_damaged(&run->reader, msg, "not a snapshot");
    if (snapshot.index == c->snapshot.index && c->snapshot.term != 0 &&
        snapshot.term != c->snapshot.term) {
        raft_conf_state_close(&snapshot.conf_state);
        return wal_reader_damaged(
            &run->reader, msg, "snapshot at the same index has another term");
    }
    if (run->replay->last_index < snapshot.index)
        run->replay->last_index = snapshot.index;
    c->snapshots = mem_realloc(c->snapshots, (c->snapshot_count + 1) *
                                                 sizeof(c->snapshots[0]));
    c->snapshots[c->snapshot_count++] = snapshot;
    return 0;
}

static int take_record(struct wal_replay_run *run,
                       const struct wal_record *record, struct errmsg *msg)
{
    switch (record->type) {
    case WAL_ENTRY:
        return take_entry(run, record->data, msg);
    case WAL_STATE:
        return take_state(run, record->data, msg);
    case WAL_METADATA:
        return take_metadata(run, record->data, msg);
    case WAL_SNAPSHOT:
        return take_snapshot(run, record->data, msg);
    case WAL_CRC:
        return 0;
    default:
        return wal_reader_damaged(
            &run->reader, msg, "record of unknown type %" PRIu64, record->type);
    }
}

int wal_replay_run_segment(struct wal_replay_run *run,
                           const struct wal_source *source, bool last,
                           struct errmsg *msg)
{
    struct wal_reader *r = &run->reader;
    struct wal_record record;
    int more;

    if (r->source)
        wal_reader_next_segment(r, source, last);
    else
        wal_reader_init(r, source, last);
    run->segment_has_metadata = false;
    while ((more = wal_reader_next(r, &record, msg)) > 0) {
        int err = take_record(run, &record, msg);
        if (err < 0)
            return err;
    }
    if (more < 0)
        return more;
    /* A segment gets its name after its head has been synced. */
    if (!run->segment_has_metadata)
        return wal_reader_damaged(r, msg, "segment without its head");
    run->replay->offset = r->offset;
    run->replay->size = source->size;
    run->replay->crc = r->crc;
    run->replay->torn = r->torn;
    return 0;
}
