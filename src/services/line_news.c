/* What the first key of a line holds, for those who look on. It is encoded
 * once for all of them. */
#include "line.h"

#include "chorad/apply.h"
#include "chorad/base/pb.h"

#include <string.h>

/* v3electionpb.LeaderResponse (proto/election.proto). */
enum { RESPONSE_KV = 2 };

static struct shared *encode(const struct line *line, int64_t rev,
                             struct bytes record)
{
    struct apply_header header = node_header(line->lines->changes->node);
    struct buf out = {0};
    struct shared *message;
    uint8_t *at;

    header.revision = rev;
    apply_put_header(&out, &header);
    at = buf_reserve(&out, record.len + 16);
    at = pb_put_bytes(at, RESPONSE_KV, record);
    out.len = (size_t)(at - out.data);
    message = shared_new(out.len);
    memcpy(message->data, out.data, out.len);
    buf_close(&out);
    return message;
}

static void tell(struct line *line, struct line_guest *only,
                 const struct line_news *news)
{
    struct recipe_waiter *next;

    if (only) {
        only->news(only, news);
        return;
    }
    for (struct recipe_waiter *link = line->onlookers; link; link = next) {
        struct line_guest *guest = line_guest_of(link);
        next = link->next;
        guest->news(guest, news);
    }
}

void line_tell_event(struct line *line, const struct watch_batch *batch,
                     const struct watch_event *event)
{
    struct bytes record = watch_event_record(watch_event_bytes(batch, event));
    struct line_news news = {.key = watch_event_key(batch, event),
                             .create_rev = line->keys.first->rev,
                             .mod_rev = event->rev,
                             .key_hash = line->keys.first->hash};

    line->first_changed = false;
    if (!line->onlookers)
        return;
    news.message = encode(line, event->rev, record);
    tell(line, NULL, &news);
    shared_unref(news.message);
}

struct read {
    struct line *line;
    struct mvcc_range_result result;
    struct line_news news;
};

static int visit(void *arg, const struct mvcc_kv *kv)
{
    struct read *read = arg;

    if (kv->create_rev != read->line->keys.first->rev)
        return 0;
    read->news.create_rev = kv->create_rev;
    read->news.mod_rev = kv->mod_rev;
    read->news.key_hash = read->line->keys.first->hash;
    read->news.message = encode(read->line, read->result.rev, kv->record);
    return 0;
}

static void fail(struct line *line, struct line_guest *only, int err)
{
    if (only) {
        line_leave(only);
        only->failed(only, err);
        return;
    }
    while (line->onlookers)
        fail(line, line_guest_of(line->onlookers), err);
}

/* The store is ahead of what the line knows. The key may be gone there: then
 * the change that tells so is on its way, and the next one will be told. While
 * it is there it is the first, since younger ones come behind it. */
void line_tell(struct line *line, struct line_guest *only)
{
    const struct recipe_place *first = line->keys.first;
    struct mvcc_range range = {.want = MVCC_RECORDS};
    struct read read = {.line = line};
    struct mvcc_reader *reader = access_reader(&line->lines->access);
    int rc;

    if (!line->onlookers || line->job)
        return;
    if (!first) {
        tell(line, only, NULL);
        return;
    }
    range.key = bytes_of(first->key, first->key_len);
    do
        rc = mvcc_range(reader, &range, visit, &read, &read.result);
    while (rc == ERR_COMPACTED); /* meanwhile: now there is a newer one */
    if (rc < 0) {
        fail(line, only, rc);
        return;
    }
    if (!read.news.message)
        return;
    read.news.key = range.key;
    tell(line, only, &read.news);
    shared_unref(read.news.message);
}
