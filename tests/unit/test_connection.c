/* The connection layer over socketpairs, with a protocol that does what the
 * test asks for. */
#include "chorad/connection.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 10000
#define LARGE ((size_t)4 << 20)

/* What the protocol has seen; `lock` guards it. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned opened;
    unsigned closed;
    unsigned ended;
    unsigned drained;
    unsigned released;
    unsigned ran;
    struct connection *connection;
    struct shard *shard;
    bool takes_end; /* has an `end` of its own */
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .changed = PTHREAD_COND_INITIALIZER};

static uint8_t large[LARGE];

static void note(unsigned *n)
{
    pthread_mutex_lock(&seen.lock);
    (*n)++;
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void wait_for(const unsigned *n, unsigned want)
{
    struct timespec until;
    int rv = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&seen.lock);
    while (*n < want && rv == 0)
        rv = pthread_cond_timedwait(&seen.changed, &seen.lock, &until);
    pthread_mutex_unlock(&seen.lock);
    assert_int_equal(rv, 0);
}

static void released(void *owner)
{
    (void)owner;
    note(&seen.released);
}

static void *opened(struct connection *c, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&seen.lock);
    seen.connection = c;
    seen.shard = connection_shard(c);
    pthread_mutex_unlock(&seen.lock);
    note(&seen.opened);
    return c;
}

/* The first byte says what to do: echo what follows, send much, pause, finish
 * or abort. */
static void input(void *state, const uint8_t *data, size_t len)
{
    struct connection *c = state;

    switch (data[0]) {
    case 'e':
        connection_put(c, data + 1, len - 1);
        break;
    case 'l':
        for (size_t at = 0; at < LARGE; at += LARGE / 4)
            connection_put_ref(c, bytes_of(large + at, LARGE / 4), released,
                               NULL);
        connection_put(c, "end", 3);
        break;
    case 'p':
        connection_pause(c);
        connection_put(c, "paused", 6);
        break;
    case 'f':
        connection_put(c, "bye", 3);
        connection_finish(c);
        break;
    case 'a':
        connection_put(c, "lost", 4);
        connection_abort(c);
        break;
    default:
        break;
    }
    connection_want_output(c);
}

static bool output(void *state)
{
    (void)state;
    return false;
}

static void ended(void *state)
{
    struct connection *c = state;

    connection_put(c, "ended", 5);
    connection_finish(c);
    note(&seen.ended);
}

static void drained(void *state)
{
    connection_finish(state);
    note(&seen.drained);
}

static void closed(void *state)
{
    (void)state;
    note(&seen.closed);
}

static const struct connection_protocol plain = {.open = opened,
                                                 .input = input,
                                                 .output = output,
                                                 .drain = drained,
                                                 .closed = closed};
static const struct connection_protocol with_end = {.open = opened,
                                                    .input = input,
                                                    .output = output,
                                                    .end = ended,
                                                    .drain = drained,
                                                    .closed = closed};

struct fixture {
    struct shards *shards;
    int fd;
};

static int setup(void **state)
{
    static struct fixture f;
    struct shards_config config = {.n = 2, .name = "test"};

    memset((char *)&seen + offsetof(typeof(seen), opened), 0,
           sizeof(seen) - offsetof(typeof(seen), opened));
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (uint8_t)(i * 7 + i / 4096);
    f.shards = shards_open(&config);
    shards_start(f.shards);
    f.fd = -1;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->shards != NULL)
        shards_close(f->shards);
    if (f->fd >= 0)
        close(f->fd);
    assert_int_equal(seen.opened, seen.closed);
    return 0;
}

static int dial(struct fixture *f, const struct connection_protocol *protocol)
{
    int fds[2];
    int rv = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);

    assert_int_equal(rv, 0);
    shards_take(f->shards, fds[0], protocol, NULL);
    return fds[1];
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads exactly so much, within WAIT_MS. */
static void hear(int fd, uint8_t *to, size_t len)
{
    while (len > 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        n = read(fd, to, len);
        assert_true(n > 0);
        to += n;
        len -= (size_t)n;
    }
}

