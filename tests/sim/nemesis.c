#include "nemesis.h"
#include "chorad/base/check.h"
#include "client.h"
#include "member.h"
#include "net.h"
#include "node/node.h"
#include "rpc.pb-c.h"
#include "rules.h"
#include "watcher.h"
#include <stdlib.h>

struct nemesis_settings nemesis_settings;

static bool over;

/* ---- members that go and come ------------------------------------------- */

static void restart(void *arg)
{
    struct member *m = arg;

    if (!m->life && !m->lost && !m->removed)
        member_start(m);
}

static struct member *random_member(void)
{
    struct member *m = member_at((unsigned)sim_below(SIM_SLOTS));

    return member_counts(m) ? m : NULL;
}

static bool is_healthy(const struct member *m)
{
    return member_counts(m) && !m->learner && !m->flipped;
}

/* One disk may lose data for good, as long as a quorum has its own. */
static bool may_flip(const struct member *m)
{
    unsigned healthy = 0;
    unsigned damaged = 0;

    for (unsigned i = 0; i < SIM_SLOTS; i++) {
        healthy += is_healthy(member_at(i)) && member_at(i) != m;
        damaged += member_at(i)->flipped;
    }
    return damaged == 0 && healthy >= 2 && member_at(m->slot)->started;
}

static void crash(void)
{
    struct life *leader = member_leader();
    struct member *m =
        leader && sim_chance(300) ? member_at(leader->slot) : random_member();

    if (!m)
        return;
    member_crash(m, sim_chance(600));
    if (!m->life && sim_chance(nemesis_settings.flip) && may_flip(m) &&
        disk_flip(m->slot)) {
        m->flipped = true;
        sim_say("%u: a bit flips", m->slot);
    }
    sim_at(sim_between(SIM_MS, 3 * SIM_S), NULL, restart, m);
}

static void crash_now(void *arg)
{
    const struct life *life = arg;
    struct member *m = member_at(life->slot);

    if (over || m->life != life)
        return;
    member_crash(m, true);
    sim_at(sim_between(SIM_MS, SIM_S), NULL, restart, m);
}

void nemesis_moment(const struct life *life)
{
    if (!over && sim_chance(nemesis_settings.moment))
        sim_at(sim_below((sim_chance(500) ? 4 : 40) * SIM_MS), NULL, crash_now,
               (void *)(uintptr_t)life);
}

/* All at once: what wasn't on disk is nowhere. */
static void crash_all(void)
{
    bool power = sim_chance(700);

    for (unsigned i = 0; i < SIM_SLOTS; i++) {
        struct member *m = member_at(i);
        if (!m->life)
            continue;
        member_crash(m, power);
        sim_at(sim_between(SIM_MS, SIM_S), NULL, restart, m);
    }
}

static void stop(void)
{
    struct member *m = random_member();

    if (!m || !m->life)
        return;
    member_stop(m);
}

static void pause_member(void)
{
    struct member *m = random_member();

    if (!m || !m->life || !m->life->up)
        return;
    m->life->paused_until = sim.now_ns + sim_between(SIM_S / 10, 4 * SIM_S);
    sim_say("%u is paused", m->slot);
}

/* ---- the network -------------------------------------------------------- */

static void heal(void *arg)
{
    (void)arg;
    if (!over)
        net_heal();
}

static void cut(void)
{
    unsigned side = (unsigned)sim_below(1U << SIM_SLOTS);
    unsigned how = (unsigned)sim_below(6);
    struct life *leader = member_leader();

    /* The leader alone; one direction only; single links; two halves. */
    if ((how == 0 || how > 3) && leader)
        side = 1U << leader->slot;
    for (unsigned i = 0; i < SIM_SLOTS; i++)
        for (unsigned j = 0; j < SIM_SLOTS; j++) {
            bool apart = (side >> i & 1) != (side >> j & 1);
            /* Of a one-way cut one direction is left. */
            if (how == 1)
                apart = (side >> i & 1) && !(side >> j & 1);
            if (how == 2)
                apart = i != j && sim_chance(300);
            if (apart)
                net_cut(i, j, true);
        }
    sim_say("the network is cut: %x, %u", side, how);
    sim_at(sim_between(SIM_S / 5, (sim_chance(200) ? 9 : 5) * SIM_S), NULL,
           heal, NULL);
}

