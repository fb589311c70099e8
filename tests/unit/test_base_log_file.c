/* Rotation of the log: what a full file becomes, which ones stay, and that no
 * line is lost on the way. */
#include "base/log_file.h"
#include "chorad/base/clock.h"
#include "chorad/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#define SMALL 2000
#define STAMP "2006-01-02T03-04-05"
#define STAMP_MS INT64_C(1136171045000)

struct fixture {
    char dir[32];
    char path[512];
};

static int set_up(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    memcpy(f->dir, "/tmp/chorad-rot-XXXXXX", 23);
    *state = f;
    if (mkdtemp(f->dir) == NULL)
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/own.log", f->dir);
    log_set_level(LOG_INFO);
    log_set_json(true);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const back[] = {"default"};
    struct fixture *f = *state;
    int rv = log_set_outputs(back, 1, NULL);

    log_mill_wait();
    file_remove_tree(f->dir, NULL);
    free(f);
    return rv;
}

static void begin(struct fixture *f, struct log_rotation rotation)
{
    const char *path = f->path;

    assert_int_equal(log_set_rotated(&path, 1, &rotation, NULL), 0);
}

static char *in(const struct fixture *f, const char *name)
{
    return mem_printf("%s/%s", f->dir, name);
}

static void make(const struct fixture *f, const char *name, const char *text)
{
    char *path = in(f, name);

    assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL),
                     0);
    free(path);
}

static bool is_there(const struct fixture *f, const char *name)
{
    char *path = in(f, name);
    bool there = file_exists(path);

    free(path);
    return there;
}

static void log_lines(int n)
{
    for (int i = 0; i < n; i++)
        log_info("a line", LOG_I64("i", i));
}

/* ---- what is there ---- */

struct found {
    size_t backups; /* not compressed */
    size_t compressed;
    size_t lines; /* in all files */
    size_t largest;
};

/* The text of a file, compressed or not; ends with NUL. */
static struct buf read_text(const char *path)
{
    gzFile in = gzopen(path, "rb");
    struct buf text = {0};
    int n = 1;

    assert_non_null(in);
    while (n > 0) {
        char *at = (char *)buf_reserve(&text, 4096);

        n = gzread(in, at, 4096);
        assert_true(n >= 0);
        text.len += (size_t)n;
    }
    assert_int_equal(gzclose(in), Z_OK);
    buf_append(&text, "", 1);
    return text;
}

static void count_lines(struct found *found, const char *path)
{
    struct buf text = read_text(path);

    for (const char *at = (char *)text.data; *at != '\0'; found->lines++) {
        const char *end = strchr(at, '\n');

        assert_non_null(end);
        assert_memory_equal(at, "{\"level\":\"", 10);
        assert_int_equal(end[-1], '}');
        at = end + 1;
    }
    if (text.len - 1 > found->largest)
        found->largest = text.len - 1;
    buf_close(&text);
}

static struct found look(const struct fixture *f)
{
    struct found found = {0};
    struct log_backup *backups;
    size_t n;

    log_mill_wait();
    assert_int_equal(log_backups_list(f->path, false, &backups, &n), 0);
    for (size_t i = 0; i < n; i++) {
        if (backups[i].compressed)
            found.compressed++;
        else
            found.backups++;
        count_lines(&found, backups[i].path);
    }
    log_backups_free(backups, n);
    count_lines(&found, f->path);
    return found;
}

/* ---- names ---- */

static void assert_name(const char *path, bool local, const char *expected)
{
    char *name = log_backup_path(path, STAMP_MS + 7, local);

    assert_string_equal(name, expected);
    free(name);
}

static void test_names(void **state)
{
    (void)state;
    assert_name("/a/b/etcd.log", false, "/a/b/etcd-" STAMP ".007.log");
    assert_name("log", false, "log-" STAMP ".007");
    assert_name("a.d/log", false, "a.d/log-" STAMP ".007");
    assert_name("x/a.b.c", false, "x/a.b-" STAMP ".007.c");
    assert_name("/.log", false, "/-" STAMP ".007.log");
    assert_int_equal(setenv("TZ", "XXX-5:30", 1), 0);
    tzset();
    assert_name("log", true, "log-2006-01-02T08-34-05.007");
    assert_name("log", false, "log-" STAMP ".007");
    assert_int_equal(setenv("TZ", "UTC", 1), 0);
    tzset();
}

