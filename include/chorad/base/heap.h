/* An intrusive binary min-heap by a 64-bit key (a time, mostly). */
#ifndef CHORAD_BASE_HEAP_H
#define CHORAD_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

#define HEAP_NONE SIZE_MAX

/* Embedded in the element; `index` is HEAP_NONE while outside. */
struct heap_node {
    uint64_t key;
    size_t index;
};

/* Zeroed memory is a valid empty heap; free with heap_close. */
struct heap {
    struct heap_node **nodes;
    size_t len;
    size_t cap;
};

void heap_close(struct heap *heap);
void heap_node_init(struct heap_node *node);
/* Inserts, or moves a node that is already inside to its new key. */
void heap_set(struct heap *heap, struct heap_node *node, uint64_t key);
/* No effect on a node that is outside. */
void heap_remove(struct heap *heap, struct heap_node *node);
/* The smallest, or NULL. */
struct heap_node *heap_min(const struct heap *heap);

#endif
