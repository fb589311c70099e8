/* What a peer port answers to those who don't behave. */
#include "chorad/raftpb.h"
#include "peer/visit.h"
#include "peer_client.h"
#include <arpa/inet.h>
#include <errno.h>
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

#define IDENTITY                                                               \
    "Host: x\r\n"                                                              \
    "X-Server-From: 2\r\nX-Server-Version: 3.7.1\r\n"                          \
    "X-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: c1\r\n"

static int open_one(void **state)
{
    struct bed *bed = malloc(sizeof(*bed));

    bed_open(bed, 1);
    bed_member(bed, 1)->peers->limits.idle_ms = 300;
    *state = bed;
    return 0;
}

static int close_bed(void **state)
{
    bed_close(*state);
    free(*state);
    return 0;
}

static void answers_look_as_etcd_s(void **state)
{
    struct bed *bed = *state;

    ask(bed, "GET /raft/probing HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\n", "{\"OK\":true,\"Now\":\"20");
    ask(bed, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\n", "\r\n\r\n404 page not found\n");
    ask(bed, "GET /raft HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\n", "Allow: POST\r\n");
    ask(bed, "POST /raft/stream/msgapp/2 HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\n", "\r\n\r\nMethod Not Allowed\n");
    ask(bed, "GET /raft/stream/other/2 HTTP/1.1\r\n" IDENTITY "\r\n",
        "HTTP/1.1 404 Not Found\r\n", "\r\n\r\ninvalid path\n");
    ask(bed, "GET /raft/stream/message/xyz HTTP/1.1\r\n" IDENTITY "\r\n",
        "HTTP/1.1 404 Not Found\r\n", "\r\n\r\ninvalid from\n");
    ask(bed, "GET /raft/stream/message/2 HTTP/1.1\r\n" IDENTITY "\r\n",
        "HTTP/1.1 404 Not Found\r\n", "\r\n\r\nerror sender not found\n");
    ask(bed, "GET /raft/stream/message/2 HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 412 Precondition Failed\r\n",
        "\r\n\r\nincompatible version\n");
    ask(bed,
        "GET /raft/stream/message/2 HTTP/1.1\r\nHost: x\r\nX-Server-Version: "
        "3.9.0\r\n"
        "X-Min-Cluster-Version: 3.8.0\r\nX-Etcd-Cluster-ID: c1\r\n\r\n",
        "HTTP/1.1 412 Precondition Failed\r\n",
        "\r\n\r\nincompatible version\n");
    ask(bed,
        "GET /raft/stream/message/2 HTTP/1.1\r\nHost: x\r\nX-Server-Version: "
        "3.7.1\r\n"
        "X-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: c2\r\n\r\n",
        "HTTP/1.1 412 Precondition Failed\r\n",
        "\r\n\r\ncluster ID mismatch\n");
    ask(bed,
        "POST /raft HTTP/1.1\r\nContent-Length: 2\r\n" IDENTITY "\r\n\x3a\x05",
        "HTTP/1.1 400 Bad Request\r\n",
        "\r\n\r\nerror unmarshalling raft message\n");
    bed_member(bed, 1)->removed_id = 2;
    ask(bed, "GET /raft/stream/message/2 HTTP/1.1\r\n" IDENTITY "\r\n",
        "HTTP/1.1 410 Gone\r\n", "\r\n\r\nremoved member\n");
    ask(bed, "GET /raft/stream/message/2 HTTP/1.1\r\n" IDENTITY "\r\n",
        "HTTP/1.1 410 Gone\r\n", "\r\nX-Server-Version: 3.7.1\r\n");
    /* Of MsgHeartbeatResp, to 1, from 2. */
    ask(bed,
        "POST /raft HTTP/1.1\r\nContent-Length: 6\r\n" IDENTITY
        "\r\n\x08\x09\x10\x01\x18\x02",
        "HTTP/1.1 403 Forbidden\r\n",
        "{\"message\":\"cannot process message from removed member\"}");
    bed_member(bed, 1)->removed_id = 0;
    ask(bed,
        "POST /raft HTTP/1.1\r\nContent-Length: 6\r\n" IDENTITY
        "\r\n\x08\x09\x10\x03\x18\x02",
        "HTTP/1.1 500 Internal Server Error\r\n",
        "\r\n\r\nerror processing raft message\n");
    assert_int_equal(bed_member(bed, 1)->got_count, 0);
    ask(bed,
        "POST /raft HTTP/1.1\r\nContent-Length: 6\r\n" IDENTITY
        "\r\n\x08\x09\x10\x01\x18\x02",
        "HTTP/1.1 204 No Content\r\n", "\r\n\r\n");
    assert_int_equal(bed_member(bed, 1)->got_count, 1);
}

static void streams_of_members_are_checked(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    const char *nowhere[] = {"http://127.0.0.1:1", NULL};

    peers_add(m->peers, 2, nowhere);
    ask(bed,
        "GET /raft/stream/message/2 HTTP/1.1\r\n" IDENTITY
        "X-Raft-To: 7\r\n\r\n",
        "HTTP/1.1 412 Precondition Failed\r\n", "\r\n\r\nto field mismatch\n");
    ask(bed,
        "GET /raft/stream/message/2 HTTP/1.1\r\n" IDENTITY
        "X-Raft-To: 1\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 400 Bad Request\r\n", "\r\n\r\na stream is asked");
    ask(bed,
        "GET /raft/stream/message/2 HTTP/1.1\r\n" IDENTITY
        "X-Raft-To: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n", "Transfer-Encoding: chunked\r\n\r\n");
}

/* Messages that nobody may send: none of them reaches the node. */
static void lies_are_dropped(void **state)
{
    static const char *const bodies[] = {
        "\x08\x01\x10\x01\x18\x02", /* MsgBeat: local */
        "\x08\x07\x10\x01\x18\x02", /* MsgSnap without database */
        "\x08\x09\x10\x01\x18\x03", /* from another member */
        "\x08\x02\x10\x01\x18\x05", /* passed on from no member */
        "\x08\x30\x10\x01\x18\x02", /* of a type to come */
        "\x08\x09\x10\x01\x20\x05", /* from nobody */
    };
    static const char *const nowhere[] = {"http://127.0.0.1:1", NULL};
    struct bed *bed = *state;

    peers_add(bed_member(bed, 1)->peers, 3, nowhere);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        char request[512];
        (void)snprintf(request, sizeof(request),
                       "POST /raft HTTP/1.1\r\nContent-Length: 6\r\n" IDENTITY
                       "\r\n%s",
                       bodies[i]);
        /* A type to come may mean something to others. */
        ask(bed, request,
            i == 4 ? "HTTP/1.1 204 No Content\r\n"
                   : "HTTP/1.1 400 Bad Request\r\n",
            "\r\n\r\n");
    }
    assert_int_equal(bed_member(bed, 1)->got_count, 0);
    assert_true(series("chorad_peer_refused_messages_total"
                       "{reason=\"wrong-sender\"}") == 2);
    /* A proposal that a member passes on is another's. */
    ask(bed,
        "POST /raft HTTP/1.1\r\nContent-Length: 6\r\n" IDENTITY
        "\r\n\x08\x02\x10\x01\x18\x03",
        "HTTP/1.1 204 No Content\r\n", "\r\n\r\n");
    assert_int_equal(bed_member(bed, 1)->got_count, 1);
}

