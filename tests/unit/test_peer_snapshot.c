/* Snapshots on their way between members: pipes and files, whole and broken. */
#include "chorad/base/file.h"
#include "peer_fixture.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

static int open_two(void **state)
{
    struct bed *bed = malloc(sizeof(*bed));

    bed_open(bed, 2);
    bed_introduce(bed);
    *state = bed;
    return 0;
}

static int close_bed(void **state)
{
    bed_close(*state);
    free(*state);
    return 0;
}

static struct raft_message snapshot_of(uint64_t to, uint64_t index)
{
    struct raft_message m = message_of(RAFT_MSG_SNAP, 1, to);
    struct raft_conf_state cs = {0};
    struct shared *data = shared_new(10);

    memcpy(data->data, "membership", 10);
    raft_ids_add(&cs.voters, 1);
    raft_ids_add(&cs.voters, 2);
    m.snapshot = raft_snapshot_new(index, 5, &cs, data);
    raft_conf_state_close(&cs);
    return m;
}

/* The bytes of an image of that size. */
static void fill(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
}

/* Writes an image into a pipe from a thread of its own. */
struct writer {
    pthread_t thread;
    int fd;
    size_t len;
    atomic_bool complete;
    bool breaks_off;
    bool stalls; /* after all bytes, until nobody reads any more */
    atomic_bool got_epipe;
};

static void *write_image(void *arg)
{
    struct writer *w = arg;
    uint8_t *data = malloc(w->len + 1);
    size_t done = 0;

    if (!data)
        return NULL;
    fill(data, w->len);
    while (done < w->len) {
        ssize_t n = write(w->fd, data + done, w->len - done);
        if (n < 0) {
            atomic_store(&w->got_epipe, true);
            break;
        }
        done += (size_t)n;
    }
    free(data);
    struct pollfd reader = {.fd = w->fd};
    if (w->stalls && poll(&reader, 1, 20000) > 0)
        atomic_store(&w->got_epipe, true);
    if (!w->breaks_off)
        atomic_store(&w->complete, true);
    (void)close(w->fd);
    return NULL;
}

static int start_writer(struct writer *w, size_t len)
{
    int fds[2];

    w->len = len;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    w->fd = fds[1];
    assert_int_equal(pthread_create(&w->thread, NULL, write_image, w), 0);
    return fds[0];
}

static void assert_image(const char *path, size_t len)
{
    struct buf got = {0};
    uint8_t *want = malloc(len + 1);
    struct errmsg msg;

    assert_non_null(want);
    fill(want, len);
    assert_int_equal(file_read(path, len + 1, &got, &msg), 0);
    assert_int_equal(got.len, len);
    if (len > 0)
        assert_memory_equal(got.data, want, len);
    buf_close(&got);
    free(want);
}

static size_t count_files(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    size_t n = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        n += entry->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static void from_a_pipe(void **state)
{
    static const size_t lens[] = {0, 1, 4096, 10000000};
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    double sent = series("etcd_network_snapshot_send_success{To=\"2\"}");
    double received =
        series("etcd_network_snapshot_receive_success{From=\"1\"}");

    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct writer w = {0};
        struct raft_message m = snapshot_of(2, 100 + i);
        struct raft_message want = raft_message_copy(&m);
        int fd = start_writer(&w, lens[i]);

        peers_send_snapshot(a->peers, &m, fd, &w.complete);
        assert_null(m.snapshot);
        bed_until(bed, a->sent_ok + a->sent_failed == i + 1);
        assert_int_equal(pthread_join(w.thread, NULL), 0);
        assert_int_equal(a->sent_ok, i + 1);
        assert_int_equal(b->snapshots, i + 1);
        assert_message_equal(&b->snapshot, &want);
        assert_image(b->snapshot_path, lens[i]);
        raft_message_close(&want);
    }
    assert_non_null(strstr(b->snapshot_path, "/0000000000000067.snap.db"));
    assert_int_equal(count_files(b->snap_dir), 4);
    sent = series("etcd_network_snapshot_send_success{To=\"2\"}") - sent;
    received =
        series("etcd_network_snapshot_receive_success{From=\"1\"}") - received;
    /* At the first they weren't on the page yet. */
    assert_true(sent == 4 || sent == 5);
    assert_true(received == 4 || received == 5);
    assert_true(series("etcd_network_snapshot_send_inflights_total"
                       "{To=\"2\"}") == 0);
    assert_true(series("etcd_network_snapshot_receive_inflights_total"
                       "{From=\"1\"}") == 0);
}

