/* Clients of HTTP/2 that do too much of something, frame by frame over a
 * socketpair: their connection ends with ENHANCE_YOUR_CALM, soon enough, and
 * one that stays below the bounds is served. */
#include "chorad/rpc.h"

#include "chorad/base/check.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 2000
#define ENHANCE_YOUR_CALM 11

enum frame_type {
    DATA = 0,
    HEADERS = 1,
    PRIORITY = 2,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    WINDOW_UPDATE = 8,
    UNKNOWN = 0xee,
};

/* ---- a service ------------------------------------------------------- */

static void open_echo(struct rpc_call *call)
{
    rpc_reply_copy(call, call->request);
}

static void open_stream(struct rpc_call *call)
{
    (void)call;
}

static void on_message(struct rpc_call *call, struct bytes message)
{
    rpc_send_copy(call, message);
}

static void on_done(struct rpc_call *call)
{
    (void)call;
}

static const struct rpc_method methods[] = {
    {.name = "Echo", .kind = RPC_UNARY, .open = open_echo},
    {.name = "Bidi",
     .kind = RPC_BIDI,
     .open = open_stream,
     .on_message = on_message,
     .on_done = on_done},
};
static const struct rpc_service service = {
    .name = "t.S", .methods = methods, .n = 2, .preset_metrics = true};
static const struct rpc_service *const services[] = {&service, NULL};

/* ---- a client -------------------------------------------------------- */

struct client {
    struct rpc_server *server;
    int fd;
    struct buf out;
    struct buf in;
    bool gone;        /* the server has closed */
    uint32_t goaway;  /* its code; UINT32_MAX: none came */
    char debug[64];   /* and its text */
    unsigned answers; /* DATA frames with something in them */
};

static void put_frame(struct client *c, uint8_t type, uint8_t flags,
                      uint32_t stream, const void *payload, size_t len)
{
    uint8_t head[9] = {(uint8_t)(len >> 16),
                       (uint8_t)(len >> 8),
                       (uint8_t)len,
                       type,
                       flags,
                       (uint8_t)(stream >> 24),
                       (uint8_t)(stream >> 16),
                       (uint8_t)(stream >> 8),
                       (uint8_t)stream};

    buf_append(&c->out, head, sizeof(head));
    if (len > 0)
        buf_append(&c->out, payload, len);
}

/* POST to a method, in HPACK's literals without indexing. */
static void put_request(struct client *c, uint32_t stream, const char *path,
                        bool end)
{
    static const uint8_t fixed[] = {0x83,
                                    0x86}; /* :method POST, :scheme http */
    static const char type[] = "application/grpc";
    struct buf block = {0};
    uint8_t len;

    buf_append(&block, fixed, sizeof(fixed));
    len = (uint8_t)strlen(path);
    buf_append(&block, "\x04", 1); /* :path */
    buf_append(&block, &len, 1);
    buf_append(&block, path, len);
    buf_append(&block, "\x01\x01x", 3); /* :authority x */
    len = sizeof(type) - 1;
    buf_append(&block, "\x0f\x10", 2); /* content-type */
    buf_append(&block, &len, 1);
    buf_append(&block, type, len);
    put_frame(c, HEADERS, (uint8_t)(4 | (end ? 1 : 0)), stream, block.data,
              block.len);
    buf_close(&block);
}

static void put_message(struct client *c, uint32_t stream, const char *text,
                        bool end)
{
    uint8_t message[64] = {0};
    size_t len = strlen(text);

    message[4] = (uint8_t)len;
    memcpy(message + 5, text, len);
    put_frame(c, DATA, end ? 1 : 0, stream, message, 5 + len);
}

static void take_frame(struct client *c, const uint8_t *frame, size_t len)
{
    if (frame[3] == DATA && len > 0)
        c->answers++;
    if (frame[3] != GOAWAY || len < 8)
        return;
    c->goaway = (uint32_t)frame[13] << 24 | (uint32_t)frame[14] << 16 |
                (uint32_t)frame[15] << 8 | frame[16];
    len -= 8;
    if (len >= sizeof(c->debug))
        len = sizeof(c->debug) - 1;
    memcpy(c->debug, frame + 17, len);
    c->debug[len] = '\0';
}

