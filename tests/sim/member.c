#include "member.h"
#include "chorad/base/check.h"
#include "chorad/wal.h"
#include "client.h"
#include "net.h"
#include "node/node.h"
#include "rules.h"
#include "watcher.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member_settings member_settings;

static struct member members[SIM_SLOTS];
static char names[SIM_SLOTS][8];
static char dirs[SIM_SLOTS][16];
static char urls[SIM_SLOTS][32];
static const char *url_lists[SIM_SLOTS][2];
static unsigned lives;

struct member *member_at(unsigned slot)
{
    return &members[slot];
}

const char *const *member_urls(unsigned slot)
{
    return url_lists[slot];
}

/* ---- the first start ---------------------------------------------------- */

static void init_slot(unsigned slot)
{
    members[slot].slot = slot;
    snprintf(names[slot], sizeof(names[slot]), "n%u", slot);
    snprintf(dirs[slot], sizeof(dirs[slot]), "/sim/%u/d", slot);
    snprintf(urls[slot], sizeof(urls[slot]), "http://10.0.0.%u:2380", slot);
    url_lists[slot][0] = urls[slot];
}

static int first_cluster(struct cluster_start *start, const char *self,
                         struct errmsg *msg)
{
    int rc = 0;

    for (unsigned i = 0; i < member_settings.first_members && rc == 0; i++)
        rc = cluster_start_add(start, names[i], url_lists[i], "sim", msg);
    return rc < 0 ? rc : cluster_start_finish(start, self);
}

/* The node asks where it begins. */
static int on_start(void *arg, struct cluster_start *start, struct errmsg *msg)
{
    struct life *life = arg;
    struct member *m = &members[life->slot];
    struct cluster_start first = {0};

    if (m->joins.n == 0)
        return first_cluster(start, names[m->slot], msg);
    CHECK(first_cluster(&first, names[0], msg) == 0);
    start->cluster_id = first.cluster_id;
    cluster_start_close(&first);
    start->self = m->id;
    start->join = true;
    start->list.n = m->joins.n;
    start->list.members = mem_zalloc(m->joins.n * sizeof(*m->joins.members));
    for (size_t i = 0; i < m->joins.n; i++)
        start->list.members[i] = cluster_member_copy(&m->joins.members[i]);
    return 0;
}

/* ---- a life ------------------------------------------------------------- */

static void end_life(struct life *life)
{
    struct member *m = &members[life->slot];

    life->dead = true;
    net_life_ended(life);
    watcher_life_ended(life);
    client_life_ended(life);
    if (m->life == life)
        m->life = NULL;
}

static void come_back(struct member *m, uint64_t delay_ns)
{
    m->restarts_at = sim.now_ns + delay_ns;
}

void member_crash(struct member *m, bool power)
{
    if (!m->life)
        return;
    sim_say("%u crashes%s", m->slot, power ? " (power)" : "");
    end_life(m->life);
    if (power)
        disk_crash(m->slot);
}

/* The process ends as main would end it. */
static void die(void *arg)
{
    struct life *life = arg;

    if (life->dead)
        return;
    member_crash(&members[life->slot], sim_chance(300));
    come_back(&members[life->slot], sim_between(SIM_S / 10, 2 * SIM_S));
}

static void on_fatal(void *arg, const char *why)
{
    struct life *life = arg;

    sim_say("%u gives up: %s", life->slot, why);
    SIM_RULE(disk_faults(life->slot)->fail_sync ||
                 disk_faults(life->slot)->fail_write ||
                 members[life->slot].flipped,
             "%u gives up: %s", life->slot, why);
    sim_at(SIM_US, NULL, die, life);
}

static void on_removed(void *arg)
{
    struct life *life = arg;

    members[life->slot].removed = true;
    sim_say("%u was removed", life->slot);
    sim_at(SIM_US, NULL, die, life);
}

