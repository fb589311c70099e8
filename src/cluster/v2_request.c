/* etcdserverpb.Request, as etcd up to 3.5 had it: ID 1, Method 2, Path 3,
 * Val 4, and more that says nothing about the membership. */
#include "chorad/base/pb.h"
#include "chorad/cluster.h"

enum { REQUEST_METHOD = 2, REQUEST_PATH = 3, REQUEST_VALUE = 4 };

#define MEMBERS "/0/members/"
#define ATTRIBUTES "/attributes"
#define VERSION "/0/version"

static bool is_text(struct bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

/* In an InternalRaftRequest field 2 is a message of that kind, and none of
 * these words can be one. */
static bool is_method(struct bytes b)
{
    return is_text(b, "PUT") || is_text(b, "POST") || is_text(b, "DELETE") ||
           is_text(b, "QGET") || is_text(b, "SYNC");
}

static bool read_hex(struct bytes text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c >= '0' && c <= '9')
            *out = *out << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *out = *out << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    return text.len > 0 && text.len <= 16;
}

/* "/0/members/<id>/attributes" */
static bool read_member_path(struct bytes path, uint64_t *id)
{
    const size_t before = strlen(MEMBERS);
    const size_t after = strlen(ATTRIBUTES);

    if (path.len < before + after || memcmp(path.data, MEMBERS, before) != 0 ||
        memcmp(path.data + path.len - after, ATTRIBUTES, after) != 0)
        return false;
    return read_hex(bytes_of(path.data + before, path.len - before - after),
                    id);
}

struct cluster_v2 cluster_v2_read(struct bytes payload)
{
    struct pb_reader r = {payload.data, payload.data + payload.len};
    struct cluster_v2 v2 = {CLUSTER_V2_NONE};
    struct bytes fields[REQUEST_VALUE + 1] = {{0}};
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&r, &f)) > 0)
        if (f.wire == PB_LEN && f.number <= REQUEST_VALUE)
            fields[f.number] = f.bytes;
    if (rc < 0 || !is_method(fields[REQUEST_METHOD]))
        return v2;
    v2.kind = CLUSTER_V2_OTHER;
    v2.value = fields[REQUEST_VALUE];
    if (!is_text(fields[REQUEST_METHOD], "PUT"))
        return v2;
    if (read_member_path(fields[REQUEST_PATH], &v2.id))
        v2.kind = CLUSTER_V2_ATTRIBUTES;
    else if (is_text(fields[REQUEST_PATH], VERSION))
        v2.kind = CLUSTER_V2_VERSION;
    return v2;
}
