/* Compressed requests, with an upper limit on what they unpack to: two
 * megabytes could become two gigabytes. */
#include "internal.h"

#include "chorad/base/err.h"

#include <stdlib.h>
#include <zlib.h>

/* 15 bits of window, and a gzip header (zlib.h, inflateInit2). */
#define GZIP_WINDOW (15 + 16)
#define FIRST_BYTES ((size_t)16 * 1024)

/* Unpacks into a buffer that grows with what there is, to one byte more than
 * is allowed, so that "full" is told from "too long". */
static int unpack(z_stream *z, size_t max, struct buf *out)
{
    int rv = Z_OK;

    while (rv == Z_OK && out->len <= max) {
        size_t room = out->len < FIRST_BYTES ? FIRST_BYTES : out->len;

        if (room > max + 1 - out->len)
            room = max + 1 - out->len;
        z->next_out = buf_reserve(out, room);
        z->avail_out = (uInt)room;
        rv = inflate(z, Z_NO_FLUSH);
        out->len += room - z->avail_out;
        if (rv == Z_BUF_ERROR || (rv == Z_OK && z->avail_out > 0))
            return ERR_MALFORMED; /* the end is missing */
    }
    if (out->len > max)
        return ERR_TOOBIG;
    return rv == Z_STREAM_END ? 0 : ERR_MALFORMED;
}

int inflate_message(struct bytes packed, struct arena *arena, size_t max,
                    struct bytes *bytes)
{
    z_stream z = {0};
    struct buf out = {0};
    int err;

    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return ERR_NOMEM;
    /* zlib doesn't write to it. */
    z.next_in = (Bytef *)(uintptr_t)packed.data;
    z.avail_in = (uInt)packed.len;
    err = unpack(&z, max, &out);
    (void)inflateEnd(&z);
    if (err == 0)
        *bytes = bytes_of(arena_dup(arena, out.data, out.len), out.len);
    buf_close(&out);
    return err;
}
