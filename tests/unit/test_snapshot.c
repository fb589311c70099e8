/* The store as an image and back: the same records, and what can't be taken
 * over. */
#include "chorad/base/be.h"
#include "chorad/snapshot.h"
#include "test_image.h"
#include "test_store.h"

#include <fcntl.h>
#include <stdio.h>

static char *path_in(const struct fixture *f, const char *name)
{
    return mem_printf("%s/%s", f->dir, name);
}

/* ---- out ------------------------------------------------------------------
 */

struct out {
    FILE *file;
    struct snapshot_info info;
    unsigned begun;
    uint64_t written;
    struct snapshot_progress last;
    unsigned calls;
    uint64_t stop_at; /* bytes, 0: never */
    unsigned stop_at_call;
};

static int begin_out(void *arg, const struct snapshot_info *info)
{
    struct out *out = arg;

    assert_int_equal(out->written, 0);
    out->info = *info;
    out->begun++;
    return 0;
}

static int write_out(void *arg, struct bytes bytes)
{
    struct out *out = arg;

    assert_int_equal(out->begun, 1);
    out->written += bytes.len;
    if (out->stop_at != 0 && out->written >= out->stop_at)
        return ERR_TIMEOUT;
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, out->file), bytes.len);
    return 0;
}

static int see_progress(void *arg, const struct snapshot_progress *progress)
{
    struct out *out = arg;

    assert_true(progress->done >= out->last.done);
    assert_true(progress->done <= progress->total);
    out->last = *progress;
    return ++out->calls == out->stop_at_call ? ERR_CANCELED : 0;
}

/* Writes what the store has to the file of that name. */
static int write_image(struct fixture *f, const char *name, struct out *out,
                       struct errmsg *msg)
{
    struct snapshot_sink sink = {begin_out, write_out, see_progress, out};
    char *path = path_in(f, name);
    int err;

    flush(f);
    out->file = fopen(path, "w");
    assert_non_null(out->file);
    assert_int_equal(store_read_begin(f->reader), 0);
    err = snapshot_write(f->reader, &sink, msg);
    store_read_end(f->reader);
    fclose(out->file);
    free(path);
    return err;
}

/* ---- back -----------------------------------------------------------------
 */

static struct snapshot_file open_image(struct fixture *f, const char *name)
{
    char *path = path_in(f, name);
    struct snapshot_file file = {open(path, O_RDONLY | O_CLOEXEC), "image"};

    assert_true(file.fd >= 0);
    free(path);
    return file;
}

/* Builds a store in <dir>/new. */
static int build(struct fixture *f, const char *name, struct out *seen,
                 struct snapshot_info *info, struct errmsg *msg)
{
    char *dir = path_in(f, "new");
    struct snapshot_build config = {open_image(f, name), dir,
                                    seen != NULL ? see_progress : NULL, seen};
    int err = snapshot_build(&config, info, msg);

    close(config.file.fd);
    assert_int_equal(file_exists(dir), err == 0);
    free(dir);
    return err;
}

/* The new store's contents have to be those of the first. */
static void assert_same(struct fixture *f)
{
    char *dir = path_in(f, "new");
    struct store_config config = {.dir = dir};
    struct store *copy;
    uint64_t index;
    uint64_t term;
    struct errmsg msg = {""};

    assert_int_equal(store_open(&config, &copy, &msg), 0);
    store_consistent_index(copy, &index, &term);
    assert_int_equal(index, f->index);
    assert_int_equal(term, 1);
    for (int b = 0; b < STORE_BUCKETS; b++) {
        struct listing old = {{0}};
        struct listing new = {{0}};

        assert_int_equal(store_load(f->store, b, list_record, &old), 0);
        assert_int_equal(store_load(copy, b, list_record, &new), 0);
        assert_int_equal(old.buf.len, new.buf.len);
        if (old.buf.len > 0)
            assert_memory_equal(old.buf.data, new.buf.data, old.buf.len);
        buf_close(&old.buf);
        buf_close(&new.buf);
    }
    store_close(copy);
    free(dir);
}

