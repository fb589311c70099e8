/* What people are told about long work. */
#include "chorad/base/headway.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

static void the_text_counts(void **state)
{
    char text[128];

    (void)state;
    headway_text(text, sizeof(text), 25, 100, 5000, 10 * S);
    assert_string_equal(text, "25 %, 5000 records, 500/s, 31 s left");
    headway_text(text, sizeof(text), 0, 100, 0, 0);
    assert_string_equal(text, "0 %, 0 records, 0/s, 0 s left");
    headway_text(text, sizeof(text), 100, 100, 7, S);
    assert_string_equal(text, "100 %, 7 records, 7/s, 0 s left");
}

static void percent_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(headway_percent(0, 0), 100);
    assert_int_equal(headway_percent(0, 1), 0);
    assert_int_equal(headway_percent(99, 100), 99);
    assert_int_equal(headway_percent(999, 1000), 99);
    assert_int_equal(headway_percent(2, 1), 100);
    assert_int_equal(headway_percent(UINT64_MAX - 1, UINT64_MAX), 100);
}

/* A silent one doesn't even look at the clock. */
static void silence_is_kept(void **state)
{
    struct headway h;

    (void)state;
    headway_begin(&h, HEADWAY_SILENT, "work");
    headway_at(&h, 1, 2, 3);
    headway_end(&h);
    assert_int_equal(h.told_ns, h.began_ns);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_counts),
        cmocka_unit_test(percent_is_bounded),
        cmocka_unit_test(silence_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
