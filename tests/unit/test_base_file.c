/* Whole files and directories, in a fresh directory each. */
#include "chorad/base/file.h"
#include "chorad/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[64];
    char path[128];
};

static int set_up(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    memcpy(f->dir, "/tmp/chorad-file-XXXXXX", 24);
    *state = f;
    return mkdtemp(f->dir) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    int rv = file_remove_tree(f->dir, NULL);

    free(f);
    return rv;
}

static const char *in(struct fixture *f, const char *name)
{
    (void)snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, name);
    return f->path;
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void test_write_and_read(void **state)
{
    struct fixture *f = *state;
    struct buf buf = {0};
    struct errmsg msg;

    assert_int_equal(file_write_atomic(in(f, "a"), "first", 5, 0600, &msg), 0);
    assert_int_equal(file_write_atomic(in(f, "a"), "2nd", 3, 0600, &msg), 0);
    assert_int_equal(mode_of(in(f, "a")), 0600);
    assert_false(file_exists(in(f, "a.tmp")));
    buf_append(&buf, "<", 1);
    assert_int_equal(file_read(in(f, "a"), 3, &buf, &msg), 0);
    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.data, "<2nd", 4);
    assert_int_equal(file_read(in(f, "a"), 2, &buf, &msg), ERR_TOOBIG);
    assert_int_equal(buf.len, 4);
    buf_close(&buf);
}

static void test_read_large(void **state)
{
    struct fixture *f = *state;
    size_t len = 1000003;
    uint8_t *data = mem_alloc(len);
    struct buf buf = {0};

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(file_write_atomic(in(f, "big"), data, len, 0600, NULL), 0);
    assert_int_equal(file_read(in(f, "big"), len, &buf, NULL), 0);
    assert_int_equal(buf.len, len);
    assert_memory_equal(buf.data, data, len);
    buf_close(&buf);
    free(data);
}

static void test_errors_name_the_file(void **state)
{
    struct fixture *f = *state;
    struct buf buf = {0};
    struct errmsg msg = {""};

    assert_int_equal(file_read(in(f, "none"), 10, &buf, &msg), ERR_NOTFOUND);
    assert_non_null(strstr(msg.text, "/none: No such file or directory"));
    assert_int_equal(file_read(f->dir, 10, &buf, &msg), ERR_IO);
    assert_int_equal(file_write_atomic(in(f, "no/a"), "x", 1, 0600, &msg),
                     ERR_NOTFOUND);
    assert_int_equal(file_sync_dir(in(f, "none"), &msg), ERR_NOTFOUND);
    buf_close(&buf);
}

/* The name is taken by a directory: the rename fails, and what was written
 * beside it goes away again. */
static void test_failed_write_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg;

    assert_int_equal(file_make_dirs(in(f, "d/e"), &msg), 0);
    assert_true(file_write_atomic(in(f, "d"), "x", 1, 0600, &msg) < 0);
    assert_false(file_exists(in(f, "d.tmp")));
    assert_true(file_exists(in(f, "d/e")));
}

static void test_full_disk(void **state)
{
    struct errmsg msg;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, "x", 1, &msg), ERR_NOSPC);
    assert_int_equal(close(fd), 0);
}

static void test_make_dirs(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg;

    assert_int_equal(file_make_dirs(in(f, "a//b/c/"), &msg), 0);
    assert_int_equal(file_make_dirs(in(f, "a/b/c"), &msg), 0);
    assert_int_equal(mode_of(in(f, "a")), 0700);
    assert_int_equal(mode_of(in(f, "a/b/c")), 0700);
    assert_int_equal(file_write_atomic(in(f, "f"), "", 0, 0600, &msg), 0);
    assert_int_equal(file_make_dirs(in(f, "f"), &msg), ERR_EXISTS);
    assert_true(file_make_dirs(in(f, "f/g"), &msg) < 0);
}

static void test_relative_names(void **state)
{
    struct fixture *f = *state;
    char before[256];

    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(f->dir), 0);
    assert_int_equal(file_make_dirs("x/y", NULL), 0);
    assert_int_equal(file_write_atomic("z", "1", 1, 0600, NULL), 0);
    assert_int_equal(chdir(before), 0);
    assert_true(file_exists(in(f, "x/y")));
    assert_true(file_exists(in(f, "z")));
}

static void test_remove_tree(void **state)
{
    struct fixture *f = *state;
    char target[sizeof(f->path)];

    assert_int_equal(file_make_dirs(in(f, "keep"), NULL), 0);
    memcpy(target, f->path, sizeof(target));
    assert_int_equal(file_make_dirs(in(f, "t/u/v"), NULL), 0);
    assert_int_equal(file_write_atomic(in(f, "t/u/w"), "", 0, 0600, NULL), 0);
    assert_int_equal(symlink(target, in(f, "t/link")), 0);
    assert_int_equal(file_remove_tree(in(f, "t"), NULL), 0);
    assert_false(file_exists(in(f, "t")));
    assert_true(file_exists(in(f, "keep")));
    assert_int_equal(file_remove_tree(in(f, "t"), NULL), 0);
}

