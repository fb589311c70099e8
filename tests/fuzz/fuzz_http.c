/* HTTP from a client, over a socketpair, in pieces: a zero byte in the input
 * ends a piece. The node below the server is a fake. */
#include "chorad/http.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"
#include "chorad/base/mem.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    buf_printf(out, "{}");
}

size_t alarms_list(const struct alarms *alarms, int32_t type, struct alarm *out,
                   size_t max)
{
    (void)alarms;
    (void)type;
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
    return fake.read_err;
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

/* False once the server has hung up. */
static bool pump(int fd)
{
    char answer[4096];

    for (int i = 0; i < 6; i++) {
        uv_run(&fake.loop, UV_RUN_NOWAIT);
        if (recv(fd, answer, sizeof(answer), 0) == 0)
            return false;
    }
    return true;
}

static void send_pieces(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        const uint8_t *zero = memchr(data, 0, size);
        size_t len = zero ? (size_t)(zero - data) : size;

        if (len > 0 && send(fd, data, len, MSG_NOSIGNAL) < 0)
            return;
        if (!pump(fd))
            return;
        len += zero ? 1 : 0;
        data += len;
        size -= len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hosts[] = {"a", "b"};
    struct http_config config = {.node = node};
    bool closed = false;
    int fds[2];

    if (size == 0)
        return 0;
    memset(&fake, 0, sizeof(fake));
    fake.status.leader = data[0] & 1;
    fake.n_alarms = data[0] >> 1 & 1;
    fake.alarms[0] = (struct alarm){7, 1 + (data[0] >> 2 & 1)};
    fake.barriers_pass = true;
    fake.read_err = data[0] & 8 ? ERR_CORRUPT : 0;
    if (data[0] & 16) {
        config.hosts = hosts;
        config.n_hosts = 2;
        config.cors = hosts;
        config.n_cors = 2;
    }
    CHECK(uv_loop_init(&fake.loop) == 0);
    struct http *http = http_open(&config);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                     fds) == 0);
    http_add_connection(http, data[0] & 32 ? HTTP_METRICS : HTTP_CLIENT,
                        fds[1]);
    send_pieces(fds[0], data + 1, size - 1);
    close(fds[0]);
    http_close(http, on_closed, &closed);
    uv_run(&fake.loop, UV_RUN_DEFAULT);
    CHECK(closed && fake.readers == 0);
    CHECK(uv_loop_close(&fake.loop) == 0);
    return 0;
}
