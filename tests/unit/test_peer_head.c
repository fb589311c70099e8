/* Requests at a peer port that can be read in more than one way. */
#include "peer_client.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* After the standard ones it needs. */
#include <cmocka.h>

static int open_one(void **state)
{
    struct bed *bed = malloc(sizeof(*bed));

    bed_open(bed, 1);
    *state = bed;
    return 0;
}

static int close_bed(void **state)
{
    bed_close(*state);
    free(*state);
    return 0;
}

#define PLAIN                                                                  \
    "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
#define NOT_IMPLEMENTED                                                        \
    "HTTP/1.1 501 Not Implemented" PLAIN "Unsupported transfer encoding"
#define BAD_REQUEST(why)                                                       \
    "HTTP/1.1 400 Bad Request" why PLAIN "400 Bad Request" why

struct refused_head {
    const char *request;
    const char *answer; /* all of it, as etcd gives it */
};

/* Who sends them may mean another end of the message than we do. */
static const struct refused_head refusals[] = {
    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: foo\r\n\r\n",
     NOT_IMPLEMENTED},
    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked"
     "\r\n\r\n0\r\n\r\n",
     NOT_IMPLEMENTED},
    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunkedx\r\n\r\n",
     NOT_IMPLEMENTED},
    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n",
     NOT_IMPLEMENTED},
    {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
     "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     NOT_IMPLEMENTED},
    {"POST /echo HTTP/1.1\r\nTransfer-Encoding: foo\r\nContent-Length: 3\r\n"
     "\r\nabc",
     NOT_IMPLEMENTED},
    {"GET /echo HTTP/1.1\r\n\r\n",
     BAD_REQUEST(": missing required Host header")},
    {"GET /echo HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", BAD_REQUEST("")},
    {"GET /echo HTTP/1.1\r\nHost: x/y\r\n\r\n",
     BAD_REQUEST(": malformed Host header")},
    {"GET /echo HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
     BAD_REQUEST(": invalid header name")},
    {"GET /echo HTTP/2.0\r\nHost: x\r\n\r\n",
     "HTTP/1.1 505 HTTP Version Not Supported: unsupported protocol "
     "version" PLAIN
     "505 HTTP Version Not Supported: unsupported protocol version"},
    {"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: much\r\nContent-Length: 3\r\n"
     "\r\nabc",
     "HTTP/1.1 417 Expectation Failed" PLAIN},
    {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
     "Content-Length: 4\r\n\r\nabcd",
     BAD_REQUEST("")},
    {"GET /echo HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n", BAD_REQUEST("")},
};

static void doubtful_requests_are_refused(void **state)
{
    struct bed *bed = *state;
    static struct client c;

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const char *request = refusals[i].request;

        client_open(&c, bed);
        client_send(&c, request, strlen(request));
        /* Nothing that comes behind it is taken for a request. */
        client_send(&c, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 31);
        client_until(&c, NULL);
        if (strcmp(c.got, refusals[i].answer) != 0)
            fail_msg("asked: %s\nwanted: %s\ngot: %s", request,
                     refusals[i].answer, c.got);
        client_close(&c);
    }
    bed_until(bed, bed_member(bed, 1)->peers->visit_count == 0);
}

/* What is seldom, and right all the same. */
static void seldom_requests_are_taken(void **state)
{
    struct bed *bed = *state;

    ask(bed,
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\tChunked \r\n"
        "\r\n3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n", "POST /echo auth= cluster= body=abc");
    ask(bed, "GET /echo HTTP/1.1\nHost:\n\n", "HTTP/1.1 200 OK\r\n",
        "GET /echo auth=");
    ask(bed, "GET /echo HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n",
        "GET /echo auth=");
    ask(bed, "GET http://[::1]:2380/echo/a?b HTTP/1.1\r\nHost: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n", "GET /echo/a auth=");
    ask(bed, "GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\n", "404 page not found\n");
    /* Of HTTP/1.0, which knows no "100 Continue". */
    ask(bed,
        "POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"
        "\r\nabc",
        "HTTP/1.1 200 OK\r\n", "body=abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_one, close_bed)
        TEST(doubtful_requests_are_refused),
        TEST(seldom_requests_are_taken),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
