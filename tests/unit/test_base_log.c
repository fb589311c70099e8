/* Log lines, byte for byte, through a file. */
#include "chorad/base/err.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct fixture {
    char path[64];
    struct buf text;
};

static int set_up(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    const char *path = f->path;
    int fd;

    memcpy(f->path, "/tmp/chorad-log-XXXXXX", 23);
    fd = mkstemp(f->path);
    *state = f;
    if (fd < 0 || close(fd) != 0)
        return -1;
    log_set_level(LOG_INFO);
    log_set_json(true);
    return log_set_outputs(&path, 1, NULL);
}

static int tear_down(void **state)
{
    static const char *const back[] = {"default"};
    struct fixture *f = *state;
    int rv = log_set_outputs(back, 1, NULL);

    (void)unlink(f->path);
    buf_close(&f->text);
    free(f);
    return rv;
}

/* What was logged so far; valid until the next call. */
static const char *logged(struct fixture *f)
{
    f->text.len = 0;
    assert_int_equal(file_read(f->path, 1 << 20, &f->text, NULL), 0);
    buf_append(&f->text, "", 1);
    return (const char *)f->text.data;
}

static void assert_match(const char *text, const char *pattern)
{
    regex_t re;

    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&re, text, 0, NULL, 0) != 0)
        fail_msg("%s doesn't match %s", text, pattern);
    regfree(&re);
}

#define TS "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}"

static void test_json_line(void **state)
{
    log_warn("hello", LOG_STR("name", "m1"), LOG_I64("i", -5),
             LOG_U64("u", UINT64_MAX), LOG_F64("f", 1048576.5),
             LOG_BOOL("yes", true), LOG_NS("took", 1500),
             LOG_HEX("id", 0x8e9e05c52164694dU), LOG_BYTES("key", "abc", 2));
    assert_match(logged(*state),
                 "^\\{\"level\":\"warn\",\"ts\":\"" TS "(Z|[+-][0-9]{4})\","
                 "\"caller\":\"unit/test_base_log\\.c:[0-9]+\","
                 "\"msg\":\"hello\",\"name\":\"m1\",\"i\":-5,"
                 "\"u\":18446744073709551615,\"f\":1048576\\.5,\"yes\":true,"
                 "\"took\":\"1\\.5\xc2\xb5s\",\"id\":\"8e9e05c52164694d\","
                 "\"key\":\"ab\"\\}\n$");
}

static void test_no_fields(void **state)
{
    log_info("alone");
    assert_match(logged(*state), "\"msg\":\"alone\"\\}\n$");
}

static void test_lists(void **state)
{
    static const char *const urls[] = {"http://a:1", "http://b:2"};
    struct fixture *f = *state;

    log_info("m", LOG_STRS("urls", urls, 2), LOG_STRS("none", NULL, 0));
    assert_non_null(strstr(
        logged(f), "\"urls\":[\"http://a:1\",\"http://b:2\"],\"none\":[]}"));
    log_set_json(false);
    log_info("m", LOG_STRS("urls", urls, 2));
    assert_non_null(
        strstr(logged(f), "{\"urls\": [\"http://a:1\", \"http://b:2\"]}"));
}

static void test_console_line(void **state)
{
    log_set_json(false);
    log_error("bad", LOG_STR("a", "x\"y"), LOG_I64("n", 1));
    log_info("plain");
    assert_match(logged(*state), "^" TS "(Z|[+-][0-9]{4})\terror\t"
                                 "unit/test_base_log\\.c:[0-9]+\tbad\t"
                                 "\\{\"a\": \"x\\\\\"y\", \"n\": 1\\}\n"
                                 "[^\t]*\tinfo\t[^\t]*\tplain\n$");
}

/* Calls with the value in and the expected JSON out; what is expected is
 * what zap prints. */
static void assert_escaped(struct fixture *f, const char *in, size_t len,
                           const char *expected)
{
    const char *at;

    assert_int_equal(truncate(f->path, 0), 0);
    log_info("m", LOG_BYTES("k", in, len));
    at = strstr(logged(f), "\"k\":");
    assert_non_null(at);
    assert_memory_equal(at + 4, expected, strlen(expected));
    assert_string_equal(at + 4 + strlen(expected), "}\n");
}

#define ESCAPED(f, in, out) assert_escaped(f, in, sizeof(in) - 1, out)

