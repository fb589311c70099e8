/* The parts of the Raft core one by one: log, windows, progress, quorums. */
#include "chorad/base/clock.h"
#include "raft/log.h"
#include "raft/progress.h"
#include "raft/quorum.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct sayer silent;

/* Entries from `first` on with the given terms, which end with 0. */
static void append(struct rlog *log, uint64_t first, const uint64_t *terms)
{
    for (size_t i = 0; terms[i] != 0; i++) {
        struct raft_entry e = raft_entry_new(RAFT_ENTRY_NORMAL, "payload", 7);
        e.term = terms[i];
        e.index = first + i;
        rlog_append(log, &e, 1);
    }
}

#define TERMS(...) ((const uint64_t[]){__VA_ARGS__, 0})

static void open_log(struct rlog *log, uint64_t max_applying)
{
    struct raft_init init = {.base_index = 10, .base_term = 1};
    rlog_init(log, &init, max_applying, &silent);
}

static void log_tells_terms(void **state)
{
    (void)state;
    struct rlog log;
    open_log(&log, RAFT_NO_LIMIT);
    append(&log, 11, TERMS(1, 2, 2, 4));
    uint64_t term;
    assert_false(rlog_term(&log, 9, &term));
    assert_true(rlog_term(&log, 10, &term));
    assert_int_equal(term, 1);
    assert_true(rlog_term(&log, 13, &term));
    assert_int_equal(term, 2);
    assert_false(rlog_term(&log, 15, &term));
    assert_true(rlog_up_to_date(&log, (struct entry_id){4, 14}));
    assert_true(rlog_up_to_date(&log, (struct entry_id){5, 1}));
    assert_false(rlog_up_to_date(&log, (struct entry_id){4, 13}));
    assert_false(rlog_up_to_date(&log, (struct entry_id){3, 99}));
    rlog_close(&log);
}

static void log_finds_where_logs_may_meet(void **state)
{
    (void)state;
    struct rlog log;
    open_log(&log, RAFT_NO_LIMIT);
    append(&log, 11, TERMS(1, 3, 3, 5, 5));
    struct entry_id id = rlog_find_conflict_by_term(&log, 15, 4);
    assert_int_equal(id.index, 13);
    assert_int_equal(id.term, 3);
    id = rlog_find_conflict_by_term(&log, 13, 2);
    assert_int_equal(id.index, 11);
    /* Beyond the compaction point terms aren't known. */
    id = rlog_find_conflict_by_term(&log, 11, 0);
    assert_int_equal(id.index, 9);
    assert_int_equal(id.term, 0);
    rlog_close(&log);
}

static void log_replaces_a_tail(void **state)
{
    (void)state;
    struct rlog log;
    open_log(&log, RAFT_NO_LIMIT);
    append(&log, 11, TERMS(1, 1, 1, 1));
    rlog_accept_unstable(&log);
    rlog_stable_to(&log, (struct entry_id){1, 14});
    assert_int_equal(log.offset, 15);
    append(&log, 13, TERMS(2));
    assert_int_equal(rlog_last(&log), 13);
    /* The disk still has the old ones: all of it must be written again. */
    assert_int_equal(log.offset, 13);
    struct entry_span span = rlog_next_unstable(&log);
    assert_int_equal(span.count, 1);
    assert_int_equal(span.entries[0].index, 13);
    /* A late report of what was replaced says nothing about it. */
    rlog_accept_unstable(&log);
    rlog_stable_to(&log, (struct entry_id){1, 13});
    assert_int_equal(log.offset, 13);
    rlog_stable_to(&log, (struct entry_id){2, 13});
    assert_int_equal(log.offset, 14);
    rlog_close(&log);
}

static void log_takes_a_leaders_entries(void **state)
{
    (void)state;
    struct rlog log;
    open_log(&log, RAFT_NO_LIMIT);
    append(&log, 11, TERMS(1, 1, 1));
    struct raft_entry more[3] = {{.term = 1, .index = 13},
                                 {.term = 2, .index = 14},
                                 {.term = 2, .index = 15}};
    assert_false(rlog_try_append(&log, (struct entry_id){2, 12}, more, 3, 20));
    assert_int_equal(rlog_last(&log), 13);
    assert_true(rlog_try_append(&log, (struct entry_id){1, 12}, more, 3, 14));
    assert_int_equal(rlog_last(&log), 15);
    assert_int_equal(log.committed, 14);
    /* An old message neither cuts off nor takes the commit index further than
     * what it speaks of. */
    assert_true(rlog_try_append(&log, (struct entry_id){1, 12}, more, 1, 99));
    assert_int_equal(rlog_last(&log), 15);
    assert_int_equal(log.committed, 14);
    rlog_close(&log);
}

static void log_commits_its_own_term_only(void **state)
{
    (void)state;
    struct rlog log;
    open_log(&log, RAFT_NO_LIMIT);
    append(&log, 11, TERMS(1, 2));
    assert_false(rlog_try_commit(&log, (struct entry_id){2, 11}));
    assert_int_equal(log.committed, 10);
    assert_true(rlog_try_commit(&log, (struct entry_id){2, 12}));
    assert_int_equal(log.committed, 12);
    assert_false(rlog_try_commit(&log, (struct entry_id){2, 12}));
    rlog_close(&log);
}