static void malformed_requests_end(void **state)
{
    static const char *const requests[] = {
        "garbage\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "
        "99999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
        "chunked\r\n\r\nxyz\r\n",
    };
    struct bed *bed = *state;

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
        ask(bed, requests[i], "HTTP/1.1 400 Bad Request\r\n", NULL);
    bed_until(bed, bed_member(bed, 1)->peers->visit_count == 0);
}

/* The answer comes before the body has been read; its sender isn't cut off
 * while it reads that. */
static void refused_bodies_are_read_away(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    static struct client c;
    static const char request[] =
        "POST /raft HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nbegin";
    char more[400] = {0};

    m->peers->limits.linger_ms = 100000;
    client_open(&c, bed);
    client_send(&c, request, sizeof(request) - 1);
    client_until(&c, "incompatible version\n");
    client_send(&c, more, sizeof(more));
    bed_run(bed, 10);
    assert_int_equal(m->peers->visit_count, 1);
    client_close(&c);
    bed_until(bed, m->peers->visit_count == 0);
}

static void long_things_are_refused(void **state)
{
    struct bed *bed = *state;
    static struct client c;
    static char filler[70000];
    static const char begin[] =
        "GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: ";
    static const char post[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
        "chunked\r\n\r\n11170\r\n";

    memset(filler, 'x', sizeof(filler));
    client_open(&c, bed);
    client_send(&c, begin, sizeof(begin) - 1);
    client_send(&c, filler, sizeof(filler));
    client_until(&c, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
    client_close(&c);

    client_open(&c, bed);
    client_send(&c, post, sizeof(post) - 1);
    client_send(&c, filler, sizeof(filler));
    client_until(&c, "\r\n\r\nrequest body too large\n");
    client_until(&c, NULL);
    client_close(&c);
}

/* Every split of two requests in one stream of bytes. */
static void requests_come_in_pieces(void **state)
{
    struct bed *bed = *state;
    static struct client c;
    static const char two[] =
        "POST /echo/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nfirst"
        "POST /echo/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n";

    for (size_t cut = 1; cut < sizeof(two) - 1; cut += 3) {
        client_open(&c, bed);
        client_send(&c, two, cut);
        bed_run(bed, 1);
        client_send(&c, two + cut, sizeof(two) - 1 - cut);
        client_until(&c, "POST /echo/b auth= cluster= body=second");
        assert_non_null(
            strstr(c.got, "POST /echo/a auth= cluster= body=first"));
        client_close(&c);
    }
}

/* What comes behind a request waits until that one is answered. */
static void requests_wait_for_each_other(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    static struct client c;
    static const char two[] = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
                              "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n";

    client_open(&c, bed);
    client_send(&c, two, sizeof(two) - 1);
    bed_until(bed, m->waiting != NULL);
    bed_run(bed, 10);
    client_read(&c);
    assert_int_equal(c.len, 0);
    peers_answer(m->waiting, 200, "text/plain", bytes_of("first", 5));
    client_until(&c, "first");
    client_until(&c, "GET /echo auth= cluster= body=");
    client_send(&c, "GET /echo/third HTTP/1.1\r\nHost: x\r\n\r\n", 37);
    client_until(&c, "GET /echo/third auth= cluster= body=");
    client_close(&c);
}

static void asking_to_go_on_is_answered(void **state)
{
    struct bed *bed = *state;
    static struct client c;
    static const char head[] =
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
        "Expect: 100-continue\r\n\r\n";

    client_open(&c, bed);
    client_send(&c, head, sizeof(head) - 1);
    client_until(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(&c, "body", 4);
    client_until(&c, "body=body");
    client_close(&c);
}

static void silent_ones_are_closed(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    static struct client c;

    client_open(&c, bed);
    client_until(&c, NULL);
    client_close(&c);
    client_open(&c, bed);
    client_send(
        &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        55);
    client_until(&c, NULL);
    client_close(&c);
    /* A byte now and then doesn't keep it open for good. */
    m->peers->limits.head_ms = 100;
    client_open(&c, bed);
    for (int i = 0; i < 30 && !c.ended; i++) {
        client_send(&c, "GET / HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaa" + i, 1);
        bed_run(bed, 20);
        client_read(&c);
    }
    assert_true(c.ended);
    client_close(&c);
}

static void too_many_make_room_for_new_ones(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    static struct client c[5];

    m->peers->limits.visits_max = 4;
    m->peers->limits.idle_ms = 100000;
    for (int i = 0; i < 4; i++) {
        client_open(&c[i], bed);
        client_send(&c[i], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 31);
        client_until(&c[i], "GET /echo");
    }
    /* The one that was used longest ago is not the one that came first. */
    c[0].len = 0;
    client_send(&c[0], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 31);
    client_until(&c[0], "GET /echo");
    client_open(&c[4], bed);
    client_until(&c[1], NULL);
    client_send(&c[4], "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 31);
    client_until(&c[4], "GET /echo");
    assert_int_equal(m->peers->visit_count, 4);
    client_read(&c[0]);
    assert_false(c[0].ended);
    for (int i = 0; i < 5; i++)
        client_close(&c[i]);
}

static void strangers_can_t_fill_memory(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    static struct client c;
    static const char head[] =
        "POST /raft HTTP/1.1\r\nContent-Length: 400000000\r\n" IDENTITY "\r\n";
    static uint8_t filler[1 << 20];
    size_t sent = 0;

    client_open(&c, bed);
    client_send(&c, head, sizeof(head) - 1);
    while (!strstr(c.got, "too much is being received") && sent < 200) {
        client_send(&c, filler, sizeof(filler));
        client_read(&c);
        sent++;
    }
    assert_in_range(sent, 100, 150);
    client_close(&c);
    bed_until(bed, m->peers->visit_count == 0);
    assert_int_equal(m->peers->body_bytes, 0);
}

static void one_member_s_requests_are_few(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    static const char *const nowhere[] = {"http://127.0.0.1:1", NULL};
    static const char head[] =
        "POST /raft HTTP/1.1\r\nContent-Length: 6\r\n" IDENTITY "\r\n";
    static struct client c[3];

    m->peers->limits.visits_of_one_max = 2;
    peers_add(m->peers, 2, nowhere);
    for (int i = 0; i < 3; i++) {
        client_open(&c[i], bed);
        client_send(&c[i], head, sizeof(head) - 1);
        if (i < 2)
            bed_run(bed, 5);
    }
    client_until(&c[2], "HTTP/1.1 503");
    client_send(&c[0], "\x08\x09\x10\x01\x18\x02", 6);
    client_until(&c[0], "HTTP/1.1 204");
    client_close(&c[1]);
    bed_until(bed, peers_find_member(m->peers, 2)->visiting == 0);
    client_close(&c[0]);
    client_close(&c[2]);
}

static void remotes_are_few(void **state)
{
    struct bed *bed = *state;
    struct member *m = bed_member(bed, 1);
    size_t count = 0;

    for (unsigned i = 2; i < 40; i++) {
        char request[512];
        (void)snprintf(request, sizeof(request),
                       "GET /raft/stream/message/%x HTTP/1.1\r\n" IDENTITY
                       "X-PeerURLs: http://127.0.0.1:1,http://127.0.0.1:2\r\n"
                       "\r\n",
                       i);
        ask(bed, request, "HTTP/1.1 404", "error sender not found\n");
    }
    for (const struct peer *p = m->peers->list; p; p = p->next)
        count++;
    assert_int_equal(count, m->peers->limits.remotes_max);
    assert_non_null(peers_find(m->peers, 39));
    assert_null(peers_find(m->peers, 2));
}

static void bad_snapshots_are_refused(void **state)
{
    struct bed *bed = *state;

    ask(bed,
        "POST /raft/snapshot HTTP/1.1\r\nContent-Length: 0\r\n" IDENTITY "\r\n",
        "HTTP/1.1 400 Bad Request\r\n", "failed to decode raft message");
    ask(bed, "GET /raft/snapshot HTTP/1.1\r\n" IDENTITY "\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\n", "Method Not Allowed\n");
    static const char type[] =
        "POST /raft/snapshot HTTP/1.1\r\nContent-Length: 14\r\n" IDENTITY
        "\r\n\0\0\0\0\0\0\0\6\x08\x09\x10\x01\x18\x02";
    static const char length[] =
        "POST /raft/snapshot HTTP/1.1\r\nContent-Length: 14\r\n" IDENTITY
        "\r\n\0\0\0\0\x04\0\0\1\x08\x09\x10\x01\x18\x02";
    static struct client c;
    client_open(&c, bed);
    client_send(&c, type, sizeof(type) - 1);
    client_until(&c, "\r\n\r\nwrong raft message type\n");
    client_close(&c);
    client_open(&c, bed);
    client_send(&c, length, sizeof(length) - 1);
    client_until(&c, "failed to decode raft message\n");
    client_close(&c);
    bed_until(bed, bed_member(bed, 1)->peers->download_count == 0);
}

/* ---- the time in a probe's answer ---------------------------------------- */

static void times_are_read(void **state)
{
    static const struct {
        const char *json;
        uint64_t ns; /* 0: it isn't one */
    } cases[] = {
        {"{\"OK\":true,\"Now\":\"2026-11-25T08:10:21.5Z\"}\n",
         UINT64_C(1795594221500000000)},
        {"{\"OK\":true,\"Now\":\"2026-11-25T10:10:21.000000001+02:00\"}",
         UINT64_C(1795594221000000001)},
        {"{\"OK\":true,\"Now\":\"2026-11-25T03:10:21-05:00\"}",
         UINT64_C(1795594221000000000)},
        {"{\"OK\":false,\"Now\":\"2026-11-25T08:10:21Z\"}", 0},
        {"{\"OK\":true}", 0},
        {"{\"OK\":true,\"Now\":\"yesterday\"}", 0},
        {"", 0},
    };
    struct buf text = {0};
    uint64_t ns;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes json = bytes_of(cases[i].json, strlen(cases[i].json));
        assert_int_equal(rtt_parse_health(json, &ns), cases[i].ns != 0);
        if (cases[i].ns != 0)
            assert_int_equal(ns, cases[i].ns);
    }
    rtt_put_health(&text, UINT64_C(1795594221000000042));
    assert_true(rtt_parse_health(bytes_of(text.data, text.len), &ns));
    assert_int_equal(ns, UINT64_C(1795594221000000042));
    buf_close(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_one, close_bed)
        TEST(answers_look_as_etcd_s),
        TEST(streams_of_members_are_checked),
        TEST(lies_are_dropped),
        TEST(malformed_requests_end),
        TEST(refused_bodies_are_read_away),
        TEST(long_things_are_refused),
        TEST(requests_come_in_pieces),
        TEST(requests_wait_for_each_other),
        TEST(asking_to_go_on_is_answered),
        TEST(silent_ones_are_closed),
        TEST(too_many_make_room_for_new_ones),
        TEST(strangers_can_t_fill_memory),
        TEST(one_member_s_requests_are_few),
        TEST(remotes_are_few),
        TEST(bad_snapshots_are_refused),
        cmocka_unit_test(times_are_read),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
