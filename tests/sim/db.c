#include "db.h"
#include <stdlib.h>
#include <string.h>

size_t db_seek(const struct db_bucket *bucket, struct bytes key)
{
    size_t lo = 0;
    size_t hi = bucket->count;

    /* Most come in order. */
    if (hi > 0 && bytes_cmp(db_key(&bucket->records[hi - 1]), key) < 0)
        return hi;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (bytes_cmp(db_key(&bucket->records[mid]), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_at(const struct db_bucket *bucket, size_t at, struct bytes key)
{
    return at < bucket->count &&
           bytes_cmp(db_key(&bucket->records[at]), key) == 0;
}

static struct db_record new_record(struct bytes key, struct bytes value)
{
    struct db_record r = {mem_alloc(key.len + value.len + 1), (uint32_t)key.len,
                          (uint32_t)value.len};

    if (key.len > 0)
        memcpy(r.key, key.data, key.len);
    if (value.len > 0)
        memcpy(r.key + key.len, value.data, value.len);
    return r;
}

void db_put(struct db *db, enum store_bucket bucket, struct bytes key,
            struct bytes value)
{
    struct db_bucket *b = &db->buckets[bucket];
    size_t at = db_seek(b, key);
    struct db_record r = new_record(key, value);

    if (is_at(b, at, key)) {
        free(b->records[at].key);
        b->records[at] = r;
        return;
    }
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->records = mem_realloc(b->records, b->cap * sizeof(*b->records));
    }
    memmove(b->records + at + 1, b->records + at,
            (b->count - at) * sizeof(*b->records));
    b->records[at] = r;
    b->count++;
}

void db_remove_at(struct db_bucket *b, size_t at)
{
    free(b->records[at].key);
    memmove(b->records + at, b->records + at + 1,
            (b->count - at - 1) * sizeof(*b->records));
    b->count--;
}

void db_delete(struct db *db, enum store_bucket bucket, struct bytes key)
{
    struct db_bucket *b = &db->buckets[bucket];
    size_t at = db_seek(b, key);

    if (is_at(b, at, key))
        db_remove_at(b, at);
}

const struct db_record *db_find(const struct db *db, enum store_bucket bucket,
                                struct bytes key)
{
    const struct db_bucket *b = &db->buckets[bucket];
    size_t at = db_seek(b, key);

    return is_at(b, at, key) ? &b->records[at] : NULL;
}
