/* What the store says of its size: the quota depends on it. */
#include "test_store.h"

#include <stdio.h>

#define QUOTA 53248

static void put_members(struct fixture *f)
{
    put_text(f, STORE_META, "confState", "{\"voters\":[1]}");
    put_text(f, STORE_META, "storageVersion", "3.7.0");
    put_text(f, STORE_MEMBERS, "8e9e05c52164694d", "{\"id\":1}");
    put_text(f, STORE_CLUSTER, "clusterVersion", "3.7.0");
    mark_flush(f);
}

static void put_revision(struct fixture *f, int rev, size_t len)
{
    char key[32];
    char *value = malloc(len);

    assert_non_null(value);
    memset(value, 'v', len);
    snprintf(key, sizeof(key), "%017d", rev);
    store_put(f->store, STORE_KEY, bytes_of(key, 17), bytes_of(value, len));
    mark(f);
    free(value);
}

static void test_small_quota(void **state)
{
    struct fixture *f = *state;
    struct store_size size;
    uint64_t full;
    int n = 0;

    put_members(f);
    assert_true(store_size(f->store).total < 40000);
    reopen_store(f);
    assert_true(store_size(f->store).total < 40000);

    while (store_size(f->store).total + 256 + 4100 < QUOTA)
        put_revision(f, n++, 4140);
    assert_in_range(n, 2, 20);
    assert_int_equal(flush(f), 0);
    full = store_size(f->store).total;
    assert_true(full + 256 + 4100 >= QUOTA);
    reopen_store(f);
    assert_int_equal(store_size(f->store).total, full);

    for (int i = 0; i < n; i++) {
        char key[32];

        snprintf(key, sizeof(key), "%017d", i);
        store_delete(f->store, STORE_KEY, bytes_of(key, 17));
    }
    mark_flush(f);
    size = store_size(f->store);
    assert_int_equal(size.total, full);
    assert_true(size.in_use + 4096 < full);
    reopen_store(f);
    assert_int_equal(store_size(f->store).total, full);

    assert_int_equal(store_defrag(f->store, NULL), 0);
    size = store_size(f->store);
    assert_true(size.total < 40000);
    assert_int_equal(size.total, size.in_use);
    reopen_store(f);
    assert_int_equal(store_size(f->store).total, size.total);
}

/* The estimate for what is queued is near to what the file then says. */
static void check_estimate(struct fixture *f, size_t value_len, int n)
{
    struct store_size before = store_size(f->store);
    uint64_t estimated;
    uint64_t real;

    for (int i = 0; i < n; i++)
        put_revision(f, (int)f->index, value_len);
    estimated = store_size(f->store).in_use - before.in_use;
    assert_int_equal(flush(f), 0);
    real = store_size(f->store).in_use - before.in_use;
    if (estimated < real / 2 || estimated > real + real / 10)
        fail_msg("%d values of %zu bytes: %llu estimated, %llu real", n,
                 value_len, (unsigned long long)estimated,
                 (unsigned long long)real);
}

static void test_estimates(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    f->config.flush_interval_ns = UINT64_C(3600000000000);
    f->config.flush_ops = UINT32_MAX;
    open_store(f);
    check_estimate(f, 10, 2000);
    check_estimate(f, 300, 500);
    check_estimate(f, 1900, 100);
    check_estimate(f, 2100, 100);
    check_estimate(f, 4076, 100);
    check_estimate(f, 4077, 100);
    check_estimate(f, 1500000, 3);
}

static void test_file_length(void **state)
{
    struct fixture *f = *state;
    struct store_size size;

    put_revision(f, 1, 1000000);
    assert_int_equal(flush(f), 0);
    size = store_size(f->store);
    assert_true(size.file >= size.in_use);
    assert_true(size.in_use > 1000000);
}

static unsigned long switches_of_others(void)
{
    char command[128];
    unsigned long n = 0;
    FILE *pipe;

    snprintf(command, sizeof(command),
             "cat /proc/%d/task/*/status | awk '/^voluntary/ {n += $2} "
             "END {print n}'",
             (int)getpid());
    pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%lu", &n), 1);
    pclose(pipe);
    return n;
}

/* The counts of two moments are compared for a sleep of 100 and one of 600
 * intervals: what the measuring itself costs is in both. */
static void test_idle_costs_no_wakeups(void **state)
{
    struct fixture *f = *state;
    unsigned long counts[4];

    close_store(f);
    f->config.flush_interval_ns = 500000;
    open_store(f);
    put_revision(f, 1, 10);
    assert_int_equal(flush(f), 0);
    sleep_ms(20);
    counts[0] = switches_of_others();
    sleep_ms(50);
    counts[1] = switches_of_others();
    counts[2] = switches_of_others();
    sleep_ms(300);
    counts[3] = switches_of_others();
    assert_true(counts[3] - counts[2] < counts[1] - counts[0] + 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small_quota, setup, teardown),
        cmocka_unit_test_setup_teardown(test_estimates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idle_costs_no_wakeups, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
