/* A frame that lies whole in what has come is read in place; its payloads are
 * copied out at once, into one buffer for all of its entries. The begin of a
 * frame that doesn't is held in a buffer of its own, which then owns the
 * payloads. */
#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/raftpb.h"
#include "frame.h"
#include <stdlib.h>
#include <string.h>

enum { ALIVE = 0, ENTRIES = 1, MESSAGE = 2 };

/* A buffer for a frame grows with what has come, not with what was said to
 * come; so much is believed at once. */
#define HELD_TRUST ((size_t)256 << 10)
/* A longer array isn't kept for the next frame. */
#define ENTRIES_KEPT ((size_t)16384)

void frame_reader_init(struct frame_reader *r, enum frame_kind kind,
                       uint64_t local, uint64_t remote)
{
    *r = (struct frame_reader){
        .kind = kind, .max = FRAME_MAX, .local = local, .remote = remote};
}

void frame_reader_close(struct frame_reader *r)
{
    shared_unref(r->held);
    free(r->entries);
    *r = (struct frame_reader){0};
}

/* ---- how long is it? ----------------------------------------------------- */

static int whole_at(const struct frame_reader *r, struct frame_scan *s,
                    uint64_t head, uint64_t len)
{
    if (len > r->max)
        return ERR_TOOBIG;
    s->need = head + len;
    s->whole = true;
    return 0;
}

/* The frame's first bytes are there: at least s->need. */
static int scan_begin(const struct frame_reader *r, struct frame_scan *s,
                      const uint8_t *data)
{
    if (r->kind == FRAME_MESSAGE)
        return whole_at(r, s, 8, be_get_u64(data));
    if (s->need == 1) {
        if (data[0] == ALIVE)
            return whole_at(r, s, 1, 0);
        s->need = 9;
        return data[0] > MESSAGE ? ERR_CORRUPT : 0;
    }
    if (data[0] == MESSAGE)
        return whole_at(r, s, 9, be_get_u64(data + 1));
    s->entries_left = be_get_u64(data + 1);
    if (s->entries_left > RAFTPB_ENTRIES_MAX)
        return ERR_TOOBIG;
    s->started = true;
    s->at = 9;
    s->need = 9 + 8;
    return 0;
}

/* Moves on over what is there; s->need > len or s->whole afterwards. */
static int scan(const struct frame_reader *r, struct frame_scan *s,
                const uint8_t *data, uint64_t len)
{
    int rc = 0;

    if (s->need == 0)
        s->need = r->kind == FRAME_MESSAGE ? 8 : 1;
    while (rc == 0 && !s->whole && len >= s->need) {
        if (!s->started) {
            rc = scan_begin(r, s, data);
        } else if (s->entries_left == 0) {
            /* Behind the entries: the commit index. */
            s->whole = true;
        } else {
            uint64_t size = be_get_u64(data + s->at);
            if (size > r->max || s->at + size > r->max)
                return ERR_TOOBIG;
            s->at += 8 + size;
            s->entries_left--;
            s->need = s->at + 8;
        }
    }
    return rc;
}

/* ---- what is in it ------------------------------------------------------- */

void frame_adopt(struct raft_entry *entries, size_t count, struct shared *owner)
{
    const uint8_t *first = NULL;
    const uint8_t *last = NULL;
    size_t owned = 0;

    for (size_t i = 0; i < count; i++) {
        if (entries[i].len == 0)
            continue;
        /* The wire may have them in any order, but not overlapping. */
        if (!first || entries[i].data < first)
            first = entries[i].data;
        if (!last || entries[i].data + entries[i].len > last)
            last = entries[i].data + entries[i].len;
        owned++;
    }
    if (owned == 0)
        return;
    bool copied = owner == NULL;
    if (owner) {
        shared_ref(owner);
    } else {
        owner = shared_new((size_t)(last - first));
        memcpy(owner->data, first, (size_t)(last - first));
    }
    for (size_t i = 0; i < count; i++) {
        if (entries[i].len == 0)
            continue;
        if (copied)
            entries[i].data = owner->data + (entries[i].data - first);
        entries[i].owner = shared_ref(owner);
    }
    shared_unref(owner);
}

static int give_message(struct frame_reader *r, struct bytes in,
                        struct shared *owner, frame_cb message, void *arg)
{
    struct raft_message m;
    int rc = raftpb_message_get(&m, in);

    if (rc == ERR_UNSUPPORTED)
        return 0;
    if (rc < 0)
        return rc;
    r->message_bytes += in.len;
    if (r->kind == FRAME_MSGAPP) {
        r->term = m.term;
        r->index =
            m.entry_count > 0 ? m.entries[m.entry_count - 1].index : m.index;
    }
    if (m.type != RAFT_MSG_HEARTBEAT || m.from != RAFT_NONE ||
        m.to != RAFT_NONE) {
        frame_adopt(m.entries, m.entry_count, owner);
        rc = message(arg, &m);
    }
    raft_message_close(&m);
    return rc;
}

