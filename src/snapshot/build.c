/* A store from an image: its records come sorted, as the builder wants them. */
#include "internal.h"

#include "chorad/base/file.h"
#include <string.h>

struct build {
    struct source source;
    struct store_builder *builder;
    enum store_bucket bucket; /* STORE_BUCKETS: one that isn't known */
    char unknown[64];         /* its name */
    struct snapshot_info *info;
    struct pace pace;
    bool ended; /* by the store or the callback: the image isn't to blame */
    struct errmsg *msg;
};

static int begin_bucket(void *arg, struct bytes name)
{
    struct build *b = arg;
    int i = 0;

    for (; i < STORE_BUCKETS; i++) {
        const char *known = store_bucket_name((enum store_bucket)i);

        if (bytes_cmp(name, bytes_of(known, strlen(known))) == 0)
            break;
    }
    b->bucket = (enum store_bucket)i;
    memset(b->unknown, 0, sizeof(b->unknown));
    memcpy(b->unknown, name.data,
           name.len < sizeof(b->unknown) ? name.len : sizeof(b->unknown) - 1);
    return 0;
}

static int put_record(void *arg, struct bytes key, struct bytes value)
{
    struct build *b = arg;
    int err;

    if (b->bucket == STORE_BUCKETS)
        return err_set(b->msg, ERR_UNSUPPORTED,
                       "there is data in a bucket \"%s\", which this version "
                       "doesn't know",
                       b->unknown);
    b->ended = true;
    err = store_builder_put(b->builder, b->bucket, key, value, b->msg);
    if (err != 0)
        return err;
    if (b->bucket == STORE_META)
        info_take(b->info, key, value);
    b->pace.at.done =
        b->source.read < b->pace.at.total ? b->source.read : b->pace.at.total;
    err = pace_record(&b->pace, key.len + value.len);
    b->ended = err != 0;
    return err;
}

static int build_store(struct build *b, const struct snapshot_build *config)
{
    struct image_visitor visitor = {begin_bucket, put_record, b};
    struct image_info image;
    int err = image_info_read(&b->source.image, &image, b->msg);

    if (err != 0)
        return err_wrap(b->msg, err, "%s", config->file.name);
    b->info->bytes = image.pages * image.page_bytes;
    b->pace.at.total = b->info->bytes;
    err = store_builder_open(config->dir, b->info->bytes, &b->builder, b->msg);
    if (err != 0)
        return err;
    err = image_walk(&b->source.image, &visitor, b->msg);
    if (err != 0 && b->ended)
        return err;
    if (err != 0)
        return err_wrap(b->msg, err, "%s", config->file.name);
    err = store_builder_finish(b->builder, b->msg);
    return err == 0 ? pace_end(&b->pace) : err;
}

int snapshot_build(const struct snapshot_build *config,
                   struct snapshot_info *info, struct errmsg *msg)
{
    struct errmsg unread;
    struct build b = {
        .info = info,
        .pace = {.progress = config->progress, .arg = config->arg},
        .msg = msg != NULL ? msg : &unread,
    };
    int err = snapshot_source_open(&b.source, &config->file, b.msg);

    *info = (struct snapshot_info){0};
    if (err == 0)
        err = build_store(&b, config);
    store_builder_close(b.builder);
    if (err != 0)
        (void)file_remove_tree(config->dir, NULL);
    return err;
}
