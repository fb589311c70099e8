/* Auto-compaction: when, and to which revision. Time is made up. */
#include "node/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MINUTE_NS UINT64_C(60000000000)
#define HOUR_NS (60 * MINUTE_NS)

/* Runs a compactor minute by minute; the revision grows by one a minute. */
struct run {
    struct compactor *compactor;
    uint64_t now_ns;
    int64_t revision;
    int compactions;
    int64_t last;
    uint64_t last_ns;
};

static struct run start(enum node_compact_mode mode, int64_t retention)
{
    uint64_t now_ns = 1000 * HOUR_NS;

    return (struct run){
        .compactor = node_compactor_new(mode, retention, now_ns),
        .now_ns = now_ns,
        .revision = 1,
    };
}

static void step(struct run *run, bool ok)
{
    int64_t rev =
        node_compactor_due(run->compactor, run->now_ns, run->revision);

    if (rev > 0) {
        run->compactions++;
        run->last = rev;
        run->last_ns = run->now_ns;
        node_compactor_done(run->compactor, ok);
    }
    run->now_ns += MINUTE_NS;
    run->revision++;
}

static void minutes(struct run *run, int n)
{
    for (int i = 0; i < n; i++)
        step(run, true);
}

static void none_without_a_retention(void **state)
{
    (void)state;
    assert_null(node_compactor_new(NODE_COMPACT_PERIODIC, 0, 1));
    assert_int_equal(node_compactor_due(NULL, 1, 100), 0);
}

static void revisions_behind_the_current_one(void **state)
{
    struct run run = start(NODE_COMPACT_REVISION, 100);

    (void)state;
    minutes(&run, 100);
    assert_int_equal(run.compactions, 0);
    minutes(&run, 10);
    assert_int_equal(run.compactions, 2);
    /* Every five minutes, to a hundred behind. */
    assert_int_equal(run.last,
                     (int64_t)((run.last_ns - 1000 * HOUR_NS) / MINUTE_NS) + 1 -
                         100);
    node_compactor_free(run.compactor);
}

static void an_hour_is_kept_and_compacted_hourly(void **state)
{
    struct run run = start(NODE_COMPACT_PERIODIC, (int64_t)HOUR_NS);

    (void)state;
    minutes(&run, 60);
    assert_int_equal(run.compactions, 0);
    minutes(&run, 7);
    assert_int_equal(run.compactions, 1);
    /* What is at least an hour old, and little more. */
    assert_in_range(run.revision - run.last, 60, 73);
    minutes(&run, 600);
    assert_in_range(run.compactions, 9, 11);
    assert_in_range(run.revision - run.last, 60, 140);
    node_compactor_free(run.compactor);
}

static void a_long_retention_is_kept_before_the_first(void **state)
{
    struct run run = start(NODE_COMPACT_PERIODIC, (int64_t)(24 * HOUR_NS));

    (void)state;
    minutes(&run, 24 * 60);
    assert_int_equal(run.compactions, 0);
    minutes(&run, 70);
    assert_in_range(run.compactions, 1, 2);
    assert_in_range(run.revision - run.last, 24 * 60, 24 * 60 + 140);
    node_compactor_free(run.compactor);
}

static void a_failure_is_tried_again_soon(void **state)
{
    struct run run = start(NODE_COMPACT_PERIODIC, (int64_t)HOUR_NS);

    (void)state;
    for (int i = 0; i < 90; i++)
        step(&run, false);
    /* Every tenth of the interval, not once an interval. */
    assert_in_range(run.compactions, 3, 6);
    node_compactor_free(run.compactor);
}

static void nothing_new_nothing_to_do(void **state)
{
    struct run run = start(NODE_COMPACT_PERIODIC, (int64_t)HOUR_NS);

    (void)state;
    minutes(&run, 70);
    assert_int_equal(run.compactions, 1);
    for (int i = 0; i < 600; i++) {
        step(&run, true);
        run.revision--; /* no writes any more */
    }
    int settled = run.compactions;
    for (int i = 0; i < 600; i++) {
        step(&run, true);
        run.revision--;
    }
    assert_int_equal(run.compactions, settled);
    node_compactor_free(run.compactor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_without_a_retention),
        cmocka_unit_test(revisions_behind_the_current_one),
        cmocka_unit_test(an_hour_is_kept_and_compacted_hourly),
        cmocka_unit_test(a_long_retention_is_kept_before_the_first),
        cmocka_unit_test(a_failure_is_tried_again_soon),
        cmocka_unit_test(nothing_new_nothing_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
