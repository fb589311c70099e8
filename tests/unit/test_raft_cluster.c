/* Several members on a network without delay, whose links are cut and whose
 * disks are stopped by hand: what each feature promises, one test each. */
#include "chorad/base/check.h"
#include "chorad/raft.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX 5
#define QUEUE 4096
#define WRITES 64

struct member {
    struct raft *raft;
    struct raft_append *writes[WRITES];
    size_t write_count;
    bool disk_stalls;
    uint64_t applied;
    uint64_t installed; /* the last snapshot's index */
    uint64_t read_index;
    size_t reads;
    struct raft_conf_state conf;
};

struct cluster {
    size_t count;
    struct member members[MAX + 1]; /* by id */
    bool cut[MAX + 1][MAX + 1];
    struct raft_message queue[QUEUE];
    size_t head;
    size_t tail;
    size_t sent[RAFT_MSG_TYPES];
};

static struct cluster cluster;

static struct raft_config small_config(void)
{
    struct raft_config config;
    raft_config_init(&config);
    return config;
}

static void add_member(struct cluster *c, struct raft_config config,
                       const struct raft_conf_state *conf)
{
    uint64_t id = ++c->count;
    struct member *m = &c->members[id];
    config.id = id;
    config.seed = id;
    struct raft_init init = {0};
    if (conf) {
        m->conf = raft_conf_state_copy(conf);
        m->applied = 1;
        init = (struct raft_init){
            .base_index = 1, .base_term = 1, .conf_state = conf, .applied = 1};
    }
    assert_int_equal(raft_new(&m->raft, &config, &init, NULL), 0);
}

static void open_cluster(struct cluster *c, size_t count,
                         struct raft_config config)
{
    memset(c, 0, sizeof(*c));
    struct raft_conf_state conf = {0};
    for (uint64_t id = 1; id <= count; id++)
        raft_ids_add(&conf.voters, id);
    for (size_t i = 0; i < count; i++)
        add_member(c, config, &conf);
    raft_conf_state_close(&conf);
}

static int close_cluster(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    while (c->head < c->tail)
        raft_message_close(&c->queue[c->head++]);
    for (size_t id = 1; id <= c->count; id++) {
        struct member *m = &c->members[id];
        while (m->write_count > 0)
            raft_append_close(m->writes[--m->write_count]);
        raft_free(m->raft);
        raft_conf_state_close(&m->conf);
    }
    return 0;
}

static void apply(struct member *m, const struct raft_update *u)
{
    for (size_t i = 0; i < u->committed_count; i++) {
        const struct raft_entry *e = &u->committed[i];
        m->applied = e->index;
        struct raft_conf_change cc;
        if (e->type == RAFT_ENTRY_NORMAL)
            continue;
        assert_int_equal(raft_conf_change_decode(&cc, e->type, e->data, e->len),
                         0);
        raft_conf_state_close(&m->conf);
        assert_int_equal(raft_apply_conf_change(m->raft, &cc, &m->conf), 0);
    }
}

static bool run_member(struct cluster *c, struct member *m)
{
    bool busy = false;
    struct raft_update u;
    if (raft_has_update(m->raft)) {
        busy = true;
        raft_update(m->raft, &u);
        for (size_t i = 0; i < u.message_count; i++) {
            assert_true(c->tail < QUEUE);
            c->sent[u.messages[i].type]++;
            c->queue[c->tail++] = u.messages[i];
            memset(&u.messages[i], 0, sizeof(u.messages[i]));
        }
        if (u.read_count > 0) {
            m->reads += u.read_count;
            m->read_index = u.reads[u.read_count - 1].index;
        }
        if (u.append)
            m->writes[m->write_count++] = u.append;
        assert_true(m->write_count < WRITES);
        apply(m, &u);
        if (u.committed_count > 0)
            raft_applied(m->raft, m->applied);
    }
    while (m->write_count > 0 && !m->disk_stalls) {
        busy = true;
        struct raft_append *append = m->writes[0];
        m->write_count--;
        for (size_t i = 0; i < m->write_count; i++)
            m->writes[i] = m->writes[i + 1];
        if (append->snapshot)
            m->installed = m->applied = append->snapshot->index;
        raft_append_done(m->raft, append);
    }
    return busy;
}

static bool deliver_all(struct cluster *c)
{
    bool busy = c->head < c->tail;
    while (c->head < c->tail) {
        struct raft_message m = c->queue[c->head++];
        if (m.to <= c->count && !c->cut[m.from][m.to]) {
            assert_null(raft_refusal(c->members[m.to].raft, &m));
            int rc = raft_step(c->members[m.to].raft, &m);
            assert_true(rc == 0 || rc == ERR_MEMBER_NOT_FOUND ||
                        rc == ERR_AGAIN);
        }
        raft_message_close(&m);
    }
    c->head = c->tail = 0;
    return busy;
}

