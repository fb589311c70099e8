/* What etcd before 3.6 left of its members: a .snap file, the v2 store in it,
 * entries of the log. The first byte says which of them the rest is. */
#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"
#include "chorad/base/pb.h"
#include "takeover/internal.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_store(struct bytes json)
{
    struct roster m = {0};
    struct errmsg msg = {""};
    int rc = v2_store_read(json, &m, &msg);

    CHECK(rc == 0 || msg.text[0] != '\0');
    for (size_t i = 0; i < m.n; i++)
        free(cluster_member_json(&m.members[i]));
    roster_close(&m);
}

static void read_file(struct bytes file)
{
    struct bytes v2;
    uint64_t index;
    uint64_t term;

    if (snap_file_read(file, &index, &term, &v2) == 0)
        read_store(v2);
}

/* The envelope put right, so that what is in it is reached. */
static void read_inner(struct bytes inner)
{
    uint8_t *file = mem_alloc(inner.len + 32);
    uint8_t *end = pb_put_u64(file, 1, crc32c(0, inner.data, inner.len));

    end = pb_put_bytes(end, 2, inner);
    read_file(bytes_of(file, (size_t)(end - file)));
    free(file);
}

static void apply_entries(struct bytes in)
{
    struct roster m = {0};

    while (in.len >= 2) {
        struct raft_entry entry = {
            .type = in.data[0] % 3, .data = in.data + 2, .len = in.data[1]};

        if (entry.len > in.len - 2)
            entry.len = (uint32_t)(in.len - 2);
        (void)roster_apply(&m, &entry);
        in = bytes_of(in.data + 2 + entry.len, in.len - 2 - entry.len);
    }
    roster_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest;

    if (size == 0)
        return 0;
    rest = bytes_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        read_file(rest);
        break;
    case 1:
        read_inner(rest);
        break;
    case 2:
        read_store(rest);
        break;
    default:
        apply_entries(rest);
    }
    return 0;
}
