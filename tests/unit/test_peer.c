/* Members that talk to each other: streams, the pipeline, calls, members that
 * come and go. */
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "peer_fixture.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

static bool streams_up(const struct member *m)
{
    size_t up = 0;
    size_t all = 0;

    for (const struct peer *p = m->peers->list; p; p = p->next) {
        for (int kind = FRAME_MSGAPP; kind <= FRAME_MESSAGE; kind++) {
            up += outlet_is_up(&p->outlets[kind]) && p->inlets[kind].streaming;
            all++;
        }
    }
    return up == all;
}

static int open_two(void **state)
{
    struct bed *bed = malloc(sizeof(*bed));

    bed_open(bed, 2);
    bed_introduce(bed);
    bed_until(bed,
              streams_up(&bed->members[0]) && streams_up(&bed->members[1]));
    *state = bed;
    return 0;
}

static int open_strangers(void **state)
{
    struct bed *bed = malloc(sizeof(*bed));

    bed_open(bed, 2);
    *state = bed;
    return 0;
}

static int close_bed(void **state)
{
    bed_close(*state);
    free(*state);
    return 0;
}

/* ---- streams ------------------------------------------------------------- */

static void appends_arrive_in_order(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    for (uint64_t i = 0; i < 1000; i++) {
        struct raft_message m = append_of(1, 2, 5, i * 3, 3, i * 7 % 5000);
        peers_send(a->peers, &m, 1);
        assert_null(m.entries);
    }
    bed_until(bed, b->got_count == 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        struct raft_message want = append_of(1, 2, 5, i * 3, 3, i * 7 % 5000);
        assert_message_equal(&b->got[i], &want);
        raft_message_close(&want);
    }
    assert_int_equal(a->unreachable[2], 0);
    assert_true(peers_active_since(a->peers, 2) > 0);
    assert_true(peers_active_since(b->peers, 1) > 0);
    assert_int_equal(peers_active_since(b->peers, 3), 0);
}

static void every_type_arrives(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct raft_message want[RAFT_MSG_TYPES];
    size_t n = 0;

    for (int type = 0; type < RAFT_MSG_TYPES; type++) {
        struct raft_message m = message_of(type, 1, 2);
        if (raft_message_is_local(type) || type == RAFT_MSG_SNAP ||
            type == RAFT_MSG_APP)
            continue;
        m.index = 77;
        m.log_term = 4;
        m.reject = true;
        m.reject_hint = 9;
        m.commit = 70;
        m.context = shared_new(3);
        memcpy(m.context->data, "ctx", 3);
        want[n++] = raft_message_copy(&m);
        peers_send(a->peers, &m, 1);
    }
    bed_until(bed, b->got_count == n);
    for (size_t i = 0; i < n; i++) {
        assert_message_equal(&b->got[i], &want[i]);
        raft_message_close(&want[i]);
    }
}

/* The stream ends with it, and a new one is good again. */
static void misdirected_messages_are_refused(void **state)
{
    static const char counted[] =
        "chorad_peer_refused_messages_total{reason=\"wrong-receiver\"}";
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct raft_message m = message_of(RAFT_MSG_HEARTBEAT_RESP, 1, 9);

    assert_true(outlet_push(&a->peers->list->outlets[FRAME_MESSAGE], &m));
    m = message_of(RAFT_MSG_HEARTBEAT_RESP, 1, 2);
    peers_send(a->peers, &m, 1);
    bed_until(bed, series(counted) == 1 &&
                       !b->peers->list->inlets[FRAME_MESSAGE].streaming);
    bed_until(bed, b->peers->list->inlets[FRAME_MESSAGE].streaming);
    assert_int_equal(b->got_count, 0);
    m = message_of(RAFT_MSG_HEARTBEAT_RESP, 1, 2);
    peers_send(a->peers, &m, 1);
    bed_until(bed, b->got_count == 1);
    assert_int_equal(b->got[0].to, 2);
}

static size_t lines_of_log(const char *path, const char *text)
{
    struct buf log = {0};
    size_t n = 0;

    assert_int_equal(file_read(path, 1 << 20, &log, NULL), 0);
    buf_append(&log, "", 1);
    for (const char *at = (const char *)log.data;
         (at = strstr(at, text)) != NULL; at++)
        n++;
    buf_close(&log);
    return n;
}

