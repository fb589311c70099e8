/* The judge of histories: one that is right passes, and each way of being wrong
 * is named. */
#include "history.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

/* Four writes, a deletion and what is read between them; one request without an
 * answer, which was done, and one that wasn't; a lease that is renewed once and
 * ends. */
struct fixture {
    struct history_event events[8];
    struct history_op ops[16];
    struct history_lease leases[1];
    struct history_renewal renewals[3];
    struct history h;
};

static struct history_event event(int64_t rev, unsigned key, uint64_t value,
                                  int64_t create, int64_t version, uint64_t at)
{
    return (struct history_event){.rev = rev,
                                  .key = key,
                                  .value = value,
                                  .create_rev = create,
                                  .mod_rev = rev,
                                  .version = version,
                                  .seen_ns = at};
}

static struct history_op op(enum history_kind kind, unsigned key,
                            uint64_t value, int64_t rev, uint64_t start,
                            uint64_t end)
{
    return (struct history_op){.kind = kind,
                               .key = key,
                               .value = value,
                               .rev = rev,
                               .start_ns = start,
                               .end_ns = end,
                               .done = true};
}

enum {
    PUT_1,
    PUT_2,
    READ,
    SWAP,
    PAIR,
    STALE,
    DELETE,
    NO_SWAP,
    LOST,
    PUT_LEASED
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct history_event *e = f->events;
    struct history_op *o = f->ops;

