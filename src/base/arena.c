/* The bump allocator. */
#include "chorad/base/mem.h"

#include "chorad/base/check.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN ((size_t)16)
#define BLOCK_MIN ((size_t)2048)
#define BLOCK_MAX ((size_t)65536)

/* Under AddressSanitizer each allocation is a block of its own, so that a
 * step over its end is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define ALWAYS_ALONE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ALWAYS_ALONE 1
#endif
#endif
#ifndef ALWAYS_ALONE
#define ALWAYS_ALONE 0
#endif

struct arena_block {
    struct arena_block *next;
    size_t size; /* of data */
    _Alignas(16) uint8_t data[];
};

static struct arena_block *block_new(size_t size)
{
    struct arena_block *block;

    CHECK(size <= SIZE_MAX - sizeof(*block));
    block = mem_alloc(sizeof(*block) + size);
    block->size = size;
    return block;
}

/* A block for one allocation, put behind the head: the head's free rest
 * stays in use. */
static void *alloc_alone(struct arena *arena, size_t size)
{
    struct arena_block *block = block_new(size);

    if (arena->head == NULL) {
        block->next = NULL;
        arena->head = block;
        arena->at = arena->end = block->data + size;
    } else {
        block->next = arena->head->next;
        arena->head->next = block;
    }
    return block->data;
}

static void *alloc_slow(struct arena *arena, size_t size, size_t rounded)
{
    struct arena_block *block;
    size_t block_size = BLOCK_MIN;

    if (ALWAYS_ALONE)
        return alloc_alone(arena, size);
    if (rounded > BLOCK_MAX / 4)
        return alloc_alone(arena, rounded);
    if (arena->head != NULL)
        block_size = arena->head->size * 2;
    while (block_size < rounded)
        block_size *= 2;
    if (block_size > BLOCK_MAX)
        block_size = BLOCK_MAX;
    block = block_new(block_size);
    block->next = arena->head;
    arena->head = block;
    arena->at = block->data + rounded;
    arena->end = block->data + block_size;
    return block->data;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t rounded = (size + ALIGN - 1) & ~(ALIGN - 1);
    uint8_t *ptr = arena->at;

    CHECK(rounded >= size);
    if (ptr == NULL || rounded > (size_t)(arena->end - ptr))
        return alloc_slow(arena, size, rounded);
    arena->at = ptr + rounded;
    return ptr;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

void *arena_dup(struct arena *arena, const void *data, size_t len)
{
    void *copy = arena_alloc(arena, len);

    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

static void free_blocks(struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;

        free(block);
        block = next;
    }
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = arena->head;

    /* A huge first block would be held by an idle arena for ever. */
    if (kept == NULL || kept->size > BLOCK_MAX || ALWAYS_ALONE) {
        arena_close(arena);
        return;
    }
    free_blocks(kept->next);
    kept->next = NULL;
    arena->at = kept->data;
    arena->end = kept->data + kept->size;
}

void arena_close(struct arena *arena)
{
    free_blocks(arena->head);
    *arena = (struct arena){0};
}