/* ---- disks -------------------------------------------------------------- */

static void repair_disk(void *arg)
{
    struct disk_faults *faults = arg;

    faults->fail_sync = faults->fail_write = 0;
}

static void bad_disk(void)
{
    unsigned slot = (unsigned)sim_below(SIM_SLOTS);
    struct disk_faults *faults = disk_faults(slot);

    switch (sim_below(3)) {
    case 0:
        faults->stall_until = sim.now_ns + sim_between(SIM_S / 10, 3 * SIM_S);
        sim_say("%u: the disk stalls", slot);
        break;
    case 1:
        faults->fail_sync = 100;
        sim_at(2 * SIM_S, NULL, repair_disk, faults);
        break;
    default:
        faults->fail_write = 100;
        sim_at(2 * SIM_S, NULL, repair_disk, faults);
        break;
    }
}

/* ---- the membership ----------------------------------------------------- */

struct change {
    struct node_change change;
    struct life *life;
    struct member *member;
    struct cluster_member added;
};

static struct change *under_way;

static void changed(struct node_change *change)
{
    struct change *c = container_of(change, struct change, change);

    sim_say("change %d of %u: %s", change->kind, c->member->slot,
            err_text(change->err));
    nemesis_moment(c->life);
    if (change->err == 0 && change->kind == NODE_ADD_MEMBER)
        member_join(c->member, change->id, c->added.is_learner,
                    &change->members);
    else if (change->err == 0 && change->kind == NODE_REMOVE_MEMBER)
        c->member->removed = true;
    else if (change->err == 0 && change->kind == NODE_PROMOTE_MEMBER)
        c->member->learner = false;
    cluster_list_close(&change->members);
    under_way = NULL;
}

static void change_now(void *arg)
{
    struct change *c = arg;

    node_change_members(c->life->node, &c->change);
}

static void begin_change(enum node_change_kind kind, struct member *m,
                         bool learner)
{
    struct life *life = member_random_life();
    struct change *c;

    if (!life)
        return;
    c = mem_zalloc(sizeof(*c));
    c->life = life;
    c->member = m;
    c->change.kind = kind;
    c->change.done = changed;
    c->change.id = m->id;
    if (kind == NODE_ADD_MEMBER) {
        const char *const *urls = member_urls(m->slot);
        c->added = (struct cluster_member){
            .id = cluster_added_member_id(urls, clock_wall_ns() / SIM_S),
            .name = (char *)(uintptr_t) "",
            .peer_urls = (char **)(uintptr_t)urls,
            .is_learner = learner,
        };
        c->change.member = &c->added;
        c->change.id = c->added.id;
    }
    under_way = c;
    sim_say("change %d of %u asked for at %u", kind, m->slot, life->slot);
    sim_at(SIM_US, life, change_now, c);
}

static struct member *a_learner(void)
{
    for (unsigned i = 0; i < SIM_SLOTS; i++)
        if (member_counts(member_at(i)) && member_at(i)->learner)
            return member_at(i);
    return NULL;
}

/* One at a time; one whose outcome isn't known is the last, as we couldn't say
 * any more who belongs to the cluster. */
static void change_members(void)
{
    struct member *learner = a_learner();
    struct member *m = random_member();

    if (under_way)
        return;
    if (learner && sim_chance(700))
        begin_change(NODE_PROMOTE_MEMBER, learner, false);
    else if (member_count() < 6 && member_free_slot() && sim_chance(600))
        begin_change(NODE_ADD_MEMBER, member_free_slot(), sim_chance(700));
    else if (m && member_count() > 3)
        begin_change(NODE_REMOVE_MEMBER, m, false);
}

/* ---- the rest ----------------------------------------------------------- */

struct compaction {
    struct node_request request;
    struct buf payload;
};

