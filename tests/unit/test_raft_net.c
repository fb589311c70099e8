/* Members on a bad network with slow disks that crash: seeded runs in virtual
 * time, with Raft's promises checked at every step. A failing run prints its
 * seed; RAFT_NET_SEED=<seed> runs that one alone. */
#include "chorad/base/clock.h"
#include "chorad/raft.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODES 5
#define FIRST_VOTERS 3
#define INDEX_MAX 20000
#define TERM_MAX 20000
#define DISK_MAX 8192
#define READS_MAX 4096

/* What survives a crash. The state machine is a hash over all entries, kept
 * at some index that trails what is applied. */
struct disk {
    struct raft_hard_state hard_state;
    uint64_t base_index;
    uint64_t base_term;
    struct raft_entry *entries;
    size_t count;
    uint64_t applied;
    uint64_t hash;
    struct raft_conf_state conf;
    struct raft_snapshot *snapshot;
};

struct member {
    uint64_t id;
    struct raft *raft; /* NULL while down */
    struct disk disk;
    struct raft_append *writes[DISK_MAX];
    size_t write_count;
    uint64_t applied;
    uint64_t hash;
    struct raft_conf_state conf;
    uint64_t up_at;
    unsigned side; /* members on different sides can't talk */
};

struct flight {
    struct raft_message m;
    uint64_t due;
};

struct net {
    uint64_t seed;
    struct prng random;
    struct raft_config config;
    struct member members[NODES];
    struct flight *flights;
    size_t flight_count;
    size_t flight_cap;
    uint64_t now;
    bool calm; /* no more faults */
    bool changes;
    /* What the cluster has promised. */
    uint64_t term_leader[TERM_MAX];
    uint64_t history_term[INDEX_MAX];
    uint64_t history_hash[INDEX_MAX];
    uint64_t max_applied;
    uint64_t read_floor[READS_MAX];
    uint64_t read_count;
    uint64_t reads_served;
    uint64_t elections;
    uint64_t snapshots;
    uint64_t crashes;
};

static struct net *current;