static void round_trip(struct fixture *f)
{
    struct errmsg msg = {""};
    struct snapshot_info info;
    struct out out = {0};
    struct out seen = {0};

    if (write_image(f, "image", &out, &msg) != 0)
        fail_msg("write: %s", msg.text);
    assert_int_equal(out.written, out.info.bytes);
    assert_int_equal(out.info.index, f->index);
    assert_true(out.last.total > 0 && out.last.done == out.last.total);
    if (build(f, "image", &seen, &info, &msg) != 0)
        fail_msg("build: %s", msg.text);
    assert_true(seen.last.total > 0 && seen.last.done == seen.last.total);
    assert_int_equal(seen.last.records, out.last.records);
    assert_int_equal(info.index, f->index);
    assert_int_equal(info.bytes, out.written);
    assert_string_equal(info.version, out.info.version);
    assert_same(f);
}

/* ---- tests ----------------------------------------------------------------
 */

static void put_many(struct fixture *f, uint64_t n, size_t len)
{
    uint8_t *value = mem_zalloc(len);
    uint8_t key[8];

    for (uint64_t i = 0; i < n; i++) {
        be_put_u64(key, i);
        memset(value, (int)i, len);
        store_put(f->store, STORE_KEY, bytes_of(key, sizeof(key)),
                  bytes_of(value, len));
    }
    free(value);
    mark(f);
}

static void an_empty_store_goes_and_comes(void **state)
{
    struct fixture *f = *state;

    mark(f);
    round_trip(f);
}

static void every_bucket_goes_and_comes(void **state)
{
    struct fixture *f = *state;

    for (int b = 0; b < STORE_BUCKETS; b++) {
        put_text(f, b, store_bucket_name(b), "value");
        put_text(f, b, "empty", "");
    }
    put_text(f, STORE_META, "storageVersion", "3.7.0");
    mark(f);
    round_trip(f);
}

/* More than one of the builder's transactions, and overflow pages. */
static void many_records_go_and_come(void **state)
{
    struct fixture *f = *state;

    put_many(f, 5000, 3500);
    round_trip(f);
}

static void large_values_go_and_come(void **state)
{
    struct fixture *f = *state;

    put_many(f, 2, 9 << 20);
    round_trip(f);
}

static void the_info_is_read_without_the_rest(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info;
    struct snapshot_file file;
    struct errmsg msg = {""};
    struct out out = {0};

    put_many(f, 1000, 100);
    put_text(f, STORE_META, "storageVersion", "3.6.0");
    mark(f);
    assert_int_equal(write_image(f, "image", &out, &msg), 0);
    file = open_image(f, "image");
    assert_int_equal(snapshot_info_read(&file, &info, &msg), 0);
    close(file.fd);
    assert_int_equal(info.index, f->index);
    assert_int_equal(info.term, 1);
    assert_string_equal(info.version, "3.6.0");
    assert_int_equal(info.bytes, out.written);
}

static void a_store_in_the_way_goes(void **state)
{
    struct fixture *f = *state;
    char *dir = path_in(f, "new");
    char *file = path_in(f, "new/data.mdb");

    mark(f);
    assert_int_equal(file_make_dirs(dir, NULL), 0);
    assert_int_equal(file_write_atomic(file, "rubbish", 7, 0600, NULL), 0);
    free(dir);
    free(file);
    round_trip(f);
}

static void callbacks_end_the_writing(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg = {"as it was"};
    struct out by_write = {.stop_at = 1 << 20};
    struct out by_progress = {.stop_at_call = 3};

    put_many(f, 5000, 1000);
    assert_int_equal(write_image(f, "image", &by_write, &msg), ERR_TIMEOUT);
    assert_int_equal(write_image(f, "image", &by_progress, &msg), ERR_CANCELED);
    assert_int_equal(by_progress.written, 0);
    assert_string_equal(msg.text, "as it was");
}

