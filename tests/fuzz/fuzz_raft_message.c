/* Messages of Raft's: whatever decodes is encoded and decodes again to the same
 * bytes. */
#include "chorad/base/check.h"
#include "chorad/raftpb.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_message m;
    struct raft_message back;

    if (raftpb_message_get(&m, bytes_of(data, size)) < 0)
        return 0;
    size_t len = raftpb_message_size(&m);
    uint8_t *once = malloc(len + 1);
    uint8_t *twice = malloc(len + 1);
    CHECK(once && twice);
    CHECK(raftpb_message_put(once, &m) == once + len);
    CHECK(raftpb_message_get(&back, bytes_of(once, len)) == 0);
    CHECK(raftpb_message_size(&back) == len);
    CHECK(raftpb_message_put(twice, &back) == twice + len);
    CHECK(memcmp(once, twice, len) == 0);
    raft_message_close(&back);
    raft_message_close(&m);
    free(once);
    free(twice);
    return 0;
}
