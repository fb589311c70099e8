#include "chorad/wal.h"
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "internal.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- making and freeing ------------------------------------------------ */

static int new_wal(struct wal **out, const char *dir,
                   const struct wal_options *options, struct errmsg *msg)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_errno(msg, errno, "%s", dir);
    struct wal *wal = mem_zalloc(sizeof(*wal));
    wal->dir = mem_strdup(dir);
    wal->dir_fd = dir_fd;
    wal->fd = -1;
    if (options)
        wal->options = *options;
    if (wal->options.segment_bytes == 0)
        wal->options.segment_bytes = WAL_SEGMENT_BYTES;
    CHECK(pthread_mutex_init(&wal->lock, NULL) == 0);
    wal_prealloc_init(&wal->prealloc, dir, dir_fd, wal->options.segment_bytes);
    wal->metrics = wal_metrics();
    *out = wal;
    return 0;
}

static void free_wal(struct wal *wal)
{
    wal_prealloc_close(&wal->prealloc);
    for (size_t i = 0; i < wal->count; i++)
        (void)close(wal->segments[i].fd);
    free(wal->segments);
    (void)pthread_mutex_destroy(&wal->lock);
    (void)close(wal->dir_fd);
    buf_close(&wal->metadata);
    free(wal->buf);
    free(wal->path);
    free(wal->dir);
    free(wal);
}

int wal_close(struct wal *wal, struct errmsg *msg)
{
    if (!wal)
        return 0;
    int err = wal_sync(wal, msg);
    free_wal(wal);
    return err;
}

void wal_push_segment(struct wal *wal, struct wal_name name, int fd,
                      uint64_t size)
{
    CHECK(wal->len == wal->written);
    wal->limit =
        size < wal->options.segment_bytes ? size : wal->options.segment_bytes;
    wal->fill_at =
        wal->options.unsafe_no_fsync ? UINT64_MAX : wal->limit - wal->limit / 2;
    CHECK(pthread_mutex_lock(&wal->lock) == 0);
    wal->segments =
        mem_realloc(wal->segments, (wal->count + 1) * sizeof(wal->segments[0]));
    wal->segments[wal->count++] = (struct wal_segment){name, fd};
    CHECK(pthread_mutex_unlock(&wal->lock) == 0);
    wal->fd = fd;
    wal->seq = name.seq;
}

/* ---- create ------------------------------------------------------------ */

/* Where a segment is full that has nothing behind `offset` yet. It is a short
 * one: to have a whole one filled would hold up the start, that is left to the
 * next. */
static uint64_t first_end(const struct wal *wal, uint64_t offset)
{
    uint64_t end = wal->options.segment_bytes;

    if (end > offset + WAL_FIRST_BYTES)
        end = offset + WAL_FIRST_BYTES;
    return end > offset ? end : offset;
}

/* Allocated and filled. */
static int make_room(const struct wal *wal, int fd, const char *path,
                     uint64_t offset, uint64_t end, struct errmsg *msg)
{
    if (end == offset)
        return 0;
    int err = wal_fd_allocate(fd, path, end, msg);
    if (err == 0 && !wal->options.unsafe_no_fsync)
        err = wal_fd_zero(fd, path, offset, end, NULL, NULL, msg);
    return err;
}

/* The first segment gets its name when it is complete: a log either is there
 * or isn't. */
static int create_first(struct wal *wal, struct errmsg *msg)
{
    struct wal_name name = {0, 0};
    char text[WAL_NAME_SIZE];
    uint64_t size = first_end(wal, 0);
    int fd;
    int err = wal_tmp_make(&fd, wal->dir_fd, wal->prealloc.path, size, msg);

    if (err < 0)
        return err;
    err = make_room(wal, fd, wal->prealloc.path, 0, size, msg);
    wal_push_segment(wal, name, fd, size);
    wal->path = wal_segment_path(wal->dir, name);
    if (err == 0)
        err = wal_set_end(wal, 0, msg);
    wal_put_head(wal);
    wal_put_snapshot(wal, 0, 0, NULL);
    if (err == 0)
        err = wal_sync(wal, msg);
    wal_name_print(text, name);
    if (err == 0 && renameat(wal->dir_fd, WAL_TMP_NAME, wal->dir_fd, text) != 0)
        err = err_errno(msg, errno, "%s: rename", wal->prealloc.path);
    if (err < 0) {
        (void)unlinkat(wal->dir_fd, WAL_TMP_NAME, 0);
        return err;
    }
    return wal_fd_sync_dir(wal->dir_fd, wal->dir, msg);
}

