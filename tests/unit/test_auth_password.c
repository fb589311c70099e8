/* Hashes of Go's bcrypt package, made with golang.org/x/crypto v0.58.0, and our
 * own. */
#include "chorad/auth.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static bool matches(const char *hash, const char *password)
{
    return auth_password_matches(text(hash), text(password));
}

#define LONGEST                                                                \
    "0123456789012345678901234567890123456789012345678901234567890123456789ab"

static void test_hashes_made_by_go(void **state)
{
    static const struct {
        const char *password;
        const char *hash;
    } made[] = {
        {"", "$2a$04$wjbeeoNb3/kl.Gmp6e7Zje78MvYnec7liAbFDGvb.iA8xuQqlAdFy"},
        {"r", "$2a$04$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa"},
        {"p\xc3\xa4ssw\xc3\xb6rd \xff\xa3",
         "$2a$04$34Bs3dIp.Yb72ufBdo/5O.yJ4dN5C/fKicc5s7uiGTYXxND0ttm.u"},
        /* Where libcrypt's own $2a$ would differ. */
        {"\xff\xff\xa3",
         "$2a$04$TAufv7oUICTXTcrukKNIieooGH/Le7ED.sWr3aquw2rceFlvBCNMe"},
        {"\xa3",
         "$2a$04$hEibf9K3fx7Z.LkwGUxSmOTCPS.kOm3.aQJzhFdOW/CemiO8qS.Pm"},
        {LONGEST,
         "$2a$04$D6uHKGcGihgYP1iZI6hdjOLcngDGpTMt4xL.8lbck.Wxl.RDlxMQq"},
        {"\x01\x80\x7f",
         "$2a$04$BYqgtq5XGTLxd4FgeyISTuTKKMHg.8onYphKsYU1qLDfkbZHhc2qy"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        assert_true(matches(made[i].hash, made[i].password));
        assert_false(matches(made[i].hash, "wrong"));
    }
    /* Only 72 bytes count, as with Go. */
    assert_true(matches(made[5].hash, LONGEST "and more"));
}

static void test_hashes_of_our_own(void **state)
{
    struct buf hash = {0};
    struct buf again = {0};

    (void)state;
    assert_int_equal(auth_hash_password(text("secret"), 4, &hash), 0);
    assert_int_equal(hash.len, 60);
    assert_memory_equal(hash.data, "$2a$04$", 7);
    assert_true(auth_password_matches(bytes_of(hash.data, 60), text("secret")));
    assert_false(
        auth_password_matches(bytes_of(hash.data, 60), text("Secret")));
    assert_false(auth_password_matches(bytes_of(hash.data, 60), text("")));
    assert_int_equal(auth_hash_password(text("secret"), 4, &again), 0);
    assert_memory_not_equal(hash.data, again.data, 60); /* another salt */
    again.len = 0;
    assert_int_equal(auth_hash_password(text(LONGEST), 4, &again), 0);
    assert_true(auth_password_matches(bytes_of(again.data, 60), text(LONGEST)));
    buf_close(&hash);
    buf_close(&again);
}

static void test_passwords_that_cannot_be_hashed(void **state)
{
    struct buf hash = {0};

    (void)state;
    assert_int_equal(auth_hash_password(text(LONGEST "c"), 4, &hash),
                     ERR_PASSWORD_TOO_LONG);
    assert_int_equal(auth_hash_password(bytes_of("a\0b", 3), 4, &hash),
                     ERR_PASSWORD_ZERO);
    assert_int_equal(auth_hash_password(text("a"), 3, &hash), ERR_INVALID);
    assert_int_equal(auth_hash_password(text("a"), 32, &hash), ERR_INVALID);
    assert_int_equal(hash.len, 0);
    buf_close(&hash);
}

static void test_a_zero_byte_hides_nothing(void **state)
{
    const char *hash =
        "$2a$04$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa";

    (void)state;
    assert_true(auth_password_matches(text(hash), bytes_of("r", 1)));
    assert_false(auth_password_matches(text(hash), bytes_of("r\0x", 3)));
}

static void test_damaged_hashes(void **state)
{
    const char *good =
        "$2a$04$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa";
    static const char *const bad[] = {
        "",
        "$2a$04$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuX",
        "$2a$03$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa",
        "$2a$32$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa",
        "$2a$0x$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa",
        "$3a$04$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa",
        "$2a$04$vl9mwvS856ADcwEpC6D9*ejITfFXnGsgXHeQVmnyc6ND8gzBTFuXa",
        "$2a$04$vl9mwvS856ADcwEpC6D9jejITfFXnGsgXHeQVmnyc6ND8gzBTFuXb",
    };
    char copy[60];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(matches(bad[i], "r"));
    for (size_t i = 0; i < sizeof(copy); i++) {
        memcpy(copy, good, sizeof(copy));
        copy[i] = 0;
        /* Go doesn't look at these either: the minor version, and what stands
         * between cost and salt. */
        assert_int_equal(
            auth_password_matches(bytes_of(copy, sizeof(copy)), text("r")),
            i == 2 || i == 3 || i == 6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hashes_made_by_go),
        cmocka_unit_test(test_hashes_of_our_own),
        cmocka_unit_test(test_passwords_that_cannot_be_hashed),
        cmocka_unit_test(test_a_zero_byte_hides_nothing),
        cmocka_unit_test(test_damaged_hashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
