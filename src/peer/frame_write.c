#include "chorad/base/be.h"
#include "chorad/raftpb.h"
#include "frame.h"

enum { ALIVE = 0, ENTRIES = 1, MESSAGE = 2 };

void frame_writer_init(struct frame_writer *w, enum frame_kind kind)
{
    *w = (struct frame_writer){.kind = kind};
}

static void put_u64(struct out *out, uint64_t value)
{
    uint8_t *p = out_reserve(out, 8);

    be_put_u64(p, value);
    out_added(out, p + 8);
}

static void put_byte(struct out *out, uint8_t value)
{
    uint8_t *p = out_reserve(out, 1);

    *p = value;
    out_added(out, p + 1);
}

static void put_message(struct frame_writer *w, struct out *out,
                        const struct raft_message *m)
{
    size_t size = raftpb_message_size(m);
    uint8_t *p;

    put_u64(out, size);
    p = out_reserve(out, RAFTPB_MESSAGE_HEAD_MAX);
    out_added(out, raftpb_message_put_head(p, m));
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        p = out_reserve(out, RAFTPB_MESSAGE_ENTRY_HEAD_MAX);
        out_added(out, raftpb_message_put_entry_head(p, e));
        out_payload(out, e->owner, e->data, e->len);
    }
    p = out_reserve(out, raftpb_message_tail_size(m));
    out_added(out, raftpb_message_put_tail(p, m));
    w->message_bytes += size;
}

static void put_entries(struct frame_writer *w, struct out *out,
                        const struct raft_message *m)
{
    put_byte(out, ENTRIES);
    put_u64(out, m->entry_count);
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        size_t size = raftpb_entry_size(e);
        uint8_t *p = out_reserve(out, 8 + RAFTPB_ENTRY_HEAD_MAX);
        be_put_u64(p, size);
        out_added(out, raftpb_entry_put_head(p + 8, e));
        out_payload(out, e->owner, e->data, e->len);
        w->message_bytes += size;
    }
    put_u64(out, m->commit);
    w->index += m->entry_count;
}

void frame_write(struct frame_writer *w, struct out *out,
                 const struct raft_message *m)
{
    if (w->kind == FRAME_MESSAGE) {
        put_message(w, out, m);
        return;
    }
    if (w->index == m->index && w->term == m->log_term &&
        m->log_term == m->term) {
        put_entries(w, out, m);
        return;
    }
    put_byte(out, MESSAGE);
    put_message(w, out, m);
    w->term = m->term;
    w->index =
        m->entry_count > 0 ? m->entries[m->entry_count - 1].index : m->index;
}

void frame_write_alive(const struct frame_writer *w, struct out *out)
{
    static const struct raft_message alive = {.type = RAFT_MSG_HEARTBEAT};
    uint8_t *p;

    if (w->kind == FRAME_MSGAPP) {
        put_byte(out, ALIVE);
        return;
    }
    put_u64(out, raftpb_message_size(&alive));
    p = out_reserve(out, RAFTPB_MESSAGE_HEAD_MAX);
    out_added(out, raftpb_message_put(p, &alive));
}