static void expect(int fd, const char *text)
{
    uint8_t got[64];

    hear(fd, got, strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void expect_end(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint8_t byte;

    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_true(read(fd, &byte, 1) <= 0);
}

/* ---- tests ----------------------------------------------------------- */

static void test_echo(void **state)
{
    struct fixture *f = *state;

    f->fd = dial(f, &plain);
    say(f->fd, "ehello");
    expect(f->fd, "hello");
    close(f->fd);
    f->fd = -1;
    wait_for(&seen.closed, 1);
}

/* More than the socket takes at once, with a reader that is late. */
static void test_large(void **state)
{
    struct fixture *f = *state;
    uint8_t *got = malloc(LARGE);

    f->fd = dial(f, &plain);
    say(f->fd, "l");
    wait_for(&seen.opened, 1);
    usleep(50000);
    hear(f->fd, got, LARGE);
    assert_memory_equal(got, large, LARGE);
    expect(f->fd, "end");
    wait_for(&seen.released, 4);
    free(got);
}

/* What wasn't sent is given back all the same. */
static void test_large_unread(void **state)
{
    struct fixture *f = *state;

    f->fd = dial(f, &plain);
    say(f->fd, "l");
    wait_for(&seen.opened, 1);
    usleep(20000);
    close(f->fd);
    f->fd = -1;
    wait_for(&seen.closed, 1);
    wait_for(&seen.released, 4);
}

static void test_finish(void **state)
{
    struct fixture *f = *state;

    f->fd = dial(f, &plain);
    say(f->fd, "f");
    expect(f->fd, "bye");
    expect_end(f->fd);
    say(f->fd, "still talking"); /* is thrown away, not reset at once */
    close(f->fd);
    f->fd = -1;
    wait_for(&seen.closed, 1);
}

static void test_abort(void **state)
{
    struct fixture *f = *state;

    f->fd = dial(f, &plain);
    say(f->fd, "a");
    expect_end(f->fd);
    wait_for(&seen.closed, 1);
}

static void test_end(void **state)
{
    struct fixture *f = *state;

    f->fd = dial(f, &with_end);
    say(f->fd, "e1");
    expect(f->fd, "1");
    assert_int_equal(shutdown(f->fd, SHUT_WR), 0);
    expect(f->fd, "ended");
    expect_end(f->fd);
    wait_for(&seen.ended, 1);
}

struct resume {
    struct shard_task task;
};

static void resume(struct shard_task *task)
{
    (void)task;
    connection_resume(seen.connection);
    note(&seen.ran);
}

static void test_pause(void **state)
{
    struct fixture *f = *state;
    struct resume r = {.task.run = resume};
    struct pollfd p;

    f->fd = dial(f, &plain);
    say(f->fd, "p");
    expect(f->fd, "paused");
    say(f->fd, "elater");
    p = (struct pollfd){.fd = f->fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 50), 0);
    shard_post(seen.shard, &r.task);
    expect(f->fd, "later");
    wait_for(&seen.ran, 1);
}

/* A client that leaves while nobody reads from it is found out. */
static void test_gone_while_paused(void **state)
{
    struct fixture *f = *state;

    f->fd = dial(f, &plain);
    say(f->fd, "p");
    expect(f->fd, "paused");
    close(f->fd);
    f->fd = -1;
    wait_for(&seen.closed, 1);
}

#define TASKS 1000

struct numbered {
    struct shard_task task;
    unsigned n;
};

static unsigned order[TASKS];

static void run_numbered(struct shard_task *task)
{
    struct numbered *t = container_of(task, struct numbered, task);

    order[seen.ran] = t->n;
    note(&seen.ran);
}

static void test_post(void **state)
{
    struct fixture *f = *state;
    static struct numbered tasks[TASKS];

    for (unsigned i = 0; i < TASKS; i++) {
        tasks[i] = (struct numbered){.task.run = run_numbered, .n = i};
        shard_post(shards_at(f->shards, 1), &tasks[i].task);
    }
    wait_for(&seen.ran, TASKS);
    for (unsigned i = 0; i < TASKS; i++)
        assert_int_equal(order[i], i);
}

static struct shard_timer timers[3];
static uint64_t fired_ns[3];

static void fire(struct shard_timer *timer)
{
    fired_ns[timer - timers] = clock_mono_ns();
    note(&seen.ran);
}

static uint64_t armed_ns;

static void arm(struct shard_task *task)
{
    struct shard *shard = seen.shard;

    (void)task;
    armed_ns = clock_mono_ns();
    for (int i = 0; i < 3; i++)
        shard_timer_init(&timers[i], fire);
    shard_timer_set(shard, &timers[0], armed_ns + 60000000);
    shard_timer_set(shard, &timers[1], armed_ns + 20000000);
    shard_timer_set(shard, &timers[2], armed_ns + 1000000);
    shard_timer_clear(shard, &timers[2]);
}

static void test_timers(void **state)
{
    struct fixture *f = *state;
    struct shard_task task = {.run = arm};

    seen.shard = shards_at(f->shards, 0);
    memset(fired_ns, 0, sizeof(fired_ns));
    shard_post(seen.shard, &task);
    wait_for(&seen.ran, 2);
    assert_true(fired_ns[1] >= armed_ns + 20000000);
    assert_true(fired_ns[0] >= armed_ns + 60000000);
    assert_true(fired_ns[1] <= fired_ns[0]);
    assert_int_equal(fired_ns[2], 0);
}

static void drain(struct shard_task *task)
{
    (void)task;
    shard_drain_connections(seen.shard);
    note(&seen.ran);
}

static void test_drain(void **state)
{
    struct fixture *f = *state;
    struct shard_task task = {.run = drain};
    int late;

    f->fd = dial(f, &plain);
    wait_for(&seen.opened, 1);
    shard_post(seen.shard, &task);
    wait_for(&seen.drained, 1);
    expect_end(f->fd);
    wait_for(&seen.ran, 1);
    /* One of the two shards takes nobody any more. */
    late = dial(f, &plain);
    close(late);
    late = dial(f, &plain);
    close(late);
    wait_for(&seen.opened, 2);
}

#define MANY 200

static void test_many(void **state)
{
    struct fixture *f = *state;
    int fds[MANY];

    for (int i = 0; i < MANY; i++)
        fds[i] = dial(f, &plain);
    for (int i = 0; i < MANY; i++)
        say(fds[i], "ex");
    for (int i = 0; i < MANY; i++)
        expect(fds[i], "x");
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    wait_for(&seen.closed, MANY);
}

/* Whoever is connected when the threads end is closed. */
static void test_close(void **state)
{
    struct fixture *f = *state;

    f->fd = dial(f, &plain);
    wait_for(&seen.opened, 1);
    shards_close(f->shards);
    f->shards = NULL;
    assert_int_equal(seen.closed, 1);
    expect_end(f->fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_echo),   TEST(test_large),
        TEST(test_finish), TEST(test_large_unread),
        TEST(test_abort),  TEST(test_end),
        TEST(test_pause),  TEST(test_gone_while_paused),
        TEST(test_post),   TEST(test_timers),
        TEST(test_drain),  TEST(test_many),
        TEST(test_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