/* The node refuses all that comes, again and again: one line says so. */
static void refusals_are_told_once_in_a_while(void **state)
{
    static const char counted[] =
        "chorad_peer_refused_messages_total{reason=\"a-test\"}";
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    char path[96];
    const char *file = path;
    const char *standard = "stderr";
    size_t bad;

    (void)snprintf(path, sizeof(path), "%s/log", bed->dir);
    assert_int_equal(log_set_outputs(&file, 1, &bad), 0);
    b->refuses = "a-test";
    /* Some get lost with the streams. */
    for (int i = 0; i < 1000 && series(counted) < 10; i++) {
        struct raft_message m = message_of(RAFT_MSG_HEARTBEAT_RESP, 1, 2);
        peers_send(a->peers, &m, 1);
        bed_run(bed, 20);
    }
    assert_true(series(counted) >= 10);
    assert_int_equal(log_set_outputs(&standard, 1, &bad), 0);
    assert_int_equal(b->got_count, 0);
    assert_int_equal(lines_of_log(path, "refused a Raft message"), 1);
}

static void large_payloads_go_through(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    for (uint64_t i = 0; i < 8; i++) {
        struct raft_message m = append_of(1, 2, 5, i * 20, 20, 300000);
        peers_send(a->peers, &m, 1);
    }
    bed_until(bed, b->got_count == 8);
    for (uint64_t i = 0; i < 8; i++) {
        struct raft_message want = append_of(1, 2, 5, i * 20, 20, 300000);
        assert_message_equal(&b->got[i], &want);
        raft_message_close(&want);
    }
}

/* What is sent in one turn comes as one batch. */
static void one_turn_is_one_write(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    b->batches = 0;
    for (uint64_t i = 0; i < 100; i++) {
        struct raft_message m = append_of(1, 2, 5, i, 1, 100);
        peers_send(a->peers, &m, 1);
    }
    bed_until(bed, b->got_count == 100);
    assert_int_equal(b->batches, 1);
}

static void links_stay_alive(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    const struct conn *before = b->peers->list->inlets[0].conn;

    for (size_t i = 0; i < 2; i++) {
        struct peers *peers = bed->members[i].peers;
        peers->limits.alive_ms = 50;
        net_timer_stop(&peers->net, &peers->alive);
        net_timer_set(&peers->net, &peers->alive, 50);
        for (int kind = 0; kind < 2; kind++)
            conn_limit(peers->list->inlets[kind].conn, 200, 200);
    }
    bed_run(bed, 600);
    assert_true(streams_up(a));
    assert_true(streams_up(b));
    assert_ptr_equal(before, b->peers->list->inlets[0].conn);
}

/* A member that takes nothing: what waits for it is bounded, and it is let go
 * of when it has taken nothing for long. */
static void slow_members_are_not_waited_for(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct outlet *outlet = &a->peers->list->outlets[FRAME_MSGAPP];

    a->peers->limits.queue_messages = 100;
    a->peers->limits.write_ms = 4000; /* far more than it takes to send */
    peers_remove(b->peers, 1);
    bed_until(bed, !outlet_is_up(outlet));
    peers_add(b->peers, 1, a->urls);
    bed_until(bed, streams_up(a) && streams_up(b));
    conn_pause(b->peers->list->inlets[FRAME_MSGAPP].conn, true);
    for (uint64_t i = 0; i < 300; i++) {
        struct raft_message m = append_of(1, 2, 5, i, 1, 200000);
        peers_send(a->peers, &m, 1);
        bed_run(bed, 1);
        assert_true(outlet->queue.count <= 100);
    }
    bed_until(bed, a->unreachable[2] > 0);
    assert_true(a->peers->list->active_since_ns != 0);
    bed_run(bed, 10);
    uint64_t before = a->unreachable[2];
    bed_until(bed, a->peers->list->active_since_ns == 0);
    assert_int_equal(outlet->queue.count, 0);
    /* What is lost with it is reported, too. */
    bed_until(bed, a->unreachable[2] == before + 1);
}

static void silent_streams_are_dead(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    net_timer_stop(&a->peers->net, &a->peers->alive);
    b->peers->limits.read_ms = 100;
    conn_limit(b->peers->list->inlets[0].conn, 100, 100);
    bed_until(bed, b->peers->list->active_since_ns == 0);
    /* And dialed again, and as dead. */
    bed_until(bed, b->peers->list->active_since_ns != 0);
    bed_until(bed, b->peers->list->active_since_ns == 0);
}

