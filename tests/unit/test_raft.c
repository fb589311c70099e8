/* A single member's life: elect, propose, persist, apply, read, restart. */
#include "chorad/raft.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* The "disk": what has been given to the log writer and reported back. */
struct disk {
    struct raft_hard_state hard_state;
    struct raft_entry entries[4096];
    size_t count;
};

struct fixture {
    struct raft *raft;
    struct raft_config config;
    struct disk disk;
    struct raft_conf_state conf;
    uint64_t applied;
    uint64_t read_index;
    size_t reads;
};

static void write_append(struct disk *disk, const struct raft_append *append)
{
    for (size_t i = 0; i < append->entry_count; i++) {
        size_t at = (size_t)append->entries[i].index - 1;
        assert_true(at <= disk->count && at < 4096);
        while (disk->count > at)
            raft_entry_unref(&disk->entries[--disk->count]);
        disk->entries[disk->count++] = append->entries[i];
        raft_entry_ref(&append->entries[i]);
    }
    if (append->has_hard_state)
        disk->hard_state = append->hard_state;
}

static void apply(struct fixture *f, const struct raft_update *update)
{
    for (size_t i = 0; i < update->committed_count; i++) {
        const struct raft_entry *e = &update->committed[i];
        assert_int_equal(e->index, f->applied + 1);
        f->applied = e->index;
        if (e->type == RAFT_ENTRY_NORMAL)
            continue;
        struct raft_conf_change cc;
        assert_int_equal(raft_conf_change_decode(&cc, e->type, e->data, e->len),
                         0);
        raft_conf_state_close(&f->conf);
        assert_int_equal(raft_apply_conf_change(f->raft, &cc, &f->conf), 0);
    }
    if (update->committed_count > 0)
        raft_applied(f->raft, f->applied);
}

static void run(struct fixture *f)
{
    while (raft_has_update(f->raft)) {
        struct raft_update update;
        raft_update(f->raft, &update);
        assert_int_equal(update.message_count, 0);
        if (update.read_count > 0) {
            f->reads += update.read_count;
            f->read_index = update.reads[update.read_count - 1].index;
        }
        apply(f, &update);
        if (update.append) {
            write_append(&f->disk, update.append);
            raft_append_done(f->raft, update.append);
        }
    }
}

static void start(struct fixture *f)
{
    struct raft_init init = {
        .hard_state = f->disk.hard_state,
        .conf_state = &f->conf,
        .entries = f->disk.entries,
        .entry_count = f->disk.count,
        .applied = f->applied,
    };
    struct errmsg msg;
    assert_int_equal(raft_new(&f->raft, &f->config, &init, &msg), 0);
}

static void bootstrap(struct fixture *f)
{
    struct raft_conf_change cc = {
        .v1 = true,
        .change_count = 1,
        .changes[0] = {RAFT_CONF_ADD_NODE, 1},
        .context = {(const uint8_t *)"me", 2},
    };
    assert_int_equal(raft_bootstrap(f->raft, &cc, 1), 0);
    run(f);
}

static struct fixture fixture;