int wal_create(struct wal **out, const char *dir,
               const struct wal_options *options,
               const struct wal_metadata *metadata, struct errmsg *msg)
{
    uint8_t data[WAL_METADATA_MAX];
    struct wal *wal = NULL;

    if (wal_exists(dir))
        return err_set(msg, ERR_EXISTS, "%s: there is a log already", dir);
    int err = wal_dir_make(dir, msg);
    if (err == 0)
        err = new_wal(&wal, dir, options, msg);
    if (err < 0)
        return err;
    CHECK(wal != NULL);
    size_t len = (size_t)(wal_metadata_put(data, metadata) - data);
    buf_append(&wal->metadata, data, len);
    err = create_first(wal, msg);
    if (err < 0) {
        free_wal(wal);
        return err;
    }
    wal_prealloc_start(&wal->prealloc);
    *out = wal;
    return 0;
}

/* ---- open -------------------------------------------------------------- */

/* The copy is for who wants to look into it: a full disk, which may be what has
 * torn the log, doesn't keep the member from starting. */
static int repair(const struct wal_replay *replay, int fd, const char *path,
                  struct errmsg *msg)
{
    char *broken = mem_printf("%s.broken", path);
    int err = wal_fd_copy(fd, path, broken, msg);

    if (err < 0)
        (void)unlink(broken);
    if (err == 0)
        log_warn("the end of the log was torn: cut off", LOG_STR("path", path),
                 LOG_U64("offset", replay->offset), LOG_STR("copy", broken));
    else if (err == ERR_NOSPC)
        log_warn("the end of the log was torn: cut off, with no room for a "
                 "copy",
                 LOG_STR("path", path), LOG_U64("offset", replay->offset));
    free(broken);
    return err == ERR_NOSPC ? 0 : err;
}

/* The last segment is left with nothing behind the end: whatever a torn write
 * has put there must never be taken for a record again. */
static int clear_tail(struct wal_replay *replay, int fd, const char *path,
                      struct errmsg *msg)
{
    bool clean = true;
    int err = 0;

    if (!replay->torn)
        err =
            wal_fd_is_zero(fd, path, replay->offset, replay->size, &clean, msg);
    if (err < 0 || (clean && !replay->torn))
        return err;
    replay->torn = true;
    err = repair(replay, fd, path, msg);
    if (err == 0 && ftruncate(fd, (off_t)replay->offset) != 0)
        err = err_errno(msg, errno, "%s: ftruncate", path);
    replay->size = replay->offset;
    return err;
}

/* Makes the last segment ready for appending, and durable: what a process
 * that was killed had written but not synced is about to be relied on. */
static int prepare_tail(struct wal_replay *replay, const struct wal *wal,
                        struct errmsg *msg)
{
    const struct wal_segment *last = &replay->segments[replay->count - 1];
    char *path = wal_segment_path(replay->dir, last->name);
    int err = clear_tail(replay, last->fd, path, msg);

    if (err == 0 && replay->size <= replay->offset) {
        replay->size = first_end(wal, replay->offset);
        err = make_room(wal, last->fd, path, replay->offset, replay->size, msg);
    }
    if (err == 0 && !wal->options.unsafe_no_fsync && fsync(last->fd) != 0)
        err = err_errno(msg, errno, "%s: fsync", path);
    if (err == 0 && !wal->options.unsafe_no_fsync)
        err = wal_fd_sync_dir(wal->dir_fd, wal->dir, msg);
    free(path);
    return err;
}

static int take_over(struct wal *wal, struct wal_replay *replay,
                     const struct wal_contents *contents, struct errmsg *msg)
{
    for (size_t i = replay->start; i < replay->count; i++) {
        struct wal_segment *segment = &replay->segments[i];
        wal_push_segment(wal, segment->name, segment->fd, replay->size);
        if (i + 1 == replay->count)
            wal->path = wal_segment_path(wal->dir, segment->name);
        segment->fd = -1;
    }
    wal->crc = replay->crc;
    wal->metadata = replay->metadata;
    replay->metadata = (struct buf){0};
    wal->hard_state = contents->hard_state;
    wal->last_index = replay->last_index;
    return wal_set_end(wal, replay->offset, msg);
}

int wal_open(struct wal **out, const char *dir,
             const struct wal_options *options, struct wal_contents *contents,
             struct errmsg *msg)
{
    struct wal_replay replay = {
        .dir = dir,
        .write = true,
        .snapshot_limit = options ? options->snapshot_limit : 0,
    };
    struct wal *wal = NULL;

    *contents = (struct wal_contents){0};
    int err = new_wal(&wal, dir, options, msg);
    if (err < 0)
        return err;
    CHECK(wal != NULL);
    err = wal_replay(&replay, contents, msg);
    if (err < 0)
        goto err_after_wal;
    err = prepare_tail(&replay, wal, msg);
    if (err == 0)
        err = take_over(wal, &replay, contents, msg);
    if (err < 0)
        goto err_after_replay;
    contents->repaired = replay.torn;
    wal_replay_close(&replay);
    wal_prealloc_start(&wal->prealloc);
    *out = wal;
    return 0;

err_after_replay:
    wal_contents_close(contents);
err_after_wal:
    wal_replay_close(&replay);
    free_wal(wal);
    return err;
}