static int read_entries(struct frame_reader *r, struct bytes in, size_t count,
                        const uint8_t **end)
{
    const uint8_t *at = in.data + 9;

    for (size_t i = 0; i < count; i++) {
        struct raft_entry *e = &r->entries[i];
        uint64_t size = be_get_u64(at);
        int rc = raftpb_entry_get(e, bytes_of(at + 8, size), NULL);
        if (rc < 0)
            return rc;
        /* Nothing else can follow the entry before. */
        if (e->index != r->index + 1 || e->term != r->term)
            return ERR_CORRUPT;
        r->index = e->index;
        r->message_bytes += size;
        at += 8 + size;
    }
    *end = at;
    return 0;
}

static int give_entries(struct frame_reader *r, struct bytes in,
                        struct shared *owner, frame_cb message, void *arg)
{
    size_t count = be_get_u64(in.data + 1);
    struct raft_message m = {.type = RAFT_MSG_APP,
                             .to = r->local,
                             .from = r->remote,
                             .term = r->term,
                             .log_term = r->term,
                             .index = r->index};
    const uint8_t *end;
    int rc;

    if (count > r->entry_cap) {
        r->entry_cap = count + count / 2;
        r->entries =
            mem_realloc(r->entries, r->entry_cap * sizeof(r->entries[0]));
    }
    rc = read_entries(r, in, count, &end);
    if (rc < 0)
        return rc;
    m.commit = be_get_u64(end);
    m.entries = r->entries;
    m.entry_count = count;
    frame_adopt(m.entries, count, owner);
    rc = message(arg, &m);
    for (size_t i = 0; i < count; i++)
        raft_entry_unref(&r->entries[i]);
    if (r->entry_cap > ENTRIES_KEPT) {
        free(r->entries);
        r->entries = NULL;
        r->entry_cap = 0;
    }
    return rc;
}

static int give(struct frame_reader *r, struct bytes in, struct shared *owner,
                frame_cb message, void *arg)
{
    size_t head = r->kind == FRAME_MESSAGE ? 8 : 9;

    if (r->kind == FRAME_MSGAPP && in.data[0] == ALIVE)
        return 0;
    if (r->kind == FRAME_MSGAPP && in.data[0] == ENTRIES)
        return give_entries(r, in, owner, message, arg);
    return give_message(r, bytes_of(in.data + head, in.len - head), owner,
                        message, arg);
}

/* ---- the stream ---------------------------------------------------------- */

static void resize_held(struct frame_reader *r, size_t cap)
{
    struct shared *bigger = shared_new(cap);

    if (r->held)
        memcpy(bigger->data, r->held->data, r->held_len);
    shared_unref(r->held);
    r->held = bigger;
}

/* Takes from `in` what the frame needs next; returns how much. */
static size_t hold(struct frame_reader *r, struct bytes in)
{
    size_t cap = r->held ? r->held->len : 0;
    size_t n = (size_t)r->scan.need - r->held_len;

    if (n > in.len)
        n = in.len;
    if (r->held_len + n > cap) {
        size_t said =
            r->scan.need < HELD_TRUST ? (size_t)r->scan.need : HELD_TRUST;
        cap = cap * 2 > said ? cap * 2 : said;
        if (r->scan.whole && cap > r->scan.need)
            cap = (size_t)r->scan.need;
        if (cap < r->held_len + n)
            cap = r->held_len + n;
        resize_held(r, cap);
    }
    CHECK(r->held != NULL);
    memcpy(r->held->data + r->held_len, in.data, n);
    r->held_len += n;
    return n;
}

static int give_held(struct frame_reader *r, frame_cb message, void *arg)
{
    struct shared *owner = r->held;
    size_t len = r->held_len;
    int rc;

    /* Entries may be kept long, and with them all of their owner. */
    if (owner->len - len > len / 4) {
        resize_held(r, len);
        owner = r->held;
    }
    r->held = NULL;
    r->held_len = 0;
    r->scan = (struct frame_scan){0};
    rc = give(r, bytes_of(owner->data, len), owner, message, arg);
    shared_unref(owner);
    return rc;
}

/* One step: a whole frame, or the begin of one. */
static int step(struct frame_reader *r, struct bytes in, size_t *n,
                frame_cb message, void *arg)
{
    int rc;

    *n = 0;
    if (r->held_len == 0) {
        rc = scan(r, &r->scan, in.data, in.len);
        if (rc < 0)
            return rc;
        if (r->scan.whole && in.len >= r->scan.need) {
            *n = (size_t)r->scan.need;
            r->scan = (struct frame_scan){0};
            return give(r, bytes_of(in.data, *n), NULL, message, arg);
        }
    }
    *n = hold(r, in);
    rc = scan(r, &r->scan, r->held->data, r->held_len);
    if (rc == 0 && r->scan.whole && r->held_len >= r->scan.need)
        rc = give_held(r, message, arg);
    return rc;
}

int frame_read(struct frame_reader *r, struct bytes in, size_t *used,
               frame_cb message, void *arg)
{
    size_t done = 0;
    int rc = 0;

    while (rc == 0 && done < in.len) {
        size_t n;
        rc = step(r, bytes_of(in.data + done, in.len - done), &n, message, arg);
        done += n;
    }
    if (used)
        *used = done;
    return rc;
}