static void log_bounds_what_is_being_applied(void **state)
{
    (void)state;
    struct rlog log;
    struct raft_entry sample = {.term = 1, .index = 11, .len = 7};
    sample.data = (const uint8_t *)"payload";
    uint64_t size = raft_entry_size(&sample);
    open_log(&log, 2 * size);
    append(&log, 11, TERMS(1, 1, 1, 1));
    rlog_commit_to(&log, 14);
    assert_int_equal(rlog_next_committed(&log, false).count, 0);
    rlog_accept_unstable(&log);
    rlog_stable_to(&log, (struct entry_id){1, 13});
    struct entry_span span = rlog_next_committed(&log, false);
    assert_int_equal(span.count, 2);
    rlog_accept_applying(&log, span, false);
    assert_false(rlog_has_committed(&log, false));
    struct apply_batch batch;
    assert_false(rlog_pop_batch(&log, 11, &batch));
    assert_true(rlog_pop_batch(&log, 12, &batch));
    assert_int_equal(batch.size, 2 * size);
    assert_int_equal(batch.payload, 14);
    rlog_applied_to(&log, 12, batch.size);
    span = rlog_next_committed(&log, false);
    assert_int_equal(span.count, 1);
    assert_int_equal(rlog_next_committed(&log, true).count, 2);
    rlog_close(&log);
}

/* The limit counts what is under way, also when that was all there was. */
static void log_waits_when_the_limit_is_reached(void **state)
{
    (void)state;
    struct rlog log;
    open_log(&log, 1);
    append(&log, 11, TERMS(1, 1));
    rlog_commit_to(&log, 11);
    struct entry_span span = rlog_next_committed(&log, true);
    assert_int_equal(span.count, 1);
    rlog_accept_applying(&log, span, true);
    rlog_commit_to(&log, 12);
    assert_false(rlog_has_committed(&log, true));
    struct apply_batch batch;
    assert_true(rlog_pop_batch(&log, 11, &batch));
    rlog_applied_to(&log, 11, batch.size);
    assert_true(rlog_has_committed(&log, true));
    rlog_close(&log);
}

static void log_slices_by_size(void **state)
{
    (void)state;
    struct rlog log;
    open_log(&log, RAFT_NO_LIMIT);
    append(&log, 11, TERMS(1, 1, 1));
    uint64_t size = raft_entry_size(rlog_at(&log, 11));
    assert_int_equal(rlog_slice(&log, 11, 14, 0).count, 1);
    assert_int_equal(rlog_slice(&log, 11, 14, 2 * size - 1).count, 1);
    assert_int_equal(rlog_slice(&log, 11, 14, 2 * size).count, 2);
    assert_int_equal(rlog_slice(&log, 11, 14, RAFT_NO_LIMIT).count, 3);
    assert_int_equal(rlog_slice(&log, 12, 12, 0).count, 0);
    rlog_close(&log);
}

/* The array is used again behind its compacted front; the model is a plain
 * count of what should be there. */
static void log_survives_much_traffic(void **state)
{
    (void)state;
    struct rlog log;
    struct prng random = {.state = 5};
    open_log(&log, RAFT_NO_LIMIT);
    uint64_t last = 10;
    uint64_t term = 1;
    for (int round = 0; round < 3000; round++) {
        if (prng_below(&random, 4) == 0 && last > log.committed) {
            last = log.committed + prng_below(&random, last - log.committed);
            term++;
        }
        for (uint64_t n = prng_below(&random, 9); n > 0; n--)
            append(&log, ++last, TERMS(term));
        rlog_accept_unstable(&log);
        last = rlog_last(&log);
        if (last < log.offset)
            continue;
        rlog_stable_to(&log, rlog_last_id(&log));
        rlog_commit_to(&log, log.committed +
                                 prng_below(&random, last - log.committed + 1));
        if (log.committed > log.applied)
            rlog_applied_to(&log, log.committed, 0);
        if (log.applied > log.base + 20)
            rlog_compact(&log, log.applied - prng_below(&random, 20));
        for (uint64_t i = log.base + 1; i <= last; i++)
            assert_int_equal(rlog_at(&log, i)->index, i);
    }
    assert_true(log.base > 1000);
    assert_true(log.cap <= 512);
    rlog_close(&log);
}

static void inflights_slide(void **state)
{
    (void)state;
    struct inflights in;
    inflights_init(&in, 10, 0);
    uint64_t next = 1;
    uint64_t done = 0;
    struct prng random = {.state = 3};
    for (int round = 0; round < 1000; round++) {
        while (!inflights_full(&in) && prng_below(&random, 5) != 0)
            inflights_add(&in, next++, 100);
        if (next - 1 > done)
            done += prng_below(&random, next - done);
        inflights_free_to(&in, done);
        assert_int_equal(in.count, next - 1 - done);
        assert_int_equal(in.bytes, 100 * (next - 1 - done));
    }
    assert_true(next > 1000);
    inflights_reset(&in);
    assert_int_equal(in.bytes, 0);
    inflights_close(&in);
}