/* Time that the loop has spent elsewhere isn't the member's silence. */
static void a_loop_that_stood_still_blames_nobody(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct inlet *inlet = &b->peers->list->inlets[FRAME_MSGAPP];
    const struct conn *before = inlet->conn;
    struct raft_message m = append_of(1, 2, 5, 0, 1, 100);

    conn_limit(inlet->conn, 100, 100);
    peers_send(a->peers, &m, 1);
    outlet_flush(&a->peers->list->outlets[FRAME_MSGAPP]);
    (void)usleep(200000);
    bed_until(bed, b->got_count == 1);
    assert_ptr_equal(inlet->conn, before);
    /* Without bytes in the socket it is. */
    (void)usleep(200000);
    bed_until(bed, inlet->conn != before);
}

/* A node that sends when the loop is about to poll, after the transport's own
 * turn has been. */
static void on_late_prepare(uv_prepare_t *prepare)
{
    struct member *m = prepare->data;
    struct raft_message message = append_of(1, 2, 5, 0, 1, 100);

    (void)uv_prepare_stop(prepare);
    peers_send(m->peers, &message, 1);
}

static void what_is_sent_last_waits_for_nothing(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    uv_prepare_t prepare;

    for (size_t i = 0; i < 2; i++) {
        struct peers *peers = bed->members[i].peers;
        /* Nothing else wakes the loop. */
        net_timer_stop(&peers->net, &peers->alive);
        net_timer_stop(&peers->net, &peers->list->rtt.timer);
        (void)uv_prepare_stop(&peers->before_poll);
    }
    bed_run(bed, 200);
    (void)uv_prepare_init(&bed->loop, &prepare);
    prepare.data = a;
    (void)uv_prepare_start(&prepare, on_late_prepare);
    uint64_t start = uv_hrtime();
    bed_until(bed, b->got_count == 1);
    assert_true(uv_hrtime() - start < UINT64_C(500000000));
    uv_close((uv_handle_t *)&prepare, NULL);
    bed_run(bed, 10);
}

/* ---- members ------------------------------------------------------------- */

static void restarts_are_survived(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    member_stop(b);
    bed_until(bed, peers_active_since(a->peers, 2) == 0);
    struct raft_message m = append_of(1, 2, 5, 0, 1, 100);
    peers_send(a->peers, &m, 1);
    bed_until(bed, a->unreachable[2] > 0);
    member_start(b);
    peers_add(b->peers, 1, a->urls);
    bed_until(bed, streams_up(a) && streams_up(b));
    m = append_of(1, 2, 5, 0, 1, 100);
    peers_send(a->peers, &m, 1);
    bed_until(bed, b->got_count == 1);
}

static void removed_members_are_let_go(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct raft_message m = append_of(1, 2, 5, 0, 1, 100);

    /* What was said just before still arrives. */
    peers_send(a->peers, &m, 1);
    peers_remove(a->peers, 2);
    peers_remove(a->peers, 2);
    a->removed_id = 2;
    bed_until(bed, b->got_count == 1);
    bed_until(bed, b->removed == 1);
    m = append_of(1, 2, 5, 1, 1, 100);
    peers_send(a->peers, &m, 1);
    assert_null(m.entries);
    bed_run(bed, 50);
    assert_int_equal(b->got_count, 1);
    assert_int_equal(peers_active_since(a->peers, 2), 0);
}

static void remove_it(struct member *m)
{
    peers_remove(m->peers, 1);
    m->then = NULL;
}

static void members_may_go_while_they_speak(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    b->then = remove_it;
    for (uint64_t i = 0; i < 10; i++) {
        struct raft_message m = append_of(1, 2, 5, i, 1, 100);
        peers_send(a->peers, &m, 1);
    }
    bed_until(bed, b->then == NULL);
    bed_run(bed, 50);
    peers_add(b->peers, 1, a->urls);
    bed_until(bed, streams_up(a) && streams_up(b));
}

static void moved_members_are_found(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    const char *wrong_first[] = {"http://127.0.0.1:1", "https://nowhere:1",
                                 b->url, NULL};

    peers_remove(a->peers, 2);
    peers_add(a->peers, 2, wrong_first);
    bed_until(bed, streams_up(a));
    peers_add(a->peers, 2, b->urls);
    assert_int_equal(a->peers->list->urls.count, 1);
    bed_run(bed, 50);
    assert_true(streams_up(a));
}

/* ---- without streams ----------------------------------------------------- */

