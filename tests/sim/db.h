/* A database: sorted records in buckets. What is in it is durable. */
#ifndef SIM_DB_H
#define SIM_DB_H

#include "chorad/store.h"

struct db_record {
    uint8_t *key; /* and the value behind it */
    uint32_t key_len;
    uint32_t value_len;
};

struct db_bucket {
    struct db_record *records;
    size_t count;
    size_t cap;
};

struct db {
    struct db_bucket buckets[STORE_BUCKETS];
    unsigned refs;
};

/* The first record at or behind the key. */
size_t db_seek(const struct db_bucket *bucket, struct bytes key);
void db_put(struct db *db, enum store_bucket bucket, struct bytes key,
            struct bytes value);
void db_delete(struct db *db, enum store_bucket bucket, struct bytes key);
void db_remove_at(struct db_bucket *bucket, size_t at);

static inline struct bytes db_key(const struct db_record *r)
{
    return bytes_of(r->key, r->key_len);
}

static inline struct bytes db_value(const struct db_record *r)
{
    return bytes_of(r->key + r->key_len, r->value_len);
}

/* NULL if it isn't there. */
const struct db_record *db_find(const struct db *db, enum store_bucket bucket,
                                struct bytes key);

#endif