static void test_list(void **state)
{
    static const char *const foreign[] = {
        "own.log",
        "own-" STAMP ".007",
        "own-" STAMP ".007.log.bz2",
        "own-" STAMP ".007.logs",
        "own-" STAMP ".07x.log",
        "own-2006-01-02T03:04:05.007.log",
        "own-2006-99-02T03-04-05.007.log",
        "own-.log",
        "other-" STAMP ".007.log",
        "own" STAMP ".007.log",
    };
    struct fixture *f = *state;
    struct log_backup *backups;
    size_t n;

    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        make(f, foreign[i], "x");
    make(f, "own-" STAMP ".007.log.gz", "x");
    make(f, "own-" STAMP ".007.log", "x");
    make(f, "own-" STAMP ".008.log", "x");
    make(f, "own-2005-01-02T03-04-05.999.log.gz", "x");
    assert_int_equal(log_backups_list(f->path, false, &backups, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(backups[0].time_ms, STAMP_MS + 8);
    assert_int_equal(backups[1].time_ms, STAMP_MS + 7);
    assert_false(backups[1].compressed);
    assert_int_equal(backups[2].time_ms, STAMP_MS + 7);
    assert_true(backups[2].compressed);
    assert_non_null(strstr(backups[3].path, "own-2005-"));
    log_backups_free(backups, n);
}

/* ---- rotation ---- */

static void test_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    struct found found;

    begin(f, (struct log_rotation){.max_bytes = SMALL});
    log_lines(300);
    found = look(f);
    assert_int_equal(found.lines, 300);
    assert_true(found.backups > 5);
    assert_true(found.largest <= SMALL && found.largest > SMALL / 2);
}

static void *log_many(void *arg)
{
    log_lines(500);
    return arg;
}

/* All of it from several threads, while the mill thread is busy, too. */
static void test_threads(void **state)
{
    struct fixture *f = *state;
    struct found found;
    pthread_t threads[4];

    begin(f, (struct log_rotation){.max_bytes = SMALL, .compress = true});
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    found = look(f);
    assert_int_equal(found.lines, 2000);
    assert_int_equal(found.backups, 0);
    assert_true(found.compressed > 20);
    assert_true(found.largest <= SMALL);
}

/* A file that was there counts with what is in it. */
static void test_a_file_that_is_full_already(void **state)
{
    struct fixture *f = *state;
    char *text = mem_alloc(SMALL + 1);

    memset(text, '\n', SMALL);
    memcpy(text, "{\"level\":\"}", 11);
    memset(text + 11, '}', SMALL - 12);
    text[SMALL] = '\0';
    make(f, "own.log", text);
    begin(f, (struct log_rotation){.max_bytes = SMALL});
    log_lines(1);
    assert_int_equal(look(f).backups, 1);
    assert_int_equal(look(f).lines, 2);
    free(text);
}

/* A line that is larger than a file has one of its own. */
static void test_a_line_too_large(void **state)
{
    struct fixture *f = *state;
    char *value = mem_zalloc(2 * SMALL);

    memset(value, 'v', 2 * SMALL);
    begin(f, (struct log_rotation){.max_bytes = SMALL});
    log_info("large", LOG_BYTES("v", value, 2 * SMALL));
    log_lines(2);
    log_info("large", LOG_BYTES("v", value, 2 * SMALL));
    assert_int_equal(look(f).backups, 2);
    assert_int_equal(look(f).lines, 4);
    free(value);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void test_modes(void **state)
{
    struct fixture *f = *state;

    snprintf(f->path, sizeof(f->path), "%s/sub/dir/own.log", f->dir);
    begin(f, (struct log_rotation){.max_bytes = SMALL});
    log_lines(1);
    assert_int_equal(mode_of(f->path), 0600);
    /* What the operator has made of it stays. */
    assert_int_equal(chmod(f->path, 0664), 0);
    log_lines(50);
    assert_true(look(f).backups > 0);
    assert_int_equal(mode_of(f->path), 0664);
}

/* As others rotate, too. */
static void test_a_file_taken_away(void **state)
{
    struct fixture *f = *state;

    begin(f, (struct log_rotation){.max_bytes = SMALL});
    log_lines(2);
    assert_int_equal(unlink(f->path), 0);
    log_lines(50);
    assert_true(is_there(f, "own.log"));
    assert_true(look(f).lines < 50);
}

static void test_streams_stay(void **state)
{
    static const char *const names[] = {"/dev/null", "stdout"};
    struct log_rotation rotation = {.max_bytes = 1, .max_backups = 1};

    (void)state;
    assert_int_equal(log_set_rotated(names, 1, &rotation, NULL), 0);
    log_lines(10);
    assert_true(file_exists("/dev/null"));
}

/* ---- which ones stay ---- */

static void test_max_backups(void **state)
{
    struct fixture *f = *state;
    struct found found;

    make(f, "own-2001-01-02T03-04-05.000.log", "");
    make(f, "own-2001-01-02T03-04-05.001.log.gz", "");
    make(f, "own-x.log", "");
    begin(f, (struct log_rotation){.max_bytes = SMALL, .max_backups = 3});
    log_mill_wait();
    assert_true(is_there(f, "own-2001-01-02T03-04-05.000.log"));
    log_lines(300);
    found = look(f);
    assert_int_equal(found.backups + found.compressed, 3);
    assert_false(is_there(f, "own-2001-01-02T03-04-05.000.log"));
    assert_false(is_there(f, "own-2001-01-02T03-04-05.001.log.gz"));
    assert_true(is_there(f, "own-x.log"));
}

static void test_max_age(void **state)
{
    struct fixture *f = *state;
    int64_t now = (int64_t)(clock_wall_ns() / 1000000);
    int64_t day = INT64_C(86400000);
    char *old = log_backup_path(f->path, now - 3 * day - 60000, false);
    char *young = log_backup_path(f->path, now - 3 * day + 60000, false);

    make(f, strrchr(old, '/') + 1, "");
    make(f, strrchr(young, '/') + 1, "");
    /* At the start, too, not only when a file is full. */
    begin(f, (struct log_rotation){.max_bytes = SMALL, .max_age_days = 3});
    log_mill_wait();
    assert_false(file_exists(old));
    assert_true(file_exists(young));
    free(old);
    free(young);
}

/* What a process that ended left half compressed is done again. */
static void test_compression(void **state)
{
    struct fixture *f = *state;
    char *gz = in(f, "own-" STAMP ".000.log.gz");
    char half[1000] = "";
    struct stat st;
    struct buf text;
    struct found found;

    make(f, "own-" STAMP ".000.log", "{\"level\":\"whole\"}\n");
    memset(half, 'h', sizeof(half) - 1);
    make(f, "own-" STAMP ".000.log.gz", half);
    begin(f, (struct log_rotation){.max_bytes = SMALL, .compress = true});
    log_lines(100);
    found = look(f);
    assert_int_equal(found.lines, 101);
    assert_int_equal(found.backups, 0);
    assert_false(is_there(f, "own-" STAMP ".000.log"));
    text = read_text(gz);
    assert_string_equal((char *)text.data, "{\"level\":\"whole\"}\n");
    assert_int_equal(mode_of(gz), 0600);
    assert_int_equal(stat(gz, &st), 0);
    assert_true(st.st_size < (off_t)sizeof(half) - 1);
    buf_close(&text);
    free(gz);
}

/* ---- troubles ---- */

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

/* The name of a full file would be too long: the file grows, which is said
 * once. */
static void test_no_rotation(void **state)
{
    struct fixture *f = *state;
    struct buf text;

    snprintf(f->path, sizeof(f->path), "%s/%0240d.log", f->dir, 1);
    begin(f, (struct log_rotation){.max_bytes = SMALL});
    log_lines(100);
    text = read_text(f->path);
    assert_int_equal(count((char *)text.data, "\"a line\""), 100);
    assert_int_equal(count((char *)text.data, "no new one can be begun"), 1);
    buf_close(&text);
}

/* No new file can be made where the old one was: it goes on, under its name. */
static void test_no_new_file(void **state)
{
    struct fixture *f = *state;
    char *there = in(f, "a/own.log");
    struct buf text;

    snprintf(f->path, sizeof(f->path), "%s/a/../a/own.log", f->dir);
    begin(f, (struct log_rotation){.max_bytes = SMALL});
    log_lines(1);
    /* Neither the file nor its directory can be found by that path. */
    char *a = in(f, "a");
    char *b = in(f, "b");
    assert_int_equal(rename(a, b), 0);
    log_lines(100);
    assert_int_equal(rename(b, a), 0);
    text = read_text(there);
    assert_int_equal(count((char *)text.data, "\"a line\""), 101);
    assert_int_equal(count((char *)text.data, "no new one can be begun"), 1);
    buf_close(&text);
    free(a);
    free(b);
    free(there);
}

/* Renamed, but nothing can be opened: the old file has its name back. */
static void test_no_descriptor(void **state)
{
    struct fixture *f = *state;
    struct rlimit before;
    struct rlimit none;
    struct found found;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    begin(f, (struct log_rotation){.max_bytes = SMALL});
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    log_lines(100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    found = look(f);
    assert_int_equal(found.backups, 0);
    assert_int_equal(found.lines, 101);
}

/* A full disk cuts lines; when there is room again, the next one stands on a
 * line of its own and the lost ones are told. */
static void test_full_disk(void **state)
{
    struct rlimit before;
    struct rlimit small;
    struct fixture *f = *state;
    struct buf text;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1000;
    begin(f, (struct log_rotation){.max_bytes = 100000});
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    log_lines(30);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    log_info("room again");
    log_info("more");
    text = read_text(f->path);
    assert_int_equal(count((char *)text.data, "\n{\"level\":\"info\""),
                     count((char *)text.data, "{\"level\":\"info\"") - 1);
    assert_int_equal(count((char *)text.data, "room again"), 1);
    assert_int_equal(count((char *)text.data, "are lost\""), 1);
    assert_non_null(strstr((char *)text.data, "\"lines\":"));
    buf_close(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_list),
        TEST(test_nothing_is_lost),
        TEST(test_threads),
        TEST(test_a_file_that_is_full_already),
        TEST(test_a_line_too_large),
        TEST(test_modes),
        TEST(test_a_file_taken_away),
        TEST(test_streams_stay),
        TEST(test_max_backups),
        TEST(test_max_age),
        TEST(test_compression),
        TEST(test_no_rotation),
        TEST(test_no_new_file),
        TEST(test_no_descriptor),
        TEST(test_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
