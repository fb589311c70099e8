/* The loop's turns: what the metrics page and the log say of them. */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/metrics.h"
#include "chorad/base/turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static char log_path[] = "/tmp/test_base_turn.XXXXXX";

static void sleep_ms(unsigned ms)
{
    struct timespec t = {0, (long)(ms * MS)};

    while (nanosleep(&t, &t) != 0)
        ;
}

/* The value of a series; -1 for none. */
static double value_of(const char *series)
{
    struct buf page = {0};
    double value = -1;
    char *at;

    metrics_print(&page);
    buf_append(&page, "", 1);
    at = strstr((char *)page.data, series);
    if (at != NULL)
        value = strtod(at + strlen(series), NULL);
    buf_close(&page);
    return value;
}

static unsigned lines_with(const char *text)
{
    FILE *in = fopen(log_path, "r");
    char line[1024];
    unsigned n = 0;

    assert_non_null(in);
    while (fgets(line, sizeof(line), in) != NULL)
        n += strstr(line, text) != NULL;
    assert_int_equal(fclose(in), 0);
    return n;
}

static int setup(void **state)
{
    const char *outputs[] = {log_path};
    size_t bad;

    (void)state;
    log_set_json(true);
    assert_int_equal(truncate(log_path, 0), 0);
    assert_int_equal(log_set_outputs(outputs, 1, &bad), 0);
    turn_open();
    return 0;
}

#define COUNT "\nchorad_loop_turn_seconds_count "
#define LONGEST "\nchorad_loop_longest_turn_seconds "
#define LONG_APPLY "\nchorad_loop_long_turns_total{part=\"apply\"} "
#define LONG_OTHER "\nchorad_loop_long_turns_total{part=\"other\"} "

/* A turn is from the first part to the next poll; without a part there was
 * none. */
static void test_turns_are_counted(void **state)
{
    double before = value_of(COUNT);

    (void)state;
    turn_end();
    assert_true(value_of(COUNT) == before);
    assert_int_equal(turn_part(TURN_LOG), TURN_OTHER);
    assert_int_equal(turn_part(TURN_RAFT), TURN_LOG);
    turn_end();
    assert_true(value_of(COUNT) == before + 1);
    turn_end();
    assert_true(value_of(COUNT) == before + 1);
    /* The next one begins with no part's. */
    assert_int_equal(turn_part(TURN_HTTP), TURN_OTHER);
    turn_end();
}

static void test_a_long_one_is_named(void **state)
{
    double before = value_of(LONG_APPLY);

    (void)state;
    turn_part(TURN_LOG);
    sleep_ms(5);
    turn_part(TURN_APPLY);
    sleep_ms(70);
    turn_part(TURN_RAFT);
    turn_end();
    assert_true(value_of(LONG_APPLY) == before + 1);
    assert_true(value_of(LONGEST) >= 0.07);
    assert_int_equal(lines_with("the loop was held up"), 1);
    assert_int_equal(lines_with("\"part\":\"apply\""), 1);
    assert_int_equal(lines_with("\"blocked\":0,"), 0);
}

/* All are counted, one a second is told. */
static void test_the_log_is_spared(void **state)
{
    double before = value_of(LONG_APPLY);

    (void)state;
    for (int i = 0; i < 4; i++) {
        turn_part(TURN_APPLY);
        sleep_ms(55);
        turn_end();
    }
    assert_true(value_of(LONG_APPLY) == before + 4);
    assert_in_range(lines_with("the loop was held up"), 1, 3);
}

/* What no part was named for is known from when the loop had polled. */
static void test_time_of_no_part_counts(void **state)
{
    double before = value_of(LONG_OTHER);
    uint64_t polled_ns = clock_mono_ns();

    (void)state;
    sleep_ms(60);
    turn_polled(polled_ns);
    turn_end();
    assert_true(value_of(LONG_OTHER) == before + 1);
    polled_ns = clock_mono_ns();
    sleep_ms(60);
    turn_part(TURN_RAFT);
    turn_polled(polled_ns);
    turn_end();
    assert_true(value_of(LONG_OTHER) == before + 2);
}

static void *on_another_thread(void *arg)
{
    turn_part(TURN_APPLY);
    turn_polled(1);
    turn_end();
    return arg;
}

static void test_other_threads_have_none(void **state)
{
    double before = value_of(COUNT);
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, on_another_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(value_of(COUNT) == before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(test_turns_are_counted),       TEST(test_a_long_one_is_named),
        TEST(test_the_log_is_spared),       TEST(test_time_of_no_part_counts),
        TEST(test_other_threads_have_none),
    };
    int fd = mkstemp(log_path);
    int failed;

    if (fd < 0 || close(fd) != 0)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return unlink(log_path) != 0 || failed;
}
