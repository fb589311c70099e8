/* A member of Raft's in whatever role, and whatever the others say to it in
 * whatever order, while its disk is slow: behind the door it goes on, and keeps
 * what it has committed. The input is the role, then a row of steps: a byte
 * that names the step, and what it needs. */
#include "../unit/raft_rig.h"
#include "chorad/raftpb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    const uint8_t *end;
};

static uint8_t next(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* A number near to one that means something, or at an end. */
static uint64_t next_number(struct input *in, const struct rig *rig)
{
    const uint64_t marks[] = {
        0,
        rig->term,
        rig->commit,
        raft_last_index(rig->raft),
        raft_first_index(rig->raft),
        UINT64_C(1) << 40,
        UINT64_C(1) << 62,
        UINT64_MAX,
    };
    uint8_t byte = next(in);

    return marks[byte & 7] + (uint64_t)(int64_t)((int)(byte >> 3) - 16);
}

static uint64_t next_id(struct input *in)
{
    static const uint64_t ids[] = {
        0, 1, 2, 3, 4, 77, RAFT_APPLY_THREAD, RAFT_APPEND_THREAD};

    return ids[next(in) & 7];
}

static void next_entries(struct input *in, const struct rig *rig,
                         struct raft_message *m)
{
    static const char *const changes[] = {
        "\x08\x01\x10\x01\x18\x03", /* 3 goes */
        "\x08\x01\x10\x00\x18\x03", /* and is back */
        "\x08\x01\x10\x03\x18\x05", /* 5 learns */
        "\x08\x01\x10\x01\x18\x01", /* 1 goes */
    };
    uint64_t term = m->log_term;

    m->entry_count = next(in) & 3;
    if (m->entry_count > 0)
        m->entries = mem_alloc(m->entry_count * sizeof(*m->entries));
    for (size_t i = 0; i < m->entry_count; i++) {
        uint8_t how = next(in);

        m->entries[i] = raft_entry_new((enum raft_entry_type)(how & 3),
                                       changes[how >> 2 & 3], 6);
        term += how >> 4 & 1;
        m->entries[i].term = how & 0x20 ? next_number(in, rig) : term;
        m->entries[i].index =
            how & 0x40 ? next_number(in, rig) : m->index + 1 + i;
    }
}

static void next_ids(struct input *in, struct raft_ids *ids)
{
    for (uint8_t bits = next(in), id = 0; bits != 0; bits >>= 1, id++)
        if (bits & 1)
            raft_ids_add(ids, id == 7 ? UINT64_MAX : id);
}

static struct raft_snapshot *next_snapshot(struct input *in,
                                           const struct rig *rig)
{
    struct raft_conf_state conf = {0};
    uint64_t index = next_number(in, rig);
    uint64_t term = next_number(in, rig);
    struct raft_snapshot *snapshot;

    if (next(in) & 1) {
        conf = rig_conf();
    } else {
        next_ids(in, &conf.voters);
        next_ids(in, &conf.learners);
        next_ids(in, &conf.voters_outgoing);
        next_ids(in, &conf.learners_next);
        conf.auto_leave = next(in) & 1;
    }
    snapshot = raft_snapshot_new(index, term, &conf, NULL);
    raft_conf_state_close(&conf);
    return snapshot;
}

/* Types that need something get it, most of the time: the rest is refused as it
 * comes. */
static struct raft_message next_message(struct input *in, const struct rig *rig)
{
    uint8_t type = next(in);
    uint8_t how = next(in);
    struct raft_message m = {
        .type = (enum raft_message_type)(type % (RAFT_MSG_TYPES + 1)),
        .to = how & 1 ? next_id(in) : rig->id,
        .from = next_id(in),
        .term = how & 2 ? next_number(in, rig) : rig->term,
        .index = next_number(in, rig),
        .commit = next_number(in, rig),
        .reject = how & 4,
        .reject_hint = next_number(in, rig),
    };

    if (!(how & 8) || raft_term_at(rig->raft, m.index, &m.log_term) < 0)
        m.log_term = next_number(in, rig);
    if (how & 16)
        next_entries(in, rig, &m);
    if (m.type == RAFT_MSG_SNAP || how & 32)
        m.snapshot = next_snapshot(in, rig);
    if (how & 64) {
        m.context = shared_new(16);
        memcpy(m.context->data, "CampaignTransfer", 16);
    }
    if (how & 128 && (m.type == RAFT_MSG_PROP || m.type == RAFT_MSG_READ_INDEX))
        m.term = 0;
    return m;
}

/* As it comes from the wire: what is lost on the way isn't part of it. */
static void hear(struct input *in, struct rig *rig)
{
    struct raft_message m = next_message(in, rig);
    struct raft_message back;
    size_t len = raftpb_message_size(&m);
    uint8_t *bytes = mem_alloc(len + 1);

    CHECK(raftpb_message_put(bytes, &m) == bytes + len);
    if (raftpb_message_get(&back, bytes_of(bytes, len)) == 0) {
        for (size_t i = 0; i < back.entry_count; i++) {
            struct raft_entry copy =
                raft_entry_new(back.entries[i].type, back.entries[i].data,
                               back.entries[i].len);
            copy.term = back.entries[i].term;
            copy.index = back.entries[i].index;
            back.entries[i] = copy;
        }
        (void)rig_hear(rig, &back);
        raft_message_close(&back);
    }
    free(bytes);
    raft_message_close(&m);
}

static void propose(struct rig *rig)
{
    struct raft_entry entry = raft_entry_new(RAFT_ENTRY_NORMAL, "own", 3);

    if (raft_propose(rig->raft, &entry, 1) < 0)
        raft_entry_unref(&entry);
}

static void step(struct input *in, struct rig *rig)
{
    uint8_t what = next(in);

    switch (what & 15) {
    case 0:
        raft_tick(rig->raft);
        break;
    case 1:
        for (int i = 0; i < 25; i++)
            raft_tick(rig->raft);
        break;
    case 2:
        rig_persist(rig, 1 + (what >> 4));
        break;
    case 3:
        rig_settle(rig);
        break;
    case 4:
        propose(rig);
        break;
    case 5:
        raft_read_index(rig->raft, &what, 1);
        break;
    case 6:
        raft_campaign(rig->raft);
        break;
    case 7:
        raft_transfer_leader(rig->raft, next_id(in));
        break;
    case 8:
        raft_report_unreachable(rig->raft, next_id(in));
        break;
    case 9:
        raft_report_snapshot(rig->raft, next_id(in), what >> 4 & 1);
        break;
    case 10:
        (void)raft_compact(rig->raft, rig->applied);
        break;
    case 11:
        raft_step_down(rig->raft);
        break;
    default:
        hear(in, rig);
        break;
    }
    rig_pump(rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct rig rig;

    rig_open(&rig, (enum rig_role)(next(&in) % RIG_ROLES));
    while (in.at < in.end)
        step(&in, &rig);
    rig_settle(&rig);
    rig_close(&rig);
    return 0;
}
