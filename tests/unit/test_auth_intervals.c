/* Sets of key intervals against a naive model, and the order of permissions.
 * That both decide as etcd's do, odd inputs included, is tests/interop/auth's
 * business. */
#include "auth/intervals.h"
#include "auth/perm_order.h"
#include "chorad/base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static void add(struct intervals *set, const char *begin, const char *end)
{
    intervals_add(set, (struct interval){text(begin), text(end)});
}

static bool covers(const struct intervals *set, const char *begin,
                   const char *end)
{
    return intervals_cover(set, (struct interval){text(begin), text(end)});
}

static void test_the_empty_set(void **state)
{
    struct intervals set = {0};

    (void)state;
    assert_false(intervals_hit(&set, text("a")));
    assert_false(covers(&set, "a", "b"));
    assert_false(covers(&set, "b", "a"));
    intervals_close(&set);
}

static void test_neighbours_make_one(void **state)
{
    struct intervals set = {0};

    (void)state;
    add(&set, "c", "e");
    add(&set, "a", "c");
    add(&set, "k", "m");
    assert_true(covers(&set, "a", "e"));
    assert_true(covers(&set, "b", "d"));
    assert_false(covers(&set, "a", "f"));
    assert_false(covers(&set, "A", "b"));
    assert_false(covers(&set, "d", "l"));
    assert_false(covers(&set, "a", ""));
    assert_true(intervals_hit(&set, text("dz")));
    assert_false(intervals_hit(&set, text("e")));
    add(&set, "e", "k");
    assert_true(covers(&set, "a", "m"));
    add(&set, "l", "");
    assert_true(covers(&set, "a", ""));
    assert_true(intervals_hit(&set, text("zzz")));
    assert_false(intervals_hit(&set, text("")));
    intervals_close(&set);
}

/* A range that ends before it begins is allowed where its first key is, as far
 * as etcd's tree finds that. */
static void test_a_range_the_wrong_way_round(void **state)
{
    struct intervals set = {0};

    (void)state;
    add(&set, "b", "d");
    assert_true(covers(&set, "c", "a"));
    assert_true(covers(&set, "c", "c"));
    assert_false(covers(&set, "e", "a"));
    assert_false(covers(&set, "a", "A"));
    intervals_close(&set);
}

/* ---- the model: every key of one letter ---- */

#define LETTERS 26

struct model {
    bool has[LETTERS + 1]; /* [LETTERS]: what lies behind all letters */
};

static const char letters[] = "abcdefghijklmnopqrstuvwxyz{";

static struct bytes letter(size_t i)
{
    return i > LETTERS ? bytes_of("", 0) : bytes_of(&letters[i], 1);
}

static bool model_covers(const struct model *model, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (!model->has[i])
            return false;
    return true;
}

static void play(struct prng *prng, size_t n)
{
    struct intervals set = {0};
    struct model model = {{false}};

    for (size_t k = 0; k < n; k++) {
        size_t from = prng_below(prng, LETTERS);
        size_t to = from + 1 + prng_below(prng, 4);

        if (prng_below(prng, 20) == 0)
            to = LETTERS + 1;
        if (to > LETTERS + 1)
            to = LETTERS;
        intervals_add(&set, (struct interval){letter(from), letter(to)});
        for (size_t i = from; i < to; i++)
            model.has[i] = true;
    }
    for (size_t from = 0; from < LETTERS; from++) {
        assert_int_equal(intervals_hit(&set, letter(from)), model.has[from]);
        for (size_t to = from + 1; to <= LETTERS + 1; to++)
            assert_int_equal(
                intervals_cover(&set,
                                (struct interval){letter(from), letter(to)}),
                model_covers(&model, from, to));
    }
    intervals_close(&set);
}

static void test_against_the_model(void **state)
{
    struct prng prng = {7};

    (void)state;
    for (size_t i = 0; i < 1500; i++)
        play(&prng, i % 60);
}

static void test_many_stay_shallow(void **state)
{
    static uint8_t keys[20000][3];
    struct intervals set = {0};

    (void)state;
    for (size_t i = 0; i < 20000; i++) {
        keys[i][0] = (uint8_t)(i >> 8);
        keys[i][1] = (uint8_t)i;
        intervals_add(&set, (struct interval){bytes_of(keys[i], 2),
                                              bytes_of(keys[i], 3)});
    }
    for (size_t i = 0; i < 20000; i++)
        assert_true(intervals_hit(&set, bytes_of(keys[i], 2)));
    intervals_close(&set);
}

/* ---- the order of permissions ---- */

static int32_t at(const struct auth_permission *perms, size_t i)
{
    return perms[i].type;
}

/* Grants `n` permissions one by one, all on a few keys, and sees that they are
 * sorted and all there; `stable`: the later one of a key behind the earlier. */
static void grant(struct prng *prng, size_t n, size_t keys, bool stable)
{
    struct auth_permission perms[64] = {{0}};
    bool seen[64] = {false};

    for (size_t i = 0; i < n; i++) {
        perms[i].type = (int32_t)i;
        perms[i].key = letter(prng_below(prng, keys));
        perm_order(perms, i + 1);
    }
    for (size_t i = 0; i < n; i++) {
        assert_false(seen[at(perms, i)]);
        seen[at(perms, i)] = true;
        if (i == 0)
            continue;
        assert_true(bytes_cmp(perms[i - 1].key, perms[i].key) <= 0);
        if (stable && bytes_cmp(perms[i - 1].key, perms[i].key) == 0)
            assert_true(at(perms, i - 1) < at(perms, i));
    }
}

static void test_the_order_of_permissions(void **state)
{
    struct prng prng = {3};

    (void)state;
    for (size_t i = 0; i < 2000; i++) {
        grant(&prng, prng_below(&prng, 13), 4, true);
        grant(&prng, prng_below(&prng, 64), 1 + prng_below(&prng, 26), false);
    }
}

/* What Go's sort.Sort makes of these: "d" and "c" change among themselves. */
static void test_equal_keys_as_go_sorts_them(void **state)
{
    static const char keys[] = "bbbbcccdddddda";
    static const int32_t want[] = {13, 0, 1, 2, 3,  6,  5,
                                   4,  7, 8, 9, 10, 11, 12};
    struct auth_permission perms[14];

    (void)state;
    for (int32_t i = 0; i < 14; i++)
        perms[i] =
            (struct auth_permission){i, bytes_of(&keys[i], 1), {NULL, 0}};
    perm_order(perms, 14);
    for (size_t i = 0; i < 14; i++)
        assert_int_equal(at(perms, i), want[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_empty_set),
        cmocka_unit_test(test_neighbours_make_one),
        cmocka_unit_test(test_a_range_the_wrong_way_round),
        cmocka_unit_test(test_against_the_model),
        cmocka_unit_test(test_many_stay_shallow),
        cmocka_unit_test(test_the_order_of_permissions),
        cmocka_unit_test(test_equal_keys_as_go_sorts_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
