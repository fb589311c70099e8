/* Both streams: read whole and byte by byte, they give the same messages and
 * end the same way. What they give, a member of Raft's hears, behind the door.
 */
#include "../unit/raft_rig.h"
#include "chorad/base/check.h"
#include "chorad/raftpb.h"
#include "peer/frame.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_message(void *arg, const struct raft_message *m)
{
    struct buf *seen = arg;
    size_t len = raftpb_message_size(m);

    for (size_t i = 0; i < m->entry_count; i++)
        CHECK((m->entries[i].owner != NULL) == (m->entries[i].len > 0));
    (void)raftpb_message_put(buf_reserve(seen, len), m);
    seen->len += len;
    return 0;
}

/* In a copy of its own, so that nothing behind it is read unseen. */
static int read_piece(struct frame_reader *r, const uint8_t *data, size_t len,
                      struct buf *seen)
{
    uint8_t *copy = malloc(len);
    int rc;

    CHECK(copy);
    memcpy(copy, data, len);
    rc = frame_read(r, bytes_of(copy, len), NULL, on_message, seen);
    free(copy);
    return rc;
}

static int read_all(enum frame_kind kind, const uint8_t *data, size_t size,
                    size_t piece, struct buf *seen)
{
    struct frame_reader r;
    int rc = 0;

    frame_reader_init(&r, kind, 1, 2);
    for (size_t at = 0; at < size && rc == 0; at += piece)
        rc = read_piece(&r, data + at, size - at < piece ? size - at : piece,
                        seen);
    frame_reader_close(&r);
    return rc;
}

static int on_word(void *arg, const struct raft_message *m)
{
    struct rig *rig = arg;

    (void)rig_hear(rig, m);
    rig_persist(rig, 1);
    rig_pump(rig);
    return 0;
}

static void hear_all(enum frame_kind kind, enum rig_role role,
                     const uint8_t *data, size_t size)
{
    struct frame_reader r;
    struct rig rig;

    rig_open(&rig, role);
    frame_reader_init(&r, kind, rig.id, 2);
    (void)frame_read(&r, bytes_of(data, size), NULL, on_word, &rig);
    frame_reader_close(&r);
    rig_settle(&rig);
    rig_close(&rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0};
    struct buf parts = {0};
    enum frame_kind kind;

    if (size < 2)
        return 0;
    kind = data[0] & 1 ? FRAME_MESSAGE : FRAME_MSGAPP;
    int rc = read_all(kind, data + 1, size - 1, size, &whole);
    CHECK(read_all(kind, data + 1, size - 1, 1 + (data[0] >> 1) % 7, &parts) ==
          rc);
    CHECK(whole.len == parts.len);
    CHECK(whole.len == 0 || memcmp(whole.data, parts.data, whole.len) == 0);
    hear_all(kind, (enum rig_role)((data[0] >> 4) % RIG_ROLES), data + 1,
             size - 1);
    buf_close(&whole);
    buf_close(&parts);
    return 0;
}
