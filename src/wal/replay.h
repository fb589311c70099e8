/* Reads a log's directory: finds where to start, then every record from
 * there. */
#ifndef CHORAD_WAL_REPLAY_H
#define CHORAD_WAL_REPLAY_H

#include "dir.h"
#include "reader.h"

struct wal_segment {
    struct wal_name name;
    int fd; /* -1: not opened */
};

/* Zeroed but for the first three before wal_replay. */
struct wal_replay {
    const char *dir;
    /* Open for writing, with locks. */
    bool write;
    uint64_t snapshot_limit;

    struct wal_segment *segments;
    size_t count;
    /* The segment the reading starts with; older ones stay closed. */
    size_t start;
    /* Found on the way there. */
    struct wal_snapshot *candidates;
    size_t candidate_count;

    /* The end: where the next record goes, in the last segment. */
    uint64_t offset;
    uint64_t size;
    uint32_t crc;
    bool torn;
    /* Of the last entry written, or of a snapshot after it. */
    uint64_t last_index;
    /* As they stand in the log, to be repeated in every segment. */
    struct buf metadata;
};

/* Fills `contents`; on error it is closed and zeroed. */
int wal_replay(struct wal_replay *replay, struct wal_contents *contents,
               struct errmsg *msg);

/* Closes what is still open; a segment that somebody else took over has fd
 * -1. */
void wal_replay_close(struct wal_replay *replay);

/* "<dir>/<name>", malloc'ed. */
char *wal_segment_path(const char *dir, struct wal_name name);

/* The reading alone, for segments that need not be files: the log is the
 * row of `sources`, and starts at contents->snapshot. Fills `contents` and
 * the replay's end. */
struct wal_replay_run {
    struct wal_replay *replay;
    struct wal_contents *contents;
    struct wal_reader reader;
    bool has_metadata;
    bool segment_has_metadata;
    size_t entry_cap;
};

void wal_replay_run_init(struct wal_replay_run *run, struct wal_replay *replay,
                         struct wal_contents *contents);
int wal_replay_run_segment(struct wal_replay_run *run,
                           const struct wal_source *source, bool last,
                           struct errmsg *msg);
void wal_replay_run_close(struct wal_replay_run *run);

#endif
