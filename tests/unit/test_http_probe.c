/* The pure parts of HTTP: checks by name and path, their text, the host. */
#include "http/host.h"
#include "http/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_paths(void **state)
{
    enum probe_type type;
    enum probe probe;

    (void)state;
    assert_true(probe_parse_path("/livez/serializable_read", &type, &probe));
    assert_int_equal(type, PROBE_LIVEZ);
    assert_int_equal(probe, PROBE_SERIALIZABLE_READ);
    assert_true(probe_parse_path("/readyz/non_learner", &type, &probe));
    assert_int_equal(type, PROBE_READYZ);
    assert_int_equal(probe, PROBE_NON_LEARNER);
    assert_false(probe_parse_path("/livez/non_learner", &type, &probe));
    assert_false(probe_parse_path("/livez", &type, &probe));
    assert_false(probe_parse_path("/livez/", &type, &probe));
    assert_false(probe_parse_path("/readyz/non_learner/", &type, &probe));
    assert_false(probe_parse_path("/readyz/nothing", &type, &probe));
    assert_false(probe_parse_path("/health/non_learner", &type, &probe));
}

static void test_sets(void **state)
{
    (void)state;
    assert_int_equal(probe_all(PROBE_LIVEZ),
                     PROBE_BIT(PROBE_SERIALIZABLE_READ));
    assert_int_equal(probe_all(PROBE_READYZ), (1U << PROBE_COUNT) - 1);
    for (int i = 0; i < PROBE_COUNT; i++)
        assert_int_equal(probe_bit(probe_name((enum probe)i)), PROBE_BIT(i));
    assert_int_equal(probe_bit(""), 0);
}

static void test_text(void **state)
{
    struct probe_results results = {.ran = PROBE_BIT(PROBE_DATA_CORRUPTION) |
                                           PROBE_BIT(PROBE_NON_LEARNER)};
    static const char wanted[] =
        "[+]data_corruption ok\n[-]non_learner failed: it is one\n";
    struct buf out = {0};

    (void)state;
    /* What hasn't run counts for nothing. */
    results.errors[PROBE_LINEARIZABLE_READ] = "not asked";
    assert_false(probe_failed(&results));
    results.errors[PROBE_NON_LEARNER] = "it is one";
    assert_true(probe_failed(&results));
    probe_print(&out, &results);
    assert_int_equal(out.len, strlen(wanted));
    assert_memory_equal(out.data, wanted, out.len);
    buf_close(&out);
}

static void test_hosts(void **state)
{
    static const char *const pairs[][2] = {
        {"", ""},
        {"a", "a"},
        {"a:", "a"},
        {"a:1", "a"},
        {":1", ""},
        {"127.0.0.1:2379", "127.0.0.1"},
        {"[::1]:2379", "::1"},
        {"[::1]", "[::1]"},
        {"::1", "::1"},
        {"[a]b:1", "[a]b:1"},
        {"[[a]:1", "[[a]:1"},
        {"a]:1", "a]:1"},
        {"[", "["},
        {"[:", "[:"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char *host = host_without_port(pairs[i][0]);

        assert_string_equal(host, pairs[i][1]);
        free(host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
