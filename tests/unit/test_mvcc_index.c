/* The index tree and the revisions of one key, against naive models. */
#include "mvcc/index.h"

#include "chorad/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the tree ---------------------------------------------------------- */

#define KEYS 5000

struct tree {
    struct prng prng;
    struct index index;
    struct bytes keys[KEYS]; /* ascending */
    bool in[KEYS];
    size_t len;
};

/* Keys with long common beginnings, zero bytes, and keys that are the
 * beginning of others. */
static struct bytes random_key(struct prng *prng)
{
    static const char *const roots[] = {"", "/chora/capabilities/service/",
                                        "/chora/capabilities/pattern/", "a"};
    const char *root = roots[prng_below(prng, 4)];
    size_t n = strlen(root);
    size_t more = prng_below(prng, 7);
    uint8_t *key = malloc(n + more + 1);

    assert_non_null(key);
    memcpy(key, root, n);
    for (size_t i = 0; i < more; i++)
        key[n + i] = (uint8_t)prng_below(prng, prng_below(prng, 4) ? 4 : 256);
    return bytes_of(key, n + more);
}

static int cmp_keys(const void *a, const void *b)
{
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}

static void tree_init(struct tree *t, uint64_t seed)
{
    size_t n = 0;

    memset(t, 0, sizeof(*t));
    t->prng.state = seed;
    for (size_t i = 0; i < KEYS; i++)
        t->keys[i] = random_key(&t->prng);
    qsort(t->keys, KEYS, sizeof(t->keys[0]), cmp_keys);
    for (size_t i = 0; i < KEYS; i++) {
        if (n > 0 && bytes_cmp(t->keys[n - 1], t->keys[i]) == 0)
            free((void *)(uintptr_t)t->keys[i].data);
        else
            t->keys[n++] = t->keys[i];
    }
    t->len = n;
    index_init(&t->index);
}

static void tree_close(struct tree *t)
{
    for (size_t i = 0; i < t->len; i++)
        free((void *)(uintptr_t)t->keys[i].data);
    index_close(&t->index);
}

static void tree_insert(struct tree *t, size_t i)
{
    struct item_rev rev = {.main = (int64_t)i + 1, .version = 1};

    index_insert(&t->index, item_new(t->keys[i], &rev));
    t->in[i] = true;
}

static void tree_check_find(struct tree *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->len; i++) {
        struct item *item = index_find(&t->index, t->keys[i]);

        assert_int_equal(item != NULL, t->in[i]);
        if (item != NULL)
            assert_int_equal(item->main, i + 1);
        n += t->in[i];
    }
    assert_int_equal(t->index.len, n);
}

static void tree_check_walk(struct tree *t)
{
    for (int round = 0; round < 30; round++) {
        size_t from = prng_below(&t->prng, t->len);
        size_t to = prng_below(&t->prng, t->len);
        bool after = prng_below(&t->prng, 2);
        bool open = prng_below(&t->prng, 4) == 0;
        struct index_cursor cursor;
        struct item *item;

        index_seek(&t->index, t->keys[from], after,
                   open ? bytes_of(NULL, 0) : t->keys[to], &cursor);
        for (size_t i = from + after; i < (open ? t->len : to); i++) {
            if (!t->in[i])
                continue;
            item = index_next(&cursor);
            assert_non_null(item);
            assert_int_equal(item->main, i + 1);
        }
        assert_null(index_next(&cursor));
        assert_null(index_next(&cursor));
    }
}

static void test_tree_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        static struct tree t;

        tree_init(&t, seed);
        for (int round = 0; round < 8; round++) {
            /* Grows in even rounds, shrinks to almost nothing in odd ones. */
            for (size_t step = 0; step < KEYS * 2; step++) {
                size_t i = prng_below(&t.prng, t.len);
                bool add = prng_below(&t.prng, 10) < (round % 2 ? 1 : 9);

                if (add && !t.in[i]) {
                    tree_insert(&t, i);
                } else if (!add && t.in[i]) {
                    index_remove(&t.index, t.keys[i]);
                    t.in[i] = false;
                }
            }
            tree_check_find(&t);
            tree_check_walk(&t);
        }
        for (size_t i = 0; i < t.len; i++)
            if (t.in[i])
                index_remove(&t.index, t.keys[i]);
        assert_int_equal(t.index.len, 0);
        assert_int_equal(t.index.memory, sizeof(struct index_leaf));
        tree_close(&t);
    }
}