static void strangers_are_answered_by_the_pipeline(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct raft_message m = append_of(1, 2, 5, 0, 2, 1000);

    /* b has just joined and knows nobody. */
    peers_add(a->peers, 2, b->urls);
    bed_run(bed, 50);
    assert_false(outlet_is_up(&a->peers->list->outlets[0]));
    peers_send(a->peers, &m, 1);
    bed_until(bed, b->got_count == 1);
    struct raft_message want = append_of(1, 2, 5, 0, 2, 1000);
    assert_message_equal(&b->got[0], &want);
    raft_message_close(&want);
    m = message_of(RAFT_MSG_APP_RESP, 2, 1);
    m.index = 2;
    peers_send(b->peers, &m, 1);
    bed_until(bed, a->got_count == 1);
    assert_int_equal(a->got[0].type, RAFT_MSG_APP_RESP);
    assert_int_equal(a->got[0].index, 2);
    /* It learns who a is, and the streams come up. */
    peers_add(b->peers, 1, a->urls);
    bed_until(bed, streams_up(a) && streams_up(b));
}

static void full_queues_drop(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    const char *nowhere[] = {"http://127.0.0.1:1", NULL};

    peers_add(a->peers, 3, nowhere);
    for (uint64_t i = 0; i < 200; i++) {
        struct raft_message m = append_of(1, 3, 5, i, 1, 100);
        peers_send(a->peers, &m, 1);
    }
    assert_int_equal(a->peers->list->pipeline.queue.count, 64);
    /* Not from inside. */
    assert_int_equal(a->unreachable[3], 0);
    bed_until(bed, a->unreachable[3] > 0);
    bed_until(bed, a->peers->list->pipeline.queue.count == 0);
}

static void other_clusters_are_refused(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    member_stop(b);
    b->config.cluster_id = 0xc2;
    member_start(b);
    bed_introduce(bed);
    bed_until(bed, a->peers->list->inlets[0].told[0] &&
                       b->peers->list->inlets[0].told[0]);
    assert_string_equal(a->peers->list->inlets[0].told,
                        "http status 412: cluster ID mismatch");
    struct raft_message m = append_of(1, 2, 5, 0, 1, 100);
    peers_send(a->peers, &m, 1);
    bed_until(bed, a->unreachable[2] == 1);
    assert_int_equal(b->got_count, 0);
}

static void old_versions_are_refused(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);

    member_stop(b);
    b->config.version = "2.3.8";
    b->config.min_cluster_version = "2.1.0";
    member_start(b);
    bed_introduce(bed);
    bed_until(bed, b->peers->list->inlets[0].told[0]);
    assert_string_equal(b->peers->list->inlets[0].told,
                        "http status 412: incompatible version");
    (void)a;
}

/* ---- calls --------------------------------------------------------------- */

struct called {
    struct peers_call call;
    size_t done;
    int err;
    unsigned status;
    char body[512];
};

static void on_called(struct peers_call *call, int err, unsigned status,
                      struct bytes body)
{
    struct called *c = call->arg;

    c->done++;
    c->err = err;
    c->status = status;
    assert_true(body.len < sizeof(c->body));
    if (body.len > 0)
        memcpy(c->body, body.data, body.len);
    c->body[body.len] = '\0';
}

static void call(struct member *m, struct called *c, uint64_t to,
                 const char *url, const char *path)
{
    *c = (struct called){.call = {.to = to,
                                  .url = url,
                                  .method = "POST",
                                  .path = path,
                                  .authorization = "token",
                                  .body = bytes_of("body", 4),
                                  .answer_max = 500,
                                  .timeout_ms = 2000,
                                  .done = on_called,
                                  .arg = c}};
    peers_call(m->peers, &c->call);
    assert_int_equal(c->done, 0);
}

static void calls_are_answered(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct called c[100];
    struct called last;

    call(a, &c[0], 2, NULL, "/echo/x%2Fy?query");
    bed_until(bed, c[0].done == 1);
    assert_int_equal(c[0].err, 0);
    assert_int_equal(c[0].status, 200);
    assert_string_equal(c[0].body, "POST /echo/x/y auth=token cluster=c1 "
                                   "body=body");
    call(a, &last, 0, b->url, "/echo");
    bed_until(bed, last.done == 1);
    assert_int_equal(last.status, 200);
    call(a, &last, 2, NULL, "/nowhere");
    bed_until(bed, last.done == 1);
    assert_int_equal(last.status, 404);
    assert_string_equal(last.body, "404 page not found\n");
    /* Many at a time, more than there are connections. */
    for (int i = 0; i < 100; i++)
        call(a, &c[i], 2, NULL, "/echo");
    for (int i = 0; i < 100; i++) {
        bed_until(bed, c[i].done == 1);
        assert_int_equal(c[i].err, 0);
    }
}