static struct node_config settings(struct life *life)
{
    struct auth_tokens *tokens;
    struct errmsg msg;

    CHECK(auth_tokens_open("", 0, &tokens, &msg) == 0);
    return (struct node_config){
        .name = names[life->slot],
        .data_dir = dirs[life->slot],
        .peer_urls = url_lists[life->slot],
        .client_urls = url_lists[life->slot],
        .start = on_start,
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .pre_vote = member_settings.pre_vote,
        .election_tick_advance = true,
        .strict_reconfig = member_settings.strict_reconfig,
        .max_learners = 1,
        .snapshot_count = member_settings.snapshot_count,
        .catchup_entries = member_settings.catchup_entries,
        .max_wals = 2,
        .lease_checkpoint = member_settings.lease_checkpoint,
        .lease_checkpoint_persist = member_settings.lease_checkpoint,
        .compact_batch = 5,
        .auth_tokens = tokens,
        .bcrypt_cost = 4,
        .fatal = on_fatal,
        .removed = on_removed,
        .arg = life,
    };
}

static void first_turn(void *arg)
{
    (void)arg; /* the loop polls behind it */
}

static void start_failed(struct life *life, const struct errmsg *msg)
{
    struct member *m = &members[life->slot];
    const struct disk_faults *faults = disk_faults(m->slot);

    sim_say("%u doesn't start: %s", m->slot, msg->text);
    SIM_RULE(m->flipped || faults->fail_sync || faults->fail_write,
             "%u doesn't start: %s", m->slot, msg->text);
    m->lost = m->flipped;
    end_life(life);
    if (!m->lost)
        come_back(m, SIM_S);
}

static void *boot(void *arg)
{
    struct life *life = arg;
    struct member *m = &members[life->slot];
    struct node_config config = settings(life);
    struct errmsg msg = {""};
    struct node *node;

    if (node_open(&life->loop, &config, &node, &msg) < 0) {
        start_failed(life, &msg);
        return NULL;
    }
    life->node = node;
    life->up = true;
    m->started = true;
    m->id = node->member_id;
    watcher_life_begins(life);
    rules_booted(life);
    sim_say("%u is up: id %" PRIx64 ", applied %" PRIu64 ", last %" PRIu64
            ", revision %" PRId64,
            m->slot, m->id, node->applied, raft_last_index(node->raft),
            mvcc_revision(node->mvcc));
    sim_at(SIM_US, life, first_turn, NULL);
    return NULL;
}

void member_start(struct member *m)
{
    struct life *life = mem_zalloc(sizeof(*life));

    CHECK(m->life == NULL);
    life->slot = m->slot;
    life->number = ++lives;
    m->life = life;
    m->restarts_at = 0;
    task_start(life, boot, life);
}

void member_start_cluster(void)
{
    for (unsigned i = 0; i < SIM_SLOTS; i++)
        init_slot(i);
    for (unsigned i = 0; i < member_settings.first_members; i++)
        member_start(&members[i]);
}

/* ---- an orderly end ----------------------------------------------------- */

static void on_closed(void *arg)
{
    struct life *life = arg;

    sim_say("%u has stopped", life->slot);
    end_life(life);
    come_back(&members[life->slot], sim_between(SIM_MS, 2 * SIM_S));
}

void member_stop(struct member *m)
{
    struct life *life = m->life;

    if (!life || !life->up || life->stopping)
        return;
    sim_say("%u is told to stop", m->slot);
    life->stopping = true;
    node_stop(life->node);
    watcher_life_stops(life);
    client_life_ended(life);
    net_life_ended(life);
    node_close(life->node, on_closed, life);
    life->up = false;
}

/* ---- who there is ------------------------------------------------------- */

bool member_counts(const struct member *m)
{
    return (m->id != 0 || m->slot < member_settings.first_members) &&
           !m->removed && !m->lost;
}

unsigned member_count(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SIM_SLOTS; i++)
        n += member_counts(&members[i]);
    return n;
}