static void test_tree_ascending_fills_leaves(void **state)
{
    struct index index;
    struct item_rev rev = {.main = 1, .version = 1};

    (void)state;
    index_init(&index);
    for (int i = 0; i < 20000; i++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "/registry/%08d", i);

        index_insert(&index, item_new(bytes_of(key, (size_t)n), &rev));
    }
    assert_true(index.memory < 20000 * (sizeof(struct index_leaf) / 64 + 2));
    index_close(&index);
}

/* ---- one key's revisions ----------------------------------------------- */

#define REVS 60

struct model_rev {
    struct item_rev rev;
    bool there;
};

static bool model_at(const struct model_rev *model, size_t n, int64_t rev,
                     struct item_rev *out)
{
    bool found = false;

    for (size_t i = 0; i < n; i++)
        if (model[i].there && model[i].rev.main <= rev) {
            *out = model[i].rev;
            found = true;
        }
    return found;
}

static void model_compact(struct model_rev *model, size_t n, int64_t rev)
{
    struct model_rev *newest = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!model[i].there || model[i].rev.main > rev)
            continue;
        model[i].there = false;
        newest = &model[i];
    }
    if (newest != NULL && (!newest->rev.tombstone || newest->rev.main == rev))
        newest->there = true;
}

static void check_item(const struct item *item, const struct model_rev *model,
                       size_t n, int64_t compacted)
{
    for (int64_t rev = compacted; rev < (int64_t)n * 3 + 3; rev++) {
        struct item_rev got = {0};
        struct item_rev want = {0};
        bool there = item != NULL && item_at(item, rev, &got);

        assert_int_equal(there, model_at(model, n, rev, &want));
        if (!there)
            continue;
        assert_int_equal(got.main, want.main);
        assert_int_equal(got.sub, want.sub);
        assert_int_equal(got.tombstone, want.tombstone);
        assert_int_equal(got.version, want.version);
        assert_int_equal(got.created, want.created);
        assert_true(item_keeps(item, rev, want.main, want.sub) ==
                    (!want.tombstone || want.main == rev));
        assert_false(item_keeps(item, rev, want.main, want.sub + 1));
    }
}

static void compact_at(struct item **item, struct model_rev *model, size_t n,
                       int64_t rev)
{
    struct item_rev at;
    enum item_left left = item_compact(*item, rev);

    model_compact(model, n, rev);
    if (left == ITEM_KEPT)
        assert_true(model_at(model, n, rev, &at));
    else
        assert_false(model_at(model, n, rev, &at));
    assert_int_equal(left == ITEM_GONE, !model_at(model, n, INT64_MAX, &at));
    if (left == ITEM_GONE) {
        item_free(*item);
        *item = NULL;
    }
}

static void append(struct prng *prng, struct item **item, struct item_rev *last,
                   int64_t main)
{
    bool live = *item != NULL && !last->tombstone;
    bool bury = live && prng_below(prng, 3) == 0;

    if (!live)
        *last = (struct item_rev){.created = main};
    last->main = main;
    last->sub = (uint32_t)prng_below(prng, 3);
    last->version++;
    last->tombstone = bury;
    if (*item == NULL)
        *item = item_new(bytes_of("key", 3), last);
    else if (bury)
        item_bury(*item, main, last->sub);
    else
        item_put(*item, main, last->sub);
}

static void test_item_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct prng prng = {seed};
        struct model_rev model[REVS] = {0};
        struct item *item = NULL;
        struct item_rev last = {0};
        int64_t main = 1;
        int64_t compacted = 0;

        for (size_t n = 0; n < REVS; n++) {
            main += 1 + (int64_t)prng_below(&prng, 3);
            append(&prng, &item, &last, main);
            model[n] = (struct model_rev){last, true};
            if (prng_below(&prng, 6) == 0 && item != NULL) {
                compacted += (int64_t)prng_below(
                    &prng, (uint64_t)(main - compacted + 1));
                compact_at(&item, model, n + 1, compacted);
            }
            check_item(item, model, n + 1, compacted);
        }
        if (item != NULL)
            item_free(item);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_random),
        cmocka_unit_test(test_tree_ascending_fills_leaves),
        cmocka_unit_test(test_item_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
