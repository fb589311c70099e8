/* Requests as they stand in the log: InternalRaftRequest
 * (proto/raft_internal.proto) around the bytes of the request itself. */
#include "apply.h"
#include "chorad/base/pb.h"

#include <string.h>

/* etcdserverpb.InternalRaftRequest and RequestHeader. */
enum { REQUEST_ID = 1, REQUEST_HEADER = 100 };
enum { HEADER_ID = 1, HEADER_USER = 2, HEADER_AUTH_REVISION = 3 };

static size_t header_size(const struct apply_stamp *stamp)
{
    return pb_u64_size(HEADER_ID, stamp->id) +
           pb_bytes_size(HEADER_USER, stamp->user) +
           pb_u64_size(HEADER_AUTH_REVISION, stamp->auth_rev);
}

size_t apply_wrapped_size(const struct apply_stamp *stamp, enum apply_kind kind,
                          size_t len)
{
    size_t header = header_size(stamp);

    return pb_len_size(REQUEST_HEADER, header) + header +
           pb_len_size((uint32_t)kind, len) + len;
}

struct shared *apply_wrap(const struct apply_stamp *stamp, enum apply_kind kind,
                          struct bytes request)
{
    struct shared *out =
        shared_new(apply_wrapped_size(stamp, kind, request.len));
    uint8_t *at = pb_put_len(out->data, REQUEST_HEADER, header_size(stamp));

    at = pb_put_u64(at, HEADER_ID, stamp->id);
    at = pb_put_bytes(at, HEADER_USER, stamp->user);
    at = pb_put_u64(at, HEADER_AUTH_REVISION, stamp->auth_rev);
    at = pb_put_len(at, (uint32_t)kind, request.len);
    if (request.len > 0)
        memcpy(at, request.data, request.len);
    return out;
}

static uint64_t header_id(struct bytes header)
{
    struct pb_reader r = {header.data, header.data + header.len};
    struct pb_field field;

    while (pb_next(&r, &field) > 0)
        if (field.number == HEADER_ID && field.wire == PB_VARINT)
            return field.value;
    return 0;
}

uint64_t apply_request_id(const struct raft_entry *entry)
{
    struct pb_reader r = {entry->data, entry->data + entry->len};
    struct pb_field field;
    uint64_t id = 0;

    /* Both places are in front of the request itself. */
    while (pb_next(&r, &field) > 0) {
        if (field.number == REQUEST_ID && field.wire == PB_VARINT)
            return field.value;
        if (field.number == REQUEST_HEADER && field.wire == PB_LEN)
            id = header_id(field.bytes);
        if (id != 0)
            break;
    }
    return id;
}

int apply_find_request(const struct raft_entry *entry, struct pb_field *found)
{
    struct pb_reader r = {entry->data, entry->data + entry->len};
    struct pb_field field;
    int rc;

    found->number = 0;
    while ((rc = pb_next(&r, &field)) > 0)
        if (field.wire == PB_LEN && field.number != REQUEST_HEADER &&
            found->number != APPLY_REQUEST_V2)
            *found = field;
    return rc;
}

static void read_header(struct bytes header, struct auth_who *who)
{
    struct pb_reader r = {header.data, header.data + header.len};
    struct pb_field field;

    while (pb_next(&r, &field) > 0) {
        if (field.number == HEADER_AUTH_REVISION && field.wire == PB_VARINT) {
            who->rev = field.value;
        } else if (field.number == HEADER_USER && field.wire == PB_LEN) {
            /* A name that is too long here is nobody's. */
            who->len = field.bytes.len <= AUTH_NAME_MAX ? field.bytes.len : 0;
            if (who->len > 0)
                memcpy(who->name, field.bytes.data, who->len);
        }
    }
}

void apply_find_who(const struct raft_entry *entry, struct auth_who *who)
{
    struct pb_reader r = {entry->data, entry->data + entry->len};
    struct pb_field field;

    who->rev = 0;
    who->len = 0;
    while (pb_next(&r, &field) > 0)
        if (field.number == REQUEST_HEADER && field.wire == PB_LEN)
            read_header(field.bytes, who);
}