/* Until nothing happens any more without time passing. */
static void settle(struct cluster *c)
{
    bool busy = true;
    while (busy) {
        busy = false;
        for (size_t id = 1; id <= c->count; id++)
            busy |= run_member(c, &c->members[id]);
        busy |= deliver_all(c);
    }
}

static void ticks(struct cluster *c, unsigned n)
{
    for (; n > 0; n--) {
        for (size_t id = 1; id <= c->count; id++)
            raft_tick(c->members[id].raft);
        settle(c);
    }
}

static void cut_off(struct cluster *c, uint64_t id, bool cut)
{
    for (size_t other = 1; other <= c->count; other++)
        c->cut[id][other] = c->cut[other][id] = cut;
}

static struct raft_status status_of(struct cluster *c, uint64_t id)
{
    struct raft_status status;
    raft_status(c->members[id].raft, &status);
    return status;
}

static int propose(struct cluster *c, uint64_t id)
{
    struct raft_entry e = raft_entry_new(RAFT_ENTRY_NORMAL, "data", 4);
    int rc = raft_propose(c->members[id].raft, &e, 1);
    if (rc < 0)
        raft_entry_unref(&e);
    return rc;
}

static void lead(struct cluster *c, uint64_t id)
{
    raft_campaign(c->members[id].raft);
    settle(c);
    assert_int_equal(status_of(c, id).role, RAFT_LEADER);
}

static void change(struct cluster *c, uint64_t leader,
                   enum raft_conf_change_type type, uint64_t id)
{
    struct raft_conf_change cc = {
        .v1 = true, .change_count = 1, .changes[0] = {type, id}};
    assert_int_equal(raft_propose_conf_change(c->members[leader].raft, &cc), 0);
    settle(c);
}

static void read_at(struct cluster *c, uint64_t id)
{
    raft_read_index(c->members[id].raft, "context", 7);
    settle(c);
}

static void followers_forward_proposals(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    assert_int_equal(propose(c, 2), ERR_AGAIN);
    lead(c, 1);
    assert_int_equal(propose(c, 2), 0);
    settle(c);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(c->members[id].applied, 3);
        assert_int_equal(status_of(c, id).leader, 1);
    }
}

static void reads_need_a_quorum(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 5, small_config());
    lead(c, 1);
    read_at(c, 1);
    assert_int_equal(c->members[1].reads, 1);
    assert_int_equal(c->members[1].read_index, 2);
    /* With one follower of four the leader can't know that it still leads. */
    for (uint64_t id = 3; id <= 5; id++)
        c->cut[1][id] = c->cut[id][1] = c->cut[2][id] = c->cut[id][2] = true;
    read_at(c, 1);
    read_at(c, 2);
    assert_int_equal(c->members[1].reads, 1);
    assert_int_equal(c->members[2].reads, 0);
    memset(c->cut, 0, sizeof(c->cut));
    ticks(c, 1);
    assert_int_equal(c->members[1].reads, 2);
}

static void followers_read_through_the_leader(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    read_at(c, 2);
    assert_int_equal(c->members[2].reads, 0);
    lead(c, 1);
    propose(c, 1);
    settle(c);
    read_at(c, 2);
    assert_int_equal(c->members[2].reads, 1);
    assert_int_equal(c->members[2].read_index, 3);
}

static void reads_end_with_the_quorum_that_shrinks(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 2, small_config());
    lead(c, 1);
    struct raft_conf_change cc = {.v1 = true,
                                  .change_count = 1,
                                  .changes[0] = {RAFT_CONF_REMOVE_NODE, 2}};
    raft_propose_conf_change(c->members[1].raft, &cc);
    raft_read_index(c->members[1].raft, "context", 7);
    /* The follower acknowledges the entry, but no heartbeat. */
    for (int i = 0; i < 8; i++) {
        for (size_t at = c->head; at < c->tail; at++)
            if (c->queue[at].type == RAFT_MSG_HEARTBEAT)
                c->queue[at].to = MAX + 1;
        deliver_all(c);
        run_member(c, &c->members[1]);
        run_member(c, &c->members[2]);
    }
    settle(c);
    assert_int_equal(c->members[1].conf.voters.count, 1);
    assert_int_equal(c->members[1].reads, 1);
}

static void leadership_is_handed_over(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    lead(c, 1);
    raft_transfer_leader(c->members[1].raft, 3);
    assert_int_equal(status_of(c, 1).lead_transferee, 3);
    assert_int_equal(propose(c, 1), ERR_AGAIN);
    settle(c);
    assert_int_equal(status_of(c, 3).role, RAFT_LEADER);
    assert_int_equal(status_of(c, 1).role, RAFT_FOLLOWER);
    /* A follower may ask for it too. */
    raft_transfer_leader(c->members[1].raft, 2);
    settle(c);
    assert_int_equal(status_of(c, 2).role, RAFT_LEADER);
    /* It is given up when the other doesn't take over in time. */
    cut_off(c, 1, true);
    raft_transfer_leader(c->members[2].raft, 1);
    ticks(c, 10);
    assert_int_equal(status_of(c, 2).lead_transferee, RAFT_NONE);
    assert_int_equal(propose(c, 2), 0);
}