static void answers_may_come_later(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct called c;

    /* Over a connection that would have been closed for being idle. */
    a->peers->list->pool.idle_ms = 100;
    call(a, &c, 2, NULL, "/echo");
    bed_until(bed, c.done == 1);
    call(a, &c, 2, NULL, "/later");
    bed_until(bed, b->waiting != NULL);
    const struct peers_request *first = b->waiting;
    bed_run(bed, 200);
    assert_ptr_equal(b->waiting, first);
    assert_int_equal(c.done, 0);
    peers_answer(b->waiting, 408, "text/plain", bytes_of("late", 4));
    bed_until(bed, c.done == 1);
    assert_int_equal(c.status, 408);
    assert_string_equal(c.body, "late");
}

static void calls_fail_as_told(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    struct called c;

    call(a, &c, 9, NULL, "/echo");
    bed_until(bed, c.done == 1);
    assert_int_equal(c.err, ERR_NOTFOUND);
    call(a, &c, 0, "http://127.0.0.1:1", "/echo");
    bed_until(bed, c.done == 1);
    assert_int_equal(c.err, ERR_IO);

    c.call.answer_max = 5;
    c.call.to = 2;
    peers_call(a->peers, &c.call);
    bed_until(bed, c.done == 2);
    assert_int_equal(c.err, ERR_TOOBIG);

    c.call.path = "/later";
    c.call.timeout_ms = 50;
    peers_call(a->peers, &c.call);
    bed_until(bed, c.done == 3);
    assert_int_equal(c.err, ERR_DEADLINE);
    assert_non_null(b->waiting);
    peers_answer(b->waiting, 200, NULL, bytes_of(NULL, 0));
    b->waiting = NULL;

    c.call.timeout_ms = 5000;
    peers_call(a->peers, &c.call);
    bed_until(bed, b->waiting != NULL);
    peers_call_cancel(a->peers, &c.call);
    assert_int_equal(c.done, 4);
    assert_int_equal(c.err, ERR_CANCELED);
    bed_run(bed, 30);
    /* Nobody waits for it any more; that is no reason not to answer. */
    peers_answer(b->waiting, 200, NULL, bytes_of(NULL, 0));
    b->waiting = NULL;

    struct called by_url;
    call(a, &by_url, 0, b->url, "/later");
    bed_until(bed, b->waiting != NULL);
    peers_answer(b->waiting, 200, NULL, bytes_of(NULL, 0));
    bed_until(bed, by_url.done == 1);
    b->waiting = NULL;
    call(a, &by_url, 0, b->url, "/later");
    bed_until(bed, b->waiting != NULL);
    struct peers_request *first = b->waiting;
    b->waiting = NULL;
    peers_call(a->peers, &c.call);
    bed_until(bed, b->waiting != NULL);
    member_stop(a);
    assert_int_equal(c.done, 5);
    assert_int_equal(c.err, ERR_STOPPED);
    assert_int_equal(by_url.done, 1);
    assert_int_equal(by_url.err, ERR_STOPPED);
    peers_answer(first, 200, NULL, bytes_of(NULL, 0));
    member_stop(b);
    peers_answer(b->waiting, 200, NULL, bytes_of(NULL, 0));
}

/* A server that answers one request on each connection and closes it when the
 * second comes, without a word: as one does that has just found it idle. */
static void *close_on_second(void *arg)
{
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    int listen_fd = *(int *)arg;
    char request[4096];

    for (int i = 0; i < 2; i++) {
        int fd = accept(listen_fd, NULL, NULL);
        if (fd < 0 || recv(fd, request, sizeof(request), 0) <= 0 ||
            send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
            break;
        (void)recv(fd, request, sizeof(request), 0);
        (void)close(fd);
    }
    return NULL;
}

static void requests_that_met_the_end_are_repeated(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char url[64];
    const char *urls[] = {url, NULL};
    pthread_t thread;
    struct called c;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (void *)&address, len), 0);
    assert_int_equal(listen(fd, 10), 0);
    assert_int_equal(getsockname(fd, (void *)&address, &len), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u",
                   ntohs(address.sin_port));
    peers_add(a->peers, 3, urls);
    /* The calls alone. */
    struct peer *peer = a->peers->list;
    inlet_close(&peer->inlets[0]);
    inlet_close(&peer->inlets[1]);
    net_timer_stop(&a->peers->net, &peer->rtt.timer);
    assert_int_equal(pthread_create(&thread, NULL, close_on_second, &fd), 0);
    for (int i = 0; i < 2; i++) {
        call(a, &c, 3, NULL, "/x");
        bed_until(bed, c.done == 1);
        assert_int_equal(c.err, 0);
        assert_string_equal(c.body, "ok");
    }
    /* Ends the second one's recv. */
    peers_remove(a->peers, 3);
    bed_run(bed, 10);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(fd);
}