static bool runs(const struct member *m)
{
    return m->life && m->life->up && !m->life->stopping &&
           m->life->paused_until <= sim.now_ns;
}

struct life *member_life(unsigned slot)
{
    return runs(&members[slot]) ? members[slot].life : NULL;
}

struct life *member_random_life(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SIM_SLOTS; i++)
        n += runs(&members[i]);
    if (n == 0)
        return NULL;
    n = (unsigned)sim_below(n);
    for (unsigned i = 0; i < SIM_SLOTS; i++)
        if (runs(&members[i]) && n-- == 0)
            return members[i].life;
    return NULL;
}

struct life *member_leader(void)
{
    struct life *leader = NULL;

    for (unsigned i = 0; i < SIM_SLOTS; i++)
        if (runs(&members[i]) && members[i].life->node->role == RAFT_LEADER &&
            (!leader || leader->node->term < members[i].life->node->term))
            leader = members[i].life;
    return leader;
}

struct member *member_newest(void)
{
    for (unsigned i = SIM_SLOTS; i-- > member_settings.first_members;)
        if (runs(&members[i]) && !members[i].learner)
            return &members[i];
    return NULL;
}

struct member *member_free_slot(void)
{
    for (unsigned i = member_settings.first_members; i < SIM_SLOTS; i++)
        if (members[i].id == 0)
            return &members[i];
    return NULL;
}

void member_join(struct member *m, uint64_t id, bool learner,
                 const struct cluster_list *list)
{
    m->id = id;
    m->learner = learner;
    m->joins.n = list->n;
    m->joins.members = mem_zalloc(list->n * sizeof(*list->members));
    for (size_t i = 0; i < list->n; i++)
        m->joins.members[i] = cluster_member_copy(&list->members[i]);
    member_start(m);
}

/* ---- settings that are fixed in production ------------------------------ */

int __real_raft_new(struct raft **out, const struct raft_config *config,
                    const struct raft_init *init, struct errmsg *msg);
int __wrap_raft_new(struct raft **out, const struct raft_config *config,
                    const struct raft_init *init, struct errmsg *msg);

int __wrap_raft_new(struct raft **out, const struct raft_config *config,
                    const struct raft_init *init, struct errmsg *msg)
{
    struct raft_config small = *config;

    small.max_size_per_msg = member_settings.message_bytes;
    /* 0 would mean the same as for messages, and nothing be applied. */
    small.max_committed_size = member_settings.message_bytes + 1;
    small.max_inflight_msgs = member_settings.messages;
    return __real_raft_new(out, &small, init, msg);
}

int __real_wal_create(struct wal **out, const char *dir,
                      const struct wal_options *options,
                      const struct wal_metadata *metadata, struct errmsg *msg);
int __wrap_wal_create(struct wal **out, const char *dir,
                      const struct wal_options *options,
                      const struct wal_metadata *metadata, struct errmsg *msg);
int __real_wal_open(struct wal **out, const char *dir,
                    const struct wal_options *options,
                    struct wal_contents *contents, struct errmsg *msg);
int __wrap_wal_open(struct wal **out, const char *dir,
                    const struct wal_options *options,
                    struct wal_contents *contents, struct errmsg *msg);

int __wrap_wal_create(struct wal **out, const char *dir,
                      const struct wal_options *options,
                      const struct wal_metadata *metadata, struct errmsg *msg)
{
    struct wal_options small = *options;

    small.segment_bytes = member_settings.segment_bytes;
    return __real_wal_create(out, dir, &small, metadata, msg);
}

int __wrap_wal_open(struct wal **out, const char *dir,
                    const struct wal_options *options,
                    struct wal_contents *contents, struct errmsg *msg)
{
    struct wal_options small = *options;

    small.segment_bytes = member_settings.segment_bytes;
    return __real_wal_open(out, dir, &small, contents, msg);
}
