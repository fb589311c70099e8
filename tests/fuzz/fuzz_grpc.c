/* What a client sends after HTTP/2's preface, into a connection with services
 * behind it, on one thread. The bytes fe ed in the input are where a read of
 * the server ends. */
#define _GNU_SOURCE 1
#include "connection/internal.h"
#include "grpc/internal.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PIECES_MAX 64

static struct rpc_call *held;

static void open_echo(struct rpc_call *call)
{
    rpc_reply_copy(call, call->request);
}

static void open_fail(struct rpc_call *call)
{
    rpc_fail(call, ERR_LEASE_NOT_FOUND);
}

/* Answered when the next one comes, or at the end. */
static void open_hold(struct rpc_call *call)
{
    struct rpc_call *before = held;

    held = call;
    if (before != NULL)
        rpc_fail(before, ERR_TIMEOUT);
}

static void open_bidi(struct rpc_call *call)
{
    (void)call;
}

static void bidi_message(struct rpc_call *call, struct bytes message)
{
    rpc_send_copy(call, message);
    if (message.len > 3)
        rpc_pause(call);
    if (message.len == 2)
        rpc_finish(call, ERR_COMPACTED);
    if (message.len > 5)
        rpc_resume(call);
}

static void bidi_half_close(struct rpc_call *call)
{
    rpc_finish(call, 0);
}

static void open_stream(struct rpc_call *call)
{
    static uint8_t much[40000];
    struct rpc_piece piece = {.bytes = bytes_of(much, sizeof(much))};

    for (unsigned i = 0; i < 3; i++)
        rpc_send(call, &piece, 1);
}

static void stream_drained(struct rpc_call *call)
{
    rpc_finish(call, 0);
}

static void stream_done(struct rpc_call *call)
{
    (void)call;
}

static const struct rpc_method methods[] = {
    {.name = "E", .kind = RPC_UNARY, .open = open_echo},
    {.name = "F", .kind = RPC_UNARY, .open = open_fail},
    {.name = "H", .kind = RPC_UNARY, .open = open_hold},
    {.name = "B",
     .kind = RPC_BIDI,
     .open = open_bidi,
     .on_message = bidi_message,
     .on_half_close = bidi_half_close,
     .on_done = stream_done},
    {.name = "S",
     .kind = RPC_SERVER_STREAM,
     .open = open_stream,
     .on_drained = stream_drained,
     .on_done = stream_done},
};
static const struct rpc_service service = {
    .name = "S", .methods = methods, .n = 5, .preset_metrics = true};
static const struct rpc_service *const services[] = {&service, NULL};

static struct {
    struct rpc_server *server;
    struct shards shards;
    struct shard shard;
} fake;

/* The server's threads aren't used: a shard of our own runs by hand. */
static void open_once(void)
{
    struct rpc_config config = {.services = services,
                                .shards = 1,
                                .max_recv_bytes = 1 << 16,
                                .max_concurrent_streams = 100};

    if (fake.server != NULL)
        return;
    (void)signal(SIGPIPE, SIG_IGN);
    fake.server = rpc_start(&config);
    fake.shards = (struct shards){.list = &fake.shard, .n = 1};
    fake.shard.shards = &fake.shards;
    shard_loop_open(&fake.shard);
    fake.server->shards[0].shard = &fake.shard;
    shard_set_local(&fake.shard, &fake.server->shards[0]);
}

/* False once the server has hung up. */
static bool pump(int fd)
{
    char answer[16384];

    for (int i = 0; i < 3; i++) {
        ssize_t n;

        uv_run(&fake.shard.loop, UV_RUN_NOWAIT);
        n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
        if (n == 0)
            return false;
    }
    return true;
}

static void send_pieces(int fd, const uint8_t *data, size_t size)
{
    static const uint8_t cut[] = {0xfe, 0xed};

    for (int i = 0; i < PIECES_MAX && size > 0; i++) {
        const uint8_t *end = memmem(data, size, cut, sizeof(cut));
        size_t len = end != NULL ? (size_t)(end - data) : size;

        if (len > 0 && send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            return;
        if (!pump(fd))
            return;
        if (end != NULL)
            len += sizeof(cut);
        data += len;
        size -= len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[9] = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    int fds[2];
    int rv = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds);

    CHECK(rv == 0);
    open_once();
    connection_open(&fake.shard, fds[0], &http2_protocol, &fake.server->http2);
    rv = send(fds[1], preface, sizeof(preface) - 1, 0) > 0 &&
         send(fds[1], settings, sizeof(settings), 0) > 0;
    CHECK(rv);
    send_pieces(fds[1], data, size);
    close(fds[1]);
    pump(-1);
    if (held != NULL) {
        struct rpc_call *call = held;

        held = NULL;
        rpc_fail(call, ERR_STOPPED);
    }
    pump(-1);
    CHECK(fake.shard.all == NULL);
    CHECK(rpc_calls_open(fake.server) == 0);
    CHECK(fake.server->shards[0].streams == 0);
    return 0;
}
