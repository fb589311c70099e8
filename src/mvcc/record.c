/* Records of the key bucket as bytes. */
#include "record.h"

#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/pb.h"

enum field {
    FIELD_KEY = 1,
    FIELD_CREATE = 2,
    FIELD_MOD = 3,
    FIELD_VERSION = 4,
    FIELD_VALUE = 5,
    FIELD_LEASE = 6,
};

struct bytes rev_encode(struct rev_key key, uint8_t *out)
{
    be_put_u64(out, (uint64_t)key.rev.main);
    out[8] = '_';
    be_put_u64(out + 9, (uint64_t)key.rev.sub);
    out[17] = 't';
    return bytes_of(out, key.tombstone ? REV_KEY_MAX : REV_KEY_LEN);
}

int rev_decode(struct bytes key, struct rev_key *out)
{
    if (key.len != REV_KEY_LEN && key.len != REV_KEY_MAX)
        return ERR_MALFORMED;
    out->rev.main = (int64_t)be_get_u64(key.data);
    out->rev.sub = (int64_t)be_get_u64(key.data + 9);
    out->tombstone = key.len == REV_KEY_MAX;
    if (key.data[8] != '_' || out->rev.main < 0 || out->rev.sub < 0 ||
        (out->tombstone && key.data[17] != 't'))
        return ERR_MALFORMED;
    return 0;
}

int mvcc_decode_rev(struct bytes key, struct mvcc_rev *rev, bool *tombstone)
{
    struct rev_key at;
    int rv = rev_decode(key, &at);

    if (rv != 0)
        return rv;
    *rev = at.rev;
    *tombstone = at.tombstone;
    return 0;
}

static void add_piece(struct record *record, struct bytes piece)
{
    if (piece.len == 0)
        return;
    record->pieces[record->n++] = piece;
    record->len += piece.len;
}

void record_encode(struct record *record, const struct mvcc_fields *fields)
{
    uint8_t *at = record->scratch;
    uint8_t *from = at;

    record->n = 0;
    record->len = 0;
    if (fields->key.len > 0)
        at = pb_put_len(at, FIELD_KEY, fields->key.len);
    add_piece(record, bytes_of(from, (size_t)(at - from)));
    add_piece(record, fields->key);

    from = at;
    at = pb_put_u64(at, FIELD_CREATE, (uint64_t)fields->create_rev);
    at = pb_put_u64(at, FIELD_MOD, (uint64_t)fields->mod_rev);
    at = pb_put_u64(at, FIELD_VERSION, (uint64_t)fields->version);
    if (fields->value.len > 0)
        at = pb_put_len(at, FIELD_VALUE, fields->value.len);
    if (fields->value.len > 0) {
        add_piece(record, bytes_of(from, (size_t)(at - from)));
        add_piece(record, fields->value);
        from = at;
    }
    at = pb_put_u64(at, FIELD_LEASE, (uint64_t)fields->lease);
    add_piece(record, bytes_of(from, (size_t)(at - from)));
    CHECK(at <= record->scratch + sizeof(record->scratch));
}

struct bytes record_key(struct bytes record)
{
    struct pb_reader r = {record.data, record.data + record.len};
    struct pb_field field;

    if (pb_next(&r, &field) != 1 || field.number != FIELD_KEY ||
        field.wire != PB_LEN)
        return bytes_of("", 0);
    return field.bytes;
}

/* Puts a number where it belongs; what is not a varint has no place. */
static int take_number(const struct pb_field *field, struct mvcc_fields *out)
{
    int64_t *const places[] = {[FIELD_CREATE] = &out->create_rev,
                               [FIELD_MOD] = &out->mod_rev,
                               [FIELD_VERSION] = &out->version,
                               [FIELD_LEASE] = &out->lease};

    if (field->wire != PB_VARINT)
        return ERR_MALFORMED;
    *places[field->number] = (int64_t)field->value;
    return 0;
}

static int take_bytes(const struct pb_field *field, struct mvcc_fields *out)
{
    if (field->wire != PB_LEN)
        return ERR_MALFORMED;
    if (field->number == FIELD_KEY)
        out->key = field->bytes;
    else
        out->value = field->bytes;
    return 0;
}

int mvcc_decode(struct bytes record, struct mvcc_fields *fields)
{
    struct pb_reader r = {record.data, record.data + record.len};
    struct pb_field field;
    int rv;

    *fields =
        (struct mvcc_fields){.key = bytes_of("", 0), .value = bytes_of("", 0)};
    while ((rv = pb_next(&r, &field)) == 1) {
        switch (field.number) {
        case FIELD_KEY:
        case FIELD_VALUE:
            rv = take_bytes(&field, fields);
            break;
        case FIELD_CREATE:
        case FIELD_MOD:
        case FIELD_VERSION:
        case FIELD_LEASE:
            rv = take_number(&field, fields);
            break;
        default: /* of a later version of the format */
            rv = 0;
            break;
        }
        if (rv != 0)
            return rv;
    }
    return rv;
}
