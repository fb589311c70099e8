/* What the hashes of a cluster's members say about who is corrupt. */
#include "node/corrupt.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SELF 1

static struct corrupt_answer answer(uint64_t id, uint32_t hash, int64_t compact)
{
    return (struct corrupt_answer){
        .id = id, .known = true, .revision = 9, .hash = {hash, compact, 9}};
}

static const struct mvcc_hash own = {77, 5, 9};

static void finds_who_differs(void **state)
{
    struct corrupt_answer a[2] = {answer(2, 77, 5), answer(3, 77, 5)};
    struct mvcc_hash after = own;
    uint64_t id;

    (void)state;
    assert_false(corrupt_find(SELF, &own, &after, 9, a, 2, &id));
    a[1].hash.hash = 78;
    assert_true(corrupt_find(SELF, &own, &after, 9, a, 2, &id));
    assert_int_equal(id, 3);
    a[1].hash.compact_rev = 4; /* can't be compared */
    assert_false(corrupt_find(SELF, &own, &after, 9, a, 2, &id));
    a[1].known = false;
    a[1].hash.compact_rev = 5;
    assert_false(corrupt_find(SELF, &own, &after, 9, a, 2, &id));
}

static void finds_who_is_ahead(void **state)
{
    struct corrupt_answer a[1] = {answer(2, 77, 5)};
    struct mvcc_hash after = own;
    uint64_t id;

    (void)state;
    a[0].revision = 10;
    assert_true(corrupt_find(SELF, &own, &after, 9, a, 1, &id));
    assert_int_equal(id, 2);
    a[0] = answer(2, 77, 6);
    assert_true(corrupt_find(SELF, &own, &after, 9, a, 1, &id));
    after.compact_rev = 6;
    assert_false(corrupt_find(SELF, &own, &after, 9, a, 1, &id));
}

static void finds_itself(void **state)
{
    struct mvcc_hash after = own;
    uint64_t id;

    (void)state;
    after.hash = 78;
    assert_true(corrupt_find(SELF, &own, &after, 9, NULL, 0, &id));
    assert_int_equal(id, SELF);
    after.hash_rev = 10;
    assert_false(corrupt_find(SELF, &own, &after, 10, NULL, 0, &id));
}

static void compares_compactions(void **state)
{
    struct corrupt_answer a[2] = {answer(2, 77, 5), answer(3, 77, 5)};
    uint64_t ids[3];
    size_t n;

    (void)state;
    assert_int_equal(corrupt_compare(SELF, &own, a, 2, ids, &n),
                     CORRUPT_ALL_EQUAL);
    a[0].hash.compact_rev = 4;
    assert_int_equal(corrupt_compare(SELF, &own, a, 2, ids, &n),
                     CORRUPT_UNDECIDED);
    a[0] = answer(2, 78, 5);
    assert_int_equal(corrupt_compare(SELF, &own, a, 2, ids, &n), CORRUPT_SOME);
    assert_int_equal(n, 1);
    assert_int_equal(ids[0], 2);
    a[1] = answer(3, 78, 5);
    assert_int_equal(corrupt_compare(SELF, &own, a, 2, ids, &n), CORRUPT_SOME);
    assert_int_equal(n, 1);
    assert_int_equal(ids[0], SELF);
    a[1] = answer(3, 79, 5);
    assert_int_equal(corrupt_compare(SELF, &own, a, 2, ids, &n), CORRUPT_ANY);
    assert_int_equal(n, 0);
    /* One of two that differ: who is right? */
    assert_int_equal(corrupt_compare(SELF, &own, a, 1, ids, &n), CORRUPT_ANY);
}

static int read_text(const char *text, struct corrupt_answer *a)
{
    *a = (struct corrupt_answer){0};
    return corrupt_read_answer(bytes_of(text, strlen(text)), a);
}

static void reads_answers(void **state)
{
    struct corrupt_answer a;

    (void)state;
    assert_int_equal(
        read_text("{\"header\":{\"revision\":12},\"hash\":4294967295,"
                  "\"compact_revision\":3,\"hash_revision\":11}",
                  &a),
        0);
    assert_true(a.known);
    assert_int_equal(a.revision, 12);
    assert_int_equal(a.hash.hash, UINT32_MAX);
    assert_int_equal(a.hash.compact_rev, 3);
    assert_int_equal(a.hash.hash_rev, 11);
    static const char *const bad[] = {"",    "{", "[]", "{}", "{\"header\":1}",
                                      "null"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(read_text(bad[i], &a), ERR_INVALID);
        assert_false(a.known);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_who_differs),
        cmocka_unit_test(finds_who_is_ahead),
        cmocka_unit_test(finds_itself),
        cmocka_unit_test(compares_compactions),
        cmocka_unit_test(reads_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
