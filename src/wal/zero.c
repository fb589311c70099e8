#include "chorad/base/clock.h"
#include "dir.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

/* Small enough that a sync of the log finds little of it before itself. */
#define PIECE_BYTES ((uint64_t)64 * 1024)
#define BLOCK_BYTES ((uint64_t)4096)

/* Never written. */
static _Alignas(BLOCK_BYTES) uint8_t zeros[PIECE_BYTES];

bool wal_fd_set_direct(int fd, bool direct)
{
    int flags = fcntl(fd, F_GETFL);
    int wanted = direct ? flags | O_DIRECT : flags & ~O_DIRECT;

    return flags >= 0 && fcntl(fd, F_SETFL, wanted) == 0;
}

static ssize_t write_at(int fd, size_t len, uint64_t offset)
{
    ssize_t n;

    do {
        n = pwrite(fd, zeros, len, (off_t)offset);
    } while (n < 0 && errno == EINTR);
    return n;
}

static int write_pieces(int fd, const char *path, uint64_t offset, uint64_t end,
                        bool (*next)(void *arg, uint64_t took_ns), void *arg,
                        struct errmsg *msg)
{
    while (offset < end) {
        uint64_t len = end - offset < PIECE_BYTES ? end - offset : PIECE_BYTES;
        uint64_t began = clock_mono_ns();
        ssize_t n = write_at(fd, (size_t)len, offset);

        /* The device's blocks are larger than ours. */
        if (n < 0 && errno == EINVAL)
            return 0;
        if (n <= 0)
            return err_errno(msg, n < 0 ? errno : EIO,
                             "%s: write at byte %" PRIu64, path, offset);
        offset += (uint64_t)n;
        if (next && offset < end && !next(arg, clock_mono_ns() - began))
            break;
    }
    return 0;
}

int wal_fd_zero(int fd, const char *path, uint64_t offset, uint64_t end,
                bool (*next)(void *arg, uint64_t took_ns), void *arg,
                struct errmsg *msg)
{
    offset = (offset + BLOCK_BYTES - 1) & ~(BLOCK_BYTES - 1);
    end &= ~(BLOCK_BYTES - 1);
    if (!wal_fd_set_direct(fd, true))
        return 0;
    int err = write_pieces(fd, path, offset, end, next, arg, msg);
    if (!wal_fd_set_direct(fd, false) && err == 0)
        err = err_errno(msg, errno, "%s: fcntl", path);
    return err;
}
