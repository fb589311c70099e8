/* The writer's thread: order, grouping, durability, errors. */
#include "chorad/base/log.h"
#include "chorad/base/metrics.h"
#include "wal_fixture.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

#define JOBS 2000

struct work {
    struct wal_job job;
    struct raft_entry entry;
    struct raft_hard_state hs;
    int err;
    char text[200];
};

struct run {
    struct wal_fixture f;
    struct wal_writer *writer;
    struct work *work;
    atomic_size_t done;
    atomic_bool out_of_order;
};

static void on_done(struct wal_job *job, int err, const struct errmsg *msg)
{
    struct run *run = job->arg;
    size_t at = atomic_load(&run->done);
    struct work *work = &run->work[at];

    if (&work->job != job)
        atomic_store(&run->out_of_order, true);
    work->err = err;
    if (err < 0)
        (void)strncpy(work->text, msg->text, sizeof(work->text) - 1);
    atomic_store(&run->done, at + 1);
}

static int setup(void **state)
{
    struct run *run = calloc(1, sizeof(*run));
    wal_fixture_init(&run->f, 64 * 1024);
    wal_fixture_create(&run->f);
    run->work = calloc(JOBS, sizeof(*run->work));
    for (size_t i = 0; i < JOBS; i++) {
        struct work *work = &run->work[i];
        work->entry = wal_fixture_entry(1, i + 1, 300);
        work->hs = (struct raft_hard_state){1, FIXTURE_NODE, i + 1};
        work->job = (struct wal_job){
            .batch = {.entries = &work->entry,
                      .entry_count = 1,
                      .hard_state = i % 3 == 0 ? &work->hs : NULL},
            .must_sync = true,
            .done = on_done,
            .arg = run,
        };
        work->err = 1;
    }
    *state = run;
    return 0;
}

static int teardown(void **state)
{
    struct run *run = *state;
    for (size_t i = 0; i < JOBS; i++)
        raft_entry_unref(&run->work[i].entry);
    free(run->work);
    wal_fixture_close(&run->f);
    free(run);
    return 0;
}

static void wait_until_done(struct run *run, size_t count)
{
    struct timespec pause = {0, 100000};
    while (atomic_load(&run->done) < count)
        (void)nanosleep(&pause, NULL);
}

static void jobs_are_written_in_order(void **state)
{
    struct run *run = *state;

    assert_int_equal(wal_writer_start(&run->writer, run->f.wal, &run->f.msg),
                     0);
    /* In bursts, so that the thread sleeps in between, and is woken while it
     * is about to. */
    for (size_t i = 0; i < JOBS; i++) {
        wal_writer_submit(run->writer, &run->work[i].job);
        if (i % 97 == 0)
            wait_until_done(run, i + 1);
        if (i % 31 == 0)
            wait_until_done(run, i);
    }
    wal_writer_stop(run->writer);
    assert_int_equal(atomic_load(&run->done), JOBS);
    assert_false(atomic_load(&run->out_of_order));
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(run->work[i].err, 0);
    assert_int_equal(wal_fixture_reopen(&run->f), 0);
    assert_int_equal(run->f.contents.entry_count, JOBS);
    for (size_t i = 0; i < JOBS; i++)
        assert_true(wal_fixture_is(&run->f.contents.entries[i], 1, i + 1, 300));
    assert_int_equal(run->f.contents.hard_state.commit, JOBS - 1);
}

static double fsyncs(void)
{
    struct buf page = {0};
    metrics_print(&page);
    buf_append(&page, "", 1);
    const char *name = "etcd_disk_wal_fsync_duration_seconds_count ";
    const char *at = strstr((const char *)page.data, name);
    assert_non_null(at);
    double count = strtod(at + strlen(name), NULL);
    buf_close(&page);
    return count;
}

static void what_waits_shares_a_sync(void **state)
{
    struct run *run = *state;
    const size_t n = 100;

    /* No segment may be cut meanwhile, that syncs too. */
    double before = fsyncs();
    assert_int_equal(wal_writer_start(&run->writer, run->f.wal, &run->f.msg),
                     0);
    for (size_t i = 0; i < n; i++) {
        run->work[i].job.must_sync = false;
        wal_writer_submit(run->writer, &run->work[i].job);
    }
    wait_until_done(run, n);
    assert_true(fsyncs() == before);
    for (size_t i = n; i < n + 50; i++)
        wal_writer_submit(run->writer, &run->work[i].job);
    wait_until_done(run, n + 50);
    double after = fsyncs();
    assert_true(after > before);
    assert_true(after <= before + 50);
    wal_writer_stop(run->writer);
}

/* A file may not grow beyond the limit: the write fails like on a full disk.
 * Everything after that fails the same way, though there is room again. */
static void after_an_error_nothing_is_written(void **state)
{
    struct run *run = *state;
    struct rlimit before;
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 8192;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(wal_writer_start(&run->writer, run->f.wal, &run->f.msg),
                     0);
    wal_writer_submit(run->writer, &run->work[0].job);
    wait_until_done(run, 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (size_t i = 1; i < 60; i++)
        wal_writer_submit(run->writer, &run->work[i].job);
    wait_until_done(run, 60);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    wal_writer_submit(run->writer, &run->work[60].job);
    wait_until_done(run, 61);
    wal_writer_stop(run->writer);

    assert_int_equal(run->work[0].err, 0);
    assert_int_equal(run->work[59].err, ERR_IO);
    assert_non_null(strstr(run->work[59].text, ".wal: write at byte "));
    assert_int_equal(run->work[60].err, ERR_IO);
    assert_string_equal(run->work[60].text, run->work[59].text);
    struct errmsg msg;
    struct wal_batch none = {0};
    assert_int_equal(wal_append(run->f.wal, &none, &msg), ERR_IO);
    assert_int_equal(wal_sync(run->f.wal, &msg), ERR_IO);
    assert_int_equal(wal_close(run->f.wal, &msg), ERR_IO);
    run->f.wal = NULL;

    /* What was reported as durable is. */
    size_t good = 0;
    while (run->work[good].err == 0)
        good++;
    assert_int_equal(wal_fixture_reopen(&run->f), 0);
    assert_true(run->f.contents.entry_count >= good);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(jobs_are_written_in_order),
        TEST(what_waits_shares_a_sync),
        TEST(after_an_error_nothing_is_written),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
