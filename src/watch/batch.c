/* Batches and the events in them. */
#include "chorad/base/check.h"
#include "chorad/base/pb.h"
#include "chorad/watch.h"
#include <stdlib.h>
#include <string.h>

/* etcdserverpb.WatchResponse, mvccpb.Event (proto/). */
enum { RESPONSE_EVENTS = 11 };
enum { EVENT_TYPE = 1, EVENT_KV = 2, EVENT_PREV_KV = 3 };
enum { TYPE_DELETE = 1 };
enum { KV_KEY = 1, KV_MOD = 3 };

struct watch_batch *watch_batch_ref(struct watch_batch *batch)
{
    atomic_fetch_add_explicit(&batch->refs, 1, memory_order_relaxed);
    return batch;
}

void watch_batch_unref(struct watch_batch *batch)
{
    if (atomic_fetch_sub_explicit(&batch->refs, 1, memory_order_acq_rel) > 1)
        return;
    shared_unref(batch->bytes);
    free(batch);
}

void watch_encode_event(struct buf *out, bool tombstone, struct bytes record,
                        struct bytes prev)
{
    size_t size = pb_u64_size(EVENT_TYPE, tombstone ? TYPE_DELETE : 0) +
                  pb_len_size(EVENT_KV, record.len) + record.len +
                  pb_bytes_size(EVENT_PREV_KV, prev);
    uint8_t *at = buf_reserve(out, size + 16);

    at = pb_put_len(at, RESPONSE_EVENTS, size);
    at = pb_put_u64(at, EVENT_TYPE, tombstone ? TYPE_DELETE : 0);
    at = pb_put_len(at, EVENT_KV, record.len);
    memcpy(at, record.data, record.len);
    at = pb_put_bytes(at + record.len, EVENT_PREV_KV, prev);
    out->len = (size_t)(at - out->data);
}

/* The first field of that number which holds bytes; empty for none. */
static struct bytes find_bytes(struct bytes message, uint32_t number)
{
    struct pb_reader r = {message.data, message.data + message.len};
    struct pb_field field;

    while (pb_next(&r, &field) > 0)
        if (field.number == number && field.wire == PB_LEN)
            return field.bytes;
    return bytes_of("", 0);
}

struct bytes watch_event_record(struct bytes event)
{
    return find_bytes(find_bytes(event, RESPONSE_EVENTS), EVENT_KV);
}

void watch_event_add_prev(struct buf *out, struct bytes event,
                          struct bytes prev)
{
    struct pb_reader r = {event.data, event.data + event.len};
    struct pb_field field = {0};
    size_t size;
    uint8_t *at;

    CHECK(pb_next(&r, &field) == 1 && field.number == RESPONSE_EVENTS);
    size = field.bytes.len + pb_bytes_size(EVENT_PREV_KV, prev);
    at = buf_reserve(out, size + 16);
    at = pb_put_len(at, RESPONSE_EVENTS, size);
    memcpy(at, field.bytes.data, field.bytes.len);
    at = pb_put_bytes(at + field.bytes.len, EVENT_PREV_KV, prev);
    out->len = (size_t)(at - out->data);
}

void watch_tombstone_record(struct buf *out, struct bytes key, int64_t rev)
{
    uint8_t *at = buf_reserve(out, key.len + 32);

    at = pb_put_bytes(at, KV_KEY, key);
    at = pb_put_u64(at, KV_MOD, (uint64_t)rev);
    out->len = (size_t)(at - out->data);
}

void watch_builder_add(struct watch_builder *builder, int64_t rev,
                       const struct mvcc_change *change)
{
    struct buf *bytes = &builder->bytes;
    struct buf tombstone = {0};
    struct bytes record = change->record;
    struct watch_event *event;

    if (builder->n == builder->cap) {
        builder->cap = builder->cap ? builder->cap * 2 : 64;
        builder->events = mem_realloc(builder->events,
                                      builder->cap * sizeof(*builder->events));
    }
    event = &builder->events[builder->n++];
    event->rev = rev;
    event->tombstone = change->tombstone;
    if (change->tombstone) {
        watch_tombstone_record(&tombstone, change->key, rev);
        record = bytes_of(tombstone.data, tombstone.len);
    }
    event->key_at = (uint32_t)bytes->len;
    event->key_len = (uint32_t)change->key.len;
    buf_append(bytes, change->key.data, change->key.len);
    event->at = (uint32_t)bytes->len;
    watch_encode_event(bytes, change->tombstone, record, bytes_of(NULL, 0));
    event->len = (uint32_t)(bytes->len - event->at);
    buf_close(&tombstone);
}

struct watch_batch *watch_builder_finish(struct watch_builder *builder,
                                         int64_t first_rev, int64_t last_rev)
{
    size_t events = builder->n * sizeof(struct watch_event);
    struct watch_batch *batch = mem_alloc(sizeof(*batch) + events);

    atomic_init(&batch->refs, 1);
    batch->first_rev = first_rev;
    batch->last_rev = last_rev;
    batch->bytes = shared_new(builder->bytes.len);
    batch->n = builder->n;
    if (builder->n > 0) {
        memcpy(batch->bytes->data, builder->bytes.data, builder->bytes.len);
        memcpy(batch->events, builder->events, events);
    }
    builder->n = 0;
    builder->bytes.len = 0;
    return batch;
}

void watch_builder_close(struct watch_builder *builder)
{
    buf_close(&builder->bytes);
    free(builder->events);
    *builder = (struct watch_builder){0};
}
