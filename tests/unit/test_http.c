/* HTTP over socketpairs, with a node that says what the test wants. The
 * functions of the modules below are defined here, so that those modules
 * aren't linked. */
#include "chorad/http.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the node ------------------------------------------------------------ */

static struct {
    uv_loop_t loop;
    struct node_status status;
    struct alarm alarms[4];
    size_t n_alarms;
    int read_err;
    bool barriers_pass;
    struct node_barrier *barrier; /* the one that waits */
    int readers;
} fake;

static struct node *const node = (struct node *)&fake;

uv_loop_t *node_loop(struct node *n)
{
    (void)n;
    return &fake.loop;
}

bool node_barrier(struct node *n, struct node_barrier *barrier)
{
    (void)n;
    if (fake.barriers_pass)
        return true;
    CHECK(fake.barrier == NULL);
    fake.barrier = barrier;
    return false;
}

struct node_status node_status(const struct node *n)
{
    (void)n;
    return fake.status;
}

struct mvcc *node_mvcc(struct node *n)
{
    (void)n;
    return NULL;
}

struct alarms *node_alarms(struct node *n)
{
    (void)n;
    return NULL;
}

void node_put_version(const struct node *n, struct buf *out)
{
    (void)n;
    buf_printf(out, "{\"the node\":\"says so\"}");
}

size_t alarms_list(const struct alarms *alarms, int32_t type, struct alarm *out,
                   size_t max)
{
    (void)alarms;
    assert_int_equal(type, ALARM_NONE);
    for (size_t i = 0; i < fake.n_alarms && i < max; i++)
        out[i] = fake.alarms[i];
    return fake.n_alarms;
}

bool alarms_active(const struct alarms *alarms, enum alarm_type type)
{
    (void)alarms;
    for (size_t i = 0; i < fake.n_alarms; i++) {
        if (fake.alarms[i].type == (int32_t)type)
            return true;
    }
    return false;
}

int mvcc_reader_open(struct mvcc *mvcc, struct mvcc_reader **out)
{
    (void)mvcc;
    *out = NULL;
    fake.readers++;
    return 0;
}

void mvcc_reader_close(struct mvcc_reader *reader)
{
    (void)reader;
    fake.readers--;
}

int mvcc_range(struct mvcc_reader *reader, const struct mvcc_range *range,
               mvcc_visit_cb visit, void *arg, struct mvcc_range_result *result)
{
    (void)reader;
    (void)range;
    (void)visit;
    (void)arg;
    (void)result;
    assert_int_equal(fake.readers, 1);
    return fake.read_err;
}

/* ---- a client -------------------------------------------------------------
 */

struct fixture {
    struct http *http;
    bool closed;
    int fd; /* the client's end */
    char answer[1 << 16];
    size_t len;
};

static struct fixture fixture;

static void open_http(const struct http_config *config)
{
    memset(&fake, 0, sizeof(fake));
    memset(&fixture, 0, sizeof(fixture));
    fake.status.leader = 1;
    fake.status.is_ready = true;
    fake.barriers_pass = true;
    assert_int_equal(uv_loop_init(&fake.loop), 0);
    fixture.http = http_open(config);
    fixture.fd = -1;
}

static int setup(void **state)
{
    struct http_config config = {.node = node};

    (void)state;
    open_http(&config);
    return 0;
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
{
    (void)state;
    if (fixture.fd >= 0)
        close(fixture.fd);
    if (!fixture.closed)
        http_close(fixture.http, on_closed, &fixture.closed);
    uv_run(&fake.loop, UV_RUN_DEFAULT);
    assert_true(fixture.closed);
    assert_int_equal(fake.readers, 0);
    assert_int_equal(uv_loop_close(&fake.loop), 0);
    return 0;
}

static void dial(enum http_surface surface)
{
    int fds[2];

    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
        0);
    if (fixture.fd >= 0)
        close(fixture.fd);
    fixture.fd = fds[0];
    http_add_connection(fixture.http, surface, fds[1]);
}

