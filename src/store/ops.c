/* The queue of operations: one copy of each in memory, in blocks. */
#include "internal.h"

#include "chorad/base/check.h"
#include <stdlib.h>

#define BLOCK_BYTES (256 << 10)
/* As much as a batch of 10,000 common operations takes. */
#define POOL_BLOCKS 16

static size_t round_up(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

static size_t op_bytes(const struct op *op)
{
    size_t len = sizeof(*op) + op->key_len + op->value_len;

    if (op->kind == OP_MARK)
        return sizeof(struct op_mark);
    return round_up(op->kind == OP_PUT ? len + STORE_CRC_LEN : len);
}

static struct ops_block *block_new(struct ops *ops, size_t need)
{
    struct ops_block *block = NULL;
    size_t size = BLOCK_BYTES - sizeof(*block);

    if (need <= size) {
        pthread_mutex_lock(&ops->pool_lock);
        block = ops->pool;
        if (block != NULL) {
            ops->pool = block->next;
            ops->pooled--;
        }
        pthread_mutex_unlock(&ops->pool_lock);
    } else {
        size = need;
    }
    if (block == NULL)
        block = mem_alloc(sizeof(*block) + size);
    block->next = NULL;
    block->size = size;
    return block;
}

static void block_free(struct ops *ops, struct ops_block *block)
{
    bool keep = false;

    if (block->size == BLOCK_BYTES - sizeof(*block)) {
        pthread_mutex_lock(&ops->pool_lock);
        keep = ops->pooled < POOL_BLOCKS;
        if (keep) {
            block->next = ops->pool;
            ops->pool = block;
            ops->pooled++;
        }
        pthread_mutex_unlock(&ops->pool_lock);
    }
    if (!keep)
        free(block);
}

void store_ops_init(struct ops *ops)
{
    CHECK(pthread_mutex_init(&ops->pool_lock, NULL) == 0);
    ops->pool = NULL;
    ops->pooled = 0;
    ops->count = (struct ops_count){0};
    ops->tail = (struct ops_place){block_new(ops, 0), 0};
    ops->head = ops->tail;
}

static void free_list(struct ops_block *block)
{
    while (block != NULL) {
        struct ops_block *next = block->next;

        free(block);
        block = next;
    }
}

void store_ops_close(struct ops *ops)
{
    free_list(ops->head.block);
    free_list(ops->pool);
    pthread_mutex_destroy(&ops->pool_lock);
}

/* Room for `size` bytes in one piece. A head always fits into the rest of a
 * block, so that OP_NEXT_BLOCK has its place. */
static struct op *reserve(struct ops *ops, size_t size)
{
    struct ops_place *tail = &ops->tail;
    struct op *op;

    if (tail->block->size - tail->at < size + sizeof(struct op)) {
        struct ops_block *block = block_new(ops, size + sizeof(struct op));

        op = (struct op *)(void *)(tail->block->data + tail->at);
        *op = (struct op){.kind = OP_NEXT_BLOCK};
        tail->block->next = block;
        *tail = (struct ops_place){block, 0};
    }
    op = (struct op *)(void *)(tail->block->data + tail->at);
    tail->at += size;
    ops->count.entries++;
    ops->count.bytes += size;
    return op;
}

struct op *store_ops_append(struct ops *ops, enum op_kind kind,
                            enum store_bucket bucket, size_t key_len,
                            size_t value_len, uint64_t pages)
{
    struct op head = {
        .kind = (uint8_t)kind,
        .bucket = (uint8_t)bucket,
        .key_len = (uint16_t)key_len,
        .value_len = (uint32_t)value_len,
    };
    struct op *op;

    CHECK(bucket < STORE_BUCKETS);
    CHECK(key_len > 0 && key_len <= STORE_MAX_KEY);
    CHECK(value_len < UINT32_MAX - STORE_CRC_LEN);
    op = reserve(ops, op_bytes(&head));
    *op = head;
    ops->count.seq++;
    ops->count.pages += pages;
    return op;
}

void store_ops_append_mark(struct ops *ops, uint64_t index, uint64_t term)
{
    struct op_mark *mark =
        (struct op_mark *)(void *)reserve(ops, sizeof(*mark));

    *mark = (struct op_mark){
        .kind = OP_MARK,
        .index = index,
        .term = term,
        .count = ops->count,
    };
}

struct op *store_ops_next(struct ops_place *place)
{
    struct op *op = (struct op *)(void *)(place->block->data + place->at);

    if (op->kind == OP_NEXT_BLOCK) {
        *place = (struct ops_place){place->block->next, 0};
        op = (struct op *)(void *)place->block->data;
    }
    place->at += op_bytes(op);
    return op;
}

void store_ops_release(struct ops *ops, struct ops_place place)
{
    while (ops->head.block != place.block) {
        struct ops_block *block = ops->head.block;

        ops->head.block = block->next;
        block_free(ops, block);
    }
    ops->head.at = place.at;
}
