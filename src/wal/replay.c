#include "replay.h"
#include "chorad/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

char *wal_segment_path(const char *dir, struct wal_name name)
{
    char text[WAL_NAME_SIZE];
    wal_name_print(text, name);
    return mem_printf("%s/%s", dir, text);
}

static int open_segment(const struct wal_replay *replay,
                        struct wal_segment *segment, const char *path,
                        struct errmsg *msg)
{
    if (segment->fd >= 0)
        return 0;
    int fd = open(path, (replay->write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return err_errno(msg, errno, "%s", path);
    if (replay->write) {
        int err = wal_fd_lock(fd, path, msg);
        if (err < 0) {
            (void)close(fd);
            return err;
        }
    }
    segment->fd = fd;
    return 0;
}

/* Opens the segment if need be and makes it a source; *path is the caller's
 * to free, also on error. */
static int segment_source(const struct wal_replay *replay, size_t i,
                          struct wal_source *source, char **path,
                          struct errmsg *msg)
{
    struct wal_segment *segment = &replay->segments[i];

    *path = wal_segment_path(replay->dir, segment->name);
    int err = open_segment(replay, segment, *path, msg);
    if (err == 0)
        err = wal_source_file(source, *path, segment->fd, msg);
    return err;
}

static int list_segments(struct wal_replay *replay, struct errmsg *msg)
{
    struct wal_name *names;
    size_t count;
    int err = wal_dir_list(replay->dir, &names, &count, msg);

    if (err < 0)
        return err;
    if (count == 0) {
        free(names);
        (void)err_set(msg, ERR_NOTFOUND, "%s: no log there", replay->dir);
        return ERR_NOTFOUND;
    }
    replay->count = count;
    replay->segments = mem_alloc(count * sizeof(replay->segments[0]));
    for (size_t i = 0; i < count; i++)
        replay->segments[i] = (struct wal_segment){names[i], -1};
    free(names);
    return 0;
}

/* ---- where to start ---------------------------------------------------- */

/* Collects the snapshot records of one segment and its last hard state. */
static int scan_segment(struct wal_replay *replay, size_t i,
                        struct raft_hard_state *hs, struct errmsg *msg)
{
    struct wal_source source;
    struct wal_reader r = {0};
    struct wal_record record;
    char *path;
    int more = segment_source(replay, i, &source, &path, msg);

    if (more < 0)
        goto err_after_path;
    wal_reader_init(&r, &source, i + 1 == replay->count);
    while ((more = wal_reader_next(&r, &record, msg)) > 0) {
        if (record.type == WAL_STATE) {
            more = raftpb_hard_state_get(hs, record.data);
        } else if (record.type == WAL_SNAPSHOT) {
            struct wal_snapshot snapshot;
            more = wal_snapshot_get(&snapshot, record.data);
            if (more == 0) {
                replay->candidates = mem_realloc(
                    replay->candidates, (replay->candidate_count + 1) *
                                            sizeof(replay->candidates[0]));
                replay->candidates[replay->candidate_count++] = snapshot;
            }
        }
        if (more < 0) {
            more = wal_reader_damaged(&r, msg, "not a record");
            break;
        }
    }
    wal_reader_close(&r);
err_after_path:
    free(path);
    return more;
}

/* The newest snapshot that is committed and within the limit. */
static struct wal_snapshot *newest_valid(const struct wal_replay *replay,
                                         uint64_t commit)
{
    struct wal_snapshot *best = NULL;
    for (size_t i = 0; i < replay->candidate_count; i++) {
        struct wal_snapshot *s = &replay->candidates[i];
        if (s->index > commit ||
            (replay->snapshot_limit && s->index > replay->snapshot_limit))
            continue;
        if (!best || s->index > best->index)
            best = s;
    }
    return best;
}

/* Goes through the segments backwards, as what is wanted mostly stands in
 * the last one. */
static int find_snapshot(struct wal_replay *replay,
                         struct wal_contents *contents, struct errmsg *msg)
{
    struct raft_hard_state last = {0};

    for (size_t i = replay->count; i-- > 0;) {
        struct raft_hard_state hs = {0};
        int err = scan_segment(replay, i, &hs, msg);
        if (err < 0)
            return err;
        if (last.term == 0)
            last = hs;
        if (last.term == 0 && i > 0)
            continue;
        struct wal_snapshot *best = newest_valid(replay, last.commit);
        if (!best)
            continue;
        contents->snapshot = *best;
        best->conf_state = (struct raft_conf_state){0};
        contents->hard_state = last;
        return 0;
    }
    return err_set(
        msg, ERR_CORRUPT,
        "%s: no snapshot record at or before index %" PRIu64 "; " WAL_ADVICE,
        replay->dir,
        replay->snapshot_limit && replay->snapshot_limit < last.commit
            ? replay->snapshot_limit
            : last.commit);
}

static int check_gaps(const struct wal_replay *replay, size_t start,
                      struct errmsg *msg)
{
    for (size_t i = start + 1; i < replay->count; i++) {
        uint64_t before = replay->segments[i - 1].name.seq;
        if (replay->segments[i].name.seq != before + 1)
            return err_set(msg, ERR_CORRUPT,
                           "%s: segment %016" PRIx64 " is missing; " WAL_ADVICE,
                           replay->dir, before + 1);
    }
    return 0;
}

/* The last segment that begins at or before the entry the snapshot stands
 * for, and no gap from there on. */
static int find_start(struct wal_replay *replay, uint64_t index,
                      struct errmsg *msg)
{
    size_t start = replay->count;
    while (start > 0 && replay->segments[start - 1].name.index > index)
        start--;
    if (start == 0)
        return err_set(msg, ERR_CORRUPT,
                       "%s: no segment begins at or before index %" PRIu64
                       "; " WAL_ADVICE,
                       replay->dir, index);
    replay->start = start - 1;
    int err = check_gaps(replay, replay->start, msg);
    if (err < 0)
        return err;
    for (size_t i = 0; i < replay->start; i++) {
        if (replay->segments[i].fd >= 0)
            (void)close(replay->segments[i].fd);
        replay->segments[i].fd = -1;
    }
    return 0;
}

/* ---- reading ----------------------------------------------------------- */

static int read_segments(struct wal_replay *replay,
                         struct wal_contents *contents, struct errmsg *msg)
{
    struct raft_hard_state before = contents->hard_state;
    struct wal_replay_run run;
    int err = 0;

    contents->hard_state = (struct raft_hard_state){0};
    wal_replay_run_init(&run, replay, contents);
    for (size_t i = replay->start; i < replay->count && err == 0; i++) {
        struct wal_source source;
        char *path;
        err = segment_source(replay, i, &source, &path, msg);
        if (err == 0)
            err = wal_replay_run_segment(&run, &source, i + 1 == replay->count,
                                         msg);
        free(path);
    }
    wal_replay_run_close(&run);
    if (err == 0 && contents->hard_state.term == 0)
        contents->hard_state = before;
    if (replay->last_index < contents->snapshot.index)
        replay->last_index = contents->snapshot.index;
    return err;
}

int wal_replay(struct wal_replay *replay, struct wal_contents *contents,
               struct errmsg *msg)
{
    *contents = (struct wal_contents){0};
    int err = list_segments(replay, msg);
    if (err == 0)
        err = find_snapshot(replay, contents, msg);
    if (err == 0)
        err = find_start(replay, contents->snapshot.index, msg);
    if (err == 0)
        err = read_segments(replay, contents, msg);
    if (err < 0)
        wal_contents_close(contents);
    else
        contents->repaired = replay->torn;
    return err;
}

void wal_replay_close(struct wal_replay *replay)
{
    for (size_t i = 0; i < replay->count; i++) {
        if (replay->segments[i].fd >= 0)
            (void)close(replay->segments[i].fd);
    }
    free(replay->segments);
    for (size_t i = 0; i < replay->candidate_count; i++)
        raft_conf_state_close(&replay->candidates[i].conf_state);
    free(replay->candidates);
    buf_close(&replay->metadata);
    *replay = (struct wal_replay){0};
}

int wal_read(const char *dir, const struct wal_options *options,
             struct wal_contents *contents, struct errmsg *msg)
{
    struct wal_replay replay = {
        .dir = dir,
        .snapshot_limit = options ? options->snapshot_limit : 0,
    };
    int err = wal_replay(&replay, contents, msg);
    wal_replay_close(&replay);
    return err;
}

bool wal_exists(const char *dir)
{
    struct wal_name *names;
    size_t count;

    if (wal_dir_list(dir, &names, &count, NULL) < 0)
        return false;
    free(names);
    return count > 0;
}

int wal_read_whole(const char *dir, struct wal_contents *contents,
                   size_t *segments, struct errmsg *msg)
{
    struct wal_replay replay = {.dir = dir};
    int err;

    *contents = (struct wal_contents){0};
    *segments = 0;
    err = list_segments(&replay, msg);
    if (err == 0) {
        uint64_t first = replay.segments[0].name.index;

        *segments = replay.count;
        contents->snapshot.index = first > 0 ? first - 1 : 0;
        err = check_gaps(&replay, 0, msg);
    }
    if (err == 0)
        err = read_segments(&replay, contents, msg);
    if (err < 0)
        wal_contents_close(contents);
    else
        contents->repaired = replay.torn;
    wal_replay_close(&replay);
    return err;
}

/* Newest first: what is left of a removal that was cut off is a shorter log,
 * not one that has a gap. */
int wal_remove(const char *dir, struct errmsg *msg)
{
    struct wal_name *names;
    size_t count;
    int err;

    if (!wal_exists(dir))
        return 0;
    err = wal_dir_list(dir, &names, &count, msg);
    if (err < 0)
        return err;
    while (err == 0 && count > 0) {
        char *path = wal_segment_path(dir, names[--count]);
        err = file_remove_tree(path, msg);
        free(path);
    }
    free(names);
    return err == 0 ? file_sync_dir(dir, msg) : err;
}
