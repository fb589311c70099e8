#include "out.h"
#include <stdlib.h>
#include <string.h>

/* More than that isn't kept for the next time. */
#define KEPT_MAX ((size_t)4 << 20)

void out_append(struct out *out, const void *data, size_t len)
{
    buf_append(&out->copied, data, len);
    out->len += len;
}

void out_payload(struct out *out, struct shared *owner, const uint8_t *data,
                 size_t len)
{
    if (len == 0)
        return;
    if (len < OUT_REF_MIN || !owner || out->ref_count == OUT_REFS_MAX) {
        out_append(out, data, len);
        return;
    }
    if (out->ref_count == out->ref_cap) {
        out->ref_cap = out->ref_cap ? out->ref_cap * 2 : 16;
        out->refs = mem_realloc(out->refs, out->ref_cap * sizeof(out->refs[0]));
    }
    out->refs[out->ref_count++] =
        (struct out_ref){out->copied.len, shared_ref(owner), data, len};
    out->len += len;
}

static size_t add_piece(uv_buf_t *pieces, size_t n, const uint8_t *data,
                        size_t len)
{
    if (len == 0)
        return n;
    /* libuv only reads from what it writes. */
    pieces[n] = (uv_buf_t){.base = (char *)(uintptr_t)data, .len = len};
    return n + 1;
}

size_t out_pieces(const struct out *out, uv_buf_t *pieces)
{
    size_t n = 0;
    size_t done = 0;

    for (size_t i = 0; i < out->ref_count; i++) {
        const struct out_ref *ref = &out->refs[i];
        n = add_piece(pieces, n, out->copied.data + done, ref->at - done);
        n = add_piece(pieces, n, ref->data, ref->len);
        done = ref->at;
    }
    return add_piece(pieces, n, out->copied.data + done,
                     out->copied.len - done);
}

void out_reset(struct out *out)
{
    for (size_t i = 0; i < out->ref_count; i++)
        shared_unref(out->refs[i].owner);
    out->ref_count = 0;
    out->copied.len = 0;
    out->len = 0;
    if (out->copied.cap > KEPT_MAX)
        buf_close(&out->copied);
}

void out_close(struct out *out)
{
    out_reset(out);
    buf_close(&out->copied);
    free(out->refs);
    *out = (struct out){0};
}
