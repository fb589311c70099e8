/* Messages as gRPC's slices: what is small is copied together, what is large
 * or shared is sent from where it lies. */
#include "transport.h"

#include "chorad/base/check.h"

#include <stdlib.h>
#include <string.h>

/* Below this a copy costs less than a reference count of its own, one more
 * element in the write vector, and a shared cache line touched twice. */
#define COPY_MAX ((size_t)1024)

static void unref_shared(void *shared)
{
    shared_unref(shared);
}

static bool is_copied(const struct rpc_piece *piece)
{
    return piece->shared == NULL || piece->bytes.len <= COPY_MAX;
}

static grpc_slice joined(const struct rpc_piece *pieces, size_t n, size_t len)
{
    grpc_slice slice = grpc_slice_malloc(len);
    uint8_t *at = GRPC_SLICE_START_PTR(slice);

    for (size_t i = 0; i < n; i++) {
        if (pieces[i].bytes.len == 0)
            continue;
        memcpy(at, pieces[i].bytes.data, pieces[i].bytes.len);
        at += pieces[i].bytes.len;
    }
    return slice;
}

size_t slices_make(const struct rpc_piece *pieces, size_t n, grpc_slice *out)
{
    size_t made = 0;

    for (size_t i = 0; i < n;) {
        size_t first = i;
        size_t len = 0;

        while (i < n && is_copied(&pieces[i]))
            len += pieces[i++].bytes.len;
        if (len > 0)
            out[made++] = joined(pieces + first, i - first, len);
        if (i == n || i > first)
            continue;
        /* gRPC only reads from it. */
        out[made++] = grpc_slice_new_with_user_data(
            (void *)(uintptr_t)pieces[i].bytes.data, pieces[i].bytes.len,
            unref_shared, shared_ref(pieces[i].shared));
        i++;
    }
    return made;
}

grpc_slice slices_of_buf(struct buf *buf)
{
    struct buf taken = *buf;

    *buf = (struct buf){0};
    if (taken.len > COPY_MAX)
        return grpc_slice_new_with_user_data(taken.data, taken.len, free,
                                             taken.data);
    grpc_slice slice = grpc_slice_malloc(taken.len);
    if (taken.len > 0)
        memcpy(GRPC_SLICE_START_PTR(slice), taken.data, taken.len);
    buf_close(&taken);
    return slice;
}
