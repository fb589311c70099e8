/* The store when the process is killed and when the disk fails. */
#include "test_store.h"

#include "chorad/base/be.h"
#include "chorad/base/clock.h"
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define UNIT_KEYS 5

/* Unit n writes its number under keys of its own and over the last unit's. */
static void write_unit(struct fixture *f, uint64_t n)
{
    char number[24];
    char key[64];

    snprintf(number, sizeof(number), "%012llu", (unsigned long long)n);
    for (int i = 0; i < UNIT_KEYS; i++) {
        snprintf(key, sizeof(key), "%s.%d", number, i);
        put_text(f, STORE_KEY, key, number);
    }
    put_text(f, STORE_LEASE, "newest", number);
    store_mark(f->store, n, 1);
}

static uint64_t check_units(struct fixture *f)
{
    uint64_t index;
    uint64_t term;
    char number[24];
    char key[64];

    store_consistent_index(f->store, &index, &term);
    for (uint64_t n = 1; n <= index + 1; n++) {
        snprintf(number, sizeof(number), "%012llu", (unsigned long long)n);
        for (int i = 0; i < UNIT_KEYS; i++) {
            snprintf(key, sizeof(key), "%s.%d", number, i);
            if (n <= index)
                assert_value(f, STORE_KEY, key, number);
            else
                assert_missing(f, STORE_KEY, key);
        }
        if (n == index)
            assert_value(f, STORE_LEASE, "newest", number);
    }
    return index;
}

static void *defrag_forever(void *arg)
{
    struct fixture *f = arg;

    for (;;) {
        if (store_defrag(f->store, NULL) != 0)
            _exit(2);
    }
    return NULL;
}

/* Writes until it is killed; tells by the pipe what it knows to be on disk. */
_Noreturn static void run_child(struct fixture *f, uint64_t n, int out)
{
    pthread_t thread;

    open_store(f);
    if (pthread_create(&thread, NULL, defrag_forever, f) != 0)
        _exit(3);
    for (;;) {
        uint64_t flushed;

        write_unit(f, ++n);
        flushed = store_flushed_index(f->store);
        if (write(out, &flushed, sizeof(flushed)) != sizeof(flushed))
            _exit(4);
    }
}

/* Not before it has flushed something, if `wait` says so: the disk may be
 * slow. */
static uint64_t kill_child(pid_t pid, int in, uint64_t after_ns, bool wait)
{
    uint64_t end = clock_mono_ns() + after_ns;
    uint64_t flushed = 0;
    uint64_t last = 0;
    int status;

    while ((clock_mono_ns() < end || (wait && last == 0)) &&
           read(in, &flushed, sizeof(flushed)) == sizeof(flushed))
        last = flushed;
    kill(pid, SIGKILL);
    while (read(in, &flushed, sizeof(flushed)) == sizeof(flushed))
        last = flushed;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return last;
}

static void test_kill(void **state)
{
    struct fixture *f = *state;
    struct prng prng = {random_u64()};
    uint64_t index = 0;

    print_message("seed %llu\n", (unsigned long long)prng.state);
    f->config.flush_interval_ns = 2000000;
    for (int round = 0; round < 15; round++) {
        uint64_t flushed;
        int fds[2];
        pid_t pid;

        close_store(f);
        assert_int_equal(pipe(fds), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            close(fds[0]);
            run_child(f, index, fds[1]);
        }
        close(fds[1]);
        flushed = kill_child(pid, fds[0], 5000000 + prng_below(&prng, 60000000),
                             round == 0);
        close(fds[0]);
        open_store(f);
        index = check_units(f);
        assert_true(index >= flushed);
    }
    assert_true(index > 0);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int64_t step_never(void *arg, struct store_txn *txn)
{
    (void)arg;
    (void)txn;
    fail_msg("a job ran on a failed store");
    return -1;
}

static void check_failed_store(struct fixture *f, int err)
{
    struct result r = RESULT_INIT;
    struct result job = RESULT_INIT;
    struct errmsg msg = {{0}};

    assert_int_equal(atomic_load(&f->failed), err);
    store_flush(f->store, set_result, &r);
    assert_int_equal(await(&r), err);
    store_job(f->store, step_never, set_result, &job);
    assert_int_equal(await(&job), err);
    assert_int_equal(store_defrag(f->store, &msg), err);
    assert_true(msg.text[0] != '\0');
    /* What is there can still be read. */
    assert_value(f, STORE_LEASE, "newest", "000000000001");
}

static void fill_until_it_fails(struct fixture *f, int expected)
{
    static const uint8_t value[100000];
    int err = 0;

    write_unit(f, 1);
    assert_int_equal(flush(f), 0);
    for (uint64_t n = 2; n < 100 && err == 0; n++) {
        store_put(f->store, STORE_META, text("big"),
                  bytes_of(value, sizeof(value)));
        store_put(f->store, STORE_AUTH_USERS, bytes_of(&n, sizeof(n)),
                  bytes_of(value, sizeof(value)));
        store_mark(f->store, 1, 1);
        err = flush(f);
    }
    assert_int_equal(err, expected);
    check_failed_store(f, expected);
}

static void test_write_fails(void **state)
{
    struct fixture *f = *state;

    limit_files(1 << 20);
    fill_until_it_fails(f, ERR_IO);
    close_store(f);
    limit_files(RLIM_INFINITY);
    open_store(f);
    assert_int_equal(check_units(f), 1);
    write_unit(f, 2);
    reopen_store(f);
    assert_int_equal(check_units(f), 2);
}

/* In a child: a file system of its own can't be taken from a process of
 * several threads. */
static int run_on_full_disk(struct fixture *f)
{
    if (unshare(CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", f->dir, "tmpfs", 0, "size=1500k") != 0)
        return 77;
    open_store(f);
    fill_until_it_fails(f, ERR_NOSPC);
    reopen_store(f);
    assert_int_equal(check_units(f), 1);
    close_store(f);
    return 0;
}

static void test_disk_full(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t pid;

    close_store(f);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run_on_full_disk(f));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: mounting a tmpfs is not permitted here\n");
        skip();
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_map_full(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    f->config.map_bytes = 1 << 20;
    open_store(f);
    fill_until_it_fails(f, ERR_NOSPC);
    f->config.map_bytes = 1 << 30;
    reopen_store(f);
    assert_int_equal(check_units(f), 1);
}

static void test_defrag_fails(void **state)
{
    static const uint8_t value[500000];
    struct fixture *f = *state;
    struct errmsg msg = {{0}};
    char path[128];

    write_unit(f, 1);
    store_put(f->store, STORE_META, text("big"),
              bytes_of(value, sizeof(value)));
    store_mark(f->store, 1, 1);
    assert_int_equal(flush(f), 0);
    limit_files(100000);
    assert_int_equal(store_defrag(f->store, &msg), ERR_IO);
    limit_files(RLIM_INFINITY);
    snprintf(path, sizeof(path), "%s/data.mdb.tmp", f->dir);
    assert_non_null(strstr(msg.text, path));
    assert_false(file_exists(path));
    assert_int_equal(atomic_load(&f->failed), 0);
    write_unit(f, 2);
    assert_int_equal(flush(f), 0);
    assert_int_equal(store_defrag(f->store, &msg), 0);
    reopen_store(f);
    assert_int_equal(check_units(f), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defrag_fails, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
