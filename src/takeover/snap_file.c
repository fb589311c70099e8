/* .snap files: snappb.snapshot { crc 1, data 2 } around raftpb.Snapshot
 * { data 1, metadata 2 { conf_state 1, index 2, term 3 } }. */
#include "internal.h"

#include "chorad/base/crc32c.h"
#include "chorad/base/pb.h"

static int read_metadata(struct bytes data, uint64_t *index, uint64_t *term)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&r, &f)) > 0) {
        if (f.number == 2 && f.wire == PB_VARINT)
            *index = f.value;
        else if (f.number == 3 && f.wire == PB_VARINT)
            *term = f.value;
    }
    return rc;
}

static int read_envelope(struct bytes file, struct bytes *data)
{
    struct pb_reader r = {file.data, file.data + file.len};
    struct pb_field f;
    uint64_t crc = 0;
    int rc;

    *data = (struct bytes){0};
    while ((rc = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT)
            crc = f.value;
        else if (f.number == 2 && f.wire == PB_LEN)
            *data = f.bytes;
    }
    return rc < 0 || data->len == 0 || crc != crc32c(0, data->data, data->len)
               ? ERR_CORRUPT
               : 0;
}

int snap_file_read(struct bytes file, uint64_t *index, uint64_t *term,
                   struct bytes *v2_store)
{
    struct bytes data;
    struct pb_reader r;
    struct pb_field f;
    int rc = read_envelope(file, &data);

    *index = *term = 0;
    *v2_store = (struct bytes){0};
    if (rc < 0)
        return rc;
    r = (struct pb_reader){data.data, data.data + data.len};
    while ((rc = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_LEN)
            *v2_store = f.bytes;
        else if (f.number == 2 && f.wire == PB_LEN &&
                 (rc = read_metadata(f.bytes, index, term)) < 0)
            break;
    }
    return rc < 0 ? ERR_CORRUPT : 0;
}