static void take_frames(struct client *c)
{
    size_t at = 0;

    while (c->in.len - at >= 9) {
        const uint8_t *frame = c->in.data + at;
        size_t len =
            (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | (size_t)frame[2];

        if (c->in.len - at < 9 + len)
            break;
        take_frame(c, frame, len);
        at += 9 + len;
    }
    memmove(c->in.data, c->in.data + at, c->in.len - at);
    c->in.len -= at;
}

static void read_some(struct client *c)
{
    ssize_t n = recv(c->fd, buf_reserve(&c->in, 65536), 65536, MSG_DONTWAIT);

    if (n > 0) {
        c->in.len += (size_t)n;
        take_frames(c);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        c->gone = true;
    }
}

/* Sends what has been put, reading meanwhile. */
static void push(struct client *c)
{
    size_t at = 0;

    while (at < c->out.len && !c->gone) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN | POLLOUT};
        ssize_t n;

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        if ((p.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            read_some(c);
        n = send(c->fd, c->out.data + at, c->out.len - at,
                 MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            at += (size_t)n;
        else if (errno != EAGAIN)
            break;
    }
    c->out.len = 0;
}

static void read_until_gone(struct client *c)
{
    while (!c->gone) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        read_some(c);
    }
}

static void read_answers(struct client *c, unsigned want)
{
    while (!c->gone && c->answers < want) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        read_some(c);
    }
    if (c->answers != want)
        fail_msg("%u answers of %u, GOAWAY %u", c->answers, want, c->goaway);
}

static int setup(void **state)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static struct client client;
    struct client *c = &client;
    struct rpc_config config = {.services = services,
                                .shards = 1,
                                .max_recv_bytes = 1 << 20,
                                .max_concurrent_streams = UINT32_MAX,
                                .keepalive_min_ms = 0};
    int fds[2];

    memset(c, 0, sizeof(*c));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
                     0);
    c->server = rpc_start(&config);
    rpc_add_connection(c->server, fds[0]);
    c->fd = fds[1];
    c->goaway = UINT32_MAX;
    buf_append(&c->out, preface, sizeof(preface) - 1);
    put_frame(c, SETTINGS, 0, 0, NULL, 0);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct client *c = *state;

    close(c->fd);
    rpc_stop(c->server, 1000);
    buf_close(&c->in);
    buf_close(&c->out);
    return 0;
}

/* ---- floods ---------------------------------------------------------- */

static uint32_t next_stream(unsigned i)
{
    return 2 * i + 1;
}

static void flood_reset(struct client *c, unsigned i)
{
    put_request(c, next_stream(i), "/t.S/Echo", false);
    put_frame(c, RST_STREAM, 0, next_stream(i), "\0\0\0\x08", 4);
}

static void flood_reset_bodies(struct client *c, unsigned i)
{
    put_request(c, next_stream(i), "/t.S/Echo", false);
    put_message(c, next_stream(i), "hello", true);
    put_frame(c, RST_STREAM, 0, next_stream(i), "\0\0\0\x08", 4);
}

/* Only while a stream is open: without one the second ping is too many. */
static void flood_ping(struct client *c, unsigned i)
{
    if (i == 0)
        put_request(c, 1, "/t.S/Bidi", false);
    put_frame(c, PING, 0, 0, "12345678", 8);
}

static void flood_settings(struct client *c, unsigned i)
{
    (void)i;
    put_frame(c, SETTINGS, 0, 0, NULL, 0);
}

static void flood_empty_data(struct client *c, unsigned i)
{
    if (i == 0)
        put_request(c, 1, "/t.S/Bidi", false);
    put_frame(c, DATA, 0, 1, NULL, 0);
}

static void flood_priority(struct client *c, unsigned i)
{
    put_frame(c, PRIORITY, 0, next_stream(i % 1000), "\0\0\0\0\x10", 5);
}

static void flood_window_update(struct client *c, unsigned i)
{
    (void)i;
    put_frame(c, WINDOW_UPDATE, 0, 0, "\0\0\0\x01", 4);
}

static void flood_unknown(struct client *c, unsigned i)
{
    (void)i;
    put_frame(c, UNKNOWN, 0, 0, "what?", 5);
}

/* Trailers on a stream that is open, again and again. */
static void flood_headers(struct client *c, unsigned i)
{
    if (i % 2 == 0)
        put_request(c, next_stream(i / 2), "/t.S/Bidi", false);
    else
        put_frame(c, HEADERS, 5, next_stream(i / 2), "\x00\x01x\x01y", 5);
}

struct flood {
    const char *name;
    void (*once)(struct client *c, unsigned i);
    unsigned fine;    /* so many are nobody's business */
    unsigned at_most; /* before the connection has ended */
};

