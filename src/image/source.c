/* Pages out of a file that may hold anything. */
#include "source.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Page sizes etcd's platforms have. */
#define PAGE_MIN 4096u
#define PAGE_MAX 65536u

int page_damaged(const struct image *image, uint64_t id, const char *fmt, ...)
{
    char what[200];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return err_set(image->msg, ERR_CORRUPT, "page %llu: %s",
                   (unsigned long long)id, what);
}

static int read_at(const struct image_source *source, uint64_t offset,
                   void *data, size_t len)
{
    if (source->map == NULL)
        return source->read_at(source->arg, offset, data, len);
    memcpy(data, source->map + offset, len);
    return 0;
}

/* ---- metas ------------------------------------------------------------- */

static bool is_page_size(uint32_t bytes)
{
    return bytes >= PAGE_MIN && bytes <= PAGE_MAX && (bytes & (bytes - 1)) == 0;
}

/* The meta at `offset`: 1 if it is valid for a page of that size, 0 if not. */
static int read_meta(const struct image_source *source, uint64_t offset,
                     uint32_t page_bytes, struct image_info *info)
{
    uint8_t data[PAGE_HEAD + META_BYTES];
    int err;

    if (offset > source->size || source->size - offset < sizeof(data))
        return 0;
    err = read_at(source, offset, data, sizeof(data));
    if (err != 0)
        return err;
    return format_get_meta(data + PAGE_HEAD, info) &&
           is_page_size(info->page_bytes) &&
           (page_bytes == 0 || info->page_bytes == page_bytes);
}

/* The valid metas; where the second one is depends on the page size. */
static int read_metas(const struct image_source *source,
                      struct image_info metas[2], bool valid[2])
{
    int rc = read_meta(source, 0, 0, &metas[0]);
    uint32_t from = PAGE_MIN;
    uint32_t to = PAGE_MAX;

    if (rc < 0)
        return rc;
    valid[0] = rc == 1;
    valid[1] = false;
    if (valid[0])
        from = to = metas[0].page_bytes;
    for (uint32_t bytes = from; bytes <= to && !valid[1]; bytes *= 2) {
        rc = read_meta(source, bytes, bytes, &metas[1]);
        if (rc < 0)
            return rc;
        valid[1] = rc == 1;
    }
    return 0;
}

static int check_info(const struct image_source *source,
                      const struct image_info *info, struct errmsg *msg)
{
    if (info->pages > source->size / info->page_bytes)
        return err_set(msg, ERR_CORRUPT,
                       "the file is cut off: %llu bytes of %llu pages of %u",
                       (unsigned long long)source->size,
                       (unsigned long long)info->pages, info->page_bytes);
    if (info->root < FIRST_DATA_PAGE || info->root >= info->pages)
        return err_set(msg, ERR_CORRUPT, "meta: the root is page %llu of %llu",
                       (unsigned long long)info->root,
                       (unsigned long long)info->pages);
    if (info->free_list != NO_FREE_LIST &&
        (info->free_list < FIRST_DATA_PAGE || info->free_list >= info->pages))
        return err_set(msg, ERR_CORRUPT,
                       "meta: the list of free pages is page %llu of %llu",
                       (unsigned long long)info->free_list,
                       (unsigned long long)info->pages);
    return 0;
}

int image_info_read(const struct image_source *source, struct image_info *info,
                    struct errmsg *msg)
{
    struct image_info metas[2] = {{0}};
    bool valid[2];
    int err = read_metas(source, metas, valid);

    if (err != 0)
        return err_wrap(msg, err, "read the meta pages");
    if (!valid[0] && !valid[1])
        return err_set(msg, ERR_CORRUPT,
                       "neither page 0 nor page 1 is a valid meta: not a "
                       "bbolt database, or a damaged one");
    *info = metas[valid[1] && (!valid[0] || metas[1].txid > metas[0].txid)];
    return check_info(source, info, msg);
}

