/* chorad export: the store as etcd's database, and a log with what that
 * doesn't hold yet. */
#include "tool.h"

#include "chorad/base/file.h"
#include "chorad/raft.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)1 << 20)

struct export
{
    const struct options *options;
    struct place place;
    struct wal_contents log;
    char *dir; /* <to>/member.tmp */
    struct headway headway;
    /* The database's file. */
    char *path;
    int fd;
    uint8_t *buffer;
    size_t filled;
    struct errmsg *msg;
};

/* ---- the database ---------------------------------------------------------
 */

static int write_out(struct export *e)
{
    int err = file_write_all(e->fd, e->buffer, e->filled, e->msg);

    e->filled = 0;
    return err != 0 ? err_wrap(e->msg, err, "%s", e->path) : 0;
}

static int add_bytes(void *arg, struct bytes bytes)
{
    struct export *e = arg;

    if (bytes.len > BUFFER_BYTES - e->filled) {
        int err = write_out(e);

        if (err != 0)
            return err;
    }
    if (bytes.len > BUFFER_BYTES) {
        int err = file_write_all(e->fd, bytes.data, bytes.len, e->msg);

        return err != 0 ? err_wrap(e->msg, err, "%s", e->path) : 0;
    }
    memcpy(e->buffer + e->filled, bytes.data, bytes.len);
    e->filled += bytes.len;
    return 0;
}

static int tell(void *arg, const struct snapshot_progress *at)
{
    struct export *e = arg;

    return tool_tell(&e->headway, at);
}

static int read_store(struct export *e)
{
    struct snapshot_sink sink = {NULL, add_bytes, tell, e};
    struct store_reader *reader;
    int err = store_reader_open(e->place.store, &reader);

    if (err != 0)
        return err_set(e->msg, err, "read the store: %s", err_text(err));
    err = store_read_begin(reader);
    if (err == 0) {
        err = snapshot_write(reader, &sink, e->msg);
        store_read_end(reader);
    } else {
        (void)err_set(e->msg, err, "read the store: %s", err_text(err));
    }
    store_reader_close(reader);
    return err;
}

static int write_database(struct export *e)
{
    int err;

    e->fd = open(e->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (e->fd < 0)
        return err_errno(e->msg, errno, "%s", e->path);
    e->buffer = mem_alloc(BUFFER_BYTES);
    tool_headway(&e->headway, e->options, "exporting");
    err = read_store(e);
    if (err == 0)
        err = write_out(e);
    headway_end(&e->headway);
    if (err == 0 && fsync(e->fd) != 0)
        err = err_errno(e->msg, errno, "%s", e->path);
    if (close(e->fd) != 0 && err == 0)
        err = err_errno(e->msg, errno, "%s", e->path);
    free(e->buffer);
    return err;
}

/* ---- the log --------------------------------------------------------------
 */

/* The store's newest entry has to be in the log, or where it begins. */
static int check_fit(const struct export *e, uint64_t applied)
{
    uint64_t first = e->log.snapshot.index;
    uint64_t last = first + e->log.entry_count;

    if (applied >= first && applied <= last)
        return 0;
    return err_set(e->msg, ERR_CORRUPT,
                   "the store in %s ends at entry %" PRIu64
                   ", but the log in %s has entries %" PRIu64 " to %" PRIu64,
                   e->place.kv_dir, applied, e->place.wal_dir, first + 1, last);
}

/* What was applied was committed, also if the log doesn't say so yet. */
static int write_log(struct export *e, uint64_t applied)
{
    const struct wal_snapshot *start = &e->log.snapshot;
    struct raft_snapshot *snapshot =
        start->index == 0 ? NULL
                          : raft_snapshot_new(start->index, start->term,
                                              &start->conf_state, NULL);
    char *dir = mem_printf("%s/wal", e->dir);
    struct new_log log = {
        .dir = dir,
        .metadata = e->log.metadata,
        .before = snapshot,
        .entries = e->log.entries,
        .entry_count = e->log.entry_count,
        .hard_state = e->log.hard_state,
    };
    int err;

    if (log.hard_state.commit < applied)
        log.hard_state.commit = applied;
    err = new_log_write(&log, e->msg);
    raft_snapshot_unref(snapshot);
    free(dir);
    return err;
}

/* ---- all of it ------------------------------------------------------------
 */

static int make(struct export *e)
{
    char *snap = mem_printf("%s/snap", e->dir);
    uint64_t applied;
    uint64_t term;
    int err;

    e->path = mem_printf("%s/db", snap);
    store_consistent_index(e->place.store, &applied, &term);
    err = check_fit(e, applied);
    if (err == 0)
        err = place_prepare(e->options->to, e->msg);
    if (err == 0)
        err = file_make_dirs(snap, e->msg);
    if (err == 0)
        err = write_database(e);
    if (err == 0)
        err = file_sync_dir(snap, e->msg);
    if (err == 0)
        err = write_log(e, applied);
    if (err == 0)
        err = place_finish(e->options->to, e->msg);
    if (err != 0)
        (void)file_remove_tree(e->dir, NULL);
    free(snap);
    free(e->path);
    return err;
}

int export_run(const struct options *options)
{
    struct errmsg msg = {""};
    struct export e = {.options = options, .msg = &msg};
    int err = place_open(&e.place, options, &msg);

    if (err == 0 && (options->to == NULL || options->to[0] == '\0'))
        err = err_set(&msg, ERR_INVALID, "--to is required");
    if (err == 0)
        err = wal_read(e.place.wal_dir, NULL, &e.log, &msg);
    if (err == 0) {
        e.dir = mem_printf("%s/member.tmp", options->to);
        err = make(&e);
        free(e.dir);
    }
    if (err == 0)
        (void)printf("member %" PRIx64 " of cluster %" PRIx64
                     ": start etcd 3.7 with --data-dir %s\n",
                     e.log.metadata.node_id, e.log.metadata.cluster_id,
                     options->to);
    wal_contents_close(&e.log);
    place_close(&e.place);
    return err == 0 ? EXIT_OK : tool_fail(&msg);
}
