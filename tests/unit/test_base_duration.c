/* Durations in Go's words. The expected texts are what Go 1.26 prints and
 * accepts. */
#include "chorad/base/duration.h"
#include "chorad/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

struct pair {
    int64_t ns;
    const char *text;
};

static const struct pair pairs[] = {
    {0, "0s"},
    {1, "1ns"},
    {999, "999ns"},
    {1000, "1\xc2\xb5s"},
    {1500, "1.5\xc2\xb5s"},
    {-1234567, "-1.234567ms"},
    {100000000, "100ms"},
    {999999999, "999.999999ms"},
    {1000000000, "1s"},
    {1000000001, "1.000000001s"},
    {60000000000, "1m0s"},
    {3600000000000, "1h0m0s"},
    {3661500000000, "1h1m1.5s"},
    {36000000000000, "10h0m0s"},
    {INT64_MAX, "2562047h47m16.854775807s"},
    {INT64_MIN, "-2562047h47m16.854775808s"},
};

static void test_format_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char text[DURATION_TEXT_SIZE];
        int64_t ns = 77;

        assert_int_equal(duration_format(text, pairs[i].ns),
                         strlen(pairs[i].text));
        assert_string_equal(text, pairs[i].text);
        assert_int_equal(duration_parse(text, &ns), 0);
        assert_true(ns == pairs[i].ns);
    }
}

static void test_parse(void **state)
{
    static const struct pair good[] = {
        {0, "0"},
        {0, "-0"},
        {0, "+0"},
        {0, "0h"},
        {5000000000, "+5s"},
        {5000000000, "5.s"},
        {500000000, ".5s"},
        {1500, "1.5us"},
        {1500, "1.5\xce\xbcs"},
        {3723500000000, "1h2m3.5s"},
        {7200000000000, "1h60m"},
        {1000000000, "0.333s333ms334ms"},
        {0, "0.0000000000000000000000001s"},
        {333333333, "0.3333333333333333333333s"},
    };
    int64_t ns = 77;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(duration_parse(good[i].text, &ns), 0);
        assert_true(ns == good[i].ns);
    }
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "3",
        "-",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "1x",
        "1 s",
        " 1s",
        "1s ",
        "1S",
        "1d",
        "--1s",
        "1h-1m",
        "1e3s",
        "1..5s",
        "00x",
        "0 ",
        "9223372036854775808ns",
        "9223372036854775.808us",
        "9223372036854ms775us808ns",
        "-9223372036854775809ns",
        "99999999999999999999999s",
        "3000000h",
        "5200000h",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t ns = 77;

        assert_int_equal(duration_parse(bad[i], &ns), ERR_INVALID);
        assert_int_equal(ns, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format_and_back),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
