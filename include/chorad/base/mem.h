/* Memory: allocation that aborts when memory is out (for sizes we choose),
 * one that returns an error (for sizes a client chooses), an arena per
 * request, growable buffers and reference-counted bytes. */
#ifndef CHORAD_BASE_MEM_H
#define CHORAD_BASE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes; who owns them stands where the struct is passed. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){data, len};
}

/* memcmp order, the shorter one first where one is the other's prefix. */
int bytes_cmp(struct bytes a, struct bytes b);

/* Small allocations of our own: never NULL, free with free(). */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *ptr, size_t size);
char *mem_strdup(const char *s);
/* printf into fresh memory. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Sizes that come from outside: NULL when memory is out. */
void *mem_try_alloc(size_t size);

/* ---- arena ---------------------------------------------------------- */

struct arena_block;

/* A bump allocator whose memory is given back at once. Zeroed memory is a
 * valid empty arena. */
struct arena {
    struct arena_block *head; /* newest block, more behind it */
    uint8_t *at;
    uint8_t *end;
};

/* 16-byte aligned, uninitialised; aborts when memory is out. Sizes that come
 * from outside are bounded by the message they were decoded from. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_zalloc(struct arena *arena, size_t size);
void *arena_dup(struct arena *arena, const void *data, size_t len);
/* Forgets all allocations but keeps one block for the next use. */
void arena_reset(struct arena *arena);
void arena_close(struct arena *arena);

/* ---- growable buffer ------------------------------------------------ */

/* Zeroed memory is a valid empty buffer; close with buf_close. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};

/* Room for `extra` more bytes; aborts when memory is out. Returns where they
 * go; the caller adds to `len`. */
uint8_t *buf_reserve(struct buf *buf, size_t extra);
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_printf(struct buf *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void buf_close(struct buf *buf);

/* ---- shared bytes --------------------------------------------------- */

/* Immutable once published; freed with the last reference. */
struct shared {
    atomic_uint refs;
    uint32_t len;
    uint8_t data[];
};

/* One reference, `len` uninitialised bytes; aborts when memory is out. */
struct shared *shared_new(size_t len);
struct shared *shared_ref(struct shared *s);
/* NULL is fine. */
void shared_unref(struct shared *s);

#endif
