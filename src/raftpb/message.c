/* Message. */
#include "chorad/base/pb.h"
#include "chorad/raftpb.h"
#include <stdlib.h>

enum {
    TYPE = 1,
    TO = 2,
    FROM = 3,
    TERM = 4,
    LOG_TERM = 5,
    INDEX = 6,
    ENTRIES = 7,
    COMMIT = 8,
    SNAPSHOT = 9,
    REJECT = 10,
    REJECT_HINT = 11,
    CONTEXT = 12,
};

#define BIT(field) (1U << (field))

/* Numbers that etcd sets in a message of this type whatever they are; others
 * are left out when they are 0. */
static unsigned fields_always(const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_MSG_APP:
        return BIT(LOG_TERM) | BIT(INDEX) | BIT(COMMIT);
    case RAFT_MSG_APP_RESP:
        return m->reject ? BIT(LOG_TERM) | BIT(INDEX) | BIT(REJECT_HINT) : 0;
    case RAFT_MSG_VOTE:
    case RAFT_MSG_PRE_VOTE:
        return BIT(LOG_TERM) | BIT(INDEX);
    case RAFT_MSG_HEARTBEAT:
        /* One of no member to no member only keeps a link alive. */
        return m->from == RAFT_NONE ? 0 : BIT(COMMIT);
    case RAFT_MSG_READ_INDEX_RESP:
        return BIT(INDEX);
    default:
        return 0;
    }
}

static size_t number_size(unsigned always, uint32_t field, uint64_t value)
{
    return value != 0 || always & BIT(field) ? pb_number_size(field, value) : 0;
}

static uint8_t *put_number(uint8_t *p, unsigned always, uint32_t field,
                           uint64_t value)
{
    return value != 0 || always & BIT(field) ? pb_put_number(p, field, value)
                                             : p;
}

/* ---- writing ------------------------------------------------------------- */

static size_t head_size(const struct raft_message *m)
{
    unsigned always = fields_always(m);

    return pb_number_size(TYPE, m->type) + pb_u64_size(TO, m->to) +
           pb_u64_size(FROM, m->from) + pb_u64_size(TERM, m->term) +
           number_size(always, LOG_TERM, m->log_term) +
           number_size(always, INDEX, m->index);
}

uint8_t *raftpb_message_put_head(uint8_t *p, const struct raft_message *m)
{
    unsigned always = fields_always(m);

    p = pb_put_number(p, TYPE, m->type);
    p = pb_put_u64(p, TO, m->to);
    p = pb_put_u64(p, FROM, m->from);
    p = pb_put_u64(p, TERM, m->term);
    p = put_number(p, always, LOG_TERM, m->log_term);
    return put_number(p, always, INDEX, m->index);
}

uint8_t *raftpb_message_put_entry_head(uint8_t *p,
                                       const struct raft_entry *entry)
{
    p = pb_put_len(p, ENTRIES, raftpb_entry_size(entry));
    return raftpb_entry_put_head(p, entry);
}

static size_t entries_size(const struct raft_message *m)
{
    size_t size = 0;

    for (size_t i = 0; i < m->entry_count; i++) {
        size_t entry = raftpb_entry_size(&m->entries[i]);
        size += pb_len_size(ENTRIES, entry) + entry;
    }
    return size;
}

size_t raftpb_message_tail_size(const struct raft_message *m)
{
    unsigned always = fields_always(m);
    size_t size = number_size(always, COMMIT, m->commit) +
                  number_size(always, REJECT_HINT, m->reject_hint);

    if (m->snapshot) {
        size_t snapshot = raftpb_snapshot_size(m->snapshot);
        size += pb_len_size(SNAPSHOT, snapshot) + snapshot;
    }
    if (m->reject)
        size += pb_number_size(REJECT, 1);
    if (m->context)
        size += pb_len_size(CONTEXT, m->context->len) + m->context->len;
    return size;
}

