/* Compressed requests. gRPC's core would unpack them without an upper limit,
 * so that two megabytes could become two gigabytes; it is told not to. */
#include "transport.h"

#include "chorad/base/err.h"

#include <stdlib.h>
#include <zlib.h>

/* 15 bits of window, and a gzip header (zlib.h, inflateInit2). */
#define GZIP_WINDOW (15 + 16)

static int inflate_slices(z_stream *z, const grpc_slice_buffer *slices)
{
    int rv = Z_OK;

    for (size_t i = 0; i < slices->count && rv == Z_OK; i++) {
        /* zlib doesn't write to it. */
        z->next_in =
            (Bytef *)(uintptr_t)GRPC_SLICE_START_PTR(slices->slices[i]);
        z->avail_in = (uInt)GRPC_SLICE_LENGTH(slices->slices[i]);
        while (z->avail_in > 0 && z->avail_out > 0 && rv == Z_OK)
            rv = inflate(z, Z_NO_FLUSH);
    }
    return rv;
}

int intake_inflate(const grpc_slice_buffer *slices, struct arena *arena,
                   size_t max, struct bytes *bytes)
{
    z_stream z = {0};
    /* One byte more than is allowed, to tell "full" from "too long". */
    uint8_t *out = mem_try_alloc(max + 1);
    size_t len;
    int rv;

    if (out == NULL)
        return ERR_NOMEM;
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK) {
        free(out);
        return ERR_NOMEM;
    }
    z.next_out = out;
    z.avail_out = (uInt)max + 1;
    rv = inflate_slices(&z, slices);
    len = max + 1 - z.avail_out;
    (void)inflateEnd(&z);
    if (len <= max && rv == Z_STREAM_END)
        *bytes = bytes_of(arena_dup(arena, out, len), len);
    free(out);
    if (len > max)
        return ERR_TOOBIG;
    return rv == Z_STREAM_END ? 0 : ERR_MALFORMED;
}
