/* Reading protobuf one field at a time. */
#include "chorad/base/pb.h"

#include "chorad/base/be.h"
#include "chorad/base/err.h"

#define FIELD_MAX ((UINT32_C(1) << 29) - 1)

/* The wire types of groups, which proto3 doesn't have, and 6 and 7, which
 * nobody has, have no name in enum pb_wire. */

static int get_varint(struct pb_reader *r, uint64_t *out)
{
    const uint8_t *p = r->at;
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte;

        if (p == r->end)
            return ERR_MALFORMED;
        byte = *p++;
        /* The tenth byte has room for one bit. */
        if (shift == 63 && byte > 1)
            return ERR_MALFORMED;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            r->at = p;
            *out = v;
            return 0;
        }
    }
    return ERR_MALFORMED;
}

static int get_len(struct pb_reader *r, struct bytes *out)
{
    uint64_t len;
    int rv = get_varint(r, &len);

    if (rv != 0)
        return rv;
    if (len > (uint64_t)(r->end - r->at))
        return ERR_MALFORMED;
    *out = bytes_of(r->at, (size_t)len);
    r->at += len;
    return 0;
}

static int get_fixed(struct pb_reader *r, size_t size, uint64_t *out)
{
    if ((size_t)(r->end - r->at) < size)
        return ERR_MALFORMED;
    *out = size == 8 ? le_get_u64(r->at) : le_get_u32(r->at);
    r->at += size;
    return 0;
}

static int get_content(struct pb_reader *r, struct pb_field *field)
{
    switch (field->wire) {
    case PB_VARINT:
        return get_varint(r, &field->value);
    case PB_FIXED64:
        return get_fixed(r, 8, &field->value);
    case PB_FIXED32:
        return get_fixed(r, 4, &field->value);
    case PB_LEN:
        return get_len(r, &field->bytes);
    default:
        return ERR_MALFORMED;
    }
}

int pb_next(struct pb_reader *r, struct pb_field *field)
{
    uint64_t key;
    int rv;

    if (r->at == r->end)
        return 0;
    rv = get_varint(r, &key);
    if (rv != 0)
        return rv;
    if (key >> 3 == 0 || key >> 3 > FIELD_MAX)
        return ERR_MALFORMED;
    *field = (struct pb_field){.number = (uint32_t)(key >> 3),
                               .wire = (enum pb_wire)(key & 7)};
    rv = get_content(r, field);
    return rv != 0 ? rv : 1;
}
