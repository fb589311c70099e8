/* Defragmentation while the store is written to and read. */
#include "chorad/base/check.h"
#include "test_store.h"

#include <stdio.h>

struct load {
    struct fixture *f;
    atomic_bool stop;
    atomic_int reads;
};

/* In threads of their own nothing is left of what cmocka would print. */

/* Both halves of a unit are seen, or none; and the newest never gets older. */
static void *read_pairs(void *arg)
{
    struct load *load = arg;
    struct store_reader *reader;
    char last[32] = "";

    CHECK(store_reader_open(load->f->store, &reader) == 0);
    while (!atomic_load(&load->stop)) {
        struct bytes a = {0};
        struct bytes b = {0};
        int err;

        CHECK(store_read_begin(reader) == 0);
        err = store_get(reader, STORE_LEASE, text("a"), &a);
        if (err != ERR_NOTFOUND) {
            CHECK(err == 0);
            CHECK(store_get(reader, STORE_META, text("b"), &b) == 0);
            CHECK(bytes_cmp(a, b) == 0);
            CHECK(bytes_cmp(a, text(last)) >= 0);
            CHECK(a.len < sizeof(last));
            memcpy(last, a.data, a.len);
            last[a.len] = '\0';
        }
        store_read_end(reader);
        atomic_fetch_add(&load->reads, 1);
    }
    store_reader_close(reader);
    return NULL;
}

static void *defrag_often(void *arg)
{
    struct load *load = arg;

    for (int i = 0; i < 10; i++) {
        struct errmsg msg;
        int err = store_defrag(load->f->store, &msg);

        if (err != 0)
            printf("store_defrag: %s\n", msg.text);
        CHECK(err == 0);
    }
    atomic_store(&load->stop, true);
    return NULL;
}

static void write_pair(struct fixture *f, int n)
{
    char number[32];

    snprintf(number, sizeof(number), "%08d", n);
    put_text(f, STORE_LEASE, "a", number);
    put_text(f, STORE_KEY, number, number);
    put_text(f, STORE_META, "b", number);
    if (n % 2 == 1) {
        snprintf(number, sizeof(number), "%08d", n / 2);
        store_delete(f->store, STORE_KEY, text(number));
    }
    mark(f);
}

static void check_pairs(struct fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        char number[32];

        snprintf(number, sizeof(number), "%08d", i);
        if (i < n / 2)
            assert_missing(f, STORE_KEY, number);
        else
            assert_value(f, STORE_KEY, number, number);
    }
}

static void test_under_load(void **state)
{
    struct fixture *f = *state;
    struct load load = {.f = f};
    pthread_t threads[3];
    int n = 0;

    close_store(f);
    f->config.flush_interval_ns = 3000000;
    open_store(f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i == 0 ? defrag_often : read_pairs,
                                        &load),
                         0);
    /* An even number of units, which is what check_pairs expects. */
    while (!atomic_load(&load.stop) || n % 2 == 1) {
        write_pair(f, n++);
        if (n % 100 == 0)
            sleep_ms(1);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(atomic_load(&load.reads) > 0);
    assert_int_equal(flush(f), 0);
    check_pairs(f, n);
    reopen_store(f);
    check_pairs(f, n);
    assert_int_equal(atomic_load(&f->failed), 0);
}

static void test_old_reader_keeps_its_view(void **state)
{
    struct fixture *f = *state;
    struct bytes value;

    put_text(f, STORE_KEY, "k", "old");
    mark_flush(f);
    assert_int_equal(store_read_begin(f->reader), 0);
    assert_int_equal(store_defrag(f->store, NULL), 0);
    put_text(f, STORE_KEY, "k", "new");
    mark_flush(f);
    assert_int_equal(store_get(f->reader, STORE_KEY, text("k"), &value), 0);
    assert_memory_equal(value.data, "old", 3);
    store_read_end(f->reader);
    assert_value(f, STORE_KEY, "k", "new");
}

static unsigned deleted_files_open(void)
{
    char command[128];
    unsigned n = 0;
    FILE *pipe;

    snprintf(command, sizeof(command),
             "ls -l /proc/%d/fd | grep -c 'data.mdb.*deleted'", (int)getpid());
    pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%u", &n), 1);
    pclose(pipe);
    return n;
}

/* The old file goes on a thread of its own. */
static void await_deleted_files_closed(void)
{
    for (int i = 0; i < 2000 && deleted_files_open() > 0; i++)
        sleep_ms(5);
    assert_int_equal(deleted_files_open(), 0);
}

static void test_idle_reader_lets_go_of_the_old_file(void **state)
{
    struct fixture *f = *state;

    put_text(f, STORE_KEY, "k", "v");
    mark_flush(f);
    assert_value(f, STORE_KEY, "k", "v");
    assert_int_equal(store_defrag(f->store, NULL), 0);
    await_deleted_files_closed();
    assert_int_equal(store_read_begin(f->reader), 0);
    assert_int_equal(store_defrag(f->store, NULL), 0);
    assert_true(deleted_files_open() > 0);
    store_read_end(f->reader);
    await_deleted_files_closed();
}

static void test_shrinks_the_file(void **state)
{
    struct fixture *f = *state;
    struct store_size before;
    char key[32];
    char value[3000];
    uint32_t hash[2];

    memset(value, 'v', sizeof(value));
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%04d", i);
        store_put(f->store, STORE_KEY, text(key),
                  bytes_of(value, sizeof(value)));
    }
    mark_flush(f);
    for (int i = 0; i < 990; i++) {
        snprintf(key, sizeof(key), "%04d", i);
        store_delete(f->store, STORE_KEY, text(key));
    }
    mark(f);
    assert_int_equal(store_hash(f->store, &hash[0]), 0);
    before = store_size(f->store);
    assert_int_equal(store_defrag(f->store, NULL), 0);
    assert_true(store_size(f->store).file < before.file / 10);
    assert_true(store_size(f->store).total < before.total / 10);
    assert_int_equal(store_hash(f->store, &hash[1]), 0);
    assert_int_equal(hash[0], hash[1]);
}

static void test_empty_store(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(store_defrag(f->store, NULL), 0);
    put_text(f, STORE_KEY, "k", "v");
    mark_flush(f);
    assert_int_equal(store_defrag(f->store, NULL), 0);
    store_delete(f->store, STORE_KEY, text("k"));
    mark_flush(f);
    assert_int_equal(store_defrag(f->store, NULL), 0);
    assert_missing(f, STORE_KEY, "k");
}

static void test_leftovers_are_removed(void **state)
{
    struct fixture *f = *state;
    char path[128];

    put_text(f, STORE_KEY, "k", "v");
    mark(f);
    close_store(f);
    snprintf(path, sizeof(path), "%s/data.mdb.tmp", f->dir);
    assert_int_equal(file_write_atomic(path, "half", 4, 0600, NULL), 0);
    open_store(f);
    assert_false(file_exists(path));
    assert_value(f, STORE_KEY, "k", "v");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_under_load, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_reader_keeps_its_view, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_idle_reader_lets_go_of_the_old_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shrinks_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_empty_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers_are_removed, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
