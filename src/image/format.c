/* Page heads and metas to bytes and back. */
#include "format.h"

#define MAGIC 0xED0CDAEDu
#define VERSION 2u
#define CHECKED_BYTES 56u

static uint64_t fnv1a(const uint8_t *data, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static void put_u16(uint8_t *out, uint16_t v)
{
    v = htole16(v);
    memcpy(out, &v, sizeof(v));
}

static uint16_t get_u16(const uint8_t *in)
{
    uint16_t v;

    memcpy(&v, in, sizeof(v));
    return le16toh(v);
}

void format_put_head(uint8_t *out, const struct page_head *head)
{
    le_put_u64(out, head->id);
    put_u16(out + 8, head->flags);
    put_u16(out + 10, head->count);
    le_put_u32(out + 12, head->overflow);
}

struct page_head format_get_head(const uint8_t *in)
{
    return (struct page_head){
        .id = le_get_u64(in),
        .flags = get_u16(in + 8),
        .count = get_u16(in + 10),
        .overflow = le_get_u32(in + 12),
    };
}

void format_put_meta(uint8_t *out, const struct image_info *info)
{
    le_put_u32(out, MAGIC);
    le_put_u32(out + 4, VERSION);
    le_put_u32(out + 8, info->page_bytes);
    le_put_u32(out + 12, 0);
    le_put_u64(out + 16, info->root);
    le_put_u64(out + 24, 0);
    le_put_u64(out + 32, info->free_list);
    le_put_u64(out + 40, info->pages);
    le_put_u64(out + 48, info->txid);
    le_put_u64(out + CHECKED_BYTES, fnv1a(out, CHECKED_BYTES));
}

bool format_get_meta(const uint8_t *in, struct image_info *info)
{
    info->page_bytes = le_get_u32(in + 8);
    info->root = le_get_u64(in + 16);
    info->free_list = le_get_u64(in + 32);
    info->pages = le_get_u64(in + 40);
    info->txid = le_get_u64(in + 48);
    return le_get_u32(in) == MAGIC && le_get_u32(in + 4) == VERSION &&
           le_get_u64(in + CHECKED_BYTES) == fnv1a(in, CHECKED_BYTES);
}
