/* The min-heap, against a plain array. */
#include "chorad/base/clock.h"
#include "chorad/base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N 200

static void test_sorts(void **state)
{
    struct heap heap = {0};
    struct heap_node nodes[N];
    struct prng prng = {42};
    uint64_t last = 0;

    (void)state;
    assert_null(heap_min(&heap));
    for (int i = 0; i < N; i++) {
        heap_node_init(&nodes[i]);
        heap_set(&heap, &nodes[i], prng_below(&prng, 100));
    }
    for (int i = 0; i < N; i++) {
        struct heap_node *min = heap_min(&heap);

        assert_true(min->key >= last);
        last = min->key;
        heap_remove(&heap, min);
        assert_true(min->index == HEAP_NONE);
    }
    assert_null(heap_min(&heap));
    heap_close(&heap);
}

static void assert_min_is_right(const struct heap *heap,
                                const struct heap_node *nodes)
{
    const struct heap_node *min = NULL;
    size_t inside = 0;

    for (int i = 0; i < N; i++) {
        if (nodes[i].index == HEAP_NONE)
            continue;
        inside++;
        if (min == NULL || nodes[i].key < min->key)
            min = &nodes[i];
    }
    assert_int_equal(heap->len, inside);
    if (min == NULL)
        assert_null(heap_min(heap));
    else
        assert_int_equal(heap_min(heap)->key, min->key);
}

static void test_random_moves(void **state)
{
    struct heap heap = {0};
    struct heap_node nodes[N];
    struct prng prng = {7};

    (void)state;
    for (int i = 0; i < N; i++)
        heap_node_init(&nodes[i]);
    for (int i = 0; i < 20000; i++) {
        struct heap_node *node = &nodes[prng_below(&prng, N)];

        if (prng_below(&prng, 3) == 0)
            heap_remove(&heap, node);
        else
            heap_set(&heap, node, prng_below(&prng, 1000));
        assert_min_is_right(&heap, nodes);
    }
    heap_close(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorts),
        cmocka_unit_test(test_random_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
