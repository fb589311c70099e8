/* What the fields of a request may be. */
#include "http2/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIELDS_MAX 5

struct request {
    const char *fields[FIELDS_MAX][2];
    bool fine;  /* each of its fields */
    bool whole; /* and it has what it needs */
};

#define START                                                                  \
    {":method", "POST"},                                                       \
    {                                                                          \
        ":scheme", "http"                                                      \
    }

static const struct request requests[] = {
    {{START, {":path", "/a/b"}}, true, true},
    {{START, {":path", "/a/b"}, {":authority", "http://etcd1:2379"}},
     true,
     true},
    {{START, {":path", "a b%"}, {"token", "Bearer "}}, true, true},
    {{START, {":path", "/"}, {"te", "trailers"}}, true, true},
    {{START}, true, false},
    {{{":method", "POST"}, {":path", "/"}}, true, false},
    {{{":scheme", "http"}, {":path", "/"}}, true, false},
    {{START, {":path", ""}}, false, false},
    {{START, {":path", "/"}, {":path", "/"}}, false, true},
    {{START, {"x", "y"}, {":path", "/"}}, false, false},
    {{START, {":path", "/"}, {":status", "200"}}, false, true},
    {{START, {":path", "/"}, {"X", "y"}}, false, true},
    {{START, {":path", "/"}, {"", "y"}}, false, true},
    {{START, {":path", "/"}, {"a b", "y"}}, false, true},
    {{START, {":path", "/"}, {"x", "a\nb"}}, false, true},
    {{START, {":path", "/"}, {"x", "a\x7f"}}, false, true},
    {{START, {":path", "/"}, {"x", "\ta \xff"}}, true, true},
    {{START, {":path", "/\r"}}, false, false},
    {{START, {":path", "/"}, {"connection", "close"}}, false, true},
    {{START, {":path", "/"}, {"te", "gzip"}}, false, true},
};

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        const struct request *r = &requests[i];
        unsigned seen = 0;
        bool fine = true;

        for (int k = 0; k < FIELDS_MAX && r->fields[k][0] != NULL; k++)
            fine &= field_check(
                &seen, bytes_of(r->fields[k][0], strlen(r->fields[k][0])),
                bytes_of(r->fields[k][1], strlen(r->fields[k][1])));
        if (fine != r->fine || field_is_whole(seen) != r->whole)
            fail_msg("request %zu", i);
    }
}

static void test_zero_bytes(void **state)
{
    unsigned seen = 0;

    (void)state;
    assert_false(field_check(&seen, bytes_of("x", 1), bytes_of("a\0b", 3)));
    assert_false(field_check(&seen, bytes_of("x\0", 2), bytes_of("a", 1)));
    assert_true(field_check(&seen, bytes_of("x", 1), bytes_of("", 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_zero_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