static int set_up(void **state)
{
    struct fixture *f = &fixture;
    memset(f, 0, sizeof(*f));
    raft_config_init(&f->config);
    f->config.id = 1;
    f->config.seed = 7;
    start(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    raft_free(f->raft);
    raft_conf_state_close(&f->conf);
    while (f->disk.count > 0)
        raft_entry_unref(&f->disk.entries[--f->disk.count]);
    return 0;
}

static struct raft_status status_of(const struct raft *raft)
{
    struct raft_status status;
    raft_status(raft, &status);
    return status;
}

static void propose(struct fixture *f, const char *text)
{
    struct raft_entry e = raft_entry_new(RAFT_ENTRY_NORMAL, text, strlen(text));
    assert_int_equal(raft_propose(f->raft, &e, 1), 0);
}

static void elects_itself_by_ticks(void **state)
{
    struct fixture *f = *state;
    bootstrap(f);
    assert_int_equal(f->applied, 1);
    for (int i = 0; i < 20 && status_of(f->raft).role != RAFT_LEADER; i++) {
        raft_tick(f->raft);
        run(f);
    }
    struct raft_status status = status_of(f->raft);
    assert_int_equal(status.role, RAFT_LEADER);
    assert_int_equal(status.leader, 1);
    assert_int_equal(status.term, 2);
    assert_int_equal(status.commit, 2);
    assert_int_equal(f->disk.hard_state.vote, 1);
}

static void commits_only_what_is_on_disk(void **state)
{
    struct fixture *f = *state;
    bootstrap(f);
    raft_campaign(f->raft);
    run(f);
    propose(f, "a");
    struct raft_update update;
    raft_update(f->raft, &update);
    struct raft_append *first = update.append;
    assert_non_null(first);
    assert_true(first->must_sync);
    assert_int_equal(first->entry_count, 1);
    assert_int_equal(first->entries[0].index, 3);
    propose(f, "b");
    raft_update(f->raft, &update);
    struct raft_append *second = update.append;
    assert_non_null(second);
    assert_int_equal(second->entries[0].index, 4);
    assert_int_equal(update.committed_count, 0);
    assert_false(raft_has_update(f->raft));
    assert_int_equal(status_of(f->raft).commit, 2);

    write_append(&f->disk, first);
    raft_append_done(f->raft, first);
    assert_int_equal(status_of(f->raft).commit, 3);
    write_append(&f->disk, second);
    raft_append_done(f->raft, second);
    assert_int_equal(status_of(f->raft).commit, 4);
    run(f);
    assert_int_equal(f->applied, 4);
}

/* A candidate that crashes before its term is on disk may stand in it again,
 * with a shorter log: nobody may have voted for the longer one. */
static void asks_for_votes_when_its_own_is_on_disk(void **state)
{
    (void)state;
    uint64_t ids[] = {1, 2, 3};
    struct raft_conf_state conf = {.voters = {ids, 3}};
    struct raft_init init = {.hard_state = {.term = 1}, .conf_state = &conf};
    struct raft_config config;
    struct raft_update update;
    struct raft_append *append;
    struct errmsg msg;
    struct raft *raft;

    raft_config_init(&config);
    config.id = 1;
    config.pre_vote = false;
    assert_int_equal(raft_new(&raft, &config, &init, &msg), 0);
    raft_campaign(raft);
    raft_update(raft, &update);
    assert_int_equal(update.message_count, 0);
    append = update.append;
    assert_non_null(append);
    assert_true(append->must_sync);
    assert_int_equal(append->hard_state.term, 2);
    assert_int_equal(append->hard_state.vote, 1);
    assert_false(raft_has_update(raft));
    raft_append_done(raft, append);
    raft_update(raft, &update);
    assert_int_equal(update.message_count, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(update.messages[i].type, RAFT_MSG_VOTE);
    raft_free(raft);
}

static void restarts_from_disk(void **state)
{
    struct fixture *f = *state;
    bootstrap(f);
    raft_campaign(f->raft);
    run(f);
    propose(f, "a");
    propose(f, "b");
    run(f);
    raft_free(f->raft);
    start(f);
    struct raft_status status = status_of(f->raft);
    assert_int_equal(status.role, RAFT_FOLLOWER);
    assert_int_equal(status.term, 2);
    assert_int_equal(status.applied, 4);
    assert_int_equal(raft_last_index(f->raft), 4);
    assert_memory_equal(raft_entry_at(f->raft, 4)->data, "b", 1);
    raft_campaign(f->raft);
    run(f);
    assert_int_equal(status_of(f->raft).term, 3);
    assert_int_equal(f->applied, 5);
}

/* After a restart the stored commit index may be behind what was
 * acknowledged, so reads wait for the first entry of the term. */
static void reads_wait_for_the_term(void **state)
{
    struct fixture *f = *state;
    bootstrap(f);
    raft_campaign(f->raft);
    run(f);
    propose(f, "a");
    run(f);
    f->disk.hard_state.commit = 2;
    f->applied = 1;
    raft_free(f->raft);
    f->config.pre_vote = false;
    start(f);
    raft_campaign(f->raft);
    struct raft_update update;
    raft_update(f->raft, &update);
    apply(f, &update);
    write_append(&f->disk, update.append);
    raft_append_done(f->raft, update.append);
    assert_int_equal(status_of(f->raft).role, RAFT_LEADER);
    raft_read_index(f->raft, "12345678", 8);
    raft_update(f->raft, &update);
    assert_int_equal(update.read_count, 0);
    apply(f, &update);
    write_append(&f->disk, update.append);
    raft_append_done(f->raft, update.append);
    run(f);
    assert_int_equal(f->reads, 1);
    assert_int_equal(f->read_index, 4);
    raft_read_index(f->raft, "12345678", 8);
    run(f);
    assert_int_equal(f->reads, 2);
}

static void refuses_without_a_leader(void **state)
{
    struct fixture *f = *state;
    bootstrap(f);
    struct raft_entry e = raft_entry_new(RAFT_ENTRY_NORMAL, "x", 1);
    assert_int_equal(raft_propose(f->raft, &e, 1), ERR_AGAIN);
    raft_entry_unref(&e);
}

/* A change that is committed and not applied may take this member's vote. */
static void campaigns_after_pending_changes(void **state)
{
    struct fixture *f = *state;
    struct raft_conf_change cc = {
        .v1 = true, .change_count = 1, .changes[0] = {RAFT_CONF_ADD_NODE, 1}};
    assert_int_equal(raft_bootstrap(f->raft, &cc, 1), 0);
    raft_campaign(f->raft);
    assert_int_equal(status_of(f->raft).role, RAFT_FOLLOWER);
    run(f);
    raft_campaign(f->raft);
    assert_int_equal(status_of(f->raft).role, RAFT_PRE_CANDIDATE);
}

/* While it is told, a change to the configuration would come to nothing. */
static void tells_of_changes_under_way(void **state)
{
    struct fixture *f = *state;
    struct raft_conf_change cc = {.v1 = true,
                                  .change_count = 1,
                                  .changes[0] = {RAFT_CONF_ADD_LEARNER, 2}};
    bootstrap(f);
    assert_false(raft_is_reconfiguring(f->raft));
    raft_campaign(f->raft);
    run(f);
    assert_int_equal(status_of(f->raft).role, RAFT_LEADER);
    assert_false(raft_is_reconfiguring(f->raft));
    propose(f, "no change");
    assert_false(raft_is_reconfiguring(f->raft));
    assert_int_equal(raft_propose_conf_change(f->raft, &cc), 0);
    assert_true(raft_is_reconfiguring(f->raft));
}

static void bounds_what_is_uncommitted(void **state)
{
    struct fixture *f = *state;
    raft_free(f->raft);
    f->config.max_uncommitted_size = 10;
    start(f);
    bootstrap(f);
    raft_campaign(f->raft);
    run(f);
    propose(f, "larger than the limit");
    struct raft_entry e = raft_entry_new(RAFT_ENTRY_NORMAL, "x", 1);
    assert_int_equal(raft_propose(f->raft, &e, 1), ERR_AGAIN);
    run(f);
    assert_int_equal(raft_propose(f->raft, &e, 1), 0);
}

static void compacts(void **state)
{
    struct fixture *f = *state;
    bootstrap(f);
    raft_campaign(f->raft);
    run(f);
    for (int i = 0; i < 100; i++)
        propose(f, "entry");
    run(f);
    assert_int_equal(raft_compact(f->raft, 103), ERR_INVALID);
    assert_int_equal(raft_compact(f->raft, 50), 0);
    assert_int_equal(raft_compact(f->raft, 50), ERR_INVALID);
    assert_int_equal(raft_first_index(f->raft), 51);
    uint64_t term;
    assert_int_equal(raft_term_at(f->raft, 50, &term), 0);
    assert_int_equal(term, 2);
    assert_int_equal(raft_term_at(f->raft, 49, &term), ERR_NOTFOUND);
    assert_null(raft_entry_at(f->raft, 50));
    assert_int_equal(raft_compact(f->raft, 102), 0);
    propose(f, "after");
    run(f);
    assert_int_equal(raft_last_index(f->raft), 103);
}

static void what_is_applied_is_committed(void **state)
{
    struct fixture *f = *state;
    bootstrap(f);
    raft_campaign(f->raft);
    run(f);
    propose(f, "a");
    run(f);
    f->disk.hard_state.commit = 1;
    raft_free(f->raft);
    start(f);
    assert_int_equal(status_of(f->raft).commit, 3);
    assert_int_equal(status_of(f->raft).applied, 3);
}

static void refuses_damaged_state(void **state)
{
    struct fixture *f = *state;
    struct raft *raft = NULL;
    struct errmsg msg;
    struct raft_entry gap[2] = {{.term = 1, .index = 1},
                                {.term = 1, .index = 3}};
    struct raft_init init = {.entries = gap, .entry_count = 2};
    assert_int_equal(raft_new(&raft, &f->config, &init, &msg), ERR_CORRUPT);
    struct raft_entry falling[2] = {{.term = 2, .index = 1},
                                    {.term = 1, .index = 2}};
    init.entries = falling;
    assert_int_equal(raft_new(&raft, &f->config, &init, &msg), ERR_CORRUPT);
    init = (struct raft_init){.hard_state = {.term = 1, .commit = 5}};
    assert_int_equal(raft_new(&raft, &f->config, &init, &msg), ERR_CORRUPT);
    init = (struct raft_init){.base_index = 5, .base_term = 1, .applied = 6};
    assert_int_equal(raft_new(&raft, &f->config, &init, &msg), ERR_CORRUPT);
    f->config.id = 0;
    init = (struct raft_init){0};
    assert_int_equal(raft_new(&raft, &f->config, &init, &msg), ERR_INVALID);
}

static void codes_conf_changes_as_etcd(void **state)
{
    (void)state;
    struct raft_conf_change cc = {
        .v1 = true,
        .id = 300,
        .change_count = 1,
        .changes[0] = {RAFT_CONF_ADD_LEARNER, 5},
        .context = {(const uint8_t *)"ab", 2},
    };
    struct raft_entry e = raft_conf_change_entry(&cc);
    static const uint8_t v1[] = {0x08, 0xac, 0x02, 0x10, 0x03, 0x18,
                                 0x05, 0x22, 0x02, 'a',  'b'};
    assert_int_equal(e.type, RAFT_ENTRY_CONF_CHANGE);
    assert_int_equal(e.len, sizeof(v1));
    assert_memory_equal(e.data, v1, sizeof(v1));
    struct raft_conf_change back;
    assert_int_equal(raft_conf_change_decode(&back, e.type, e.data, e.len), 0);
    assert_true(back.v1);
    assert_int_equal(back.id, 300);
    assert_int_equal(back.changes[0].node_id, 5);
    assert_int_equal(back.context.len, 2);
    assert_int_equal(raft_conf_change_decode(&back, e.type, e.data, e.len - 1),
                     ERR_CORRUPT);
    raft_entry_unref(&e);

    cc = (struct raft_conf_change){
        .transition = RAFT_CONF_JOINT_EXPLICIT,
        .change_count = 2,
        .changes = {{RAFT_CONF_ADD_NODE, 1}, {RAFT_CONF_REMOVE_NODE, 200}}};
    e = raft_conf_change_entry(&cc);
    static const uint8_t v2[] = {0x08, 0x02, 0x12, 0x04, 0x08, 0x00, 0x10, 0x01,
                                 0x12, 0x05, 0x08, 0x01, 0x10, 0xc8, 0x01};
    assert_int_equal(e.type, RAFT_ENTRY_CONF_CHANGE_V2);
    assert_int_equal(e.len, sizeof(v2));
    assert_memory_equal(e.data, v2, sizeof(v2));
    raft_entry_unref(&e);
    assert_int_equal(
        raft_conf_change_decode(&back, RAFT_ENTRY_CONF_CHANGE_V2, NULL, 0), 0);
    assert_int_equal(back.change_count, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(elects_itself_by_ticks),
        TEST(commits_only_what_is_on_disk),
        TEST(asks_for_votes_when_its_own_is_on_disk),
        TEST(restarts_from_disk),
        TEST(reads_wait_for_the_term),
        TEST(refuses_without_a_leader),
        TEST(campaigns_after_pending_changes),
        TEST(tells_of_changes_under_way),
        TEST(bounds_what_is_uncommitted),
        TEST(compacts),
        TEST(what_is_applied_is_committed),
        TEST(refuses_damaged_state),
        TEST(codes_conf_changes_as_etcd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