static void leaders_without_quorum_step_down(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    lead(c, 1);
    ticks(c, 10);
    assert_int_equal(status_of(c, 1).role, RAFT_LEADER);
    cut_off(c, 1, true);
    ticks(c, 20);
    assert_int_equal(status_of(c, 1).leader, RAFT_NONE);
    cut_off(c, 1, false);
    ticks(c, 40);
    for (uint64_t id = 1; id <= 3; id++)
        raft_step_down(c->members[id].raft);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(status_of(c, id).role, RAFT_FOLLOWER);
}

static void pre_vote_keeps_the_term(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    lead(c, 1);
    cut_off(c, 3, true);
    ticks(c, 100);
    assert_int_equal(status_of(c, 3).term, status_of(c, 1).term);
    assert_int_equal(status_of(c, 3).role, RAFT_PRE_CANDIDATE);
    cut_off(c, 3, false);
    ticks(c, 20);
    assert_int_equal(status_of(c, 3).leader, 1);
    assert_int_equal(status_of(c, 1).term, 1);
}

static void leases_ignore_candidates(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    struct raft_config config = small_config();
    config.pre_vote = false;
    open_cluster(c, 3, config);
    lead(c, 1);
    ticks(c, 2);
    raft_campaign(c->members[3].raft);
    settle(c);
    assert_int_equal(status_of(c, 2).term, 1);
    assert_int_equal(status_of(c, 2).leader, 1);
}

/* The followers' disks are enough to commit, but not for the leader to apply
 * what it hasn't written itself. */
static void a_stalled_disk_does_not_stop_the_cluster(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    lead(c, 1);
    c->members[1].disk_stalls = true;
    propose(c, 1);
    settle(c);
    assert_int_equal(status_of(c, 1).commit, 3);
    assert_int_equal(c->members[1].applied, 2);
    assert_int_equal(c->members[2].applied, 3);
    raft_transfer_leader(c->members[1].raft, 2);
    settle(c);
    assert_int_equal(status_of(c, 2).role, RAFT_LEADER);
    propose(c, 2);
    settle(c);
    assert_int_equal(c->members[3].applied, 5);
    c->members[1].disk_stalls = false;
    settle(c);
    ticks(c, 1);
    assert_int_equal(c->members[1].applied, 5);
}

static void learners_do_not_count(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 2, small_config());
    lead(c, 1);
    add_member(c, small_config(), NULL);
    change(c, 1, RAFT_CONF_ADD_LEARNER, 3);
    struct raft_status st = status_of(c, 1);
    raft_set_snapshot(
        c->members[1].raft,
        raft_snapshot_new(st.applied, st.term, &c->members[1].conf, NULL));
    ticks(c, 2);
    assert_int_equal(c->members[3].installed, 3);
    assert_true(status_of(c, 3).is_learner);
    cut_off(c, 2, true);
    propose(c, 1);
    settle(c);
    assert_int_equal(status_of(c, 1).commit, 3);
    cut_off(c, 2, false);
    ticks(c, 1);
    assert_int_equal(status_of(c, 1).commit, 4);
    change(c, 1, RAFT_CONF_ADD_NODE, 3);
    assert_int_equal(c->members[1].conf.voters.count, 3);
    cut_off(c, 2, true);
    propose(c, 1);
    settle(c);
    assert_int_equal(status_of(c, 1).commit, 6);
}

static void joint_states_end_by_themselves(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    struct raft_config config = small_config();
    config.max_committed_size = 1; /* one entry at a time */
    open_cluster(c, 3, config);
    lead(c, 1);
    struct raft_conf_change cc = {
        .change_count = 2,
        .changes = {{RAFT_CONF_ADD_LEARNER, 2}, {RAFT_CONF_ADD_LEARNER, 3}}};
    assert_int_equal(raft_propose_conf_change(c->members[1].raft, &cc), 0);
    propose(c, 1);
    settle(c);
    for (uint64_t id = 1; id <= 3; id++) {
        const struct raft_conf_state *conf = &c->members[id].conf;
        assert_int_equal(conf->voters.count, 1);
        assert_int_equal(conf->learners.count, 2);
        assert_int_equal(conf->voters_outgoing.count, 0);
        assert_int_equal(status_of(c, id).is_learner, id != 1);
    }
    /* The change, what came after it, and the end of it, once. */
    assert_int_equal(raft_last_index(c->members[1].raft), 5);
}

