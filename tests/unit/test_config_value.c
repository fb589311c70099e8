/* Numbers, quoting, URLs and feature gates, as Go and etcd read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chorad/base/quote.h"
#include "chorad/base/url.h"
#include "config/gates.h"
#include "config/value.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_integers(void **state)
{
    /* What strconv.ParseInt(s, 0, 64) and ParseUint answer. */
    static const struct {
        const char *text;
        int err;
        int unsigned_err;
        int64_t n;
    } cases[] = {
        {"0", 0, 0, 0},
        {"42", 0, 0, 42},
        {"1_000", 0, 0, 1000},
        {"0x_1f", 0, 0, 31},
        {"0XFF", 0, 0, 255},
        {"0_7", 0, 0, 7},
        {"017", 0, 0, 15},
        {"00", 0, 0, 0},
        {"0b101", 0, 0, 5},
        {"0o17", 0, 0, 15},
        {"+5", 0, ERR_INVALID, 5},
        {"-0x10", 0, ERR_INVALID, -16},
        {"-9223372036854775808", 0, ERR_INVALID, INT64_MIN},
        {"-9223372036854775809", ERR_TOOBIG, ERR_INVALID, 0},
        {"9223372036854775807", 0, 0, INT64_MAX},
        {"9223372036854775808", ERR_TOOBIG, 0, 0},
        {"18446744073709551616", ERR_TOOBIG, ERR_TOOBIG, 0},
        {"99999999999999999999999", ERR_TOOBIG, ERR_TOOBIG, 0},
        {"", ERR_INVALID, ERR_INVALID, 0},
        {"-", ERR_INVALID, ERR_INVALID, 0},
        {"+-1", ERR_INVALID, ERR_INVALID, 0},
        {"_1", ERR_INVALID, ERR_INVALID, 0},
        {"1_", ERR_INVALID, ERR_INVALID, 0},
        {"1__0", ERR_INVALID, ERR_INVALID, 0},
        {"0x", ERR_INVALID, ERR_INVALID, 0},
        {"0x1_", ERR_INVALID, ERR_INVALID, 0},
        {"0_", ERR_INVALID, ERR_INVALID, 0},
        {"08", ERR_INVALID, ERR_INVALID, 0},
        {" 1", ERR_INVALID, ERR_INVALID, 0},
        {"1.5", ERR_INVALID, ERR_INVALID, 0},
        {"1s", ERR_INVALID, ERR_INVALID, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t n = 7;
        uint64_t u;

        if (value_int(cases[i].text, &n) != cases[i].err)
            fail_msg("value_int(\"%s\")", cases[i].text);
        if (value_uint(cases[i].text, 64, &u) != cases[i].unsigned_err)
            fail_msg("value_uint(\"%s\")", cases[i].text);
        assert_int_equal(n, cases[i].err == 0 ? cases[i].n : 7);
    }
}

static void test_narrow_integers(void **state)
{
    uint64_t n;

    (void)state;
    assert_int_equal(value_uint("4294967295", 32, &n), 0);
    assert_int_equal(n, UINT32_MAX);
    assert_int_equal(value_uint("4294967296", 32, &n), ERR_TOOBIG);
    assert_int_equal(value_uint("18446744073709551615", 64, &n), 0);
    assert_true(n == UINT64_MAX);
}

static void test_booleans(void **state)
{
    static const char *const bad[] = {"", "yes", "tRue", "2", "on", " true"};
    static const char *const good[] = {"1", "t", "T", "true", "TRUE", "True"};
    bool on;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(value_bool(bad[i], &on), ERR_INVALID);
    for (size_t i = 0; i < COUNT(good); i++) {
        on = false;
        assert_int_equal(value_bool(good[i], &on), 0);
        assert_true(on);
    }
    assert_int_equal(value_bool("f", &on), 0);
    assert_false(on);
}

static void test_quote(void **state)
{
    char *quoted = quote_text("a\"b\\c\n\x01é");

    (void)state;
    assert_string_equal(quoted, "\"a\\\"b\\\\c\\n\\x01é\"");
    free(quoted);
}