static void from_a_file(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct raft_message m = snapshot_of(2, 7);
    size_t len = 1000000;
    uint8_t *data = malloc(len);
    char path[128];
    struct errmsg msg;

    fill(data, len);
    (void)snprintf(path, sizeof(path), "%s/image", bed->dir);
    assert_int_equal(file_write_atomic(path, data, len, 0600, &msg), 0);
    free(data);
    peers_send_snapshot(a->peers, &m, open(path, O_RDONLY | O_CLOEXEC), NULL);
    bed_until(bed, a->sent_ok == 1);
    assert_image(b->snapshot_path, len);
}

/* The same index twice: who says that the first one was any good? */
static void each_image_is_a_file_of_its_own(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    for (size_t i = 0; i < 2; i++) {
        struct writer w = {0};
        struct raft_message m = snapshot_of(2, 9);
        int fd = start_writer(&w, 5000 + i);
        peers_send_snapshot(a->peers, &m, fd, &w.complete);
        bed_until(bed, a->sent_ok == i + 1);
        assert_int_equal(pthread_join(w.thread, NULL), 0);
    }
    assert_int_equal(b->snapshots, 2);
    assert_image(b->snapshot_path, 5001);
    assert_int_equal(count_files(b->snap_dir), 1);
}

/* What the node finds in it is what its sender hears. */
static void a_refused_one_has_failed(void **state)
{
    static const char counted[] =
        "chorad_peer_refused_messages_total{reason=\"bad-database\"}";
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    b->refuses_databases = true;
    for (size_t i = 0; i < 3; i++) {
        struct writer w = {0};
        struct raft_message m = snapshot_of(2, 9);
        int fd = start_writer(&w, 5000);
        peers_send_snapshot(a->peers, &m, fd, &w.complete);
        bed_until(bed, a->sent_failed == i + 1);
        assert_int_equal(pthread_join(w.thread, NULL), 0);
    }
    assert_int_equal(a->sent_ok, 0);
    assert_true(series(counted) == 3);
}

/* One whose message can't be isn't even received. */
static void a_refused_message_brings_no_image(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct writer w = {0};
    struct raft_message m = snapshot_of(2, 9);

    b->refuses = "no-configuration";
    int fd = start_writer(&w, 10000000);
    peers_send_snapshot(a->peers, &m, fd, &w.complete);
    bed_until(bed, a->sent_failed == 1);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(b->snapshots, 0);
    assert_int_equal(count_files(b->snap_dir), 0);
}

static void what_broke_off_is_not_whole(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct writer w = {.breaks_off = true};
    struct raft_message m = snapshot_of(2, 9);
    int fd = start_writer(&w, 3000000);

    peers_send_snapshot(a->peers, &m, fd, &w.complete);
    bed_until(bed, a->sent_failed == 1);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    bed_until(bed, b->peers->download_count == 0);
    assert_int_equal(b->snapshots, 0);
    assert_int_equal(count_files(b->snap_dir), 0);
    bed_until(bed, a->unreachable[2] > 0);
}

static void a_writer_is_told_that_nobody_reads(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct writer w = {0};
    struct raft_message m = snapshot_of(2, 9);

    b->removed_id = 1;
    int fd = start_writer(&w, 30000000);
    peers_send_snapshot(a->peers, &m, fd, &w.complete);
    bed_until(bed, a->sent_failed == 1);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_true(atomic_load(&w.got_epipe));
    assert_int_equal(count_files(b->snap_dir), 0);
}

