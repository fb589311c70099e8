/* Base64: RFC 4648's own vectors, and what is refused. */
#include "chorad/base/base64.h"
#include "chorad/base/clock.h"
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

static void assert_encoded(enum base64_form form, const char *in,
                           const char *want)
{
    struct buf out = {0};

    base64_encode(&out, form, text(in));
    assert_int_equal(out.len, strlen(want));
    assert_memory_equal(out.data, want, out.len);
    out.len = 0;
    assert_int_equal(base64_decode(&out, form, text(want)), 0);
    assert_int_equal(out.len, strlen(in));
    assert_memory_equal(out.data, in, out.len);
    buf_close(&out);
}

static void test_the_vectors_of_the_rfc(void **state)
{
    (void)state;
    assert_encoded(BASE64_PADDED, "f", "Zg==");
    assert_encoded(BASE64_PADDED, "fo", "Zm8=");
    assert_encoded(BASE64_PADDED, "foo", "Zm9v");
    assert_encoded(BASE64_PADDED, "foobar", "Zm9vYmFy");
    assert_encoded(BASE64_URL, "f", "Zg");
    assert_encoded(BASE64_URL, "fo", "Zm8");
    assert_encoded(BASE64_URL, "foob", "Zm9vYg");
    assert_encoded(BASE64_PADDED, "\xfb\xff\xfe", "+//+");
    assert_encoded(BASE64_URL, "\xfb\xff\xfe", "-__-");
}

static void assert_decoded(enum base64_form form, const char *in,
                           const char *want)
{
    struct buf out = {0};
    int rc;

    buf_append(&out, "x", 1);
    rc = base64_decode(&out, form, text(in));
    if (want == NULL) {
        assert_int_equal(rc, ERR_MALFORMED);
        assert_int_equal(out.len, 1);
    } else {
        assert_int_equal(rc, 0);
        assert_int_equal(out.len, 1 + strlen(want));
        assert_memory_equal(out.data + 1, want, strlen(want));
    }
    buf_close(&out);
}

static void test_what_go_takes_and_refuses(void **state)
{
    static const char *const refused[] = {
        "Z",    "Zg",    "Zg=",   "Zm8",  "=",    "====",    "Zg==Zg==",
        "Zg=g", "Zg==x", "Zm9v=", "Z===", "Zm9*", "Zm9v Zg", "-_-_",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_decoded(BASE64_PADDED, refused[i], NULL);
    assert_decoded(BASE64_PADDED, "Zm\r\n9v\nZg\n=\r=\n", "foof");
    assert_decoded(BASE64_PADDED, "\n", "");
    assert_decoded(BASE64_PADDED, "Zh==", "f"); /* bits behind the end */
    assert_decoded(BASE64_URL, "Zh", "f");
    assert_decoded(BASE64_URL, "Z\nh\n", "f");
    assert_decoded(BASE64_URL, "Z", NULL);
    assert_decoded(BASE64_URL, "Zg==", NULL);
    assert_decoded(BASE64_URL, "+/+/", NULL);
}

static void test_bytes_come_back(void **state)
{
    struct prng prng = {42};
    struct buf code = {0};
    struct buf out = {0};
    uint8_t bytes[80];

    (void)state;
    for (size_t len = 0; len < sizeof(bytes); len++) {
        for (size_t i = 0; i < len; i++)
            bytes[i] = (uint8_t)prng_next(&prng);
        for (int form = BASE64_PADDED; form <= BASE64_URL; form++) {
            code.len = out.len = 0;
            base64_encode(&code, form, bytes_of(bytes, len));
            assert_int_equal(
                base64_decode(&out, form, bytes_of(code.data, code.len)), 0);
            assert_int_equal(out.len, len);
            if (len > 0)
                assert_memory_equal(out.data, bytes, len);
        }
    }
    buf_close(&code);
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_vectors_of_the_rfc),
        cmocka_unit_test(test_what_go_takes_and_refuses),
        cmocka_unit_test(test_bytes_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
