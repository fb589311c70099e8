/* The store as an image: all buckets twice, once to count the image's pages
 * and once to write them. */
#include "internal.h"

#include <string.h>

struct write {
    struct store_reader *reader;
    const struct snapshot_sink *sink;
    struct image_writer *writer;
    struct snapshot_info info;
    bool begun;
    bool ended; /* by a callback */
    struct pace pace;
};

static int from_callback(struct write *w, int err)
{
    w->ended = w->ended || err != 0;
    return err;
}

static int put_record(void *arg, struct bytes key, struct bytes value)
{
    struct write *w = arg;
    int err = image_writer_put(w->writer, key, value);

    w->pace.at.done++;
    if (err != 0)
        return err;
    return from_callback(w, pace_record(&w->pace, key.len + value.len));
}

static int failed(const struct write *w, int err, const char *what,
                  struct errmsg *msg)
{
    return w->ended ? err : err_set(msg, err, "%s: %s", what, err_text(err));
}

static int put_buckets(struct write *w, struct errmsg *msg)
{
    for (int b = 0; b < STORE_BUCKETS; b++) {
        const char *name = store_bucket_name((enum store_bucket)b);
        int err = image_writer_bucket(w->writer, bytes_of(name, strlen(name)));

        if (err == 0)
            err = store_scan(w->reader, (enum store_bucket)b, (struct bytes){0},
                             put_record, w);
        if (err != 0)
            return failed(w, err, name, msg);
    }
    return 0;
}

static void read_meta(struct write *w)
{
    static const char *const keys[] = {"consistent_index", "term",
                                       "storageVersion"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct bytes key = bytes_of(keys[i], strlen(keys[i]));
        struct bytes value;

        if (store_get(w->reader, STORE_META, key, &value) == 0)
            info_take(&w->info, key, value);
    }
}

/* The writer's first bytes come when the size is known. */
static int give(void *arg, struct bytes bytes)
{
    struct write *w = arg;
    int err = 0;

    if (!w->begun) {
        w->begun = true;
        w->info.bytes = image_writer_size(w->writer);
        if (w->sink->begin != NULL)
            err = w->sink->begin(w->sink->arg, &w->info);
    }
    if (err == 0)
        err = w->sink->write(w->sink->arg, bytes);
    return from_callback(w, err);
}

static int both_passes(struct write *w, struct errmsg *msg)
{
    /* A number that grows with what the store holds; even, see image.h. */
    uint64_t txid = (w->info.index + 2) & ~UINT64_C(1);
    int err = put_buckets(w, msg);

    if (err != 0)
        return err;
    err = image_writer_plan(w->writer, txid, give, w);
    if (err != 0)
        return failed(w, err, "begin the image", msg);
    w->pace.at.records = 0;
    w->pace.next_records = 0;
    err = put_buckets(w, msg);
    if (err != 0)
        return err;
    err = image_writer_finish(w->writer);
    if (err == 0)
        err = from_callback(w, pace_end(&w->pace));
    return err != 0 ? failed(w, err, "end the image", msg) : 0;
}

int snapshot_write(struct store_reader *reader,
                   const struct snapshot_sink *sink, struct errmsg *msg)
{
    struct write w = {
        .reader = reader,
        .sink = sink,
        .pace = {.progress = sink->progress, .arg = sink->arg},
    };
    int err;

    for (int b = 0; b < STORE_BUCKETS; b++)
        w.pace.at.total += 2 * store_count(reader, (enum store_bucket)b);
    read_meta(&w);
    w.writer = image_writer_open();
    err = both_passes(&w, msg);
    image_writer_close(w.writer);
    return err;
}