static void compacted(struct node_request *request)
{
    struct compaction *c = container_of(request, struct compaction, request);

    buf_close(&c->payload);
    buf_close(&request->body);
    free(c);
}

static void compact(void)
{
    struct life *life = member_random_life();
    Etcdserverpb__CompactionRequest req =
        ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct compaction *c;
    uint8_t *at;

    if (!life || rules_revision() < 20)
        return;
    c = mem_zalloc(sizeof(*c));
    req.revision = rules_revision() - (int64_t)sim_below(20);
    req.physical = sim_chance(500);
    at = buf_reserve(&c->payload,
                     etcdserverpb__compaction_request__get_packed_size(&req));
    c->payload.len = etcdserverpb__compaction_request__pack(&req, at);
    c->request.kind = APPLY_COMPACTION;
    c->request.payload = bytes_of(c->payload.data, c->payload.len);
    c->request.done = compacted;
    sim_say("compaction at %" PRId64, req.revision);
    node_propose(life->node, &c->request);
}

static void transferred(struct node_transfer *transfer)
{
    sim_say("leadership handed over: %s", err_text(transfer->err));
    free(transfer);
}

static void transfer_now(void *arg)
{
    struct life *life = arg;
    struct node_transfer *transfer = mem_zalloc(sizeof(*transfer));
    struct life *to = member_random_life();
    struct member *newest = member_newest();

    /* Who has come last has the shortest log. */
    if (newest && sim_chance(300))
        to = newest->life;
    transfer->to = to ? to->node->member_id : 1;
    transfer->done = transferred;
    node_move_leader(life->node, transfer);
}

static void transfer(void)
{
    struct life *leader = member_leader();

    if (leader)
        sim_at(SIM_US, leader, transfer_now, leader);
}

/* ---- by chance ---------------------------------------------------------- */

static void strike_now(void)
{
    const struct nemesis_settings *s = &nemesis_settings;
    const struct {
        unsigned weight;
        void (*strike)(void);
    } kinds[] = {
        {s->crash, crash},
        {s->crash / 6, crash_all},
        {s->stop, stop},
        {s->pause, pause_member},
        {s->cut, cut},
        {s->disk, bad_disk},
        {s->change, change_members},
        {s->compact, compact},
        {s->transfer, transfer},
        {4, watcher_move},
    };
    size_t n = sizeof(kinds) / sizeof(kinds[0]);
    unsigned all = 0;

    for (size_t i = 0; i < n; i++)
        all += kinds[i].weight;
    unsigned dice = (unsigned)sim_below(all);
    for (size_t i = 0; i < n; i++) {
        if (dice < kinds[i].weight) {
            kinds[i].strike();
            return;
        }
        dice -= kinds[i].weight;
    }
}

static void strike(void *arg)
{
    if (over)
        return;
    strike_now();
    sim_at(sim_between(nemesis_settings.every_ns / 4,
                       nemesis_settings.every_ns * 2),
           NULL, strike, arg);
}

/* Those that end by themselves are started again. */
static void watchdog(void *arg)
{
    for (unsigned i = 0; i < SIM_SLOTS; i++) {
        struct member *m = member_at(i);
        if (m->restarts_at != 0 && m->restarts_at <= sim.now_ns) {
            m->restarts_at = 0;
            restart(m);
        }
    }
    sim_at(SIM_S / 10, NULL, watchdog, arg);
}

void nemesis_start(void)
{
    sim_at(2 * SIM_S, NULL, strike, NULL);
    sim_at(SIM_S, NULL, watchdog, NULL);
}

void nemesis_end(void)
{
    over = true;
    net_heal();
    net_faults.lose = 0;
    for (unsigned i = 0; i < SIM_SLOTS; i++) {
        struct member *m = member_at(i);
        struct disk_faults *faults = disk_faults(i);
        faults->fail_sync = faults->fail_write = 0;
        faults->stall_until = 0;
        if (m->life)
            m->life->paused_until = 0;
        if (!m->life && member_counts(m) &&
            (m->started || m->joins.n > 0 ||
             m->slot < member_settings.first_members))
            m->restarts_at = sim.now_ns;
    }
}
