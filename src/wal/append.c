#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "internal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More than this is written before the batch is complete. */
#define BUF_FLUSH_BYTES (1024 * 1024)

/* ---- records ----------------------------------------------------------- */

static void put_record(struct wal *wal, enum wal_record_type type,
                       struct bytes data)
{
    uint8_t *p = wal_buf_reserve(wal, data.len + WAL_RECORD_OVERHEAD);
    wal->len = (size_t)(wal_record_put(p, &wal->crc, type, data) - wal->buf);
}

void wal_put_head(struct wal *wal)
{
    uint8_t *p = wal_buf_reserve(wal, WAL_RECORD_OVERHEAD);
    wal->len = (size_t)(wal_record_put_crc(p, wal->crc) - wal->buf);
    put_record(wal, WAL_METADATA,
               bytes_of(wal->metadata.data, wal->metadata.len));
}

void wal_put_state(struct wal *wal)
{
    uint8_t data[RAFTPB_HARD_STATE_MAX];
    uint8_t *end = raftpb_hard_state_put(data, &wal->hard_state);
    put_record(wal, WAL_STATE, bytes_of(data, (size_t)(end - data)));
}

void wal_put_snapshot(struct wal *wal, uint64_t index, uint64_t term,
                      const struct raft_conf_state *cs)
{
    size_t size = wal_snapshot_size(index, term, cs);
    uint8_t *data = mem_alloc(size);
    (void)wal_snapshot_put(data, index, term, cs);
    put_record(wal, WAL_SNAPSHOT, bytes_of(data, size));
    free(data);
    if (wal->last_index < index)
        wal->last_index = index;
}

/* ---- the next segment -------------------------------------------------- */

/* The last segment becomes exactly as long as what is in it. */
static int finish_segment(struct wal *wal, struct errmsg *msg)
{
    struct errmsg why;
    int err = wal_flush(wal, msg);

    if (err < 0)
        return err;
    if (ftruncate(wal->fd, (off_t)(wal->offset + wal->len)) != 0) {
        err = err_errno(&why, errno, "%s: ftruncate", wal->path);
        return wal_fail(wal, err, &why, msg);
    }
    return wal_datasync(wal, msg);
}

static int publish_segment(struct wal *wal, struct wal_name name,
                           struct errmsg *msg)
{
    char text[WAL_NAME_SIZE];
    struct errmsg why;
    int err = 0;

    wal_name_print(text, name);
    uint64_t began = clock_mono_ns();
    if (renameat(wal->dir_fd, WAL_TMP_NAME, wal->dir_fd, text) != 0)
        err = err_errno(&why, errno, "%s: rename to %s", wal->path, text);
    else if (!wal->options.unsafe_no_fsync)
        err = wal_fd_sync_dir(wal->dir_fd, wal->dir, &why);
    if (err < 0)
        return wal_fail(wal, err, &why, msg);
    metric_observe(wal->metrics->fsync,
                   (double)(clock_mono_ns() - began) * 1e-9);
    free(wal->path);
    wal->path = wal_segment_path(wal->dir, name);
    return 0;
}

/* Goes on in a new segment. It gets its name only when its head is durable,
 * so that a segment without head is damage and not a crash. */
static int cut(struct wal *wal, struct errmsg *msg)
{
    struct wal_name name = {wal->seq + 1, wal->last_index + 1};
    struct errmsg why;
    int fd;
    int err = finish_segment(wal, msg);

    if (err < 0)
        return err;
    err = wal_prealloc_take(&wal->prealloc, &fd, &why);
    if (err < 0)
        return wal_fail(wal, err, &why, msg);
    wal_push_segment(wal, name, fd, wal->options.segment_bytes);
    free(wal->path);
    wal->path = mem_strdup(wal->prealloc.path);
    err = wal_set_end(wal, 0, &why);
    if (err < 0)
        return wal_fail(wal, err, &why, msg);
    wal_put_head(wal);
    if (wal->hard_state.term != 0)
        wal_put_state(wal);
    err = wal_sync(wal, msg);
    if (err == 0)
        err = publish_segment(wal, name, msg);
    if (err < 0)
        return err;
    wal_prealloc_start(&wal->prealloc);
    log_info("created a new WAL segment", LOG_STR("path", wal->path));
    return 0;
}

/* ---- batches ----------------------------------------------------------- */

static int put_entries(struct wal *wal, const struct raft_entry *entries,
                       size_t count, struct errmsg *msg)
{
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &entries[i];
        uint8_t *p =
            wal_buf_reserve(wal, (size_t)entry->len + RAFTPB_ENTRY_HEAD_MAX +
                                     WAL_RECORD_OVERHEAD);
        p = wal_record_put_entry(p, &wal->crc, entry);
        wal->len = (size_t)(p - wal->buf);
        wal->last_index = entry->index;
        if (wal->len >= BUF_FLUSH_BYTES) {
            int err = wal_flush(wal, msg);
            if (err < 0)
                return err;
        }
    }
    return 0;
}

static int end_of_batch(struct wal *wal, struct errmsg *msg)
{
    uint64_t end = wal->offset + wal->len;

    if (end >= wal->limit)
        return cut(wal, msg);
    if (end >= wal->fill_at) {
        wal_prealloc_fill(&wal->prealloc);
        wal->fill_at = UINT64_MAX;
    }
    return 0;
}

int wal_append(struct wal *wal, const struct wal_batch *batch,
               struct errmsg *msg)
{
    const struct raft_snapshot *snapshot = batch->snapshot;
    const struct raft_hard_state *hs = batch->hard_state;
    int err = wal_still_good(wal, msg);

    if (err < 0)
        return err;
    if (snapshot)
        wal_put_snapshot(wal, snapshot->index, snapshot->term,
                         &snapshot->conf_state);
    err = put_entries(wal, batch->entries, batch->entry_count, msg);
    if (err < 0)
        return err;
    if (hs && (hs->term | hs->vote | hs->commit) != 0) {
        wal->hard_state = *hs;
        wal_put_state(wal);
    } else if (batch->entry_count == 0) {
        return 0;
    }
    return end_of_batch(wal, msg);
}
