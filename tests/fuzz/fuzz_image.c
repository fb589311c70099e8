/* The image reader on any bytes. The metas' checksums are put right first, so
 * that what they lead to is reached; a map and read_at have to agree. */
#include "chorad/base/check.h"
#include "image/format.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    uint64_t buckets;
    uint64_t records;
    uint64_t bytes;
};

static int on_bucket(void *arg, struct bytes name)
{
    struct sum *sum = arg;

    sum->buckets++;
    for (size_t i = 0; i < name.len; i++)
        sum->bytes += name.data[i];
    return 0;
}

static int on_record(void *arg, struct bytes key, struct bytes value)
{
    struct sum *sum = arg;

    sum->records++;
    for (size_t i = 0; i < key.len; i++)
        sum->bytes += key.data[i];
    for (size_t i = 0; i < value.len; i++)
        sum->bytes += value.data[i];
    return 0;
}

static int read_at(void *arg, uint64_t offset, void *out, size_t len)
{
    const struct image_source *source = arg;

    CHECK(offset <= source->size && len <= source->size - offset);
    memcpy(out, source->map + offset, len);
    return 0;
}

static void mend_metas(uint8_t *data, size_t size)
{
    for (size_t at = 0; at <= 4096; at += 4096) {
        struct image_info info;

        if (size < at + PAGE_HEAD + META_BYTES)
            break;
        (void)format_get_meta(data + at + PAGE_HEAD, &info);
        /* Files are short here. */
        info.page_bytes = 4096;
        info.pages %= 64;
        info.root %= 16;
        if (info.free_list != NO_FREE_LIST)
            info.free_list %= 16;
        format_put_meta(data + at + PAGE_HEAD, &info);
    }
}

/* A byte string as pages of which only the first bytes aren't zero, so that
 * short inputs reach many pages. */
static uint8_t *spread(const uint8_t *data, size_t size, size_t *len)
{
    size_t pages = size / 256 + 1;
    uint8_t *out = calloc(pages, 4096);

    CHECK(out != NULL);
    for (size_t i = 0; i < pages; i++) {
        size_t n = size - i * 256 < 256 ? size - i * 256 : 256;

        memcpy(out + i * 4096, data + i * 256, n);
        /* The page's number is too much to ask of chance. */
        le_put_u64(out + i * 4096, i);
    }
    *len = pages * 4096;
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len;
    uint8_t *file = spread(data, size, &len);
    struct sum sums[2] = {0};
    struct image_source mapped = {.size = len, .map = file};
    struct image_source source = {
        .size = len, .read_at = read_at, .arg = &mapped};
    struct image_visitor visitors[2] = {{on_bucket, on_record, &sums[0]},
                                        {on_bucket, on_record, &sums[1]}};
    struct errmsg msg = {0};
    int err;

    mend_metas(file, len);
    err = image_walk(&mapped, &visitors[0], &msg);
    CHECK(image_walk(&source, &visitors[1], NULL) == err);
    CHECK(memcmp(&sums[0], &sums[1], sizeof(sums[0])) == 0);
    CHECK((err == 0) == (msg.text[0] == '\0'));
    free(file);
    return 0;
}
