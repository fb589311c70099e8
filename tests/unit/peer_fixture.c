#include "peer_fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include "chorad/base/file.h"
#include <cmocka.h>

/* ---- what the transport tells -------------------------------------------- */

static const char *on_received(void *arg, const struct raft_message *message)
{
    struct member *m = arg;

    if (m->refuses)
        return m->refuses;
    assert_true(m->got_count < GOT_MAX);
    m->got[m->got_count++] = raft_message_copy(message);
    return NULL;
}

static void on_received_all(void *arg)
{
    struct member *m = arg;

    m->batches++;
    if (m->then)
        m->then(m);
}

static const char *on_announced(void *arg, const struct raft_message *message)
{
    struct member *m = arg;

    (void)message;
    return m->refuses;
}

/* A snapshot of an index has its place, as with the node. */
static void on_snapshot(void *arg, struct peers_request *request,
                        const struct raft_message *message, const char *path)
{
    struct member *m = arg;

    raft_message_close(&m->snapshot);
    m->snapshot = raft_message_copy(message);
    (void)snprintf(m->snapshot_path, sizeof(m->snapshot_path),
                   "%s/%016llx.snap.db", m->snap_dir,
                   (unsigned long long)message->snapshot->index);
    assert_int_equal(rename(path, m->snapshot_path), 0);
    m->snapshots++;
    if (m->refuses_databases)
        peers_note_refusal(m->peers, message, "bad-database", "its reason");
    if (m->refuses_databases)
        peers_answer(request, 400, "text/plain", bytes_of("bad", 3));
    else
        peers_answer(request, 204, NULL, bytes_of(NULL, 0));
}

static void on_unreachable(void *arg, uint64_t id)
{
    struct member *m = arg;

    assert_true(id <= MEMBERS_MAX);
    m->unreachable[id]++;
}

static void on_sent(void *arg, uint64_t id, bool ok)
{
    struct member *m = arg;

    (void)id;
    if (ok)
        m->sent_ok++;
    else
        m->sent_failed++;
}

static bool on_is_removed(void *arg, uint64_t id)
{
    const struct member *m = arg;

    return m->removed_id != 0 && m->removed_id == id;
}

static void on_removed(void *arg)
{
    struct member *m = arg;

    m->removed++;
}

static void on_echo(void *arg, struct peers_request *request,
                    const struct peers_query *query)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "%s %s auth=%s cluster=%s body=%.*s",
                     query->method, query->path, query->authorization,
                     query->cluster_id, (int)query->body.len,
                     query->body.data ? (const char *)query->body.data : "");

    (void)arg;
    peers_answer(request, 200, "text/plain", bytes_of(text, (size_t)n));
}

static void on_later(void *arg, struct peers_request *request,
                     const struct peers_query *query)
{
    struct member *m = arg;

    (void)query;
    m->waiting = request;
}

static const struct peers_route routes[] = {{"/echo", on_echo},
                                            {"/echo/", on_echo},
                                            {"/later", on_later},
                                            {NULL, NULL}};

/* ---- listening ----------------------------------------------------------- */

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct member *m = poll->data;
    int fd;

    (void)status;
    (void)events;
    while ((fd = accept4(m->listen_fd, NULL, NULL,
                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (m->peers)
            peers_add_connection(m->peers, fd);
        else
            (void)close(fd);
    }
}

void member_listen(struct member *m, bool listen)
{
    if (listen == m->listening)
        return;
    m->listening = listen;
    if (listen)
        assert_int_equal(uv_poll_start(&m->listen, UV_READABLE, on_connection),
                         0);
    else
        assert_int_equal(uv_poll_stop(&m->listen), 0);
}

static void open_port(struct member *m)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    m->listen_fd =
        socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(m->listen_fd >= 0);
    assert_int_equal(bind(m->listen_fd, (void *)&address, len), 0);
    assert_int_equal(listen(m->listen_fd, 128), 0);
    assert_int_equal(getsockname(m->listen_fd, (void *)&address, &len), 0);
    (void)snprintf(m->url, sizeof(m->url), "http://127.0.0.1:%u",
                   ntohs(address.sin_port));
    m->urls[0] = m->url;
    assert_int_equal(uv_poll_init(&m->bed->loop, &m->listen, m->listen_fd), 0);
    m->listen.data = m;
}

/* ---- life ---------------------------------------------------------------- */

static void on_closed(void *arg)
{
    struct member *m = arg;

    m->closed = true;
}

void member_start(struct member *m)
{
    assert_null(m->peers);
    m->peers = peers_open(&m->config);
    /* Tests don't wait as long as people do. */
    m->peers->limits.redial_ms = 20;
    m->peers->limits.refused_ms = 40;
    m->peers->limits.probe_ms = 100;
    m->peers->limits.probe_first_ms = 20;
    m->peers->limits.linger_ms = 200;
    member_listen(m, true);
}

