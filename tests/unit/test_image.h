/* What the image's tests share: buckets and records in memory, and the image
 * of them. */
#ifndef CHORAD_TEST_IMAGE_H
#define CHORAD_TEST_IMAGE_H

#include "chorad/base/clock.h"
#include "chorad/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Names and records one behind the other: {kind, key length, value length},
 * key, value. What the writer is given and what a walk finds have to be the
 * same bytes. */
struct listing {
    struct buf buf;
};

struct listed {
    uint32_t is_bucket;
    uint32_t klen;
    uint32_t vlen;
};

static inline void list(struct listing *l, bool is_bucket, struct bytes key,
                        struct bytes value)
{
    struct listed head = {is_bucket, (uint32_t)key.len, (uint32_t)value.len};

    buf_append(&l->buf, &head, sizeof(head));
    buf_append(&l->buf, key.data, key.len);
    buf_append(&l->buf, value.data, value.len);
}

static inline int list_bucket(void *arg, struct bytes name)
{
    list(arg, true, name, (struct bytes){0});
    return 0;
}

static inline int list_record(void *arg, struct bytes key, struct bytes value)
{
    list(arg, false, key, value);
    return 0;
}

static inline int append(void *arg, struct bytes bytes)
{
    buf_append(arg, bytes.data, bytes.len);
    return 0;
}

static inline int feed(struct image_writer *w, const struct listing *l)
{
    int err = 0;

    for (size_t at = 0; at < l->buf.len && err == 0;) {
        const uint8_t *p = l->buf.data + at;
        struct listed head;

        memcpy(&head, p, sizeof(head));
        p += sizeof(head);
        err = head.is_bucket
                  ? image_writer_bucket(w, bytes_of(p, head.klen))
                  : image_writer_put(w, bytes_of(p, head.klen),
                                     bytes_of(p + head.klen, head.vlen));
        at += sizeof(head) + head.klen + head.vlen;
    }
    return err;
}

/* The listing as an image, of the size that was promised. */
static inline struct buf make_image(const struct listing *l, uint64_t txid)
{
    struct image_writer *w = image_writer_open();
    struct buf out = {0};

    assert_int_equal(feed(w, l), 0);
    assert_int_equal(image_writer_plan(w, txid, append, &out), 0);
    (void)buf_reserve(&out, image_writer_size(w));
    assert_int_equal(feed(w, l), 0);
    assert_int_equal(image_writer_finish(w), 0);
    assert_int_equal(image_writer_size(w), out.len);
    image_writer_close(w);
    return out;
}

static inline int copy_out(void *arg, uint64_t offset, void *data, size_t len)
{
    const struct image_source *source = arg;

    assert_true(offset <= source->size && len <= source->size - offset);
    memcpy(data, (const uint8_t *)source->arg + offset, len);
    return 0;
}

/* Walks the bytes twice, as a map and through read_at, and wants the same. */
static inline int walk_both(struct bytes image, struct listing *found,
                            struct errmsg *msg)
{
    /* Kept, since fresh memory costs a sanitizer more than the walk. */
    static struct listing again;
    struct errmsg msg2 = {0};
    struct image_source mapped = {.size = image.len, .map = image.data};
    struct image_source lent = {.size = image.len,
                                .arg = (void *)(uintptr_t)image.data};
    struct image_source read = {
        .size = image.len, .read_at = copy_out, .arg = &lent};
    struct image_visitor v = {list_bucket, list_record, found};
    struct image_visitor v2 = {list_bucket, list_record, &again};
    int err;

    again.buf.len = 0;
    err = image_walk(&mapped, &v, msg);
    assert_int_equal(image_walk(&read, &v2, &msg2), err);
    assert_int_equal(found->buf.len, again.buf.len);
    if (again.buf.len > 0)
        assert_memory_equal(found->buf.data, again.buf.data, again.buf.len);
    assert_string_equal(msg->text, msg2.text);
    return err;
}

#endif