static const struct flood floods[] = {
    {"reset", flood_reset, 1000, 20000},
    {"reset with bodies", flood_reset_bodies, 1000, 20000},
    {"ping", flood_ping, 500, 20000},
    {"settings", flood_settings, 100, 5000},
    {"empty data", flood_empty_data, 500, 20000},
    {"priority", flood_priority, 5000, 100000},
    {"window update", flood_window_update, 10000, 200000},
    {"unknown", flood_unknown, 500, 20000},
    {"headers", flood_headers, 500, 40000},
};

static void play(struct client *c, const struct flood *flood)
{
    unsigned i = 0;

    for (; i < flood->fine; i++)
        flood->once(c, i);
    push(c);
    if (c->gone || c->goaway != UINT32_MAX)
        fail_msg("%s: ended after %u already", flood->name, flood->fine);
    for (; i < flood->at_most && !c->gone && c->goaway == UINT32_MAX; i++) {
        flood->once(c, i);
        if (c->out.len > 32768)
            push(c);
    }
    push(c);
    if (!c->gone)
        read_until_gone(c);
    if (c->goaway != ENHANCE_YOUR_CALM)
        fail_msg("%s: GOAWAY %u after %u", flood->name, c->goaway, i);
}

static void test_floods(void **state)
{
    for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
        if (i > 0)
            assert_int_equal(setup(state), 0);
        print_message("%s\n", floods[i].name);
        play(*state, &floods[i]);
        if (i + 1 < sizeof(floods) / sizeof(floods[0]))
            assert_int_equal(teardown(state), 0);
    }
}

/* ---- what isn't abuse ------------------------------------------------ */

static void test_served(void **state)
{
    struct client *c = *state;

    for (unsigned i = 0; i < 5000; i++) {
        put_request(c, next_stream(i), "/t.S/Echo", false);
        put_message(c, next_stream(i), "hello", true);
        if (i % 100 == 99)
            push(c);
    }
    push(c);
    read_answers(c, 5000);
    assert_int_equal(c->goaway, UINT32_MAX);
}

/* Pings without a stream and with nothing sent in between. */
static void test_too_many_pings(void **state)
{
    struct client *c = *state;

    for (unsigned i = 0; i < 8; i++)
        put_frame(c, PING, 0, 0, "12345678", 8);
    push(c);
    read_until_gone(c);
    assert_int_equal(c->goaway, ENHANCE_YOUR_CALM);
    assert_string_equal(c->debug, "too_many_pings");
}

/* A message in pieces of a byte. */
static void test_small_pieces(void **state)
{
    struct client *c = *state;
    static const uint8_t message[] = {0, 0, 0, 0, 3, 'a', 'b', 'c'};

    put_request(c, 1, "/t.S/Echo", false);
    for (size_t i = 0; i < sizeof(message); i++)
        put_frame(c, DATA, i + 1 == sizeof(message) ? 1 : 0, 1, &message[i], 1);
    push(c);
    read_answers(c, 1);
}

/* Header blocks over the bound: the stream ends, the connection goes on; far
 * over it, the connection ends. */
static void put_long_block(struct client *c, uint32_t stream, unsigned fields)
{
    struct buf block = {0};
    uint8_t value[2 + 2 + 4000];

    memset(value, 'v', sizeof(value));
    buf_append(&block, "\x83\x86\x04\x09/t.S/Echo", 13);
    for (unsigned i = 0; i < fields; i++) {
        /* x: 4000 times v; the length is 127 and two bytes more */
        buf_append(&block, "\x00\x01x\x7f\xa1\x1e", 6);
        buf_append(&block, value, 4000);
    }
    for (size_t at = 0; at < block.len; at += 16384) {
        size_t part = block.len - at < 16384 ? block.len - at : 16384;
        bool last = at + part == block.len;

        put_frame(c, at == 0 ? HEADERS : 9, (uint8_t)(last ? 4 : 0), stream,
                  block.data + at, part);
    }
    buf_close(&block);
}

static void test_long_headers(void **state)
{
    struct client *c = *state;

    put_long_block(c, 1, 20); /* 80 KB */
    put_request(c, 3, "/t.S/Echo", false);
    put_message(c, 3, "hello", true);
    push(c);
    read_answers(c, 1);
    put_long_block(c, 5, 100); /* 400 KB */
    push(c);
    read_until_gone(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_floods),         TEST(test_served),
        TEST(test_too_many_pings), TEST(test_small_pieces),
        TEST(test_long_headers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
