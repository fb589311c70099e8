/* Leases asked about at a leader that hasn't applied all that is committed:
 * what it doesn't know yet may have been granted. */
#include "chorad/base/clock.h"
#include "node/node.h"
#include "test_store.h"

#define LEASE 7

struct leader {
    struct fixture *f;
    struct node node;
    struct node_renewal renewal;
    struct node_lease_query query;
    struct arena arena;
    int renewals;
    int queries;
};

static void renewed(struct node_renewal *renewal)
{
    container_of(renewal, struct leader, renewal)->renewals++;
}

static void looked(struct node_lease_query *query)
{
    container_of(query, struct leader, query)->queries++;
}

/* Leads, has applied 4 of 5 committed entries; the fifth grants the lease. */
static int set_up(void **state)
{
    struct leader *l = mem_zalloc(sizeof(*l));
    struct errmsg msg;

    void *f = NULL;

    assert_int_equal(setup(&f), 0);
    l->f = f;
    assert_int_equal(lessor_open(l->f->store, 1, &l->node.lessor, &msg), 0);
    queue_init(&l->node.barriers);
    l->node.role = RAFT_LEADER;
    l->node.config.heartbeat_ms = 100;
    l->node.config.election_ms = 1000;
    l->node.last_tick_ns = clock_mono_ns();
    l->node.applied = 4;
    atomic_store(&l->node.status_commit, 5);
    lessor_promote(l->node.lessor, clock_mono_ns(), 0);
    l->renewal = (struct node_renewal){.id = LEASE, .done = renewed};
    l->query = (struct node_lease_query){
        .id = LEASE, .arena = &l->arena, .done = looked};
    *state = l;
    return 0;
}

static int tear_down(void **state)
{
    struct leader *l = *state;
    void *f = l->f;

    lessor_close(l->node.lessor);
    queue_close(&l->node.barriers);
    teardown(&f);
    arena_close(&l->arena);
    free(l);
    return 0;
}

static void apply_the_grant(struct leader *l)
{
    int64_t granted;

    assert_int_equal(
        lessor_grant(l->node.lessor, LEASE, 60, clock_mono_ns(), &granted), 0);
    l->node.applied = 5;
    node_take_barriers(&l->node);
}

static void renews_what_was_granted(void **state)
{
    struct leader *l = *state;

    node_renew(&l->node, &l->renewal);
    node_take_barriers(&l->node);
    assert_int_equal(l->renewals, 0);
    apply_the_grant(l);
    assert_int_equal(l->renewals, 1);
    assert_int_equal(l->renewal.err, 0);
    assert_int_equal(l->renewal.ttl_s, 60);

    node_renew(&l->node, &l->renewal);
    assert_int_equal(l->renewals, 2);
    assert_int_equal(l->renewal.err, 0);
}

static void knows_what_was_granted(void **state)
{
    struct leader *l = *state;

    node_lease_info(&l->node, &l->query);
    node_take_barriers(&l->node);
    assert_int_equal(l->queries, 0);
    apply_the_grant(l);
    assert_int_equal(l->queries, 1);
    assert_int_equal(l->query.err, 0);
    assert_int_equal(l->query.granted_s, 60);
}

/* Its disk stalls: the caller hears of that, not that there is no lease. */
static void says_that_it_is_behind(void **state)
{
    struct leader *l = *state;

    node_renew(&l->node, &l->renewal);
    node_lease_info(&l->node, &l->query);
    node_take_barriers(&l->node);
    node_expire_barriers(&l->node, clock_mono_ns() + UINT64_C(2000000000));
    assert_int_equal(l->renewal.err, ERR_TIMEOUT_APPLIED);
    assert_int_equal(l->query.err, ERR_TIMEOUT_APPLIED);
}

static void is_primary_no_more(void **state)
{
    struct leader *l = *state;

    l->renewal.here_only = true;
    node_renew(&l->node, &l->renewal);
    node_lease_info(&l->node, &l->query);
    node_take_barriers(&l->node);
    l->node.role = RAFT_FOLLOWER;
    lessor_demote(l->node.lessor);
    apply_the_grant(l);
    assert_int_equal(l->renewal.err, ERR_NOT_PRIMARY);
    assert_int_equal(l->query.err, ERR_NOT_PRIMARY);
}

static void canceled_while_it_waits(void **state)
{
    struct leader *l = *state;

    node_renew(&l->node, &l->renewal);
    assert_false(node_renew_cancel(&l->node, &l->renewal));
    node_take_barriers(&l->node);
    apply_the_grant(l);
    assert_int_equal(l->renewals, 1);
    assert_int_equal(l->renewal.err, ERR_CANCELED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(renews_what_was_granted), TEST(knows_what_was_granted),
        TEST(says_that_it_is_behind),  TEST(is_primary_no_more),
        TEST(canceled_while_it_waits),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
