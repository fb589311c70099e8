/* WatchResponses: a small header of their own around events that are encoded
 * once for all. */
#include "watch.h"

#include "chorad/apply.h"
#include "chorad/base/pb.h"

#include <stdlib.h>
#include <string.h>

/* etcdserverpb.WatchResponse (proto/rpc_watch.proto). */
enum {
    WATCH_ID = 2,
    CREATED = 3,
    CANCELED = 4,
    COMPACT_REVISION = 5,
    CANCEL_REASON = 6,
    FRAGMENT = 7,
};

static void encode(struct watch_shard *shard, struct buf *out,
                   const struct watch_answer *answer)
{
    struct apply_header header = node_header(shard->node);
    struct bytes reason = {NULL, 0};
    uint8_t *at;

    if (answer->cancel_reason)
        reason = bytes_of(answer->cancel_reason, strlen(answer->cancel_reason));
    header.revision = answer->revision;
    apply_put_header(out, &header);
    at = buf_reserve(out, 64 + reason.len);
    at = pb_put_u64(at, WATCH_ID, (uint64_t)answer->id);
    at = pb_put_u64(at, CREATED, answer->created);
    at = pb_put_u64(at, CANCELED, answer->canceled);
    at = pb_put_u64(at, COMPACT_REVISION, (uint64_t)answer->compact_rev);
    at = pb_put_bytes(at, CANCEL_REASON, reason);
    at = pb_put_u64(at, FRAGMENT, answer->fragment);
    out->len = (size_t)(at - out->data);
}

void watch_answer(struct watch_stream *stream,
                  const struct watch_answer *answer)
{
    struct buf *out = rpc_scratch(stream->call->shard);

    encode(stream->shard, out, answer);
    rpc_send_copy(stream->call, bytes_of(out->data, out->len));
}

/* ---- events ---- */

struct copy_record {
    struct buf *out;
    bool found;
};

static int copy_record(void *arg, const struct mvcc_kv *kv)
{
    struct copy_record *copy = arg;

    buf_append(copy->out, kv->record.data, kv->record.len);
    copy->found = true;
    return 0;
}

/* The first put of a key: there is no value before it, even if the same
 * transaction has deleted an older one. */
static bool is_create(struct bytes event)
{
    struct mvcc_fields kv;

    return mvcc_decode(watch_event_record(event), &kv) == 0 &&
           kv.create_rev == kv.mod_rev;
}

/* The event with the value before it, if that can still be read. */
static struct shared *encode_with_prev(struct watch_shard *shard,
                                       const struct watch_batch *batch,
                                       const struct watch_event *event)
{
    struct mvcc_range range = {.key = watch_event_key(batch, event),
                               .rev = event->rev - 1,
                               .want = MVCC_RECORDS};
    struct mvcc_range_result result;
    struct buf prev = {0};
    struct buf out = {0};
    struct copy_record copy = {&prev, false};
    struct shared *shared;

    if (event->rev > 1 && !is_create(watch_event_bytes(batch, event)))
        (void)mvcc_range(shard->reader, &range, copy_record, &copy, &result);
    if (copy.found)
        watch_event_add_prev(&out, watch_event_bytes(batch, event),
                             bytes_of(prev.data, prev.len));
    else
        buf_append(&out, batch->bytes->data + event->at, event->len);
    shared = shared_new(out.len);
    memcpy(shared->data, out.data, out.len);
    buf_close(&prev);
    buf_close(&out);
    return shared;
}

static struct rpc_piece piece_of(struct watcher *watcher,
                                 struct watch_round *round, uint32_t index)
{
    const struct watch_batch *batch = round->batch;
    const struct watch_event *event = &batch->events[index];

    if (!watcher->prev_kv)
        return (struct rpc_piece){watch_event_bytes(batch, event),
                                  batch->bytes};
    if (!round->with_prev)
        round->with_prev = mem_zalloc(batch->n * sizeof(struct shared *));
    if (!round->with_prev[index])
        round->with_prev[index] =
            encode_with_prev(watcher->stream->shard, batch, event);
    struct shared *shared = round->with_prev[index];
    return (struct rpc_piece){bytes_of(shared->data, shared->len), shared};
}

/* pieces[0] is left for the header. */
static void send_pieces(struct watcher *watcher, int64_t revision,
                        bool fragment, struct rpc_piece *pieces, size_t n)
{
    struct watch_stream *stream = watcher->stream;
    struct watch_answer answer = {
        .id = watcher->id, .revision = revision, .fragment = fragment};
    struct buf *out = rpc_scratch(stream->call->shard);

    encode(stream->shard, out, &answer);
    pieces[0] = (struct rpc_piece){bytes_of(out->data, out->len), NULL};
    rpc_send(stream->call, pieces, n);
}

#define FEW_PIECES 64

/* The last delivery of the response that begins at `at`: one revision, or
 * everything that waits if the stream is still busy with the response before,
 * which is what a watcher that catches up gets as well. */
static uint32_t response_end(const struct watcher *watcher,
                             const struct watch_round *round, uint32_t at,
                             bool all)
{
    const struct watch_delivery *d = round->deliveries;
    const struct watch_event *events = round->batch->events;
    int64_t rev = events[d[at].event].rev;
    bool busy = rpc_queued_messages(watcher->stream->call) > 0;

    while (d[at].next != WATCH_NOBODY &&
           (all || busy || events[d[d[at].next].event].rev == rev))
        at = d[at].next;
    return at;
}

static void send_response(struct watcher *watcher, struct watch_round *round,
                          uint32_t from, uint32_t to, int64_t revision)
{
    size_t limit = watcher->stream->shard->max_message;
    struct rpc_piece few[FEW_PIECES];
    struct rpc_piece *pieces = few;
    size_t cap = FEW_PIECES;
    size_t bytes = 0;
    size_t n = 1;

    for (uint32_t at = from;; at = round->deliveries[at].next) {
        struct rpc_piece piece =
            piece_of(watcher, round, round->deliveries[at].event);
        if (watcher->fragment && n > 1 && bytes + piece.bytes.len > limit) {
            send_pieces(watcher, revision, true, pieces, n);
            n = 1;
            bytes = 0;
        }
        if (n == cap) {
            struct rpc_piece *more = mem_alloc(cap * 2 * sizeof(*more));
            memcpy(more, pieces, n * sizeof(*more));
            if (pieces != few)
                free(pieces);
            pieces = more;
            cap *= 2;
        }
        pieces[n++] = piece;
        metric_inc(watcher->stream->shard->metrics.events);
        bytes += piece.bytes.len;
        if (at == to)
            break;
    }
    send_pieces(watcher, revision, false, pieces, n);
    if (pieces != few)
        free(pieces);
}

void watch_send_deliveries(struct watcher *watcher, struct watch_round *round,
                           int64_t revision)
{
    uint32_t at = watcher->first;

    while (at != WATCH_NOBODY) {
        uint32_t to = response_end(watcher, round, at, revision != 0);
        const struct watch_event *last =
            &round->batch->events[round->deliveries[to].event];
        send_response(watcher, round, at, to, revision ? revision : last->rev);
        at = round->deliveries[to].next;
    }
    watcher->first = WATCH_NOBODY;
    watcher->last = WATCH_NOBODY;
    watcher->quiet = false;
}