uint8_t *raftpb_message_put_tail(uint8_t *p, const struct raft_message *m)
{
    unsigned always = fields_always(m);

    p = put_number(p, always, COMMIT, m->commit);
    if (m->snapshot) {
        p = pb_put_len(p, SNAPSHOT, raftpb_snapshot_size(m->snapshot));
        p = raftpb_snapshot_put(p, m->snapshot);
    }
    if (m->reject)
        p = pb_put_number(p, REJECT, 1);
    p = put_number(p, always, REJECT_HINT, m->reject_hint);
    if (m->context) {
        p = pb_put_len(p, CONTEXT, m->context->len);
        memcpy(p, m->context->data, m->context->len);
        p += m->context->len;
    }
    return p;
}

size_t raftpb_message_size(const struct raft_message *m)
{
    return head_size(m) + entries_size(m) + raftpb_message_tail_size(m);
}

uint8_t *raftpb_message_put(uint8_t *p, const struct raft_message *m)
{
    p = raftpb_message_put_head(p, m);
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *entry = &m->entries[i];
        p = raftpb_message_put_entry_head(p, entry);
        if (entry->len > 0)
            memcpy(p, entry->data, entry->len);
        p += entry->len;
    }
    return raftpb_message_put_tail(p, m);
}

/* ---- reading ------------------------------------------------------------- */

static int get_entry(struct raft_message *m, size_t *cap, struct bytes in)
{
    if (m->entry_count == RAFTPB_ENTRIES_MAX)
        return ERR_TOOBIG;
    if (m->entry_count == *cap) {
        *cap = *cap ? *cap * 2 : 4;
        m->entries = mem_realloc(m->entries, *cap * sizeof(*m->entries));
    }
    int rc = raftpb_entry_get(&m->entries[m->entry_count], in, NULL);
    if (rc == 0)
        m->entry_count++;
    return rc;
}

static int get_len_field(struct raft_message *m, size_t *entry_cap,
                         const struct pb_field *f)
{
    switch (f->number) {
    case ENTRIES:
        return get_entry(m, entry_cap, f->bytes);
    case SNAPSHOT:
        raft_snapshot_unref(m->snapshot);
        m->snapshot = NULL;
        return raftpb_snapshot_get(&m->snapshot, f->bytes);
    case CONTEXT:
        if (f->bytes.len > UINT32_MAX)
            return ERR_TOOBIG;
        shared_unref(m->context);
        m->context = shared_new(f->bytes.len);
        if (f->bytes.len > 0)
            memcpy(m->context->data, f->bytes.data, f->bytes.len);
        return 0;
    default:
        return 0;
    }
}

static int get_number_field(struct raft_message *m, const struct pb_field *f)
{
    switch (f->number) {
    case TYPE:
        if (f->value >= RAFT_MSG_TYPES)
            return ERR_UNSUPPORTED;
        m->type = (enum raft_message_type)f->value;
        break;
    case TO:
        m->to = f->value;
        break;
    case FROM:
        m->from = f->value;
        break;
    case TERM:
        m->term = f->value;
        break;
    case LOG_TERM:
        m->log_term = f->value;
        break;
    case INDEX:
        m->index = f->value;
        break;
    case COMMIT:
        m->commit = f->value;
        break;
    case REJECT:
        m->reject = f->value != 0;
        break;
    case REJECT_HINT:
        m->reject_hint = f->value;
        break;
    default:
        break;
    }
    return 0;
}

int raftpb_message_get(struct raft_message *m, struct bytes in)
{
    struct pb_reader r = pb_over(in);
    struct pb_field f;
    size_t entry_cap = 0;
    int more;
    int rc = 0;

    *m = (struct raft_message){0};
    while (rc == 0 && (more = pb_next(&r, &f)) != 0) {
        if (more < 0)
            rc = ERR_CORRUPT;
        else if (f.wire == PB_LEN)
            rc = get_len_field(m, &entry_cap, &f);
        else if (f.wire == PB_VARINT)
            rc = get_number_field(m, &f);
    }
    /* Older members write an empty snapshot into every message. */
    if (rc == 0 && m->snapshot && m->type != RAFT_MSG_SNAP &&
        m->snapshot->index == 0) {
        raft_snapshot_unref(m->snapshot);
        m->snapshot = NULL;
    }
    if (rc < 0)
        raft_message_close(m);
    return rc;
}
