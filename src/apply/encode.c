#include "encode.h"

size_t encode_begin(struct buf *out, uint32_t field)
{
    uint8_t *at = buf_reserve(out, 11);
    uint8_t *end = pb_put_varint(at, pb_key(field, PB_LEN));

    out->len += (size_t)(end - at) + 1;
    return out->len;
}

void encode_end(struct buf *out, size_t mark)
{
    size_t len = out->len - mark;
    size_t extra = pb_varint_size(len) - 1;

    if (extra > 0) {
        buf_reserve(out, extra);
        memmove(out->data + mark + extra, out->data + mark, len);
        out->len += extra;
    }
    pb_put_varint(out->data + mark - 1, len);
}

void encode_u64(struct buf *out, uint32_t field, uint64_t value)
{
    uint8_t *at = buf_reserve(out, 15);

    out->len += (size_t)(pb_put_u64(at, field, value) - at);
}

void encode_bytes(struct buf *out, uint32_t field, struct bytes value)
{
    uint8_t *at = buf_reserve(out, 15 + value.len);

    at = pb_put_len(at, field, value.len);
    if (value.len > 0)
        memcpy(at, value.data, value.len);
    out->len = (size_t)(at - out->data) + value.len;
}

uint8_t *encode_insert(struct buf *out, size_t at, size_t len)
{
    buf_reserve(out, len);
    memmove(out->data + at + len, out->data + at, out->len - at);
    out->len += len;
    return out->data + at;
}