static void round_trips_are_measured(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);

    bed_until(bed, a->peers->list->rtt.probed);
    assert_true(a->peers->list->rtt.healthy);
    assert_true(a->peers->list->rtt.smoothed_ns > 0);
    assert_true(a->peers->list->rtt.smoothed_ns < UINT64_C(2000000000));
}

static void numbers_are_kept(void **state)
{
    struct bed *bed = *state;
    struct member *a = bed_member(bed, 1);
    struct member *b = bed_member(bed, 2);
    double sent = series("etcd_network_peer_sent_bytes_total{To=\"2\"}");
    double received =
        series("etcd_network_peer_received_bytes_total{From=\"1\"}");

    assert_true(series("etcd_network_active_peers{Local=\"1\",Remote=\"2\"}") ==
                1);
    for (uint64_t i = 0; i < 10; i++) {
        struct raft_message m = append_of(1, 2, 5, i, 1, 1000);
        peers_send(a->peers, &m, 1);
    }
    bed_until(bed, b->got_count == 10);
    sent = series("etcd_network_peer_sent_bytes_total{To=\"2\"}") - sent;
    received =
        series("etcd_network_peer_received_bytes_total{From=\"1\"}") - received;
    assert_true(sent > 10000 && sent < 11000);
    assert_true(received > 10000 && received < 11000);
    bed_until(bed, series("etcd_network_peer_round_trip_time_seconds_count"
                          "{To=\"2\"}") > 0);
    double lost = series("etcd_network_disconnected_peers_total"
                         "{Local=\"1\",Remote=\"2\"}");
    member_stop(b);
    bed_until(bed, series("etcd_network_active_peers"
                          "{Local=\"1\",Remote=\"2\"}") == 0);
    assert_true(series("etcd_network_disconnected_peers_total"
                       "{Local=\"1\",Remote=\"2\"}") == lost + 1);
    double failures = series("etcd_network_peer_sent_failures_total{To=\"2\"}");
    struct raft_message m = append_of(1, 2, 5, 0, 1, 100);
    peers_send(a->peers, &m, 1);
    bed_until(bed, series("etcd_network_peer_sent_failures_total{To=\"2\"}") >
                       failures);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_TWO(f) cmocka_unit_test_setup_teardown(f, open_two, close_bed)
#define WITH_STRANGERS(f)                                                      \
    cmocka_unit_test_setup_teardown(f, open_strangers, close_bed)
        WITH_TWO(appends_arrive_in_order),
        WITH_TWO(every_type_arrives),
        WITH_TWO(misdirected_messages_are_refused),
        WITH_TWO(refusals_are_told_once_in_a_while),
        WITH_TWO(large_payloads_go_through),
        WITH_TWO(one_turn_is_one_write),
        WITH_TWO(links_stay_alive),
        WITH_TWO(slow_members_are_not_waited_for),
        WITH_TWO(silent_streams_are_dead),
        WITH_TWO(a_loop_that_stood_still_blames_nobody),
        WITH_TWO(what_is_sent_last_waits_for_nothing),
        WITH_TWO(restarts_are_survived),
        WITH_TWO(removed_members_are_let_go),
        WITH_TWO(members_may_go_while_they_speak),
        WITH_TWO(moved_members_are_found),
        WITH_STRANGERS(strangers_are_answered_by_the_pipeline),
        WITH_STRANGERS(full_queues_drop),
        WITH_STRANGERS(other_clusters_are_refused),
        WITH_STRANGERS(old_versions_are_refused),
        WITH_TWO(calls_are_answered),
        WITH_TWO(answers_may_come_later),
        WITH_TWO(calls_fail_as_told),
        WITH_STRANGERS(requests_that_met_the_end_are_repeated),
        WITH_TWO(round_trips_are_measured),
        WITH_TWO(numbers_are_kept),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
