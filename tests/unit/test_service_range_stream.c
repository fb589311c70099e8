/* How the pieces of a streamed range grow and shrink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "services/range_stream.h"

#define TARGET 1000

static void test_limit(void **state)
{
    (void)state;
    assert_int_equal(range_stream_limit(10, 499, TARGET), 20);
    assert_int_equal(range_stream_limit(10, 500, TARGET), 10);
    assert_int_equal(range_stream_limit(10, 2000, TARGET), 10);
    assert_int_equal(range_stream_limit(10, 2001, TARGET), 5);
    assert_int_equal(range_stream_limit(1, 2001, TARGET), 1);
    assert_int_equal(range_stream_limit(INT64_MAX, 0, TARGET), INT64_MAX);
}

/* Whatever the sizes, there is a next piece, and soon one of the right
 * size. */
static void test_settles(void **state)
{
    static const size_t record_bytes[] = {1, 40, 700, 5000};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        int64_t limit = 10;
        size_t bytes = 0;

        for (int k = 0; k < 30; k++) {
            bytes = (size_t)limit * record_bytes[i];
            limit = range_stream_limit(limit, bytes, TARGET);
            assert_true(limit >= 1);
        }
        if (record_bytes[i] < TARGET)
            assert_in_range(bytes, TARGET / 2, TARGET * 2);
        else
            assert_int_equal(limit, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_settles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
