/* Background jobs of the store: their steps, their place among the batches,
 * and how they end. */
#include "test_store.h"

#include <stdio.h>

struct job {
    struct fixture *f;
    struct result result;
    char next[16]; /* key at which the next step begins */
    int steps;
    int per_step;
    int64_t pause_ns;
    int visited;
    bool saw_queued;
    atomic_bool hold;
};

static void put_numbers(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%04d", i);
        put_text(f, STORE_KEY, key, key);
    }
}

static int delete_odd(void *arg, struct bytes key, struct bytes value)
{
    struct job *job = arg;

    assert_int_equal(bytes_cmp(key, value), 0);
    if (job->visited == job->per_step) {
        snprintf(job->next, sizeof(job->next), "%.4s", (const char *)key.data);
        return 2;
    }
    job->visited++;
    job->next[0] = '\0';
    return key.data[3] % 2;
}

static int64_t step_delete_odd(void *arg, struct store_txn *txn)
{
    struct job *job = arg;

    job->steps++;
    job->visited = 0;
    assert_int_equal(
        store_txn_scan(txn, STORE_KEY, text(job->next), delete_odd, job), 0);
    if (job->next[0] != '\0')
        return job->pause_ns;
    assert_int_equal(
        store_txn_put(txn, STORE_META, text("finished"), text("yes")), 0);
    return -1;
}

static void finish(void *arg, int err)
{
    struct job *job = arg;

    set_result(&job->result, err);
}

static void test_scan_and_delete(void **state)
{
    struct fixture *f = *state;
    struct job job = {.f = f, .result = RESULT_INIT, .per_step = 150};

    put_numbers(f, 1000);
    mark(f);
    store_job(f->store, step_delete_odd, finish, &job);
    assert_int_equal(await(&job.result), 0);
    assert_int_equal(job.steps, 7);
    assert_value(f, STORE_META, "finished", "yes");
    for (int i = 0; i < 1000; i++) {
        char key[16];

        snprintf(key, sizeof(key), "%04d", i);
        if (i % 2 == 0)
            assert_value(f, STORE_KEY, key, key);
        else
            assert_missing(f, STORE_KEY, key);
    }
}

static int64_t step_slowly(void *arg, struct store_txn *txn)
{
    struct job *job = arg;

    (void)txn;
    job->steps++;
    return atomic_load(&job->hold) ? 2000000 : -1;
}

static void test_batches_go_on_between_steps(void **state)
{
    struct fixture *f = *state;
    struct job job = {.f = f, .result = RESULT_INIT};

    atomic_init(&job.hold, true);
    store_job(f->store, step_slowly, finish, &job);
    for (int i = 0; i < 20; i++) {
        put_text(f, STORE_KEY, "k", "v");
        mark_flush(f);
    }
    assert_false(is_done(&job.result));
    atomic_store(&job.hold, false);
    assert_int_equal(await(&job.result), 0);
    assert_true(job.steps > 1);
}

static int note_visit(void *arg, struct bytes key, struct bytes value)
{
    struct job *job = arg;

    (void)key;
    (void)value;
    job->saw_queued = true;
    return 2;
}

static int64_t step_look(void *arg, struct store_txn *txn)
{
    struct job *job = arg;

    assert_int_equal(
        store_txn_scan(txn, STORE_META, text("scheduled"), note_visit, job), 0);
    return -1;
}

static void test_starts_after_what_was_queued(void **state)
{
    struct fixture *f = *state;
    struct job job = {.f = f, .result = RESULT_INIT};

    put_text(f, STORE_META, "scheduled", "17");
    store_job(f->store, step_look, finish, &job);
    sleep_ms(20);
    assert_false(job.saw_queued);
    mark(f);
    assert_int_equal(await(&job.result), 0);
    assert_true(job.saw_queued);
}

static void test_jobs_run_in_order(void **state)
{
    struct fixture *f = *state;
    struct job first = {.f = f, .result = RESULT_INIT};
    struct job second = {.f = f, .result = RESULT_INIT};

    atomic_init(&first.hold, true);
    store_job(f->store, step_slowly, finish, &first);
    store_job(f->store, step_look, finish, &second);
    sleep_ms(20);
    assert_false(is_done(&second.result));
    atomic_store(&first.hold, false);
    assert_int_equal(await(&second.result), 0);
    assert_true(is_done(&first.result));
}

static void test_unfinished_is_dropped_at_close(void **state)
{
    struct fixture *f = *state;
    struct job first = {.f = f, .result = RESULT_INIT};
    struct job second = {.f = f, .result = RESULT_INIT};

    atomic_init(&first.hold, true);
    store_job(f->store, step_slowly, finish, &first);
    store_job(f->store, step_look, finish, &second);
    close_store(f);
    assert_int_equal(await(&first.result), ERR_STOPPED);
    assert_int_equal(await(&second.result), ERR_STOPPED);
}

static int64_t step_wrong_key(void *arg, struct store_txn *txn)
{
    char key[600];

    (void)arg;
    memset(key, 'k', sizeof(key));
    assert_int_equal(store_txn_put(txn, STORE_META, text("a"), text("b")), 0);
    assert_int_not_equal(
        store_txn_put(txn, STORE_META, bytes_of(key, sizeof(key)), text("b")),
        0);
    return 0;
}

static void test_failed_step_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct job job = {.f = f, .result = RESULT_INIT};

    store_job(f->store, step_wrong_key, finish, &job);
    assert_int_equal(await(&job.result), ERR_INVALID);
    assert_missing(f, STORE_META, "a");
    put_text(f, STORE_META, "a", "c");
    mark_flush(f);
    assert_value(f, STORE_META, "a", "c");
    assert_int_equal(atomic_load(&f->failed), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_scan_and_delete, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batches_go_on_between_steps, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_starts_after_what_was_queued,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_jobs_run_in_order, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_unfinished_is_dropped_at_close,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_step_leaves_nothing, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
