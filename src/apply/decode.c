/* The requests of hot paths, decoded without copying. Rules as in proto3's
 * reference decoders: the last value of a field counts, unknown fields and
 * known ones of another wire type are passed over. */
#include "chorad/apply.h"
#include "chorad/base/pb.h"

static ProtobufCBinaryData binary(struct bytes b)
{
    return (ProtobufCBinaryData){b.len, (uint8_t *)(uintptr_t)b.data};
}

int apply_read_put(struct bytes data, Etcdserverpb__PutRequest *out)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field field;
    int rc;

    etcdserverpb__put_request__init(out);
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.wire == PB_LEN && field.number == 1)
            out->key = binary(field.bytes);
        else if (field.wire == PB_LEN && field.number == 2)
            out->value = binary(field.bytes);
        if (field.wire != PB_VARINT)
            continue;
        if (field.number == 3)
            out->lease = (int64_t)field.value;
        else if (field.number == 4)
            out->prev_kv = field.value != 0;
        else if (field.number == 5)
            out->ignore_value = field.value != 0;
        else if (field.number == 6)
            out->ignore_lease = field.value != 0;
    }
    return rc;
}

static void read_range_number(Etcdserverpb__RangeRequest *out, uint32_t number,
                              uint64_t value)
{
    switch (number) {
    case 3:
        out->limit = (int64_t)value;
        break;
    case 4:
        out->revision = (int64_t)value;
        break;
    case 5:
        out->sort_order = (Etcdserverpb__RangeRequest__SortOrder)(int32_t)value;
        break;
    case 6:
        out->sort_target =
            (Etcdserverpb__RangeRequest__SortTarget)(int32_t)value;
        break;
    case 7:
        out->serializable = value != 0;
        break;
    case 8:
        out->keys_only = value != 0;
        break;
    case 9:
        out->count_only = value != 0;
        break;
    case 10:
        out->min_mod_revision = (int64_t)value;
        break;
    case 11:
        out->max_mod_revision = (int64_t)value;
        break;
    case 12:
        out->min_create_revision = (int64_t)value;
        break;
    case 13:
        out->max_create_revision = (int64_t)value;
        break;
    default:
        break;
    }
}

int apply_read_range(struct bytes data, Etcdserverpb__RangeRequest *out)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field field;
    int rc;

    etcdserverpb__range_request__init(out);
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.wire == PB_LEN && field.number == 1)
            out->key = binary(field.bytes);
        else if (field.wire == PB_LEN && field.number == 2)
            out->range_end = binary(field.bytes);
        else if (field.wire == PB_VARINT)
            read_range_number(out, field.number, field.value);
    }
    return rc;
}
