/* Writing protobuf by hand where a hot path joins ready-made pieces: a field
 * key, a varint, a length. Everything else goes through protobuf-c. */
#ifndef CHORAD_BASE_PB_H
#define CHORAD_BASE_PB_H

#include "chorad/base/mem.h"
#include <stdint.h>
#include <string.h>

enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_LEN = 2, PB_FIXED32 = 5 };

/* Bytes a varint takes, 1 to 10. */
static inline size_t pb_varint_size(uint64_t v)
{
    return 1 + (size_t)(63 - __builtin_clzll(v | 1)) / 7;
}

/* Writes at `p` and returns the end. */
static inline uint8_t *pb_put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline uint64_t pb_key(uint32_t field, enum pb_wire wire)
{
    return (uint64_t)field << 3 | (uint64_t)wire;
}

/* A varint field; nothing for 0, as proto3 has it. */
static inline uint8_t *pb_put_u64(uint8_t *p, uint32_t field, uint64_t v)
{
    if (v == 0)
        return p;
    p = pb_put_varint(p, pb_key(field, PB_VARINT));
    return pb_put_varint(p, v);
}

static inline size_t pb_u64_size(uint32_t field, uint64_t v)
{
    if (v == 0)
        return 0;
    return pb_varint_size(pb_key(field, PB_VARINT)) + pb_varint_size(v);
}

/* A varint field that is written even when it is 0, as proto2 has it. */
static inline uint8_t *pb_put_number(uint8_t *p, uint32_t field, uint64_t v)
{
    p = pb_put_varint(p, pb_key(field, PB_VARINT));
    return pb_put_varint(p, v);
}

static inline size_t pb_number_size(uint32_t field, uint64_t v)
{
    return pb_varint_size(pb_key(field, PB_VARINT)) + pb_varint_size(v);
}

/* Key and length of a bytes or message field; the content follows. */
static inline uint8_t *pb_put_len(uint8_t *p, uint32_t field, size_t len)
{
    p = pb_put_varint(p, pb_key(field, PB_LEN));
    return pb_put_varint(p, len);
}

static inline size_t pb_len_size(uint32_t field, size_t len)
{
    return pb_varint_size(pb_key(field, PB_LEN)) + pb_varint_size(len);
}

/* A bytes field with its content; nothing when empty, as proto3 has it. */
static inline uint8_t *pb_put_bytes(uint8_t *p, uint32_t field, struct bytes b)
{
    if (b.len == 0)
        return p;
    p = pb_put_len(p, field, b.len);
    memcpy(p, b.data, b.len);
    return p + b.len;
}

static inline size_t pb_bytes_size(uint32_t field, struct bytes b)
{
    return b.len == 0 ? 0 : pb_len_size(field, b.len) + b.len;
}

/* ---- reading -------------------------------------------------------- */

/* A cursor over a message; one field at a time. */
struct pb_reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct pb_reader pb_over(struct bytes in)
{
    /* No bytes may have no address, which C lets nobody add to. */
    const uint8_t *at = in.len > 0 ? in.data : (const uint8_t *)"";
    return (struct pb_reader){at, at + in.len};
}

struct pb_field {
    uint32_t number;
    enum pb_wire wire;
    uint64_t value;     /* VARINT, FIXED64, FIXED32 */
    struct bytes bytes; /* LEN: borrowed from the message */
};

/* 1: a field was read; 0: the end; ERR_MALFORMED. Groups are malformed. */
int pb_next(struct pb_reader *r, struct pb_field *field);

#endif
