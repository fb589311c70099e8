/* The parts of an image that reader and writer share; drawn in image.h. */
#ifndef CHORAD_IMAGE_FORMAT_H
#define CHORAD_IMAGE_FORMAT_H

#include "chorad/base/be.h"
#include "chorad/image.h"

#define PAGE_HEAD 16u
#define ELEMENT 16u
#define META_BYTES 64u /* behind the page's head */
#define BUCKET_BYTES 16u
#define NO_FREE_LIST UINT64_MAX
#define LEAF_IS_BUCKET 1u
#define FIRST_DATA_PAGE 2u

enum page_kind {
    PAGE_BRANCH = 1,
    PAGE_LEAF = 2,
    PAGE_META = 4,
    PAGE_FREE_LIST = 16,
};

struct page_head {
    uint64_t id;
    uint16_t flags;
    uint16_t count;
    uint32_t overflow;
};

void format_put_head(uint8_t *out, const struct page_head *head);
struct page_head format_get_head(const uint8_t *in);

/* META_BYTES, the checksum included. */
void format_put_meta(uint8_t *out, const struct image_info *info);
/* False if magic, version or checksum are wrong. */
bool format_get_meta(const uint8_t *in, struct image_info *info);

#endif
