/* One member of three, with a learner beside them, whose others are the test:
 * what they say passes the door as in production. All that the core asks for is
 * carried out, its appends when the test says so. */
#ifndef CHORAD_TEST_RAFT_RIG_H
#define CHORAD_TEST_RAFT_RIG_H

#include "chorad/base/check.h"
#include "chorad/raft.h"
#include <stdlib.h>
#include <string.h>

#define RIG_WRITES 64
#define RIG_ENTRIES 7

enum rig_role {
    RIG_FOLLOWER, /* of 2 */
    RIG_LONELY,   /* knows of no leader */
    RIG_PRE_CANDIDATE,
    RIG_CANDIDATE,
    RIG_LEADER,
    RIG_LEARNER, /* the member is 4 */
    RIG_ROLES,
};

struct rig {
    struct raft *raft;
    uint64_t id;
    struct raft_append *writes[RIG_WRITES];
    size_t write_count;
    uint64_t applied;
    uint64_t term; /* as it was seen last */
    uint64_t commit;
    size_t refused;
    size_t taken;
};

static inline struct raft_conf_state rig_conf(void)
{
    struct raft_conf_state conf = {0};

    for (uint64_t id = 1; id <= 3; id++)
        raft_ids_add(&conf.voters, id);
    raft_ids_add(&conf.learners, 4);
    return conf;
}

static inline void rig_check(struct rig *rig)
{
    struct raft_status s;

    raft_status(rig->raft, &s);
    CHECK(s.term >= rig->term && s.commit >= rig->commit);
    CHECK(s.commit <= raft_last_index(rig->raft));
    CHECK(s.applied <= s.commit);
    rig->term = s.term;
    rig->commit = s.commit;
}

static inline void rig_apply(struct rig *rig, const struct raft_update *u)
{
    for (size_t i = 0; i < u->committed_count; i++) {
        const struct raft_entry *e = &u->committed[i];
        struct raft_conf_change cc;

        CHECK(e->index == rig->applied + 1);
        rig->applied = e->index;
        if (e->type != RAFT_ENTRY_NORMAL &&
            raft_conf_change_decode(&cc, e->type, e->data, e->len) == 0)
            (void)raft_apply_conf_change(rig->raft, &cc, NULL);
    }
    if (u->committed_count > 0)
        raft_applied(rig->raft, rig->applied);
}

/* The first `n` of the appends under way are durable. */
static inline void rig_persist(struct rig *rig, size_t n)
{
    for (; n > 0 && rig->write_count > 0; n--) {
        struct raft_append *append = rig->writes[0];

        rig->write_count--;
        memmove(rig->writes, rig->writes + 1,
                rig->write_count * sizeof(rig->writes[0]));
        if (append->snapshot)
            rig->applied = append->snapshot->index;
        raft_append_done(rig->raft, append);
    }
}

static inline void rig_pump(struct rig *rig)
{
    struct raft_update u;

    while (raft_has_update(rig->raft)) {
        raft_update(rig->raft, &u);
        if (u.append)
            rig->writes[rig->write_count++] = u.append;
        rig_apply(rig, &u);
        if (rig->write_count == RIG_WRITES)
            rig_persist(rig, 1);
    }
    rig_check(rig);
}

/* All that is to be done, appends as well. */
static inline void rig_settle(struct rig *rig)
{
    rig_pump(rig);
    while (rig->write_count > 0) {
        rig_persist(rig, rig->write_count);
        rig_pump(rig);
    }
}

/* Why it was refused, or NULL. */
static inline const char *rig_hear(struct rig *rig,
                                   const struct raft_message *m)
{
    const char *why = raft_refusal(rig->raft, m);

    if (why) {
        rig->refused++;
        return why;
    }
    rig->taken++;
    (void)raft_step(rig->raft, m);
    rig_pump(rig);
    return NULL;
}

static inline void rig_hear_simple(struct rig *rig, enum raft_message_type type,
                                   uint64_t term)
{
    struct raft_message m = {
        .type = type, .from = 2, .to = rig->id, .term = term};

    CHECK(rig_hear(rig, &m) == NULL);
    rig_settle(rig);
}

static inline void rig_take_role(struct rig *rig, enum rig_role role)
{
    if (role == RIG_FOLLOWER || role == RIG_LEARNER)
        rig_hear_simple(rig, RAFT_MSG_HEARTBEAT, 3);
    if (role != RIG_PRE_CANDIDATE && role != RIG_CANDIDATE &&
        role != RIG_LEADER)
        return;
    raft_campaign(rig->raft);
    rig_settle(rig);
    if (role != RIG_PRE_CANDIDATE)
        rig_hear_simple(rig, RAFT_MSG_PRE_VOTE_RESP, 4);
    if (role == RIG_LEADER)
        rig_hear_simple(rig, RAFT_MSG_VOTE_RESP, 4);
}

/* Its log: 5 (compacted) to 12, of terms 1 to 3, committed up to 8. */
static inline void rig_open(struct rig *rig, enum rig_role role)
{
    static const uint64_t terms[RIG_ENTRIES] = {1, 1, 2, 2, 2, 3, 3};
    struct raft_entry entries[RIG_ENTRIES];
    struct raft_conf_state conf = rig_conf();
    struct raft_snapshot *snapshot = raft_snapshot_new(5, 1, &conf, NULL);
    struct raft_config config;
    struct raft_init init = {
        .hard_state = {.term = 3, .commit = 8},
        .base_index = 5,
        .base_term = 1,
        .conf_state = &conf,
        .snapshot = snapshot,
        .entries = entries,
        .entry_count = RIG_ENTRIES,
        .applied = 8,
    };

    *rig = (struct rig){.id = role == RIG_LEARNER ? 4 : 1, .applied = 8};
    raft_config_init(&config);
    config.id = rig->id;
    config.seed = 1;
    for (size_t i = 0; i < RIG_ENTRIES; i++) {
        entries[i] = raft_entry_new(RAFT_ENTRY_NORMAL, "payload", 7);
        entries[i].index = 6 + i;
        entries[i].term = terms[i];
    }
    CHECK(raft_new(&rig->raft, &config, &init, NULL) == 0);
    for (size_t i = 0; i < RIG_ENTRIES; i++)
        raft_entry_unref(&entries[i]);
    raft_snapshot_unref(snapshot);
    raft_conf_state_close(&conf);
    rig_take_role(rig, role);
}

static inline void rig_close(struct rig *rig)
{
    while (rig->write_count > 0)
        raft_append_close(rig->writes[--rig->write_count]);
    raft_free(rig->raft);
}

#endif
