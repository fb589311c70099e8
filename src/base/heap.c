/* The binary min-heap. */
#include "chorad/base/heap.h"

#include "chorad/base/check.h"
#include "chorad/base/mem.h"

#include <stdlib.h>

void heap_close(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

void heap_node_init(struct heap_node *node)
{
    *node = (struct heap_node){.index = HEAP_NONE};
}

static void place(struct heap *heap, size_t index, struct heap_node *node)
{
    heap->nodes[index] = node;
    node->index = index;
}

/* Moves `node`, whose place would be `index`, towards the root. */
static size_t sift_up(struct heap *heap, size_t index, struct heap_node *node)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;

        if (heap->nodes[parent]->key <= node->key)
            break;
        place(heap, index, heap->nodes[parent]);
        index = parent;
    }
    return index;
}

static size_t sift_down(struct heap *heap, size_t index, struct heap_node *node)
{
    for (;;) {
        size_t child = index * 2 + 1;

        if (child >= heap->len)
            break;
        if (child + 1 < heap->len &&
            heap->nodes[child + 1]->key < heap->nodes[child]->key)
            child++;
        if (heap->nodes[child]->key >= node->key)
            break;
        place(heap, index, heap->nodes[child]);
        index = child;
    }
    return index;
}

static void settle(struct heap *heap, size_t index, struct heap_node *node)
{
    size_t at = sift_up(heap, index, node);

    if (at == index)
        at = sift_down(heap, index, node);
    place(heap, at, node);
}

void heap_set(struct heap *heap, struct heap_node *node, uint64_t key)
{
    size_t index = node->index;

    node->key = key;
    if (index == HEAP_NONE) {
        if (heap->len == heap->cap) {
            heap->cap = heap->cap == 0 ? 16 : heap->cap * 2;
            heap->nodes = mem_realloc(heap->nodes,
                                      heap->cap * sizeof(struct heap_node *));
        }
        index = heap->len++;
    } else {
        CHECK(index < heap->len && heap->nodes[index] == node);
    }
    settle(heap, index, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    size_t index = node->index;
    struct heap_node *last;

    if (index == HEAP_NONE)
        return;
    CHECK(index < heap->len && heap->nodes[index] == node);
    last = heap->nodes[--heap->len];
    node->index = HEAP_NONE;
    if (last != node)
        settle(heap, index, last);
}

struct heap_node *heap_min(const struct heap *heap)
{
    return heap->len == 0 ? NULL : heap->nodes[0];
}