static void laggards_get_a_snapshot(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    lead(c, 1);
    cut_off(c, 3, true);
    for (int i = 0; i < 20; i++)
        propose(c, 1);
    settle(c);
    struct raft *leader = c->members[1].raft;
    raft_set_snapshot(leader,
                      raft_snapshot_new(22, 1, &c->members[1].conf, NULL));
    assert_int_equal(raft_compact(leader, 20), 0);
    cut_off(c, 3, false);
    ticks(c, 3);
    assert_int_equal(c->members[3].installed, 22);
    propose(c, 1);
    settle(c);
    assert_int_equal(c->members[3].applied, 23);
}

static void windows_bound_what_is_under_way(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    struct raft_config config = small_config();
    config.max_inflight_msgs = 4;
    open_cluster(c, 2, config);
    lead(c, 1);
    cut_off(c, 2, true);
    c->sent[RAFT_MSG_APP] = 0;
    for (int i = 0; i < 20; i++) {
        propose(c, 1);
        settle(c);
    }
    assert_int_equal(c->sent[RAFT_MSG_APP], 4);
    struct raft_progress_status progress[2];
    assert_int_equal(raft_progress(c->members[1].raft, progress, 2), 2);
    assert_true(progress[1].paused);
    assert_int_equal(progress[1].inflight_msgs, 4);
    cut_off(c, 2, false);
    ticks(c, 2);
    assert_int_equal(c->members[2].applied, 22);
}

static void bad_messages_are_refused(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    struct raft *raft = c->members[1].raft;
    struct raft_message m = {.type = RAFT_MSG_HUP, .from = 2, .to = 1};
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    m.type = (enum raft_message_type)99;
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    m = (struct raft_message){.type = RAFT_MSG_SNAP, .from = 2, .term = 5};
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    m = (struct raft_message){.type = RAFT_MSG_PROP, .from = 2};
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    struct raft_entry odd = {.type = (enum raft_entry_type)7};
    m.entries = &odd;
    m.entry_count = 1;
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    m = (struct raft_message){.type = RAFT_MSG_HEARTBEAT, .from = 1, .term = 5};
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    m = (struct raft_message){.type = RAFT_MSG_APP_RESP, .from = 9, .term = 5};
    assert_int_equal(raft_step(raft, &m), ERR_MEMBER_NOT_FOUND);
    /* A gap, a falling term, a term from the future. */
    struct raft_entry entries[2] = {{.term = 2, .index = 2},
                                    {.term = 2, .index = 4}};
    m = (struct raft_message){.type = RAFT_MSG_APP,
                              .from = 2,
                              .term = 2,
                              .index = 1,
                              .log_term = 1,
                              .entries = entries,
                              .entry_count = 2};
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    entries[1].index = 3;
    entries[1].term = 1;
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    entries[1].term = 3;
    assert_int_equal(raft_step(raft, &m), ERR_INVALID);
    entries[1].term = 2;
    assert_int_equal(raft_step(raft, &m), 0);
    assert_int_equal(raft_last_index(raft), 3);
}

static void impossible_snapshots_are_ignored(void **state)
{
    (void)state;
    struct cluster *c = &cluster;
    open_cluster(c, 3, small_config());
    struct raft *raft = c->members[1].raft;
    struct raft_conf_state conf = {0};
    raft_ids_add(&conf.learners, 1); /* and nobody who votes */
    struct raft_message m = {.type = RAFT_MSG_SNAP,
                             .from = 2,
                             .term = 5,
                             .snapshot = raft_snapshot_new(50, 5, &conf, NULL)};
    assert_int_equal(raft_step(raft, &m), 0);
    assert_int_equal(raft_last_index(raft), 1);
    assert_int_equal(raft_conf_state(raft)->voters.count, 3);
    raft_conf_state_close(&conf);
    raft_message_close(&m);
    m = (struct raft_message){.type = RAFT_MSG_HEARTBEAT, .from = 2, .term = 5};
    assert_int_equal(raft_step(raft, &m), 0);
    assert_int_equal(status_of(c, 1).leader, 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, close_cluster)
    const struct CMUnitTest tests[] = {
        TEST(followers_forward_proposals),
        TEST(reads_need_a_quorum),
        TEST(followers_read_through_the_leader),
        TEST(reads_end_with_the_quorum_that_shrinks),
        TEST(leadership_is_handed_over),
        TEST(leaders_without_quorum_step_down),
        TEST(pre_vote_keeps_the_term),
        TEST(leases_ignore_candidates),
        TEST(a_stalled_disk_does_not_stop_the_cluster),
        TEST(learners_do_not_count),
        TEST(joint_states_end_by_themselves),
        TEST(laggards_get_a_snapshot),
        TEST(windows_bound_what_is_under_way),
        TEST(bad_messages_are_refused),
        TEST(impossible_snapshots_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
