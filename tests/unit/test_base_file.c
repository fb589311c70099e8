/* Whole files and directories, in a fresh directory each. */
#include "chorad/base/file.h"

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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
