/* The queue from many threads to one. */
#include "chorad/base/queue.h"

#include "chorad/base/check.h"

static void lock(struct queue *q)
{
    int rv = pthread_mutex_lock(&q->lock);

    CHECK(rv == 0);
}

static void unlock(struct queue *q)
{
    int rv = pthread_mutex_unlock(&q->lock);

    CHECK(rv == 0);
}

void queue_init(struct queue *q)
{
    int rv = pthread_mutex_init(&q->lock, NULL);

    CHECK(rv == 0);
    q->head = NULL;
    q->tail = &q->head;
}

void queue_close(struct queue *q)
{
    int rv = pthread_mutex_destroy(&q->lock);

    CHECK(rv == 0);
}

bool queue_push(struct queue *q, struct queue_node *node)
{
    bool was_empty;

    node->next = NULL;
    lock(q);
    was_empty = q->head == NULL;
    *q->tail = node;
    q->tail = &node->next;
    unlock(q);
    return was_empty;
}

struct queue_node *queue_take_all(struct queue *q)
{
    struct queue_node *all;

    lock(q);
    all = q->head;
    q->head = NULL;
    q->tail = &q->head;
    unlock(q);
    return all;
}
