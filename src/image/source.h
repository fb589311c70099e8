/* An open image: its meta, its pages one by one, and which of them have been
 * seen. */
#ifndef CHORAD_IMAGE_SOURCE_H
#define CHORAD_IMAGE_SOURCE_H

#include "format.h"

struct image {
    const struct image_source *source;
    struct image_info info;
    uint8_t *seen; /* a bit per page */
    struct errmsg *msg;
};

/* A page with those that belong to it. */
struct page {
    struct page_head head;
    const uint8_t *data; /* the head included */
    size_t len;
    uint8_t *owned; /* NULL where `data` lies in the map */
};

/* Checks where the page stands, reads it, checks its head and marks it as
 * seen. page_close it, also after an error. */
int page_open(struct image *image, uint64_t id, struct page *page);
void page_close(struct page *page);

/* ERR_CORRUPT with "page <id>: <what>". */
int page_damaged(const struct image *image, uint64_t id, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Marks as seen what the list of free pages names, and the list itself. */
int free_list_read(struct image *image);

#endif
