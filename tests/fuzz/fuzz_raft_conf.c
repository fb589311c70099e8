/* Configuration changes of the log: what decodes is encoded and decodes again
 * to the same. */
#include "chorad/base/check.h"
#include "chorad/raft.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_conf_change cc;
    struct raft_conf_change back;

    if (size == 0)
        return 0;
    enum raft_entry_type type =
        data[0] % 2 ? RAFT_ENTRY_CONF_CHANGE : RAFT_ENTRY_CONF_CHANGE_V2;
    if (raft_conf_change_decode(&cc, type, data + 1, size - 1) < 0)
        return 0;
    CHECK(cc.change_count <= RAFT_CONF_CHANGES_MAX);
    struct raft_entry entry = raft_conf_change_entry(&cc);
    CHECK(raft_conf_change_decode(&back, entry.type, entry.data, entry.len) ==
          0);
    CHECK(back.change_count == cc.change_count);
    for (size_t i = 0; i < cc.change_count; i++)
        CHECK(back.changes[i].node_id == cc.changes[i].node_id &&
              back.changes[i].type == cc.changes[i].type);
    CHECK(back.context.len == cc.context.len);
    CHECK(cc.context.len == 0 ||
          memcmp(back.context.data, cc.context.data, cc.context.len) == 0);
    shared_unref(entry.owner);
    return 0;
}
