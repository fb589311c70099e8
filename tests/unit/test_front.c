/* The front on a real loop with real sockets. */
#include "chorad/front.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct fixture {
    uv_loop_t loop;
    struct front *front;
    unsigned rpc;
    unsigned http;
    int fd; /* the last one handed over */
    bool closed;
};

static void on_rpc(void *arg, int fd)
{
    struct fixture *f = arg;

    f->rpc++;
    f->fd = fd;
}

static void on_http(void *arg, int fd)
{
    struct fixture *f = arg;

    f->http++;
    f->fd = fd;
}

static void open_front(struct fixture *f, const struct front_config *config)
{
    struct front_config c = *config;

    c.loop = &f->loop;
    f->front = front_open(&c);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    CHECK(uv_loop_init(&f->loop) == 0);
    *state = f;
    return 0;
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    front_close(f->front, on_closed, &f->closed);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

static void wake(uv_timer_t *timer)
{
    (void)timer;
}

/* Runs the loop until *count is `want`, or `ms` are over. */
static void run_until(struct fixture *f, const unsigned *count, unsigned want,
                      unsigned ms)
{
    uint64_t until = clock_mono_ns() + (uint64_t)ms * 1000000u;
    uv_timer_t timer;

    (void)uv_timer_init(&f->loop, &timer);
    (void)uv_timer_start(&timer, wake, 1, 5);
    while ((count == NULL || *count < want) && clock_mono_ns() < until)
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

static int connect_port(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    return fd;
}

static void listen_both(struct fixture *f, const char *url)
{
    const struct front_target both = {on_rpc, on_http, f};
    struct errmsg msg = {""};

    assert_int_equal(front_listen(f->front, url, &both, &msg), 0);
}

static void send_text(int fd, const char *text)
{
    CHECK(send(fd, text, strlen(text), 0) == (ssize_t)strlen(text));
}

/* What was handed over is whole, non-blocking and without delay. */
static void assert_handed(struct fixture *f, const char *text)
{
    char got[64] = "";
    int on = 0;
    socklen_t len = sizeof(on);

    assert_int_equal(recv(f->fd, got, sizeof(got) - 1, 0), strlen(text));
    assert_string_equal(got, text);
    assert_true(fcntl(f->fd, F_GETFL) & O_NONBLOCK);
    if (getsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0)
        assert_int_not_equal(on, 0);
    (void)close(f->fd);
}

static void test_tells_apart(void **state)
{
    struct fixture *f = *state;
    int rpc, http;

    open_front(f, &(struct front_config){0});
    listen_both(f, "http://127.0.0.1:0");
    rpc = connect_port(front_port(f->front, 0));
    send_text(rpc, PREFACE);
    run_until(f, &f->rpc, 1, 2000);
    assert_int_equal(f->rpc, 1);
    assert_handed(f, PREFACE);
    http = connect_port(front_port(f->front, 0));
    run_until(f, NULL, 0, 20);
    assert_int_equal(front_waiting(f->front), 1);
    send_text(http, "GET / HTTP/1.1\r\n\r\n");
    run_until(f, &f->http, 1, 2000);
    assert_int_equal(f->http, 1);
    assert_int_equal(f->rpc, 1);
    assert_handed(f, "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(front_waiting(f->front), 0);
    (void)close(rpc);
    (void)close(http);
}

static double cpu_seconds(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) /
               1e6;
}

static void test_partial_preface(void **state)
{
    struct fixture *f = *state;
    double before;
    int rpc, http;

    open_front(f, &(struct front_config){0});
    listen_both(f, "http://127.0.0.1:0");
    rpc = connect_port(front_port(f->front, 0));
    http = connect_port(front_port(f->front, 0));
    send_text(rpc, "PRI * ");
    send_text(http, "P");
    before = cpu_seconds();
    run_until(f, NULL, 0, 300);
    /* It waits, and doesn't spin while it does. */
    assert_true(cpu_seconds() - before < 0.15);
    assert_int_equal(front_waiting(f->front), 2);
    send_text(rpc, "HTTP/2.0\r\n\r\nSM\r\n\r\n");
    run_until(f, &f->rpc, 1, 2000);
    assert_int_equal(f->rpc, 1);
    assert_handed(f, PREFACE);
    send_text(http, "UT / HTTP/1.1\r\n\r\n");
    run_until(f, &f->http, 1, 2000);
    assert_int_equal(f->http, 1);
    assert_handed(f, "PUT / HTTP/1.1\r\n\r\n");
    (void)close(rpc);
    (void)close(http);
}

static bool is_closed(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

static void test_silent_is_closed(void **state)
{
    struct fixture *f = *state;
    int silent, partial, gone;

    open_front(f, &(struct front_config){.first_bytes_ms = 100});
    listen_both(f, "http://127.0.0.1:0");
    silent = connect_port(front_port(f->front, 0));
    partial = connect_port(front_port(f->front, 0));
    send_text(partial, "PRI");
    gone = connect_port(front_port(f->front, 0));
    (void)close(gone);
    run_until(f, NULL, 0, 50);
    assert_int_equal(front_waiting(f->front), 2);
    assert_false(is_closed(silent));
    run_until(f, NULL, 0, 150);
    assert_int_equal(front_waiting(f->front), 0);
    assert_true(is_closed(silent));
    assert_int_equal(f->rpc + f->http, 0);
    (void)close(silent);
    (void)close(partial);
}

#define MANY 2000

static void test_many_wait(void **state)
{
    struct fixture *f = *state;
    int fds[MANY];

    (void)front_raise_fd_limit();
    open_front(f, &(struct front_config){.waiting_max = MANY - 10});
    listen_both(f, "http://127.0.0.1:0");
    for (unsigned i = 0; i < MANY; i++) {
        fds[i] = connect_port(front_port(f->front, 0));
        if (i % 100 == 0)
            run_until(f, NULL, 0, 2);
    }
    run_until(f, NULL, 0, 100);
    assert_int_equal(front_waiting(f->front), MANY - 10);
    send_text(fds[MANY - 1], PREFACE);
    run_until(f, &f->rpc, 1, 2000);
    assert_int_equal(f->rpc, 1);
    assert_handed(f, PREFACE);
    for (unsigned i = 0; i < MANY; i++)
        (void)close(fds[i]);
    run_until(f, NULL, 0, 100);
    assert_int_equal(front_waiting(f->front), 0);
}

/* Out of descriptors: it goes on once there are some again. */
static void test_no_descriptors(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    double cpu;
    int fd, next;

    open_front(f, &(struct front_config){0});
    listen_both(f, "http://127.0.0.1:0");
    fd = connect_port(front_port(f->front, 0));
    send_text(fd, PREFACE);
    next = dup(fd);
    (void)close(next);
    (void)getrlimit(RLIMIT_NOFILE, &before);
    none = (struct rlimit){(rlim_t)next, before.rlim_max};
    (void)setrlimit(RLIMIT_NOFILE, &none);
    cpu = cpu_seconds();
    run_until(f, &f->rpc, 1, 300);
    (void)setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(f->rpc, 0);
    assert_true(cpu_seconds() - cpu < 0.15);
    run_until(f, &f->rpc, 1, 2000);
    assert_int_equal(f->rpc, 1);
    assert_handed(f, PREFACE);
    (void)close(fd);
}

static void test_one_target(void **state)
{
    struct fixture *f = *state;
    const struct front_target rpc_only = {.rpc = on_rpc, .arg = f};
    const struct front_target http_only = {.http = on_http, .arg = f};
    struct errmsg msg;
    int a, b;

    open_front(f, &(struct front_config){0});
    assert_int_equal(
        front_listen(f->front, "http://127.0.0.1:0", &rpc_only, &msg), 0);
    assert_int_equal(
        front_listen(f->front, "http://localhost:0", &http_only, &msg), 0);
    a = connect_port(front_port(f->front, 0));
    run_until(f, &f->rpc, 1, 2000);
    assert_int_equal(f->rpc, 1);
    (void)close(f->fd);
    b = connect_port(front_port(f->front, 1));
    run_until(f, &f->http, 1, 2000);
    assert_int_equal(f->http, 1);
    (void)close(f->fd);
    (void)close(a);
    (void)close(b);
}

static void test_unix(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;
    char dir[] = "/tmp/test_front_XXXXXX";
    char *url;
    int fd, old;

    CHECK(mkdtemp(dir) != NULL);
    (void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
    /* As a killed member leaves it. */
    old = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(old, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    (void)close(old);
    open_front(f, &(struct front_config){0});
    url = mem_printf("unix://%s", addr.sun_path);
    listen_both(f, url);
    free(url);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    send_text(fd, PREFACE);
    run_until(f, &f->rpc, 1, 2000);
    assert_int_equal(f->rpc, 1);
    assert_handed(f, PREFACE);
    (void)close(fd);
    front_close(f->front, NULL, NULL);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_not_equal(stat(addr.sun_path, &st), 0);
    (void)rmdir(dir);
    open_front(f, &(struct front_config){0});
}

static void test_bad_urls(void **state)
{
    static const char *const urls[] = {
        "",
        "127.0.0.1:1",
        "http://127.0.0.1",
        "http://127.0.0.1:",
        "http://127.0.0.1:x",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:1/path",
        "http://[::1:1",
        "http://no.such.host.invalid:1",
        "ftp://127.0.0.1:1",
        "unix://",
    };
    struct fixture *f = *state;
    const struct front_target both = {on_rpc, on_http, f};
    struct errmsg msg;
    char *url;

    open_front(f, &(struct front_config){0});
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
        assert_int_equal(front_listen(f->front, urls[i], &both, &msg),
                         ERR_INVALID);
    assert_int_equal(front_listen(f->front, "https://127.0.0.1:1", &both, &msg),
                     ERR_UNSUPPORTED);
    listen_both(f, "http://127.0.0.1:0");
    url = mem_printf("http://127.0.0.1:%u", front_port(f->front, 0));
    assert_int_equal(front_listen(f->front, url, &both, &msg), ERR_BUSY);
    assert_non_null(strstr(msg.text, "address already in use"));
    free(url);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6,
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

    (void)close(fd);
    return has;
}

/* -1 if it is refused. */
static int connect_port6(uint16_t port)
{
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6,
                                .sin6_port = htons(port),
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);

    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* The connection is handed over, as what its first bytes say. */
static void assert_taken(struct fixture *f, int fd)
{
    unsigned before = f->rpc;

    assert_true(fd >= 0);
    send_text(fd, PREFACE);
    run_until(f, &f->rpc, before + 1, 2000);
    assert_handed(f, PREFACE);
    (void)close(fd);
}

static void test_all_addresses(void **state)
{
    static const char *const urls[] = {"http://[::]:0", "http://0.0.0.0:0",
                                       "http://:0",
                                       "http://[::ffff:0.0.0.0]:0"};
    struct fixture *f = *state;

    open_front(f, &(struct front_config){0});
    if (!has_ipv6())
        skip();
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        listen_both(f, urls[i]);
        assert_taken(f, connect_port6(front_port(f->front, i)));
        assert_taken(f, connect_port(front_port(f->front, i)));
    }
}

static void test_one_family(void **state)
{
    struct fixture *f = *state;

    open_front(f, &(struct front_config){0});
    if (!has_ipv6())
        skip();
    listen_both(f, "http://127.0.0.1:0");
    assert_int_equal(connect_port6(front_port(f->front, 0)), -1);
    assert_taken(f, connect_port(front_port(f->front, 0)));
    listen_both(f, "http://[::1]:0");
    assert_taken(f, connect_port6(front_port(f->front, 1)));
}

/* Sockets of IPv6 can't be had any more by this process. */
static void lose_ipv6(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* In a process of its own; each step that fails has its exit code. */
static int listen_without_ipv6(struct fixture *f)
{
    const struct front_target both = {on_rpc, on_http, f};
    struct errmsg msg = {""};

    lose_ipv6();
    if (socket(AF_INET6, SOCK_STREAM, 0) >= 0)
        return 1;
    if (front_listen(f->front, "http://0.0.0.0:0", &both, &msg) != 0)
        return 2;
    send_text(connect_port(front_port(f->front, 0)), PREFACE);
    run_until(f, &f->rpc, 1, 2000);
    if (f->rpc != 1)
        return 3;
    return front_listen(f->front, "http://[::]:0", &both, &msg) == 0 ? 4 : 0;
}

static void test_without_ipv6(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t pid;

    open_front(f, &(struct front_config){0});
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(listen_without_ipv6(f));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_tells_apart),
        TEST(test_partial_preface),
        TEST(test_silent_is_closed),
        TEST(test_many_wait),
        TEST(test_no_descriptors),
        TEST(test_one_target),
        TEST(test_unix),
        TEST(test_bad_urls),
        TEST(test_all_addresses),
        TEST(test_one_family),
        TEST(test_without_ipv6),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
