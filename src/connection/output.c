/* What waits for a socket: small pieces copied together, large ones where they
 * lie, all of it written by one writev where the socket takes it. */
#include "internal.h"

#include "chorad/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RING_FIRST 8
#define CHUNKS_KEPT ((size_t)64)
#define VECTORS 64

static struct stretch *stretch_at(struct output *out, size_t i)
{
    return &out->ring[(out->head + i) & (out->cap - 1)];
}

static void ring_grow(struct output *out)
{
    size_t cap = out->cap == 0 ? RING_FIRST : out->cap * 2;
    struct stretch *ring = mem_alloc(cap * sizeof(*ring));

    for (size_t i = 0; i < out->n; i++)
        ring[i] = *stretch_at(out, i);
    free(out->ring);
    out->ring = ring;
    out->cap = cap;
    out->head = 0;
}

static struct stretch *stretch_add(struct output *out)
{
    struct stretch *s;

    if (out->n == out->cap)
        ring_grow(out);
    s = stretch_at(out, out->n++);
    *s = (struct stretch){0};
    return s;
}

/* ---- chunks ---------------------------------------------------------- */

static struct chunk *chunk_take(struct shard *shard)
{
    struct chunk *chunk = shard->chunks;

    if (chunk == NULL)
        return mem_alloc(sizeof(*chunk));
    shard->chunks = chunk->next;
    shard->chunks_n--;
    return chunk;
}

static void chunk_give(struct shard *shard, struct chunk *chunk)
{
    if (shard->chunks_n >= CHUNKS_KEPT) {
        free(chunk);
        return;
    }
    chunk->next = shard->chunks;
    shard->chunks = chunk;
    shard->chunks_n++;
}

void output_close_pool(struct shard *shard)
{
    while (shard->chunks != NULL) {
        struct chunk *chunk = shard->chunks;

        shard->chunks = chunk->next;
        free(chunk);
    }
    shard->chunks_n = 0;
}

/* The chunk that is full, or that is needed no more, belongs to its last
 * stretch. */
static void chunk_leave(struct output *out)
{
    CHECK(out->n > 0);
    stretch_at(out, out->n - 1)->chunk = out->open;
    out->open = NULL;
}

/* ---- putting --------------------------------------------------------- */

/* Goes on in the last stretch where that ends at the chunk's fill. */
static void put_part(struct output *out, const uint8_t *data, size_t len)
{
    uint8_t *to = out->open->data + out->filled;
    struct stretch *last = out->n > 0 ? stretch_at(out, out->n - 1) : NULL;

    memcpy(to, data, len);
    out->filled += len;
    out->bytes += len;
    if (last != NULL && last->data + last->len == to && last->release == NULL &&
        out->filled > len) {
        last->len += len;
        return;
    }
    last = stretch_add(out);
    last->data = to;
    last->len = len;
}

void connection_put(struct connection *c, const void *data, size_t len)
{
    struct output *out = &c->out;
    const uint8_t *from = data;

    while (len > 0) {
        size_t part;

        if (out->open != NULL && out->filled == CHUNK_BYTES)
            chunk_leave(out);
        if (out->open == NULL) {
            out->open = chunk_take(c->shard);
            out->filled = 0;
        }
        part = CHUNK_BYTES - out->filled;
        if (part > len)
            part = len;
        put_part(out, from, part);
        from += part;
        len -= part;
    }
}

void connection_put_ref(struct connection *c, struct bytes bytes,
                        void (*release)(void *owner), void *owner)
{
    struct stretch *s;

    if (bytes.len == 0) {
        if (release != NULL)
            release(owner);
        return;
    }
    s = stretch_add(&c->out);
    s->data = bytes.data;
    s->len = bytes.len;
    s->release = release;
    s->owner = owner;
    c->out.bytes += bytes.len;
}

size_t connection_room(const struct connection *c)
{
    return c->out.bytes >= OUTPUT_BYTES ? 0 : OUTPUT_BYTES - c->out.bytes;
}

/* ---- writing --------------------------------------------------------- */

static void stretch_done(struct shard *shard, struct stretch *s)
{
    if (s->release != NULL)
        s->release(s->owner);
    if (s->chunk != NULL)
        chunk_give(shard, s->chunk);
}

static void advance(struct output *out, struct shard *shard, size_t written)
{
    out->bytes -= written;
    while (written > 0) {
        struct stretch *s = stretch_at(out, 0);

        if (written < s->len) {
            s->data += written;
            s->len -= written;
            return;
        }
        written -= s->len;
        stretch_done(shard, s);
        out->head = (out->head + 1) & (out->cap - 1);
        out->n--;
    }
}

/* An idle connection keeps no memory for output. */
static void release_all(struct output *out, struct shard *shard)
{
    if (out->open != NULL)
        chunk_give(shard, out->open);
    free(out->ring);
    *out = (struct output){0};
}

int output_write(struct output *out, struct shard *shard, int fd)
{
    struct iovec vectors[VECTORS];

    while (out->bytes > 0) {
        size_t n = out->n < VECTORS ? out->n : VECTORS;
        size_t asked = 0;
        ssize_t written;

        for (size_t i = 0; i < n; i++) {
            struct stretch *s = stretch_at(out, i);

            vectors[i].iov_base = (void *)(uintptr_t)s->data;
            vectors[i].iov_len = s->len;
            asked += s->len;
        }
        written = writev(fd, vectors, (int)n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        advance(out, shard, (size_t)written);
        if ((size_t)written < asked)
            return EAGAIN;
    }
    if (out->n == 0 && out->cap > RING_FIRST)
        release_all(out, shard);
    else if (out->n == 0 && out->open != NULL) {
        chunk_give(shard, out->open);
        out->open = NULL;
    }
    return 0;
}

void output_close(struct output *out, struct shard *shard)
{
    for (size_t i = 0; i < out->n; i++)
        stretch_done(shard, stretch_at(out, i));
    release_all(out, shard);
}
