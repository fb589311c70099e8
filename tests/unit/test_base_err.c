/* The error table and messages with context. */
#include "chorad/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#define XX(name, value, grpc, text) ERR_##name,
static const int all[] = {CHORAD_ERR_MAP(XX)};
#undef XX
#define N_ALL (sizeof(all) / sizeof(all[0]))

static void test_table(void **state)
{
    (void)state;
    assert_string_equal(err_text(ERR_COMPACTED),
                        "etcdserver: mvcc: required revision has been "
                        "compacted");
    assert_string_equal(err_name(ERR_COMPACTED), "ERR_COMPACTED");
    assert_int_equal(err_grpc_status(ERR_COMPACTED), 11);
    assert_int_equal(err_grpc_status(0), 0);
    assert_int_equal(err_grpc_status(-9999), 2);
    assert_string_equal(err_name(-9999), "ERR_UNKNOWN");
    assert_non_null(err_text(-9999));
    assert_non_null(err_text(0));
}

static void test_each_entry_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ALL; i++) {
        int status = err_grpc_status(all[i]);

        assert_true(all[i] < 0);
        assert_true(status >= 1 && status <= 16);
        assert_true(strlen(err_text(all[i])) > 0);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(all[i], all[k]);
    }
}

static void test_context_goes_before(void **state)
{
    struct errmsg msg;

    (void)state;
    assert_int_equal(err_set(&msg, ERR_IO, "page %d", 7), ERR_IO);
    assert_int_equal(err_wrap(&msg, ERR_IO, "file %s", "a"), ERR_IO);
    assert_string_equal(msg.text, "file a: page 7");
    /* The context may be the text itself. */
    (void)err_wrap(&msg, ERR_IO, "%s", msg.text);
    assert_string_equal(msg.text, "file a: page 7: file a: page 7");
}

static void test_context_without_text_names_the_error(void **state)
{
    struct errmsg msg = {""};

    (void)state;
    (void)err_wrap(&msg, ERR_CORRUPT, "wal");
    assert_string_equal(msg.text, "wal: data is damaged");
}

static void test_long_text_is_cut(void **state)
{
    struct errmsg msg;
    char text[2 * sizeof(msg.text)];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    (void)err_set(&msg, ERR_IO, "%s", text);
    assert_int_equal(strlen(msg.text), sizeof(msg.text) - 1);
    (void)err_wrap(&msg, ERR_IO, "y");
    assert_int_equal(strlen(msg.text), sizeof(msg.text) - 1);
    assert_memory_equal(msg.text, "y: xx", 5);
    (void)err_wrap(&msg, ERR_IO, "%s", text);
    assert_int_equal(strlen(msg.text), sizeof(msg.text) - 1);
}

static void test_errno(void **state)
{
    struct errmsg msg;

    (void)state;
    assert_int_equal(err_errno(&msg, ENOSPC, "write %s", "f"), ERR_NOSPC);
    assert_string_equal(msg.text, "write f: No space left on device");
    assert_int_equal(err_errno(NULL, EDQUOT, "w"), ERR_NOSPC);
    assert_int_equal(err_errno(NULL, ENOMEM, "w"), ERR_NOMEM);
    assert_int_equal(err_errno(NULL, ENOENT, "w"), ERR_NOTFOUND);
    assert_int_equal(err_errno(NULL, EEXIST, "w"), ERR_EXISTS);
    assert_int_equal(err_errno(NULL, EAGAIN, "w"), ERR_BUSY);
    assert_int_equal(err_errno(NULL, EBUSY, "w"), ERR_BUSY);
    assert_int_equal(err_errno(NULL, EPIPE, "w"), ERR_IO);
}

static void test_nobody_reads(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_IO, "x"), ERR_IO);
    assert_int_equal(err_wrap(NULL, ERR_IO, "x"), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_each_entry_is_sound),
        cmocka_unit_test(test_context_goes_before),
        cmocka_unit_test(test_context_without_text_names_the_error),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_nobody_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