static void a_full_disk_is_an_error(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct writer w = {0};
    struct raft_message m = snapshot_of(2, 9);

    /* A directory that can't be made stands for one that can't be written. */
    free(b->peers->snap_dir);
    b->peers->snap_dir = mem_strdup("/proc/none/snap");
    int fd = start_writer(&w, 3000000);
    peers_send_snapshot(a->peers, &m, fd, &w.complete);
    bed_until(bed, a->sent_failed == 1);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_int_equal(b->snapshots, 0);
}

static void to_nobody_and_twice_is_refused(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct writer w[3] = {{0}, {0}, {0}};
    struct raft_message m = snapshot_of(9, 9);

    peers_send_snapshot(a->peers, &m, start_writer(&w[0], 10), NULL);
    assert_int_equal(a->sent_failed, 0);
    bed_until(bed, a->sent_failed == 1);
    m = snapshot_of(2, 9);
    peers_send_snapshot(a->peers, &m, start_writer(&w[1], 10000000), NULL);
    m = snapshot_of(2, 10);
    peers_send_snapshot(a->peers, &m, start_writer(&w[2], 10000000), NULL);
    bed_until(bed, a->sent_failed == 2 && a->sent_ok == 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
}

static void stopping_ends_both_sides(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct writer w = {.stalls = true};
    struct raft_message m = snapshot_of(2, 9);
    int fd = start_writer(&w, 1000000);

    peers_send_snapshot(a->peers, &m, fd, NULL);
    bed_until(bed, b->peers->download_count == 1);
    bed_run(bed, 20);
    member_stop(b);
    assert_int_equal(count_files(b->snap_dir), 0);
    bed_until(bed, a->sent_failed == 1);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    assert_true(atomic_load(&w.got_epipe));

    /* The sender stops. */
    member_start(b);
    w = (struct writer){.stalls = true};
    m = snapshot_of(2, 10);
    fd = start_writer(&w, 1000000);
    peers_send_snapshot(a->peers, &m, fd, NULL);
    bed_until(bed, b->peers->download_count == 1);
    member_stop(a);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
    bed_until(bed, b->peers->download_count == 0);
    assert_int_equal(count_files(b->snap_dir), 0);
}

static void a_removed_member_gets_none(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct writer w = {.stalls = true};
    struct raft_message m = snapshot_of(2, 9);
    int fd = start_writer(&w, 1000000);

    peers_send_snapshot(a->peers, &m, fd, NULL);
    bed_until(bed, b->peers->download_count == 1);
    peers_remove(a->peers, 2);
    assert_int_equal(a->sent_failed, 0);
    bed_until(bed, a->sent_failed == 1);
    assert_int_equal(pthread_join(w.thread, NULL), 0);
}

static void leftovers_are_removed(void **state)
{
    struct bed *bed = *state;
    struct member *b = bed_member(bed, 2);
    char path[256];
    struct errmsg msg;

    (void)snprintf(path, sizeof(path), "%s/tmpAbCdEf", b->snap_dir);
    assert_int_equal(file_write_atomic(path, "x", 1, 0600, &msg), 0);
    (void)snprintf(path, sizeof(path), "%s/0000000000000001.snap.db",
                   b->snap_dir);
    assert_int_equal(file_write_atomic(path, "x", 1, 0600, &msg), 0);
    member_stop(b);
    member_start(b);
    assert_int_equal(count_files(b->snap_dir), 1);
    assert_true(file_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_two, close_bed)
        TEST(from_a_pipe),
        TEST(from_a_file),
        TEST(each_image_is_a_file_of_its_own),
        TEST(a_refused_one_has_failed),
        TEST(a_refused_message_brings_no_image),
        TEST(what_broke_off_is_not_whole),
        TEST(a_writer_is_told_that_nobody_reads),
        TEST(a_full_disk_is_an_error),
        TEST(to_nobody_and_twice_is_refused),
        TEST(stopping_ends_both_sides),
        TEST(a_removed_member_gets_none),
        TEST(leftovers_are_removed),
    };

    /* As the program has it. */
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
