/* An image's bytes out of a file. It isn't mapped: what is cut short meanwhile
 * is an error then, and not the process's end. */
#include "internal.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_at(void *arg, uint64_t offset, void *data, size_t len)
{
    struct source *source = arg;
    uint8_t *at = data;

    source->read += len;
    while (len > 0) {
        ssize_t n = pread(source->file->fd, at, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(source->msg, n < 0 ? errno : EIO,
                             "read at byte %llu", (unsigned long long)offset);
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int snapshot_source_open(struct source *source,
                         const struct snapshot_file *file, struct errmsg *msg)
{
    struct stat st;

    if (fstat(file->fd, &st) != 0)
        return err_errno(msg, errno, "%s", file->name);
    if (!S_ISREG(st.st_mode))
        return err_set(msg, ERR_INVALID, "%s: not a regular file", file->name);
    *source = (struct source){
        .file = file,
        .image = {.size = (uint64_t)st.st_size,
                  .read_at = read_at,
                  .arg = source},
        .msg = msg,
    };
    return 0;
}