static void test_mode_texts(void **state)
{
    static const struct {
        mode_t mode;
        const char *text;
    } cases[] = {
        {S_IFREG | 0700, "-rwx------"},     {S_IFDIR | 0700, "drwx------"},
        {S_IFDIR | 0777, "drwxrwxrwx"},     {S_IFREG | 0644, "-rw-r--r--"},
        {S_IFDIR | 01777, "dtrwxrwxrwx"},   {S_IFDIR | 02750, "dgrwxr-x---"},
        {S_IFDIR | 07007, "dugt------rwx"}, {S_IFREG, "----------"},
    };
    char text[FILE_MODE_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        file_mode_text(text, cases[i].mode);
        assert_string_equal(text, cases[i].text);
    }
}

/* What a check of the path, of that mode, says; freed by the caller. */
static char *said(struct fixture *f, void (*check)(const char *), mode_t mode)
{
    char *log = mem_printf("%s/log", f->dir);
    const char *output = log;
    struct buf text = {0};

    assert_int_equal(chmod(f->path, mode), 0);
    assert_int_equal(log_set_outputs(&output, 1, NULL), 0);
    check(f->path);
    output = "default";
    assert_int_equal(log_set_outputs(&output, 1, NULL), 0);
    assert_int_equal(file_read(log, 4096, &text, NULL), 0);
    buf_append(&text, "", 1);
    (void)unlink(log);
    free(log);
    return (char *)text.data;
}

static void assert_said(struct fixture *f, void (*check)(const char *),
                        mode_t mode, const char *text)
{
    char *log = said(f, check, mode);

    if (text == NULL)
        assert_string_equal(log, "");
    else if (strstr(log, text) == NULL)
        fail_msg("%s doesn't say %s", log, text);
    free(log);
}

static void test_open_directories(void **state)
{
    struct fixture *f = *state;

    snprintf(f->path, sizeof(f->path), "%s/a dir", f->dir);
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_said(f, file_check_dir_mode, 0700, NULL);
    assert_said(f, file_check_dir_mode, 01700, NULL);
    assert_said(f, file_check_dir_mode, 0777,
                "/a dir\\\" exist, but the permission is \\\"drwxrwxrwx\\\". "
                "The recommended permission is \\\"-rwx------\\\" to prevent "
                "possible unprivileged access to the data\"}");
    assert_said(f, file_check_dir_mode, 0701, "\\\"drwx-----x\\\"");
    assert_said(f, file_check_dir_mode, 0500, "\\\"dr-x------\\\"");
    file_check_dir_mode("/nowhere/at/all");
}

static void test_open_keys(void **state)
{
    struct fixture *f = *state;

    snprintf(f->path, sizeof(f->path), "%s/key", f->dir);
    assert_int_equal(file_write_atomic(f->path, "k", 1, 0600, NULL), 0);
    assert_said(f, file_check_key_mode, 0600, NULL);
    assert_said(f, file_check_key_mode, 0400, NULL);
    assert_said(f, file_check_key_mode, 0640, "\\\"-rw-r-----\\\"");
    assert_said(f, file_check_key_mode, 0604,
                "/key\\\" exist, but the permission is \\\"-rw----r--\\\". The "
                "recommended permission is \\\"-rw-------\\\" to prevent "
                "possible unprivileged access to the key\"}");
    file_check_key_mode("/nowhere/at/all");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static off_t size_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_size;
}

/* In steps, so that nothing is left but what a close takes in one. */
static void test_dissolve(void **state)
{
    struct fixture *f = *state;
    const char *path = in(f, "large");
    atomic_bool stop = true;
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 50 << 20), 0);
    assert_int_equal(unlink(path), 0);
    file_dissolve(fd, &stop);
    assert_int_equal(size_of(fd), 50 << 20);
    atomic_store(&stop, false);
    file_dissolve(fd, &stop);
    assert_in_range(size_of(fd), 0, 4 << 20);
    assert_int_equal(ftruncate(fd, 20 << 20), 0);
    file_dissolve(fd, NULL);
    assert_in_range(size_of(fd), 0, 4 << 20);
    assert_int_equal(close(fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write_and_read),
        TEST(test_read_large),
        TEST(test_errors_name_the_file),
        TEST(test_failed_write_leaves_nothing),
        TEST(test_full_disk),
        TEST(test_make_dirs),
        TEST(test_relative_names),
        TEST(test_remove_tree),
        TEST(test_dissolve),
        TEST(test_mode_texts),
        TEST(test_open_directories),
        TEST(test_open_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