/* ---- pages ------------------------------------------------------------- */

static bool mark(struct image *image, uint64_t id)
{
    uint8_t *byte = &image->seen[id / 8];
    uint8_t bit = (uint8_t)(1u << (id % 8));
    bool fresh = (*byte & bit) == 0;

    *byte |= bit;
    return fresh;
}

static int read_head(struct image *image, uint64_t id, struct page_head *head)
{
    uint8_t data[PAGE_HEAD];
    int err;

    if (id < FIRST_DATA_PAGE || id >= image->info.pages)
        return page_damaged(image, id, "no such page: there are %llu",
                            (unsigned long long)image->info.pages);
    err =
        read_at(image->source, id * image->info.page_bytes, data, sizeof(data));
    if (err != 0)
        return err_wrap(image->msg, err, "page %llu", (unsigned long long)id);
    *head = format_get_head(data);
    if (head->id != id)
        return page_damaged(image, id, "it calls itself page %llu",
                            (unsigned long long)head->id);
    if (head->overflow >= image->info.pages - id)
        return page_damaged(image, id, "%u pages belong to it, %llu follow",
                            head->overflow,
                            (unsigned long long)(image->info.pages - id - 1));
    return 0;
}

static int load(struct image *image, struct page *page)
{
    uint64_t offset = page->head.id * image->info.page_bytes;
    int err;

    if (image->source->map != NULL) {
        page->data = image->source->map + offset;
        return 0;
    }
    page->owned = mem_try_alloc(page->len);
    page->data = page->owned;
    if (page->owned == NULL)
        return err_set(image->msg, ERR_NOMEM, "page %llu: no memory for %zu",
                       (unsigned long long)page->head.id, page->len);
    err = read_at(image->source, offset, page->owned, page->len);
    return err != 0 ? err_wrap(image->msg, err, "page %llu",
                               (unsigned long long)page->head.id)
                    : 0;
}

int page_open(struct image *image, uint64_t id, struct page *page)
{
    int err;

    *page = (struct page){0};
    err = read_head(image, id, &page->head);
    if (err != 0)
        return err;
    for (uint64_t i = id; i <= id + page->head.overflow; i++)
        if (!mark(image, i))
            return page_damaged(image, i, "used twice, or used and free");
    page->len = (1 + (size_t)page->head.overflow) * image->info.page_bytes;
    return load(image, page);
}

void page_close(struct page *page)
{
    free(page->owned);
}

/* ---- free pages -------------------------------------------------------- */

static int read_ids(struct image *image, const struct page *page)
{
    uint64_t id = page->head.id;
    const uint8_t *ids = page->data + PAGE_HEAD;
    uint64_t room = (page->len - PAGE_HEAD) / 8;
    uint64_t count = page->head.count;
    uint64_t last = 0;

    if (page->head.flags != PAGE_FREE_LIST)
        return page_damaged(image, id, "no list of free pages: flags %#x",
                            page->head.flags);
    if (count == UINT16_MAX) {
        count = le_get_u64(ids);
        ids += 8;
        room--;
    }
    if (count > room)
        return page_damaged(image, id, "%llu free pages don't fit on it",
                            (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t free_id = le_get_u64(ids + i * 8);

        if (free_id < FIRST_DATA_PAGE || free_id >= image->info.pages ||
            free_id <= last)
            return page_damaged(image, id,
                                "entry %llu of the free pages is "
                                "page %llu",
                                (unsigned long long)i,
                                (unsigned long long)free_id);
        if (!mark(image, free_id))
            return page_damaged(image, free_id, "used and free");
        last = free_id;
    }
    return 0;
}

int free_list_read(struct image *image)
{
    struct page page;
    int err;

    if (image->info.free_list == NO_FREE_LIST)
        return 0;
    err = page_open(image, image->info.free_list, &page);
    if (err == 0)
        err = read_ids(image, &page);
    page_close(&page);
    return err;
}