#define PROMISE(cond)                                                          \
    do {                                                                       \
        if (!(cond)) {                                                         \
            print_error("seed %" PRIu64 ", time %" PRIu64 ": %s\n",            \
                        current->seed, current->now, #cond);                   \
            fail();                                                            \
        }                                                                      \
    } while (0)

static uint64_t below(struct net *net, uint64_t n)
{
    return prng_below(&net->random, n);
}

static bool chance(struct net *net, uint64_t one_in)
{
    return below(net, one_in) == 0;
}

/* ---- disk */

static void disk_cut(struct disk *d, size_t count)
{
    while (d->count > count)
        raft_entry_unref(&d->entries[--d->count]);
}

static void set_snapshot(struct disk *d, struct raft_snapshot *snapshot)
{
    raft_snapshot_unref(d->snapshot);
    d->snapshot = raft_snapshot_ref(snapshot);
}

static void disk_write(struct disk *d, const struct raft_append *a)
{
    if (a->snapshot) {
        disk_cut(d, 0);
        d->base_index = a->snapshot->index;
        d->base_term = a->snapshot->term;
        d->applied = a->snapshot->index;
        memcpy(&d->hash, a->snapshot->data->data, sizeof(d->hash));
        raft_conf_state_close(&d->conf);
        d->conf = raft_conf_state_copy(&a->snapshot->conf_state);
        set_snapshot(d, a->snapshot);
    }
    for (size_t i = 0; i < a->entry_count; i++) {
        const struct raft_entry *e = &a->entries[i];
        PROMISE(e->index > d->base_index);
        size_t at = (size_t)(e->index - d->base_index - 1);
        PROMISE(at <= d->count);
        disk_cut(d, at);
        d->entries = mem_realloc(d->entries, (at + 1) * sizeof(*e));
        raft_entry_ref(e);
        d->entries[d->count++] = *e;
    }
    if (a->has_hard_state) {
        PROMISE(a->hard_state.term >= d->hard_state.term);
        PROMISE(a->hard_state.commit >= d->hard_state.commit);
        d->hard_state = a->hard_state;
    }
}

static void disk_compact(struct disk *d, uint64_t index)
{
    size_t drop = (size_t)(index - d->base_index);
    d->base_term = d->entries[drop - 1].term;
    d->base_index = index;
    for (size_t i = 0; i < drop; i++)
        raft_entry_unref(&d->entries[i]);
    d->count -= drop;
    memmove(d->entries, d->entries + drop, d->count * sizeof(*d->entries));
}

/* ---- members */

static void start(struct net *net, struct member *m)
{
    struct raft_init init = {
        .hard_state = m->disk.hard_state,
        .base_index = m->disk.base_index,
        .base_term = m->disk.base_term,
        .conf_state = &m->disk.conf,
        .snapshot = m->disk.snapshot,
        .entries = m->disk.entries,
        .entry_count = m->disk.count,
        .applied = m->disk.applied,
    };
    struct raft_config config = net->config;
    config.id = m->id;
    config.seed = prng_next(&net->random);
    struct errmsg msg;
    int rc = raft_new(&m->raft, &config, &init, &msg);
    if (rc < 0)
        print_error("raft_new: %s\n", msg.text);
    PROMISE(rc == 0);
    m->applied = m->disk.applied;
    m->hash = m->disk.hash;
    raft_conf_state_close(&m->conf);
    m->conf = raft_conf_state_copy(&m->disk.conf);
}

static void crash(struct net *net, struct member *m)
{
    /* What was being written may or may not have made it, in order. */
    size_t written = m->write_count > 0 ? below(net, m->write_count + 1) : 0;
    for (size_t i = 0; i < m->write_count; i++) {
        if (i < written)
            disk_write(&m->disk, m->writes[i]);
        raft_append_close(m->writes[i]);
    }
    m->write_count = 0;
    raft_free(m->raft);
    m->raft = NULL;
    m->up_at = net->now + below(net, 400);
    net->crashes++;
}

static uint64_t hash_entry(uint64_t hash, const struct raft_entry *e)
{
    hash = (hash ^ e->index) * UINT64_C(0x100000001b3);
    hash = (hash ^ e->term) * UINT64_C(0x100000001b3);
    for (size_t i = 0; i < e->len; i++)
        hash = (hash ^ e->data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static void apply_entry(struct net *net, struct member *m,
                        const struct raft_entry *e)
{
    PROMISE(e->index == m->applied + 1);
    PROMISE(e->index < INDEX_MAX);
    m->applied = e->index;
    m->hash = hash_entry(m->hash, e);
    if (e->index > net->max_applied) {
        PROMISE(e->index == net->max_applied + 1);
        net->max_applied = e->index;
        net->history_term[e->index] = e->term;
        net->history_hash[e->index] = m->hash;
    }
    PROMISE(net->history_term[e->index] == e->term);
    PROMISE(net->history_hash[e->index] == m->hash);
    if (e->type == RAFT_ENTRY_NORMAL)
        return;
    struct raft_conf_change cc;
    PROMISE(raft_conf_change_decode(&cc, e->type, e->data, e->len) == 0);
    raft_conf_state_close(&m->conf);
    PROMISE(raft_apply_conf_change(m->raft, &cc, &m->conf) == 0);
}

static struct raft_snapshot *image_of(struct member *m)
{
    uint64_t term = 0;
    PROMISE(raft_term_at(m->raft, m->applied, &term) == 0);
    struct shared *data = shared_new(sizeof(m->hash));
    memcpy(data->data, &m->hash, sizeof(m->hash));
    return raft_snapshot_new(m->applied, term, &m->conf, data);
}

/* What is sent is made on the spot. The stored one may be from before the
 * receiver was a member, which it would refuse. */
static void refresh_snapshot(struct member *from, struct raft_message *m)
{
    struct raft_snapshot *image = image_of(from);
    raft_snapshot_unref(m->snapshot);
    m->snapshot = image;
}

static void send(struct net *net, struct member *from, struct raft_message *m)
{
    struct member *to = &net->members[m->to - 1];
    bool lost = to->side != from->side || (!net->calm && chance(net, 20));
    if (m->type == RAFT_MSG_SNAP) {
        net->snapshots++;
        refresh_snapshot(from, m);
        raft_report_snapshot(from->raft, m->to, !lost);
    } else if (lost && chance(net, 4)) {
        raft_report_unreachable(from->raft, m->to);
    }
    if (lost) {
        raft_message_close(m);
        return;
    }
    if (net->flight_count + 2 > net->flight_cap) {
        net->flight_cap = net->flight_cap ? net->flight_cap * 2 : 64;
        net->flights =
            mem_realloc(net->flights, net->flight_cap * sizeof(*net->flights));
    }
    uint64_t delay = net->calm ? 1 : 1 + below(net, chance(net, 10) ? 60 : 6);
    if (!net->calm && chance(net, 30))
        net->flights[net->flight_count++] = (struct flight){
            raft_message_copy(m), net->now + 1 + below(net, 80)};
    net->flights[net->flight_count++] = (struct flight){*m, net->now + delay};
}

static void check_leader(struct net *net, struct member *m)
{
    struct raft_status st;
    raft_status(m->raft, &st);
    PROMISE(st.term < TERM_MAX);
    PROMISE(net->term_leader[st.term] == 0 ||
            net->term_leader[st.term] == m->id);
    if (net->term_leader[st.term] == 0)
        net->elections++;
    net->term_leader[st.term] = m->id;
    for (uint64_t i = raft_first_index(m->raft); i <= net->max_applied; i++) {
        uint64_t term = 0;
        PROMISE(raft_term_at(m->raft, i, &term) == 0);
        PROMISE(term == net->history_term[i]);
    }
}

static void take_reads(struct net *net, const struct raft_update *u)
{
    for (size_t i = 0; i < u->read_count; i++) {
        uint64_t id;
        PROMISE(u->reads[i].context->len == sizeof(id));
        memcpy(&id, u->reads[i].context->data, sizeof(id));
        PROMISE(u->reads[i].index >= net->read_floor[id % READS_MAX]);
        net->reads_served++;
    }
}

static void step_member(struct net *net, struct member *m)
{
    while (raft_has_update(m->raft)) {
        struct raft_update u;
        raft_update(m->raft, &u);
        if (u.has_soft_state && u.soft_state.role == RAFT_LEADER)
            check_leader(net, m);
        take_reads(net, &u);
        for (size_t i = 0; i < u.committed_count; i++)
            apply_entry(net, m, &u.committed[i]);
        /* Sending reports back into the core, which ends the update's life:
         * the messages are taken out first. */
        struct raft_message *out = NULL;
        size_t count = u.message_count;
        if (count > 0) {
            out = mem_alloc(count * sizeof(*out));
            memcpy(out, u.messages, count * sizeof(*out));
            memset(u.messages, 0, count * sizeof(*out));
        }
        if (u.append) {
            PROMISE(m->write_count < DISK_MAX);
            m->writes[m->write_count++] = u.append;
        }
        if (u.committed_count > 0)
            raft_applied(m->raft, m->applied);
        for (size_t i = 0; i < count; i++)
            send(net, m, &out[i]);
        free(out);
    }
}

static void write_some(struct net *net, struct member *m)
{
    while (m->write_count > 0 && (net->calm || !chance(net, 3))) {
        struct raft_append *a = m->writes[0];
        disk_write(&m->disk, a);
        if (a->snapshot && a->snapshot->index > m->applied) {
            m->applied = m->disk.applied;
            m->hash = m->disk.hash;
            PROMISE(m->hash == net->history_hash[m->applied]);
            raft_conf_state_close(&m->conf);
            m->conf = raft_conf_state_copy(&m->disk.conf);
            raft_set_snapshot(m->raft, raft_snapshot_ref(a->snapshot));
        }
        m->write_count--;
        for (size_t i = 0; i < m->write_count; i++)
            m->writes[i] = m->writes[i + 1];
        raft_append_done(m->raft, a);
        step_member(net, m);
    }
}

/* The state machine reaches the disk, and the log behind it may go. */
static void flush(struct net *net, struct member *m)
{
    struct disk *d = &m->disk;
    if (m->applied <= d->applied)
        return;
    /* Not while a snapshot is on its way that replaces all this. */
    if (m->applied > d->base_index + d->count ||
        m->applied + 1 < raft_first_index(m->raft))
        return;
    d->applied = m->applied;
    d->hash = m->hash;
    raft_conf_state_close(&d->conf);
    d->conf = raft_conf_state_copy(&m->conf);
    if (!chance(net, 4))
        return;
    struct raft_snapshot *s = image_of(m);
    set_snapshot(d, s);
    raft_set_snapshot(m->raft, s);
    uint64_t keep = below(net, 20);
    if (m->applied > keep && raft_compact(m->raft, m->applied - keep) == 0)
        disk_compact(d, m->applied - keep);
}

/* ---- what happens to them */

static void propose(struct net *net, struct member *m)
{
    struct raft_entry batch[4];
    size_t count = 1 + below(net, 4);
    for (size_t i = 0; i < count; i++) {
        uint64_t data = prng_next(&net->random);
        batch[i] = raft_entry_new(RAFT_ENTRY_NORMAL, &data, sizeof(data));
    }
    if (raft_propose(m->raft, batch, count) < 0)
        for (size_t i = 0; i < count; i++)
            raft_entry_unref(&batch[i]);
}

/* By a leader that stays a voter: one that is removed may take entries with it
 * that make its log longer than any other, and its vote is needed until the
 * others know that it isn't. */
static void change_members(struct net *net, struct member *m)
{
    struct raft_status st;
    raft_status(m->raft, &st);
    if (st.role != RAFT_LEADER)
        return;

    static const enum raft_conf_change_type types[] = {
        RAFT_CONF_ADD_NODE, RAFT_CONF_ADD_NODE, RAFT_CONF_REMOVE_NODE,
        RAFT_CONF_ADD_LEARNER};
    struct raft_conf_change cc = {0};
    if (!chance(net, 3)) {
        cc.change_count = 1 + below(net, 3);
        cc.transition = (enum raft_conf_transition)below(net, 3);
    }
    for (size_t i = 0; i < cc.change_count; i++)
        cc.changes[i] = (struct raft_conf_single){types[below(net, 4)],
                                                  1 + below(net, NODES)};
    if (cc.change_count > 0)
        cc.changes[cc.change_count++] =
            (struct raft_conf_single){RAFT_CONF_ADD_NODE, m->id};
    raft_propose_conf_change(m->raft, &cc);
}

static void ask_read(struct net *net, struct member *m)
{
    uint64_t id = net->read_count++;
    net->read_floor[id % READS_MAX] = net->max_applied;
    raft_read_index(m->raft, &id, sizeof(id));
}

static void disturb(struct net *net, struct member *m)
{
    if (chance(net, 2000))
        raft_transfer_leader(m->raft, 1 + below(net, NODES));
    if (chance(net, 5000))
        raft_campaign(m->raft);
    if (chance(net, 5000))
        raft_forget_leader(m->raft);
    if (chance(net, 5000))
        raft_step_down(m->raft);
    if (net->changes && chance(net, 150))
        change_members(net, m);
    if (chance(net, 1500))
        crash(net, m);
}

static void run_member(struct net *net, struct member *m)
{
    if (!m->raft) {
        if (net->calm || net->now >= m->up_at)
            start(net, m);
        return;
    }
    if ((net->now + m->id) % 10 == 0)
        raft_tick(m->raft);
    if (chance(net, 10))
        propose(net, m);
    if (chance(net, 10))
        ask_read(net, m);
    if (!net->calm)
        disturb(net, m);
    if (!m->raft)
        return;
    step_member(net, m);
    write_some(net, m);
    if (chance(net, 50))
        flush(net, m);
}

static void deliver_due(struct net *net)
{
    for (size_t i = 0; i < net->flight_count;) {
        if (net->flights[i].due > net->now) {
            i++;
            continue;
        }
        struct raft_message m = net->flights[i].m;
        net->flights[i] = net->flights[--net->flight_count];
        struct member *to = &net->members[m.to - 1];
        if (to->raft) {
            PROMISE(raft_refusal(to->raft, &m) == NULL);
            int rc = raft_step(to->raft, &m);
            PROMISE(rc == 0 || rc == ERR_AGAIN || rc == ERR_MEMBER_NOT_FOUND);
            step_member(net, to);
        }
        raft_message_close(&m);
    }
}

/* Splits the network in two, or joins it. */
static void split(struct net *net)
{
    bool joined = net->calm || chance(net, 3);
    for (size_t i = 0; i < NODES; i++)
        net->members[i].side = joined ? 0 : (unsigned)below(net, 2);
}

static void run_time(struct net *net, uint64_t duration)
{
    for (uint64_t end = net->now + duration; net->now < end; net->now++) {
        if (chance(net, 400))
            split(net);
        deliver_due(net);
        for (size_t i = 0; i < NODES; i++)
            run_member(net, &net->members[i]);
    }
}

static struct member *leader_of(struct net *net)
{
    for (size_t i = 0; i < NODES; i++) {
        struct raft_status st;
        if (!net->members[i].raft)
            continue;
        raft_status(net->members[i].raft, &st);
        if (st.role == RAFT_LEADER)
            return &net->members[i];
    }
    return NULL;
}

/* Without step_down_on_removal a leader that was removed goes on leading and
 * takes nothing any more, until its member is stopped. */
static void stop_removed_leaders(struct net *net)
{
    for (size_t i = 0; i < NODES; i++) {
        struct member *m = &net->members[i];
        const struct raft_conf_state *cs = raft_conf_state(m->raft);
        if (!raft_ids_has(&cs->voters, m->id) &&
            !raft_ids_has(&cs->voters_outgoing, m->id))
            raft_step_down(m->raft);
    }
}

/* With the faults gone the cluster must work, and agree. */
static void heal(struct net *net)
{
    net->calm = true;
    for (size_t i = 0; i < NODES; i++)
        net->members[i].side = 0;
    run_time(net, 1000);
    stop_removed_leaders(net);
    run_time(net, 2000);
    uint64_t before = net->max_applied;
    uint64_t reads = net->reads_served;
    run_time(net, 1000);
    PROMISE(net->max_applied > before);
    PROMISE(net->reads_served > reads);
    struct member *leader = leader_of(net);
    PROMISE(leader);
    struct raft_conf_state cs =
        raft_conf_state_copy(raft_conf_state(leader->raft));
    for (size_t i = 0; i < NODES; i++) {
        struct member *m = &net->members[i];
        if (raft_ids_has(&cs.voters, m->id) ||
            raft_ids_has(&cs.learners, m->id))
            PROMISE(m->applied > before);
    }
    raft_conf_state_close(&cs);
}

/* ---- runs */

static void open_net(struct net *net, uint64_t seed)
{
    memset(net, 0, sizeof(*net));
    net->seed = seed;
    net->random.state = seed;
    raft_config_init(&net->config);
    net->config.election_tick = 10;
    net->config.pre_vote = chance(net, 2);
    net->config.check_quorum = chance(net, 2);
    net->config.step_down_on_removal = chance(net, 2);
    net->config.max_size_per_msg = chance(net, 2) ? 60 : 100000;
    net->config.max_committed_size = chance(net, 2) ? 100 : 100000;
    net->config.max_inflight_msgs = 1 + below(net, 8);
    net->changes = chance(net, 2);
    /* Removed members that aren't told would disturb the others for ever. */
    if (net->changes)
        net->config.check_quorum = true;
    net->max_applied = 1;
    uint64_t hash = 42;
    net->history_term[1] = 1;
    net->history_hash[1] = hash;
    for (size_t i = 0; i < NODES; i++) {
        struct member *m = &net->members[i];
        m->id = i + 1;
        if (i < FIRST_VOTERS || !net->changes) {
            struct disk *d = &m->disk;
            d->base_index = d->applied = 1;
            d->base_term = 1;
            d->hash = hash;
            size_t voters = net->changes ? FIRST_VOTERS : NODES;
            for (uint64_t id = 1; id <= voters; id++)
                raft_ids_add(&d->conf.voters, id);
            struct shared *data = shared_new(sizeof(hash));
            memcpy(data->data, &hash, sizeof(hash));
            d->snapshot = raft_snapshot_new(1, 1, &d->conf, data);
        }
        start(net, m);
    }
}

static void close_net(struct net *net)
{
    for (size_t i = 0; i < NODES; i++) {
        struct member *m = &net->members[i];
        for (size_t j = 0; j < m->write_count; j++)
            raft_append_close(m->writes[j]);
        raft_free(m->raft);
        disk_cut(&m->disk, 0);
        free(m->disk.entries);
        raft_conf_state_close(&m->disk.conf);
        raft_conf_state_close(&m->conf);
        raft_snapshot_unref(m->disk.snapshot);
    }
    for (size_t i = 0; i < net->flight_count; i++)
        raft_message_close(&net->flights[i].m);
    free(net->flights);
}

static void run_seed(uint64_t seed)
{
    struct net *net = mem_alloc(sizeof(*net));
    current = net;
    open_net(net, seed);
    run_time(net, 8000);
    heal(net);
    if (getenv("RAFT_NET_SEED"))
        print_message("seed %" PRIu64 ": %" PRIu64 " entries, %" PRIu64
                      " elections, %" PRIu64 " reads, %" PRIu64
                      " snapshots, %" PRIu64 " crashes\n",
                      seed, net->max_applied, net->elections, net->reads_served,
                      net->snapshots, net->crashes);
    close_net(net);
    free(net);
}

static void keeps_its_promises(void **state)
{
    (void)state;
    const char *one = getenv("RAFT_NET_SEED");
    if (one) {
        run_seed(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 16; seed++)
        run_seed(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_its_promises)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
