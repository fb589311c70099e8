/* A fresh log for a new directory. */
#include "tool.h"

/* Entries that are handed over at once. */
#define CHUNK 1000

static int append_snapshot(struct wal *wal,
                           const struct raft_snapshot *snapshot,
                           struct errmsg *msg)
{
    struct wal_batch batch = {.snapshot = snapshot};

    return snapshot != NULL ? wal_append(wal, &batch, msg) : 0;
}

static int append_all(struct wal *wal, const struct new_log *log,
                      struct errmsg *msg)
{
    struct wal_batch end = {.hard_state = &log->hard_state};
    int err = append_snapshot(wal, log->before, msg);

    for (size_t i = 0; i < log->entry_count && err == 0; i += CHUNK) {
        size_t left = log->entry_count - i;
        struct wal_batch batch = {
            .entries = log->entries + i,
            .entry_count = left < CHUNK ? left : CHUNK,
        };

        err = wal_append(wal, &batch, msg);
    }
    if (err == 0)
        err = wal_append(wal, &end, msg);
    return err == 0 ? append_snapshot(wal, log->after, msg) : err;
}

int new_log_write(const struct new_log *log, struct errmsg *msg)
{
    struct wal *wal;
    int err = wal_create(&wal, log->dir, NULL, &log->metadata, msg);
    int closed;

    if (err != 0)
        return err;
    err = append_all(wal, log, msg);
    closed = wal_close(wal, err == 0 ? msg : NULL);
    return err != 0 ? err : closed;
}