/* Lets the server work; appends what it has sent. False: it has hung up. */
static bool pump(void)
{
    for (int i = 0; i < 20; i++) {
        uv_run(&fake.loop, UV_RUN_NOWAIT);
        ssize_t n = recv(fixture.fd, fixture.answer + fixture.len,
                         sizeof(fixture.answer) - 1 - fixture.len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        if (n > 0)
            fixture.len += (size_t)n;
        fixture.answer[fixture.len] = '\0';
    }
    return true;
}

static void send_text(const char *text)
{
    fixture.len = 0;
    fixture.answer[0] = '\0';
    assert_int_equal(send(fixture.fd, text, strlen(text), MSG_NOSIGNAL),
                     strlen(text));
    pump();
}

/* "METHOD /path", with further headers, each ended by \r\n. */
static void ask_with(const char *line, const char *headers)
{
    char *text = mem_printf("%s HTTP/1.1\r\n%s\r\n", line, headers);

    send_text(text);
    free(text);
}

static void ask(const char *line)
{
    ask_with(line, "Host: a\r\n");
}

static int status(void)
{
    return fixture.len > 12 ? atoi(fixture.answer + 9) : 0;
}

static const char *body(void)
{
    const char *end = strstr(fixture.answer, "\r\n\r\n");

    return end != NULL ? end + 4 : "";
}

static void expect(int wanted, const char *text)
{
    assert_int_equal(status(), wanted);
    assert_string_equal(body(), text);
}

static bool has_header(const char *line)
{
    char *wanted = mem_printf("\r\n%s\r\n", line);
    bool there = strstr(fixture.answer, wanted) != NULL;

    free(wanted);
    return there;
}

/* ---- tests ----------------------------------------------------------------
 */

#define HEALTHY "{\"health\":\"true\",\"reason\":\"\"}"
#define UNHEALTHY(reason) "{\"health\":\"false\",\"reason\":\"" reason "\"}\n"

static void test_health(void **state)
{
    (void)state;
    dial(HTTP_CLIENT);
    ask("GET /health");
    expect(200, HEALTHY);
    assert_true(has_header("Content-Type: text/plain; charset=utf-8"));
    assert_true(has_header("Access-Control-Allow-Origin: *"));
    fake.read_err = ERR_CORRUPT;
    ask("GET /health");
    expect(503, UNHEALTHY("RANGE ERROR:data is damaged"));
    assert_true(has_header("X-Content-Type-Options: nosniff"));
    fake.read_err = 0;
    fake.status.leader = 0;
    ask("GET /health");
    expect(503, UNHEALTHY("RAFT NO LEADER"));
    ask("GET /health?serializable=true");
    expect(200, HEALTHY);
    ask("GET /health?serializable=false&serializable=true");
    expect(503, UNHEALTHY("RAFT NO LEADER"));
    fake.status.leader = 1;
    fake.status.is_ready = false;
    ask("GET /health");
    expect(503, UNHEALTHY("NOT READY"));
    ask("GET /health?serializable=true");
    expect(200, HEALTHY);
    ask("POST /health");
    expect(405, "Method Not Allowed\n");
    assert_true(has_header("Allow: GET"));
}

static void test_alarms(void **state)
{
    (void)state;
    dial(HTTP_CLIENT);
    fake.alarms[0] = (struct alarm){.member_id = 1, .type = ALARM_NOSPACE};
    fake.n_alarms = 1;
    ask("GET /health");
    expect(503, UNHEALTHY("ALARM NOSPACE"));
    ask("GET /health?exclude=CORRUPT&exclude=NOSPACE");
    expect(200, HEALTHY);
    ask("GET /readyz");
    expect(200, "ok\n");
    fake.alarms[1] = (struct alarm){.member_id = 1, .type = ALARM_CORRUPT};
    fake.n_alarms = 2;
    ask("GET /health?exclude=NOSPACE");
    expect(503, UNHEALTHY("ALARM CORRUPT"));
    ask("GET /readyz/data_corruption");
    expect(503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n");
    ask("GET /livez");
    expect(200, "ok\n");
    fake.alarms[0].type = 77;
    ask("GET /health?exclude=CORRUPT&exclude=77");
    expect(503, UNHEALTHY("ALARM UNKNOWN"));
}

static void add_idle(enum http_surface surface)
{
    int fds[2];

    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
        0);
    http_add_connection(fixture.http, surface, fds[1]);
    close(fds[0]);
}

static void finish_barrier(int err)
{
    struct node_barrier *barrier = fake.barrier;

    assert_non_null(barrier);
    fake.barrier = NULL;
    barrier->err = err;
    barrier->done(barrier);
    /* A connection that comes before the loop goes on changes nothing. */
    add_idle(HTTP_CLIENT);
    pump();
}

/* The answer waits for the barrier, what was sent after it waits for the
 * answer, and other connections don't. */
static void test_barrier(void **state)
{
    struct fixture other;

    (void)state;
    fake.barriers_pass = false;
    dial(HTTP_CLIENT);
    ask("GET /health");
    assert_int_equal(fixture.len, 0);
    other = fixture;
    fixture.fd = -1;
    dial(HTTP_METRICS);
    ask("GET /livez");
    expect(200, "ok\n");
    close(fixture.fd);
    fixture = other;
    finish_barrier(0);
    expect(200, HEALTHY);
    ask("GET /health");
    finish_barrier(ERR_TIMEOUT);
    expect(503, UNHEALTHY("RANGE ERROR:etcdserver: request timed out"));
    ask("GET /readyz?exclude=non_learner");
    finish_barrier(ERR_TIMEOUT);
    expect(503, "[+]data_corruption ok\n[+]serializable_read ok\n"
                "[-]linearizable_read failed: etcdserver: request timed out\n"
                "\n");
    ask("GET /readyz?verbose&exclude=linearizable_read");
    assert_null(fake.barrier);
    assert_int_equal(status(), 200);
}

/* The barrier comes back when the request is gone. */
static void test_close_while_waiting(void **state)
{
    (void)state;
    fake.barriers_pass = false;
    dial(HTTP_CLIENT);
    ask("GET /health");
    assert_non_null(fake.barrier);
    http_close(fixture.http, on_closed, &fixture.closed);
    uv_run(&fake.loop, UV_RUN_DEFAULT);
    assert_true(fixture.closed);
    assert_false(pump());
    assert_int_equal(fixture.len, 0);
    fake.barrier->err = ERR_STOPPED;
    fake.barrier->done(fake.barrier);
}

static void test_surfaces(void **state)
{
    (void)state;
    dial(HTTP_METRICS);
    ask("GET /version");
    expect(404, "404 page not found\n");
    assert_false(has_header("Access-Control-Allow-Origin: *"));
    ask("OPTIONS /health");
    expect(405, "Method Not Allowed\n");
    ask("GET /readyz/non_learner?verbose");
    expect(200, "[+]non_learner ok\nok\n");
    ask("GET /metrics");
    assert_int_equal(status(), 200);
    assert_non_null(strstr(body(), "\nprocess_open_fds "));
    dial(HTTP_CLIENT);
    ask("GET /version");
    expect(200, "{\"the node\":\"says so\"}");
    ask("OPTIONS /anything");
    expect(200, "");
    ask("GET /readyz/nothing");
    expect(404, "404 page not found\n");
}

static void test_access(void **state)
{
    static const char *const cors[] = {"http://good"};
    static const char *const hosts[] = {"a", "b"};
    struct http_config config = {
        .node = node, .cors = cors, .n_cors = 1, .hosts = hosts, .n_hosts = 2};

    (void)state;
    teardown(state);
    open_http(&config);
    dial(HTTP_CLIENT);
    ask_with("GET /health", "Host: b:2379\r\nOrigin: http://good\r\n");
    expect(200, HEALTHY);
    assert_true(has_header("Access-Control-Allow-Origin: http://good"));
    ask_with("GET /health", "Host: a\r\nOrigin: http://bad\r\n");
    expect(200, HEALTHY);
    assert_null(strstr(fixture.answer, "Access-Control"));
    ask_with("GET /health", "Host: c\r\nOrigin: http://good\r\n");
    assert_int_equal(status(), 421);
    assert_null(strstr(fixture.answer, "Access-Control"));
}

static void test_limits(void **state)
{
    char *headers = mem_zalloc(100000);
    int size = 1 << 18;

    (void)state;
    dial(HTTP_CLIENT);
    ask_with("GET /health", "");
    assert_int_equal(status(), 400);
    dial(HTTP_CLIENT);
    setsockopt(fixture.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    memset(headers, 'x', 90000);
    memcpy(headers, "A: ", 3);
    strcpy(headers + 90000, "\r\n");
    ask_with("GET /health", headers);
    assert_int_equal(status(), 431);
    dial(HTTP_CLIENT);
    setsockopt(fixture.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ask_with("POST /nothing", "Host: a\r\nContent-Length: 5\r\n\r\n12345");
    expect(404, "404 page not found\n");
    dial(HTTP_CLIENT);
    setsockopt(fixture.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    ask_with("POST /nothing", "Host: a\r\nContent-Length: 90000\r\n");
    assert_int_equal(send(fixture.fd, headers, 90000, MSG_NOSIGNAL), 90000);
    assert_false(pump());
    assert_int_equal(fixture.len, 0);
    free(headers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_health, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alarms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_barrier, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_while_waiting, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_surfaces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_access, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
