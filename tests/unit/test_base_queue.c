/* The queue from many threads to one. */
#include "chorad/base/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>

#define PUSHERS 4
#define EACH 5000

struct item {
    int pusher;
    int number;
    struct queue_node node;
};

static struct item items[PUSHERS][EACH];

static void test_order_and_wake(void **state)
{
    struct queue q;
    struct queue_node nodes[3];

    (void)state;
    queue_init(&q);
    assert_null(queue_take_all(&q));
    assert_true(queue_push(&q, &nodes[0]));
    assert_false(queue_push(&q, &nodes[1]));
    assert_false(queue_push(&q, &nodes[2]));
    assert_ptr_equal(queue_take_all(&q), &nodes[0]);
    assert_ptr_equal(nodes[0].next, &nodes[1]);
    assert_ptr_equal(nodes[1].next, &nodes[2]);
    assert_null(nodes[2].next);
    assert_null(queue_take_all(&q));
    assert_true(queue_push(&q, &nodes[1]));
    assert_ptr_equal(queue_take_all(&q), &nodes[1]);
    assert_null(nodes[1].next);
    queue_close(&q);
}

struct pusher {
    struct queue *q;
    int number;
    int wakes;
};

static void *push_all(void *arg)
{
    struct pusher *p = arg;

    for (int i = 0; i < EACH; i++) {
        struct item *item = &items[p->number][i];

        item->pusher = p->number;
        item->number = i;
        p->wakes += queue_push(p->q, &item->node);
    }
    return NULL;
}

/* Each pusher's items come in its order, none is lost, and whoever finds the
 * queue empty is told so: as many wakes as takes. */
static void test_many_pushers(void **state)
{
    struct queue q;
    struct pusher pushers[PUSHERS];
    pthread_t threads[PUSHERS];
    int next[PUSHERS] = {0};
    int taken = 0;
    int takes = 0;

    (void)state;
    queue_init(&q);
    for (int i = 0; i < PUSHERS; i++) {
        pushers[i] = (struct pusher){&q, i, 0};
        assert_int_equal(
            pthread_create(&threads[i], NULL, push_all, &pushers[i]), 0);
    }
    while (taken < PUSHERS * EACH) {
        struct queue_node *node = queue_take_all(&q);

        takes += node != NULL;
        if (node == NULL)
            (void)sched_yield();
        for (; node != NULL; node = node->next, taken++) {
            struct item *item = container_of(node, struct item, node);

            assert_int_equal(item->number, next[item->pusher]++);
        }
    }
    for (int i = 0; i < PUSHERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        takes -= pushers[i].wakes;
    }
    assert_int_equal(takes, 0);
    assert_null(queue_take_all(&q));
    queue_close(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_wake),
        cmocka_unit_test(test_many_pushers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