static void inflights_bound_bytes(void **state)
{
    (void)state;
    struct inflights in;
    inflights_init(&in, 100, 250);
    inflights_add(&in, 1, 100);
    inflights_add(&in, 2, 100);
    assert_false(inflights_full(&in));
    inflights_add(&in, 3, 100);
    assert_true(inflights_full(&in));
    inflights_free_to(&in, 1);
    assert_false(inflights_full(&in));
    inflights_close(&in);
}

static void progress_follows_the_answers(void **state)
{
    (void)state;
    struct progress pr = {.match = 3, .next = 10};
    inflights_init(&pr.inflights, 2, 0);
    assert_false(progress_paused(&pr));
    progress_sent_entries(&pr, 1, 5);
    assert_true(progress_paused(&pr));
    assert_false(progress_decrease(&pr, 5, 4)); /* not what was asked */
    assert_true(progress_decrease(&pr, 9, 5));
    assert_int_equal(pr.next, 6);
    assert_true(progress_update(&pr, 5));
    progress_become_replicate(&pr);
    progress_sent_entries(&pr, 2, 5);
    assert_int_equal(pr.next, 8);
    progress_sent_entries(&pr, 1, 5);
    assert_true(progress_paused(&pr));
    assert_false(progress_decrease(&pr, 5, 0)); /* has it, so it's old */
    assert_true(progress_decrease(&pr, 7, 0));
    assert_int_equal(pr.next, 6);
    progress_become_snapshot(&pr, 20);
    assert_true(progress_paused(&pr));
    progress_become_probe(&pr);
    assert_int_equal(pr.next, 21);
    assert_false(progress_update(&pr, 5));
    inflights_close(&pr.inflights);
}

static uint64_t acked_of(const void *arg, uint64_t id)
{
    return ((const uint64_t *)arg)[id];
}

static uint64_t counted(const struct raft_ids *ids, const uint64_t *acked)
{
    uint64_t best = 0;
    for (size_t i = 0; i < ids->count; i++) {
        size_t have = 0;
        for (size_t j = 0; j < ids->count; j++)
            have += acked[ids->ids[j]] >= acked[ids->ids[i]];
        if (2 * have > ids->count && acked[ids->ids[i]] > best)
            best = acked[ids->ids[i]];
    }
    return ids->count == 0 ? UINT64_MAX : best;
}

static void quorum_agrees_with_counting(void **state)
{
    (void)state;
    struct prng random = {.state = 11};
    for (int round = 0; round < 5000; round++) {
        struct raft_ids a = {0};
        struct raft_ids b = {0};
        uint64_t acked[32];
        for (uint64_t id = 0; id < 32; id++) {
            acked[id] = prng_below(&random, 12);
            if (prng_below(&random, 3) == 0)
                raft_ids_add(&a, id);
            if (prng_below(&random, 6) == 0)
                raft_ids_add(&b, id);
        }
        uint64_t one = counted(&a, acked);
        uint64_t two = counted(&b, acked);
        assert_int_equal(quorum_committed(&a, acked_of, acked), one);
        assert_int_equal(quorum_joint_committed(&a, &b, acked_of, acked),
                         one < two ? one : two);
        raft_ids_close(&a);
        raft_ids_close(&b);
    }
}

static void ids_stay_sorted(void **state)
{
    (void)state;
    struct raft_ids ids = {0};
    raft_ids_add(&ids, 5);
    raft_ids_add(&ids, 1);
    raft_ids_add(&ids, 9);
    raft_ids_add(&ids, 5);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.ids[0], 1);
    assert_int_equal(ids.ids[2], 9);
    raft_ids_remove(&ids, 7);
    raft_ids_remove(&ids, 1);
    assert_false(raft_ids_has(&ids, 1));
    assert_true(raft_ids_has(&ids, 9));
    raft_ids_remove(&ids, 5);
    raft_ids_remove(&ids, 9);
    assert_null(ids.ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_tells_terms),
        cmocka_unit_test(log_finds_where_logs_may_meet),
        cmocka_unit_test(log_replaces_a_tail),
        cmocka_unit_test(log_takes_a_leaders_entries),
        cmocka_unit_test(log_commits_its_own_term_only),
        cmocka_unit_test(log_bounds_what_is_being_applied),
        cmocka_unit_test(log_waits_when_the_limit_is_reached),
        cmocka_unit_test(log_slices_by_size),
        cmocka_unit_test(log_survives_much_traffic),
        cmocka_unit_test(inflights_slide),
        cmocka_unit_test(inflights_bound_bytes),
        cmocka_unit_test(progress_follows_the_answers),
        cmocka_unit_test(quorum_agrees_with_counting),
        cmocka_unit_test(ids_stay_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