static void test_escaping(void **state)
{
    struct fixture *f = *state;

    ESCAPED(f, "", "\"\"");
    ESCAPED(f, "a\"b\\c", "\"a\\\"b\\\\c\"");
    ESCAPED(f, "\n\r\t\0\x1f\x7f<>&", "\"\\n\\r\\t\\u0000\\u001f\x7f<>&\"");
    ESCAPED(f, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
            "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
    ESCAPED(f, "\xff.\x80.\xc3", "\"\\ufffd.\\ufffd.\\ufffd\"");
    /* Overlong, a surrogate, above U+10FFFF, cut off. */
    ESCAPED(f, "\xc0\x80", "\"\\ufffd\\ufffd\"");
    ESCAPED(f, "\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\"");
    ESCAPED(f, "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");
    ESCAPED(f, "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    ESCAPED(f, "\xe2\x82", "\"\\ufffd\\ufffd\"");
    ESCAPED(f, "\xe2\x82z", "\"\\ufffd\\ufffdz\"");
}

static void test_odd_values(void **state)
{
    struct fixture *f = *state;

    log_info("m", LOG_STR("s", NULL), LOG_F64("a", NAN), LOG_F64("b", INFINITY),
             LOG_F64("c", 1e21), LOG_HEX("d", 0));
    assert_non_null(strstr(logged(f),
                           "\"s\":\"\",\"a\":\"NaN\",\"b\":\"+Inf\","
                           "\"c\":1000000000000000000000,\"d\":\"0\"}"));
}

static void test_levels(void **state)
{
    struct fixture *f = *state;

    log_set_level(LOG_WARN);
    assert_int_equal(log_level(), LOG_WARN);
    log_debug("no");
    log_info("no");
    assert_string_equal(logged(f), "");
    log_warn("yes");
    assert_non_null(strstr(logged(f), "yes"));
    assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
    assert_int_equal(log_level_parse("fatal"), LOG_FATAL);
    assert_int_equal(log_level_parse("loud"), -1);
    assert_int_equal(log_level_parse(""), -1);
}

static void test_outputs(void **state)
{
    struct fixture *f = *state;
    const char *const twice[] = {f->path, f->path};
    const char *const wrong[] = {f->path, "/nowhere/at/all"};
    size_t bad = 77;

    assert_int_equal(log_set_outputs(wrong, 2, &bad), ERR_NOTFOUND);
    assert_int_equal(bad, 1);
    /* The outputs from before still stand. */
    log_info("once");
    assert_non_null(strstr(logged(f), "once"));
    assert_int_equal(truncate(f->path, 0), 0);
    assert_int_equal(log_set_outputs(twice, 2, NULL), 0);
    log_info("two");
    assert_match(logged(f), "^[^\n]*\"two\"\\}\n[^\n]*\"two\"\\}\n$");
}

static void test_long_line(void **state)
{
    struct fixture *f = *state;
    size_t len = 300000;
    char *value = mem_alloc(len);
    const char *text;

    memset(value, '"', len);
    log_info("m", LOG_BYTES("k", value, len), LOG_I64("end", 1));
    text = logged(f);
    assert_int_equal(strlen(strstr(text, "\"k\":")),
                     4 + 2 * len + 2 + strlen(",\"end\":1}\n"));
    free(value);
}

static void test_zone(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(setenv("TZ", "XXX-5:30", 1), 0);
    tzset();
    log_info("east");
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
    log_info("utc");
    assert_match(logged(f),
                 "\"ts\":\"" TS "\\+0530\",.*\n.*\"ts\":\"" TS "Z\",");
}

static void *log_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++)
        log_info("0123456789", LOG_STR("k", "0123456789"));
    return NULL;
}

static void test_lines_stay_whole(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[4];
    int lines = 0;
    const char *at;

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (at = logged(f); *at != '\0'; lines++) {
        const char *end = strchr(at, '\n');

        assert_non_null(end);
        assert_memory_equal(at, "{\"level\":\"info\",", 16);
        assert_memory_equal(end - 17, "\"k\":\"0123456789\"}", 17);
        at = end + 1;
    }
    assert_int_equal(lines, 2000);
}

static void test_fatal_ends_the_process(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        log_fatal("last words", LOG_I64("n", 1));
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_match(logged(f),
                 "^\\{\"level\":\"fatal\".*\"last words\",\"n\":1\\}\n$");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_json_line),
        TEST(test_no_fields),
        TEST(test_lists),
        TEST(test_console_line),
        TEST(test_escaping),
        TEST(test_odd_values),
        TEST(test_levels),
        TEST(test_outputs),
        TEST(test_long_line),
        TEST(test_zone),
        TEST(test_lines_stay_whole),
        TEST(test_fatal_ends_the_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
