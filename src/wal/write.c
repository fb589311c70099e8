/* The buffer and its way into the file, in whole blocks and past the page
 * cache: nothing has to be read, and a sync finds only its own write to wait
 * for. */
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "internal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUF_BYTES ((size_t)64 * 1024)
/* A buffer that a huge entry has grown beyond this is given back. */
#define BUF_KEEP_BYTES (4 * 1024 * 1024)
#define SLOW_SYNC_NS UINT64_C(1000000000)

const struct wal_metrics *wal_metrics(void)
{
    static struct wal_metrics metrics;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    CHECK(pthread_mutex_lock(&lock) == 0);
    if (!metrics.fsync) {
        metrics.write = metric_histogram_exp(
            "etcd_disk_wal_write_duration_seconds",
            "The latency distributions of write called by WAL.", 0.001, 2, 14,
            NULL, 0);
        metrics.bytes =
            metric_gauge("etcd_disk_wal_write_bytes_total",
                         "Total number of bytes written in WAL.", NULL, 0);
        metrics.fsync = metric_histogram_exp(
            "etcd_disk_wal_fsync_duration_seconds",
            "The latency distributions of fsync called by WAL.", 0.001, 2, 14,
            NULL, 0);
    }
    CHECK(pthread_mutex_unlock(&lock) == 0);
    return &metrics;
}

int wal_fail(struct wal *wal, int err, const struct errmsg *why,
             struct errmsg *msg)
{
    if (wal->failed == 0) {
        wal->failed = err;
        wal->failed_msg = *why;
    }
    if (msg)
        *msg = wal->failed_msg;
    return wal->failed;
}

int wal_still_good(const struct wal *wal, struct errmsg *msg)
{
    if (wal->failed == 0)
        return 0;
    if (msg)
        *msg = wal->failed_msg;
    return wal->failed;
}

/* ---- buffer ------------------------------------------------------------ */

/* In whole blocks, `cap` bytes of them. */
static void resize(struct wal *wal, size_t cap)
{
    uint8_t *buf = aligned_alloc(WAL_BLOCK_BYTES, cap);

    CHECK(buf);
    if (wal->len > 0)
        memcpy(buf, wal->buf, wal->len);
    free(wal->buf);
    wal->buf = buf;
    wal->cap = cap;
}

uint8_t *wal_buf_reserve(struct wal *wal, size_t extra)
{
    if (wal->cap - wal->len < extra) {
        size_t cap = wal->cap ? wal->cap : BUF_BYTES;
        while (cap - wal->len < extra)
            cap *= 2;
        resize(wal, cap);
    }
    return wal->buf + wal->len;
}

/* What has been written goes, but for the last block's part. */
static void forget_written(struct wal *wal)
{
    size_t whole = wal->len & ~(WAL_BLOCK_BYTES - 1);

    wal->offset += whole;
    wal->len -= whole;
    if (whole > 0)
        memmove(wal->buf, wal->buf + whole, wal->len);
    wal->written = wal->len;
    if (wal->cap > BUF_KEEP_BYTES)
        resize(wal, BUF_BYTES);
}

/* ---- the file ---------------------------------------------------------- */

int wal_set_end(struct wal *wal, uint64_t end, struct errmsg *msg)
{
    size_t len = end & (WAL_BLOCK_BYTES - 1);
    size_t done = 0;

    wal->offset = end - len;
    wal->len = 0;
    (void)wal_buf_reserve(wal, WAL_BLOCK_BYTES);
    while (done < len) {
        ssize_t n = pread(wal->fd, wal->buf + done, len - done,
                          (off_t)(wal->offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(msg, n < 0 ? errno : EIO,
                             "%s: read at byte %" PRIu64, wal->path,
                             wal->offset + done);
        done += (size_t)n;
    }
    wal->len = len;
    wal->written = len;
    wal->direct =
        !wal->options.unsafe_no_fsync && wal_fd_set_direct(wal->fd, true);
    return 0;
}

/* The rest of the last block is zeros in the file and stays so. */
static int write_all(struct wal *wal, struct errmsg *msg)
{
    size_t end = (wal->len + WAL_BLOCK_BYTES - 1) & ~(WAL_BLOCK_BYTES - 1);
    size_t done = 0;

    memset(wal->buf + wal->len, 0, end - wal->len);
    while (done < end) {
        ssize_t n = pwrite(wal->fd, wal->buf + done, end - done,
                           (off_t)(wal->offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        /* The device's blocks are larger than ours. */
        if (n < 0 && errno == EINVAL && wal->direct) {
            wal->direct = false;
            if (wal_fd_set_direct(wal->fd, false))
                continue;
        }
        if (n <= 0)
            return err_errno(msg, n < 0 ? errno : EIO,
                             "%s: write at byte %" PRIu64, wal->path,
                             wal->offset + done);
        done += (size_t)n;
    }
    return 0;
}

int wal_flush(struct wal *wal, struct errmsg *msg)
{
    struct errmsg why;
    int err = wal_still_good(wal, msg);

    if (err < 0 || wal->len == wal->written)
        return err;
    uint64_t began = clock_mono_ns();
    err = write_all(wal, &why);
    if (err < 0)
        return wal_fail(wal, err, &why, msg);
    metric_observe(wal->metrics->write,
                   (double)(clock_mono_ns() - began) * 1e-9);
    metric_add(wal->metrics->bytes, (double)(wal->len - wal->written));
    forget_written(wal);
    return 0;
}

int wal_datasync(struct wal *wal, struct errmsg *msg)
{
    struct errmsg why;

    if (wal->options.unsafe_no_fsync)
        return 0;
    uint64_t began = clock_mono_ns();
    if (fdatasync(wal->fd) != 0) {
        int err = err_errno(&why, errno, "%s: fdatasync", wal->path);
        return wal_fail(wal, err, &why, msg);
    }
    uint64_t took = clock_mono_ns() - began;
    if (took > SLOW_SYNC_NS)
        log_warn("slow fdatasync", LOG_NS("took", took),
                 LOG_NS("expected-duration", SLOW_SYNC_NS));
    metric_observe(wal->metrics->fsync, (double)took * 1e-9);
    return 0;
}

int wal_sync(struct wal *wal, struct errmsg *msg)
{
    int err = wal_flush(wal, msg);
    if (err < 0)
        return err;
    return wal_datasync(wal, msg);
}