    e[0] = event(2, 0, 11, 2, 1, 10);
    e[1] = event(3, 1, 12, 3, 1, 20);
    e[2] = event(4, 0, 13, 2, 2, 40);
    e[3] = event(5, 0, 14, 2, 3, 50);
    e[4] = event(5, 1, 14, 3, 2, 50);
    e[5] = event(6, 1, 0, 0, 0, 70);
    e[6] = event(7, 2, 16, 7, 1, 100);
    e[6].lease = 5;
    e[7] = event(8, 2, 0, 0, 0, 10 * S);
    o[PUT_1] = op(HISTORY_PUT, 0, 11, 2, 8, 12);
    o[PUT_2] = op(HISTORY_PUT, 1, 12, 3, 14, 0); /* no answer */
    o[READ] = op(HISTORY_READ, 0, 0, 3, 25, 30);
    o[READ].seen[0] = (struct history_seen){11, 2, 1};
    o[READ].seen[1] = (struct history_seen){12, 3, 1};
    o[SWAP] = op(HISTORY_SWAP, 0, 13, 4, 35, 45);
    o[SWAP].expect = 2;
    o[PAIR] = op(HISTORY_PAIR, 0, 14, 5, 46, 55);
    o[PAIR].key2 = 1;
    o[STALE] = op(HISTORY_STALE_READ, 0, 0, 2, 56, 57);
    o[STALE].seen[0] = (struct history_seen){11, 2, 1};
    o[DELETE] = op(HISTORY_DELETE, 1, 0, 6, 60, 75);
    o[NO_SWAP] = op(HISTORY_SWAP, 1, 15, 6, 80, 85);
    o[NO_SWAP].done = false;
    o[NO_SWAP].expect = 3;
    o[LOST] = op(HISTORY_PUT, 0, 99, 0, 86, 0); /* never done */
    o[PUT_LEASED] = op(HISTORY_PUT, 2, 16, 7, 90, 110);
    o[PUT_LEASED].lease = 5;
    f->leases[0] = (struct history_lease){5, 88, 0, 0};
    f->renewals[0] = (struct history_renewal){5, 88, 89, 3, true};
    f->renewals[1] = (struct history_renewal){5, 2 * S, 2 * S + 9, 3, true};
    f->renewals[2] = (struct history_renewal){5, 11 * S, 11 * S + 9, 0, false};
    f->h = (struct history){f->events, 8, f->ops,      10,
                            f->leases, 1, f->renewals, 3};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void passes(struct fixture *f)
{
    const char *fault = history_judge(&f->h);

    if (fault)
        fail_msg("%s", fault);
}

static void fails(struct fixture *f, const char *text)
{
    const char *fault = history_judge(&f->h);

    assert_non_null(fault);
    if (!strstr(fault, text))
        fail_msg("\"%s\" instead of \"%s\"", fault, text);
}

static void a_right_one_passes(void **state)
{
    struct fixture *f = *state;

    passes(f);
    f->h = (struct history){0};
    passes(f);
}

static void revisions_and_versions(void **state)
{
    struct fixture *f = *state;
    struct history_event e = f->events[2];

    f->events[2].version = 3;
    fails(f, "version 3");
    f->events[2] = e;
    f->events[2].create_rev = 4;
    fails(f, "created 4");
    f->events[2] = e;
    f->events[2].mod_rev = 3;
    fails(f, "mod_revision 3");
    f->events[2] = e;
    memmove(&f->events[1], &f->events[2], 6 * sizeof(e));
    f->h.event_count = 7;
    fails(f, "revision 4 follows 2");
}

static void an_acknowledged_write_is_lost(void **state)
{
    struct fixture *f = *state;

    f->h.event_count = 6;
    fails(f, "acknowledged, but not there: put");
    f->h.event_count = 8;
    f->ops[PUT_1].value = 98;
    fails(f, "acknowledged, but not there");
}

static void half_a_transaction_is_there(void **state)
{
    struct fixture *f = *state;

    f->ops[PAIR].key2 = 3;
    fails(f, "acknowledged, but not there: pair");
}

static void a_swap_against_another_value(void **state)
{
    struct fixture *f = *state;

    f->ops[SWAP].expect = 1;
    fails(f, "swapped against 2, expected 1");
}

static void looks_that_are_wrong(void **state)
{
    struct fixture *f = *state;

    f->ops[NO_SWAP].expect = 0;
    fails(f, "should have been done: swap");
    f->ops[NO_SWAP].expect = 3;
    f->ops[LOST] = op(HISTORY_DELETE, 0, 0, 6, 86, 88);
    f->ops[LOST].done = false;
    fails(f, "should have been done: delete");
}

static void a_read_of_what_never_was(void **state)
{
    struct fixture *f = *state;

    f->ops[READ].seen[0].value = 13;
    fails(f, "key 0 read as 13");
    f->ops[READ].seen[0].value = 0;
    fails(f, "key 0 read as 0");
    f->ops[READ].seen[0].value = 11;
    f->ops[READ].seen[5] = (struct history_seen){7, 3, 1};
    fails(f, "key 5 read as 7");
    f->ops[READ].seen[5].value = 0;
    f->ops[STALE].seen[0].value = 12;
    fails(f, "key 0 read as 12");
}

static void a_read_of_the_past(void **state)
{
    struct fixture *f = *state;

    f->ops[READ].start_ns = 46;
    f->ops[READ].end_ns = 47;
    fails(f, "began after the other had ended");
}

static void a_write_before_its_time(void **state)
{
    struct fixture *f = *state;

    f->ops[SWAP].start_ns = 76;
    f->ops[SWAP].end_ns = 77;
    f->events[2].seen_ns = 76;
    fails(f, "began after the other had ended");
    f->events[2].seen_ns = 40;
    fails(f, "there before it was asked for");
}

static void a_read_of_the_future(void **state)
{
    struct fixture *f = *state;

    /* It had ended before the swap began that it shows. */
    f->ops[READ].rev = 4;
    f->ops[READ].seen[0] = (struct history_seen){13, 4, 2};
    fails(f, "began after the other had ended");
}

static void a_write_that_nobody_asked_for(void **state)
{
    struct fixture *f = *state;

    f->ops[PUT_2].value = 97;
    fails(f, "which nobody wrote so");
    f->ops[PUT_2].value = 12;
    f->ops[PUT_2].key = 3;
    fails(f, "which nobody wrote so");
    f->ops[PUT_2].key = 1;
    f->ops[DELETE].rev = 5;
    fails(f, "");
}

static void a_deletion_that_nobody_asked_for(void **state)
{
    struct fixture *f = *state;

    f->ops[DELETE] = op(HISTORY_READ, 0, 0, 1, 0, 1);
    fails(f, "though nobody asked for that");
}

static void a_write_done_twice(void **state)
{
    struct fixture *f = *state;

    f->events[2] = event(4, 1, 12, 3, 2, 40);
    f->events[3].version = 2;
    f->events[4].version = 3;
    f->ops[SWAP].kind = HISTORY_PUT;
    f->ops[SWAP].end_ns = 0;
    fails(f, "written twice");
}

static void what_was_refused_is_there(void **state)
{
    struct fixture *f = *state;

    f->ops[SWAP].refused = true;
    fails(f, "said not to be done, but it was");
    f->ops[SWAP].refused = false;
    f->ops[SWAP].done = false;
    fails(f, "");
}

static void leases_that_end_early(void **state)
{
    struct fixture *f = *state;

    f->renewals[1].start_ns = 8 * S;
    f->renewals[1].end_ns = 8 * S + 9;
    fails(f, "lease 5 ended at 10.000000, but was promised until 11.0");
    /* Unless a client has asked for it. */
    f->leases[0].revoked_ns = 9 * S;
    passes(f);
}

static void leases_that_are_unknown(void **state)
{
    struct fixture *f = *state;

    f->renewals[2].start_ns = 4 * S;
    f->renewals[2].end_ns = 4 * S + 1;
    fails(f, "lease 5 was said to be unknown at 4.000000");
}

static void leases_that_are_renewed_after_their_end(void **state)
{
    struct fixture *f = *state;

    f->leases[0].revoked_ns = S;
    f->leases[0].gone_ns = 3 * S / 2;
    fails(f, "lease 5 was renewed at 2.000000, after");
    f->leases[0].revoked_ns = f->leases[0].gone_ns = 0;
    f->renewals[2].found = true;
    f->renewals[2].ttl_s = 3;
    fails(f, "lease 5 ended");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_right_one_passes),
        TEST(revisions_and_versions),
        TEST(an_acknowledged_write_is_lost),
        TEST(half_a_transaction_is_there),
        TEST(a_swap_against_another_value),
        TEST(looks_that_are_wrong),
        TEST(a_read_of_what_never_was),
        TEST(a_read_of_the_past),
        TEST(a_write_before_its_time),
        TEST(a_read_of_the_future),
        TEST(a_write_that_nobody_asked_for),
        TEST(a_deletion_that_nobody_asked_for),
        TEST(a_write_done_twice),
        TEST(what_was_refused_is_there),
        TEST(leases_that_end_early),
        TEST(leases_that_are_unknown),
        TEST(leases_that_are_renewed_after_their_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
