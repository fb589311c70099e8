/* Clock, randomness, assertions. */
#include "chorad/base/check.h"
#include "chorad/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_clocks(void **state)
{
    uint64_t before = clock_mono_ns();

    (void)state;
    assert_int_equal(usleep(2000), 0);
    assert_true(clock_mono_ns() - before >= 2000000);
    /* Between 2020 and 2100. */
    assert_true(clock_wall_ns() > UINT64_C(1577836800000000000));
    assert_true(clock_wall_ns() < UINT64_C(4102444800000000000));
}

static void test_random(void **state)
{
    uint8_t bytes[600] = {0};
    int zeros = 0;

    (void)state;
    random_bytes(bytes, sizeof(bytes) - 1);
    for (size_t i = 0; i < sizeof(bytes) - 1; i++)
        zeros += bytes[i] == 0;
    assert_true(zeros < 60);
    assert_int_equal(bytes[sizeof(bytes) - 1], 0);
    assert_true(random_u64() != random_u64());
}

/* The first numbers of splitmix64 for the seed 1234567, as its authors'
 * reference program prints them. */
static void test_prng_is_splitmix64(void **state)
{
    struct prng prng = {1234567};

    (void)state;
    assert_true(prng_next(&prng) == UINT64_C(6457827717110365317));
    assert_true(prng_next(&prng) == UINT64_C(3203168211198807973));
    assert_true(prng_next(&prng) == UINT64_C(9817491932198370423));
}

static void test_prng_below(void **state)
{
    struct prng prng = {1};
    int hits[7] = {0};

    (void)state;
    for (int i = 0; i < 7000; i++)
        hits[prng_below(&prng, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(hits[i], 850, 1150);
    assert_int_equal(prng_below(&prng, 1), 0);
    /* Two thirds of the range: an unfair remainder would show as one half of
     * the numbers lying in the lower half of the results twice as often. */
    hits[0] = 0;
    for (int i = 0; i < 3000; i++)
        hits[0] += prng_below(&prng, UINT64_MAX / 3 * 2) < UINT64_MAX / 3;
    assert_in_range(hits[0], 1380, 1620);
}

static void test_broken_invariant_aborts(void **state)
{
    char line[512] = {0};
    int fds[2];
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(fds[1], STDERR_FILENO);
        CHECK(1 + 1 == 2);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(read(fds[0], line, sizeof(line) - 1) > 0);
    assert_non_null(strstr(line, "\"level\":\"panic\""));
    assert_non_null(strstr(line, "\"condition\":\"1 + 1 == 3\""));
    assert_non_null(strstr(line, "test_base_clock.c:"));
    (void)close(fds[0]);
    (void)close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_prng_is_splitmix64),
        cmocka_unit_test(test_prng_below),
        cmocka_unit_test(test_broken_invariant_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