void member_stop(struct member *m)
{
    if (!m->peers)
        return;
    m->closed = false;
    peers_close(m->peers, on_closed, m);
    m->peers = NULL;
    bed_until(m->bed, m->closed);
}

static void init_member(struct bed *bed, uint64_t id)
{
    struct member *m = &bed->members[id - 1];

    m->bed = bed;
    m->id = id;
    open_port(m);
    (void)snprintf(m->snap_dir, sizeof(m->snap_dir), "%s/%d", bed->dir,
                   (int)id);
    assert_int_equal(mkdir(m->snap_dir, 0700), 0);
    m->config = (struct peers_config){
        .loop = &bed->loop,
        .member_id = id,
        .cluster_id = 0xc1,
        .peer_urls = m->urls,
        .version = "3.7.1",
        .min_cluster_version = "3.0.0",
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snap_dir = m->snap_dir,
        .routes = routes,
        .received = on_received,
        .received_all = on_received_all,
        .snapshot_announced = on_announced,
        .snapshot_received = on_snapshot,
        .unreachable = on_unreachable,
        .snapshot_sent = on_sent,
        .is_removed = on_is_removed,
        .removed = on_removed,
        .arg = m,
    };
    member_start(m);
}

void bed_open(struct bed *bed, size_t count)
{
    memset(bed, 0, sizeof(*bed));
    (void)snprintf(bed->dir, sizeof(bed->dir), "/tmp/chorad-peer-XXXXXX");
    assert_non_null(mkdtemp(bed->dir));
    assert_int_equal(uv_loop_init(&bed->loop), 0);
    assert_int_equal(uv_timer_init(&bed->loop, &bed->limit), 0);
    bed->limit.data = bed;
    bed->count = count;
    for (size_t i = 1; i <= count; i++)
        init_member(bed, i);
}

struct member *bed_member(struct bed *bed, uint64_t id)
{
    return &bed->members[id - 1];
}

void bed_introduce(struct bed *bed)
{
    for (size_t i = 0; i < bed->count; i++) {
        for (size_t j = 0; j < bed->count; j++) {
            if (i != j)
                peers_add(bed->members[i].peers, bed->members[j].id,
                          bed->members[j].urls);
        }
    }
}

void member_forget(struct member *m)
{
    for (size_t i = 0; i < m->got_count; i++)
        raft_message_close(&m->got[i]);
    m->got_count = 0;
}

void bed_close(struct bed *bed)
{
    struct errmsg msg;

    for (size_t i = 0; i < bed->count; i++) {
        struct member *m = &bed->members[i];
        member_stop(m);
        member_forget(m);
        raft_message_close(&m->snapshot);
        uv_close((uv_handle_t *)&m->listen, NULL);
        (void)close(m->listen_fd);
    }
    uv_close((uv_handle_t *)&bed->limit, NULL);
    (void)uv_run(&bed->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bed->loop), 0);
    assert_int_equal(file_remove_tree(bed->dir, &msg), 0);
}

/* ---- waiting ------------------------------------------------------------- */

static void on_limit(uv_timer_t *timer)
{
    struct bed *bed = timer->data;

    bed->out_of_time = true;
}

void bed_limit(struct bed *bed, uint64_t ms)
{
    bed->out_of_time = false;
    uv_update_time(&bed->loop);
    (void)uv_timer_start(&bed->limit, on_limit, ms, 0);
}

void bed_fail(const char *cond, const char *file, int line)
{
    _fail(file, line);
    (void)cond;
    abort();
}

void bed_run(struct bed *bed, uint64_t ms)
{
    bed_limit(bed, ms);
    while (!bed->out_of_time)
        (void)uv_run(&bed->loop, UV_RUN_ONCE);
}

/* ---- messages ------------------------------------------------------------ */

struct raft_message message_of(enum raft_message_type type, uint64_t from,
                               uint64_t to)
{
    return (struct raft_message){
        .type = type, .from = from, .to = to, .term = 5};
}

struct raft_message append_of(uint64_t from, uint64_t to, uint64_t term,
                              uint64_t index, size_t entries, size_t len)
{
    struct raft_message m = message_of(RAFT_MSG_APP, from, to);
    uint8_t *data = malloc(len + 1);

    assert_non_null(data);
    m.term = term;
    m.log_term = term;
    m.index = index;
    m.commit = index;
    if (entries > 0)
        m.entries = calloc(entries, sizeof(m.entries[0]));
    m.entry_count = entries;
    for (size_t i = 0; i < entries; i++) {
        memset(data, (int)(index + i + 1), len);
        m.entries[i] = raft_entry_new(RAFT_ENTRY_NORMAL, data, len);
        m.entries[i].term = term;
        m.entries[i].index = index + i + 1;
    }
    free(data);
    return m;
}

double series(const char *name)
{
    struct buf page = {0};
    const char *at;
    double value = -1;

    metrics_print(&page);
    buf_append(&page, "", 1);
    at = strstr((const char *)page.data, name);
    if (at)
        value = strtod(at + strlen(name), NULL);
    buf_close(&page);
    return value;
}
