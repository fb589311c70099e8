#include "run.h"
#include "chorad/base/check.h"
#include "client.h"
#include "disk.h"
#include "member.h"
#include "nemesis.h"
#include "net.h"
#include "node/node.h"
#include "rules.h"
#include "watcher.h"
#include <stdio.h>
#include <stdlib.h>

#define FAULTS_NS (15 * SIM_S)
/* Within that the cluster must have found itself again. */
#define SETTLE_NS (40 * SIM_S)

/* Each run has a character of its own: what never happens in one of them
 * happens often in another. */
static void choose_settings(void)
{
    static const uint64_t snapshot_counts[] = {20, 60, 200, 100000};

    member_settings = (struct member_settings){
        .first_members = sim_chance(600) ? 3 : 5,
        .snapshot_count = snapshot_counts[sim_below(4)],
        .catchup_entries = sim_chance(500) ? 5 : 50,
        .segment_bytes = sim_chance(500) ? 16384 : 131072,
        .message_bytes = sim_chance(600) ? 1 << 20 : sim_below(300),
        .messages = sim_chance(700) ? 512 : (size_t)sim_between(1, 4),
        .pre_vote = sim_chance(700),
        .lease_checkpoint = sim_chance(200),
        .strict_reconfig = sim_chance(500),
    };
    net_faults = (struct net_faults){
        .lose = sim_chance(500) ? 0 : (unsigned)sim_below(60),
        .duplicate = sim_chance(500) ? 0 : (unsigned)sim_below(60),
        .delay_ns = sim_chance(700) ? SIM_MS : 20 * SIM_MS,
        .reorder = sim_chance(400),
    };
    client_settings = (struct client_settings){
        .clients = (unsigned)sim_between(3, 8),
        .keys = (unsigned)sim_between(2, 6),
        .lessees = (unsigned)sim_between(1, 4),
        .leasing = sim_chance(400) ? 900 : 300,
        .faithful = sim_chance(500) ? 950 : 0,
        .think_ns = sim_chance(500) ? 100 * SIM_MS : 400 * SIM_MS,
    };
    nemesis_settings = (struct nemesis_settings){
        .every_ns = sim_chance(250) ? sim_between(SIM_S / 10, SIM_S / 4)
                                    : sim_between(SIM_S / 4, 2 * SIM_S),
        .crash = (unsigned)sim_below(20),
        .stop = (unsigned)sim_below(8),
        .pause = (unsigned)sim_below(10),
        .cut = (unsigned)sim_below(20),
        .disk = (unsigned)sim_below(10),
        .change = sim_chance(400) ? (unsigned)sim_below(25) : 0,
        .compact = (unsigned)sim_below(6),
        .transfer = (unsigned)sim_below(8),
        .moment = sim_chance(300) ? 200 : 0,
        .flip = sim_chance(300) ? 500 : 0,
    };
    /* Leaders that are cut off, and nothing else in their way. */
    if (sim_chance(150)) {
        nemesis_settings.crash = nemesis_settings.pause = 1;
        nemesis_settings.cut = 60;
        nemesis_settings.every_ns = 3 * SIM_S;
        client_settings.faithful = 950;
        client_settings.think_ns = 100 * SIM_MS;
    }
    /* A member that nobody was told of and a damaged one may be too many. */
    if (nemesis_settings.flip > 0)
        nemesis_settings.change = 0;
    for (unsigned i = 0; i < SIM_SLOTS; i++)
        *disk_faults(i) = (struct disk_faults){
            .sync_ns = sim_chance(700) ? 2 * SIM_MS : 50 * SIM_MS,
            .direct = sim_chance(500),
        };
}

static void make_roots(void)
{
    for (unsigned i = 0; i < SIM_SLOTS; i++) {
        char path[16];
        snprintf(path, sizeof(path), "/sim/%u", i);
        file_sync(disk_make(path, true));
    }
}

static void run_until(uint64_t time_ns)
{
    while (sim.now_ns < time_ns && sim_step())
        rules_step(sim.last_life);
}

/* ---- the end ------------------------------------------------------------ */

static bool takes_part(const struct member *m)
{
    return m->life && m->life->up && !m->removed;
}

/* All that run have applied the same, there is a leader, and everybody who
 * should be there is. */
static bool is_settled(void)
{
    struct life *leader = member_leader();

    if (!leader || leader->node->applied < rules_committed() ||
        leader->node->applied_term != leader->node->term)
        return false;
    for (unsigned i = 0; i < SIM_SLOTS; i++) {
        const struct member *m = member_at(i);
        if (m->removed || m->lost || m->id == 0)
            continue;
        /* One whose joining or removal nobody was told of. */
        if (!cluster_find(leader->node->cluster, m->id))
            continue;
        if (!takes_part(m) || m->life->node->applied != leader->node->applied)
            return false;
    }
    return true;
}

static void settle(void)
{
    uint64_t end = sim.now_ns + SETTLE_NS;

    run_until(sim.now_ns + 12 * SIM_S);
    client_quiet();
    run_until(sim.now_ns + SIM_S);
    while (!is_settled()) {
        SIM_RULE(sim.now_ns < end, "the cluster doesn't find itself again");
        run_until(sim.now_ns + SIM_S / 10);
    }
}

struct hashing {
    struct life *life;
    int64_t rev;
    struct mvcc_hash hash;
    int rc;
    bool done;
};

static void *hash(void *arg)
{
    struct hashing *h = arg;

    h->rc = mvcc_hash_kv(h->life->node->mvcc, h->rev, &h->hash);
    h->done = true;
    return NULL;
}

static struct mvcc_hash hash_of(struct life *life, int64_t rev)
{
    struct hashing h = {.life = life, .rev = rev};

    task_start(life, hash, &h);
    while (!h.done && sim_step())
        rules_step(sim.last_life);
    SIM_RULE(h.rc == 0, "%u: no hash: %s", life->slot, err_text(h.rc));
    return h.hash;
}

/* A new leader in between may have changed what compaction each has seen. */
static void compare_members(void)
{
    struct life *leader = member_leader();
    int64_t rev = mvcc_revision(leader->node->mvcc);
    struct mvcc_hash want = hash_of(leader, rev);

    for (unsigned i = 0; i < SIM_SLOTS; i++) {
        const struct member *m = member_at(i);
        if (!takes_part(m) || m->life->node->applied < leader->node->applied)
            continue;
        struct mvcc_hash got = hash_of(m->life, rev);
        SIM_RULE(got.hash == want.hash && got.compact_rev == want.compact_rev,
                 "%u has another hash at revision %" PRId64
                 " (compacted %" PRId64 ") than %u (compacted %" PRId64 ")",
                 i, rev, got.compact_rev, leader->slot, want.compact_rev);
        watcher_look_back(m->life);
    }
}

static void judge(void)
{
    struct history h = client_history();
    const char *fault;

    h.events = rules_events(&h.event_count);
    fault = history_judge(&h);
    SIM_RULE(fault == NULL, "%s", fault);
    SIM_RULE(client_answers() > 0, "nobody was answered");
}

struct run_result run(uint64_t seed, bool verbose)
{
    sim_init(seed, verbose);
    rules_init();
    choose_settings();
    make_roots();
    member_start_cluster();
    client_start();
    nemesis_start();
    run_until(sim.now_ns + FAULTS_NS);
    sim_say("no more faults");
    nemesis_end();
    settle();
    compare_members();
    judge();
    return (struct run_result){
        .trace = sim.trace,
        .steps = sim.steps,
        .answers = client_answers(),
        .elections = rules_elections(),
        .entries = rules_committed(),
        .revision = rules_revision(),
    };
}