static void test_good_urls(void **state)
{
    static const struct {
        const char *text;
        const char *printed;
        const char *host;
        enum url_scheme scheme;
        int port;
    } cases[] = {
        {"http://a:1", "http://a:1", "a", URL_HTTP, 1},
        {" HTTPS://A:65535\n", "https://A:65535", "A", URL_HTTPS, 65535},
        {"http://[::1]:2379", "http://[::1]:2379", "::1", URL_HTTP, 2379},
        {"http://h:", "http://h:", "h", URL_HTTP, 0},
        {"http://:80", "http://:80", "", URL_HTTP, 80},
        {"http://h:1?q=1", "http://h:1?q=1", "h", URL_HTTP, 1},
        {"http://u:p@h:1", "http://u:p@h:1", "h", URL_HTTP, 1},
        {"http://h:99999999999999", "http://h:99999999999999", "h", URL_HTTP,
         999999},
        {"unix:///tmp/x", "unix:///tmp/x", "/tmp/x", URL_UNIX, 0},
        {"unix:/tmp/x", "unix:/tmp/x", "/tmp/x", URL_UNIX, 0},
        {"unixs://localhost:12", "unixs://localhost:12", "localhost:12",
         URL_UNIXS, 0},
        {"unix:x", "unix:x", "x", URL_UNIX, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct url url;
        struct errmsg msg = {0};

        if (url_parse(&url, cases[i].text, &msg) != 0)
            fail_msg("%s: %s", cases[i].text, msg.text);
        assert_string_equal(url.text, cases[i].printed);
        assert_int_equal(url.scheme, cases[i].scheme);
        assert_string_equal(url.host, cases[i].host);
        if (url.port <= 65535)
            assert_int_equal(url.port, cases[i].port);
        else
            assert_true(cases[i].port > 65535);
        url_close(&url);
    }
}

static void test_bad_urls(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"", "URL scheme must be http, https, unix, or unixs: "},
        {"ftp://x:1",
         "URL scheme must be http, https, unix, or unixs: ftp://x:1"},
        {"localhost:2379",
         "URL scheme must be http, https, unix, or unixs: localhost:2379"},
        {"127.0.0.1:2379", "parse \"127.0.0.1:2379\": first path segment in "
                           "URL cannot contain colon"},
        {"://x", "parse \"://x\": missing protocol scheme"},
        {"http://127.0.0.1", "URL address does not have the form "
                             "\"host:port\": http://127.0.0.1"},
        {"http:h:1",
         "URL address does not have the form \"host:port\": http:h:1"},
        {"http://[::1]",
         "URL address does not have the form \"host:port\": http://[::1]"},
        {"http://h:1/", "URL must not contain a path: http://h:1/"},
        {"http://127.0.0.1:x",
         "parse \"http://127.0.0.1:x\": invalid port \":x\" after host"},
        {"http://a:b:1",
         "parse \"http://a:b:1\": invalid port \":b:1\" after host"},
        {"http://[::1]x:1",
         "parse \"http://[::1]x:1\": invalid port \"x:1\" after host"},
        {"http://[::1:2", "parse \"http://[::1:2\": missing ']' in host"},
        {"http://a b:2",
         "parse \"http://a b:2\": invalid character \" \" in host name"},
        {"http://%41:1", "parse \"http://%41:1\": invalid URL escape \"%41\""},
        {"http://a\x01:1", "parse \"http://a\\x01:1\": net/url: invalid "
                           "control character in URL"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct url url;
        struct errmsg msg = {0};

        assert_int_equal(url_parse(&url, cases[i].text, &msg), ERR_INVALID);
        assert_string_equal(msg.text, cases[i].error);
    }
}

static void test_url_lists(void **state)
{
    struct url_list urls = {0};
    char *text;

    (void)state;
    assert_int_equal(
        urls_parse(&urls, "http://b:1, http://a:1,http://b:1", NULL), 0);
    text = urls_join(&urls, "n=");
    assert_string_equal(text, "n=http://a:1,n=http://b:1");
    free(text);
    assert_int_equal(urls_parse(&urls, "http://c:1,x", NULL), ERR_INVALID);
    assert_int_equal(urls.n, 2);
    assert_string_equal(urls.items[0].text, "http://a:1");
    urls_close(&urls);
}

static void test_gates(void **state)
{
    struct config_gates gates;
    struct errmsg msg = {0};

    (void)state;
    gates_default(&gates);
    assert_false(gates.on[CONFIG_GATE_CompactHashCheck]);
    assert_true(gates.on[CONFIG_GATE_FastLeaseKeepAlive]);
    assert_int_equal(gates_set(&gates,
                               " InitialCorruptCheck = true,,"
                               "FastLeaseKeepAlive=0",
                               &msg),
                     0);
    assert_true(gates.on[CONFIG_GATE_InitialCorruptCheck]);
    assert_false(gates.on[CONFIG_GATE_FastLeaseKeepAlive]);
    assert_false(gates.on[CONFIG_GATE_CompactHashCheck]);
    /* The stage covers what is not named, before or beside it. */
    assert_int_equal(
        gates_set(&gates, "AllAlpha=true,LeaseCheckpoint=false", &msg), 0);
    assert_true(gates.on[CONFIG_GATE_CompactHashCheck]);
    assert_false(gates.on[CONFIG_GATE_LeaseCheckpoint]);
    assert_true(gates.on[CONFIG_GATE_TxnModeWriteWithSharedBuffer]);
    assert_int_equal(gates_set(&gates, "AllBeta=false", &msg), 0);
    assert_false(gates.on[CONFIG_GATE_TxnModeWriteWithSharedBuffer]);
}

static void test_bad_gates(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"Foo=true", "unrecognized feature gate: Foo"},
        {"Foo", "missing bool value for Foo"},
        {"AllAlpha=x", "invalid value of AllAlpha=x, err: strconv.ParseBool: "
                       "parsing \"x\": invalid syntax"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config_gates gates;
        struct config_gates before;
        struct errmsg msg = {0};

        gates_default(&gates);
        before = gates;
        assert_int_equal(gates_set(&gates, cases[i].text, &msg), ERR_INVALID);
        assert_string_equal(msg.text, cases[i].error);
        assert_memory_equal(&gates, &before, sizeof(gates));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_narrow_integers),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_quote),
        cmocka_unit_test(test_good_urls),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_url_lists),
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_bad_gates),
    };

    return cmocka_run_group_tests_name("config_value", tests, NULL, NULL);
}
