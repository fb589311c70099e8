/* Bytes on their way out: small ones copied one behind the other, large
 * payloads left where they lie. */
#ifndef CHORAD_PEER_OUT_H
#define CHORAD_PEER_OUT_H

#include "chorad/base/mem.h"
#include <stdbool.h>
#include <uv.h>

/* From here on a payload is cheaper to refer to than to copy. */
#define OUT_REF_MIN 2048
/* So many large payloads fill one writev(2). */
#define OUT_REFS_MAX 500
#define OUT_BUFS_MAX (2 * OUT_REFS_MAX + 1)

/* A payload that belongs behind the first `at` of the copied bytes. */
struct out_ref {
    size_t at;
    struct shared *owner;
    const uint8_t *data;
    size_t len;
};

/* Zeroed memory is empty. */
struct out {
    struct buf copied;
    struct out_ref *refs;
    size_t ref_count;
    size_t ref_cap;
    size_t len; /* all bytes, copied or not */
};

/* Room for `extra` more bytes; the caller writes them and calls out_added. */
static inline uint8_t *out_reserve(struct out *out, size_t extra)
{
    return buf_reserve(&out->copied, extra);
}

static inline void out_added(struct out *out, const uint8_t *end)
{
    size_t added = (size_t)(end - (out->copied.data + out->copied.len));
    out->copied.len += added;
    out->len += added;
}

void out_append(struct out *out, const void *data, size_t len);

/* Copies the payload or takes a reference on its owner; copies in any case
 * where there is no owner or too many are referred to already. */
void out_payload(struct out *out, struct shared *owner, const uint8_t *data,
                 size_t len);

/* Time to write what is there. */
static inline bool out_is_full(const struct out *out, size_t bytes_max)
{
    return out->len >= bytes_max || out->ref_count >= OUT_REFS_MAX;
}

/* The pieces in order; returns how many, at most OUT_BUFS_MAX. */
size_t out_pieces(const struct out *out, uv_buf_t *pieces);

/* Empty again; keeps a moderate amount of memory. */
void out_reset(struct out *out);
void out_close(struct out *out);

#endif
