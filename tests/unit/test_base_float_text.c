/* Doubles in Go's words: strconv's 'g' and 'f' with precision -1. */
#include "base/float_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

static const struct {
    double v;
    const char *g;
    const char *f;
} cases[] = {
    {0, "0", "0"},
    {-0.0, "-0", "-0"},
    {1, "1", "1"},
    {-1, "-1", "-1"},
    {0.1, "0.1", "0.1"},
    {0.001, "0.001", "0.001"},
    {0.0001, "0.0001", "0.0001"},
    {0.00001, "1e-05", "0.00001"},
    {8.7e-05, "8.7e-05", "0.000087"},
    {100000, "100000", "100000"},
    {999999, "999999", "999999"},
    {1000000, "1e+06", "1000000"},
    {1048576, "1.048576e+06", "1048576"},
    {123456.7, "123456.7", "123456.7"},
    {-999999.5, "-999999.5", "-999999.5"},
    {2147483648, "2.147483648e+09", "2147483648"},
    {0.1 + 0.2, "0.30000000000000004", "0.30000000000000004"},
    {5.960464477539063e-08, "5.960464477539063e-08",
     "0.00000005960464477539063"},
    {9.223372036854776e18, "9.223372036854776e+18", "9223372036854776000"},
    {1e21, "1e+21", "1000000000000000000000"},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[FLOAT_TEXT_SIZE];

        assert_int_equal(float_text_g(text, cases[i].v), strlen(cases[i].g));
        assert_string_equal(text, cases[i].g);
        assert_int_equal(float_text_f(text, cases[i].v), strlen(cases[i].f));
        assert_string_equal(text, cases[i].f);
    }
}

static void test_extremes(void **state)
{
    char text[FLOAT_TEXT_SIZE];

    (void)state;
    (void)float_text_g(text, INFINITY);
    assert_string_equal(text, "+Inf");
    (void)float_text_g(text, -INFINITY);
    assert_string_equal(text, "-Inf");
    (void)float_text_g(text, NAN);
    assert_string_equal(text, "NaN");
    (void)float_text_g(text, 5e-324);
    assert_string_equal(text, "5e-324");
    (void)float_text_g(text, 1.7976931348623157e308);
    assert_string_equal(text, "1.7976931348623157e+308");
    assert_int_equal(float_text_f(text, -1.7976931348623157e308), 310);
    assert_int_equal(float_text_f(text, -2.2250738585072014e-308), 327);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_extremes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
