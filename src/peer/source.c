#include "chorad/base/check.h"
#include "chorad/base/queue.h"
#include "upload.h"
#include <sys/stat.h>
#include <unistd.h>

static void freed(struct source *source)
{
    struct net *net = source->net;

    source->freed(source->arg);
    net_handle_closed(net);
}

void source_open(struct source *source, struct net *net, int fd, uint8_t *room)
{
    struct stat st;
    int rc;

    source->net = net;
    source->fd = fd;
    source->room = room;
    source->is_pipe = fstat(fd, &st) == 0 && !S_ISREG(st.st_mode);
    net_handle_opened(net);
    if (!source->is_pipe)
        return;
    rc = uv_pipe_init(net->loop, &source->pipe, 0);
    CHECK(rc == 0);
    source->pipe.data = source;
    /* What can't be opened fails when it is read. */
    if (uv_pipe_open(&source->pipe, fd) == 0)
        source->fd = -1;
}

/* ---- pipes --------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct source *source = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)source->room, UPLOAD_CHUNK);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct source *source = stream->data;

    (void)buf;
    if (n == 0)
        return;
    (void)uv_read_stop(stream);
    source->got(source->arg, n == UV_EOF ? 0 : n);
}

static void on_pipe_closed(uv_handle_t *handle)
{
    freed(handle->data);
}

/* ---- files --------------------------------------------------------------- */

static void on_closed(uv_fs_t *close)
{
    struct source *source = container_of(close, struct source, read);

    uv_fs_req_cleanup(close);
    freed(source);
}

static void close_file(struct source *source)
{
    int rc =
        uv_fs_close(source->net->loop, &source->read, source->fd, on_closed);

    CHECK(rc == 0);
}

static void on_file_read(uv_fs_t *read)
{
    struct source *source = container_of(read, struct source, read);
    ssize_t n = read->result;

    uv_fs_req_cleanup(read);
    source->busy = false;
    if (source->closed)
        close_file(source);
    else
        source->got(source->arg, n);
}

/* ---- both ---------------------------------------------------------------- */

void source_read(struct source *source)
{
    int rc;

    if (source->is_pipe) {
        rc = uv_read_start((uv_stream_t *)&source->pipe, on_alloc, on_read);
    } else {
        uv_buf_t buf = uv_buf_init((char *)source->room, UPLOAD_CHUNK);
        rc = uv_fs_read(source->net->loop, &source->read, source->fd, &buf, 1,
                        -1, on_file_read);
        source->busy = rc == 0;
    }
    if (rc < 0)
        source->got(source->arg, rc);
}

void source_close(struct source *source)
{
    source->closed = true;
    if (source->is_pipe) {
        if (source->fd >= 0)
            (void)close(source->fd);
        uv_close((uv_handle_t *)&source->pipe, on_pipe_closed);
    } else if (!source->busy) {
        close_file(source);
    }
}