static void a_callback_ends_the_building(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg = {"as it was"};
    struct snapshot_info info;
    struct out out = {0};
    struct out seen = {.stop_at_call = 5};

    put_many(f, 5000, 1000);
    assert_int_equal(write_image(f, "image", &out, &msg), 0);
    assert_int_equal(build(f, "image", &seen, &info, &msg), ERR_CANCELED);
    assert_string_equal(msg.text, "as it was");
}

/* An image of one bucket with one record. */
static void put_image(struct fixture *f, struct bytes bucket, struct bytes key)
{
    struct listing l = {{0}};
    char *path = path_in(f, "image");
    struct buf image;

    list(&l, true, bucket, (struct bytes){0});
    if (key.len > 0)
        list(&l, false, key, text("value"));
    image = make_image(&l, 2);
    assert_int_equal(file_write_atomic(path, image.data, image.len, 0600, NULL),
                     0);
    buf_close(&image);
    buf_close(&l.buf);
    free(path);
}

static void unknown_data_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info;
    struct errmsg msg = {""};

    put_image(f, text("lost+found"), text("k"));
    assert_int_equal(build(f, "image", NULL, &info, &msg), ERR_UNSUPPORTED);
    assert_non_null(strstr(msg.text, "lost+found"));
    put_image(f, text("lost+found"), text(""));
    assert_int_equal(build(f, "image", NULL, &info, &msg), 0);
}

static void keys_too_long_are_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info;
    struct errmsg msg = {""};
    uint8_t key[512] = {1};

    put_image(f, text("authUsers"), bytes_of(key, 512));
    assert_int_equal(build(f, "image", NULL, &info, &msg), ERR_UNSUPPORTED);
    assert_non_null(strstr(msg.text, "authUsers"));
    put_image(f, text("authUsers"), bytes_of(key, 511));
    assert_int_equal(build(f, "image", NULL, &info, &msg), 0);
}

static void what_is_no_image_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info;
    struct errmsg msg = {""};
    char *path = path_in(f, "image");
    struct snapshot_file dir = {open(f->dir, O_RDONLY | O_CLOEXEC), "dir"};

    assert_int_equal(file_write_atomic(path, "x", 1, 0600, NULL), 0);
    assert_int_equal(build(f, "image", NULL, &info, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "image: "));
    assert_int_equal(snapshot_info_read(&dir, &info, &msg), ERR_INVALID);
    close(dir.fd);
    free(path);
}

/* A damaged page is named, and nothing is left of the store begun. */
static void damage_is_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info;
    struct errmsg msg = {""};
    struct out out = {0};
    char *path = path_in(f, "image");
    FILE *file;

    put_many(f, 3000, 1000);
    assert_int_equal(write_image(f, "image", &out, &msg), 0);
    file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 500 * 4096, SEEK_SET), 0);
    assert_int_equal(fputc('x', file), 'x');
    assert_int_equal(fclose(file), 0);
    assert_int_equal(build(f, "image", NULL, &info, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "page 500"));
    free(path);
}

/* A record whose CRC is wrong doesn't get into an image. */
static void damage_in_the_store_isnt_written(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg = {""};
    struct out out = {0};

    put_text(f, STORE_KEY, "damaged-key", "damaged-value");
    mark(f);
    flush(f);
    close_store(f);
    patch_file(f, "damaged-value", "damaged-valuf");
    open_store(f);
    assert_int_equal(write_image(f, "image", &out, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "key"));
    assert_int_equal(out.written, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_store_goes_and_comes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_bucket_goes_and_comes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(many_records_go_and_come, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(large_values_go_and_come, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_info_is_read_without_the_rest,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_in_the_way_goes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(callbacks_end_the_writing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_callback_ends_the_building, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(unknown_data_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(keys_too_long_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_image_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(damage_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_in_the_store_isnt_written, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
