/* An intrusive queue from many threads to one: a mutex around a list that
 * the consumer takes whole. */
#ifndef CHORAD_BASE_QUEUE_H
#define CHORAD_BASE_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* Embedded in what is queued; owned by the queue from push to take. */
struct queue_node {
    struct queue_node *next;
};

struct queue {
    pthread_mutex_t lock;
    struct queue_node *head;
    struct queue_node **tail;
};

void queue_init(struct queue *q);
void queue_close(struct queue *q);

/* Appends; true if the queue was empty, that is: wake the consumer. */
bool queue_push(struct queue *q, struct queue_node *node);

/* Takes everything, oldest first, linked by `next`; NULL when empty. */
struct queue_node *queue_take_all(struct queue *q);

#define container_of(ptr, type, member)                                        \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
