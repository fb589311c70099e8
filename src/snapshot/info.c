/* What an image says of itself. */
#include "internal.h"

#include "chorad/base/be.h"

static bool is_key(struct bytes key, const char *name)
{
    return bytes_cmp(key, bytes_of(name, strlen(name))) == 0;
}

void info_take(struct snapshot_info *info, struct bytes key, struct bytes value)
{
    if (is_key(key, "consistent_index") && value.len == 8) {
        info->index = be_get_u64(value.data);
    } else if (is_key(key, "term") && value.len == 8) {
        info->term = be_get_u64(value.data);
    } else if (is_key(key, "storageVersion") &&
               value.len <= SNAPSHOT_VERSION_MAX) {
        memset(info->version, 0, sizeof(info->version));
        memcpy(info->version, value.data, value.len);
    }
}

static int only_meta(void *arg, struct bytes name)
{
    (void)arg;
    return is_key(name, "meta") ? 0 : IMAGE_SKIP;
}

static int take_record(void *arg, struct bytes key, struct bytes value)
{
    info_take(arg, key, value);
    return 0;
}

int snapshot_info_read(const struct snapshot_file *file,
                       struct snapshot_info *info, struct errmsg *msg)
{
    struct image_visitor visitor = {only_meta, take_record, info};
    struct source source;
    struct image_info image;
    int err = snapshot_source_open(&source, file, msg);

    if (err != 0)
        return err;
    *info = (struct snapshot_info){0};
    err = image_info_read(&source.image, &image, msg);
    if (err == 0)
        err = image_walk(&source.image, &visitor, msg);
    if (err != 0)
        return err_wrap(msg, err, "%s", file->name);
    info->bytes = image.pages * image.page_bytes;
    return 0;
}

#define FOUND_RECORD 2

static int all_but_meta(void *arg, struct bytes name)
{
    (void)arg;
    return is_key(name, "meta") ? IMAGE_SKIP : 0;
}

static int stop_at_record(void *arg, struct bytes key, struct bytes value)
{
    (void)arg;
    (void)key;
    (void)value;
    return FOUND_RECORD;
}

int snapshot_is_empty(const struct snapshot_file *file, bool *empty,
                      struct errmsg *msg)
{
    struct image_visitor visitor = {all_but_meta, stop_at_record, NULL};
    struct snapshot_info info;
    struct source source;
    int err = snapshot_info_read(file, &info, msg);

    *empty = false;
    if (err != 0 || info.index != 0)
        return err;
    err = snapshot_source_open(&source, file, msg);
    if (err == 0)
        err = image_walk(&source.image, &visitor, msg);
    if (err == FOUND_RECORD)
        return 0;
    *empty = err == 0;
    return err < 0 ? err_wrap(msg, err, "%s", file->name) : 0;
}
