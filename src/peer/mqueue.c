#include "peers.h"
#include <stdlib.h>

static size_t payload(const struct raft_message *message)
{
    size_t bytes = 0;

    for (size_t i = 0; i < message->entry_count; i++)
        bytes += message->entries[i].len;
    return bytes;
}

static void grow(struct mqueue *q)
{
    size_t cap = q->cap ? q->cap * 2 : 16;
    struct raft_message *ring = mem_alloc(cap * sizeof(ring[0]));

    for (size_t i = 0; i < q->count; i++)
        ring[i] = q->ring[(q->first + i) & (q->cap - 1)];
    free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->first = 0;
}

void mqueue_push(struct mqueue *q, struct raft_message *message)
{
    if (q->count == q->cap)
        grow(q);
    q->ring[(q->first + q->count) & (q->cap - 1)] = *message;
    q->count++;
    q->bytes += payload(message);
    *message = (struct raft_message){0};
}

void mqueue_pop(struct mqueue *q, struct raft_message *message)
{
    *message = q->ring[q->first];
    q->first = (q->first + 1) & (q->cap - 1);
    q->count--;
    q->bytes -= payload(message);
}

void mqueue_clear(struct mqueue *q)
{
    struct raft_message message;

    while (q->count > 0) {
        mqueue_pop(q, &message);
        raft_message_close(&message);
    }
}

void mqueue_close(struct mqueue *q)
{
    mqueue_clear(q);
    free(q->ring);
    *q = (struct mqueue){0};
}
