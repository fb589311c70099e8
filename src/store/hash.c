/* The hash over everything, as Maintenance.Hash has it. */
#include "internal.h"

#include "chorad/base/crc32c.h"
#include <string.h>

struct hash_state {
    enum store_bucket bucket;
    uint32_t crc;
};

/* These differ between members that hold the same. */
static bool is_ignored(enum store_bucket bucket, struct bytes key)
{
    static const char *const ignored[] = {"consistent_index", "term",
                                          "storageVersion"};

    if (bucket != STORE_META)
        return false;
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        if (bytes_cmp(key, bytes_of(ignored[i], strlen(ignored[i]))) == 0)
            return true;
    }
    return false;
}

static int add_record(void *arg, struct bytes key, struct bytes value)
{
    struct hash_state *h = arg;

    if (is_ignored(h->bucket, key))
        return 0;
    h->crc = crc32c(h->crc, key.data, key.len);
    h->crc = crc32c(h->crc, value.data, value.len);
    return 0;
}

int store_hash(struct store *store, uint32_t *hash)
{
    struct hash_state h = {0};
    struct store_reader *reader;
    int err = store_flush_wait(store);

    if (err != 0)
        return err;
    err = store_reader_open(store, &reader);
    if (err != 0)
        return err;
    err = store_read_begin(reader);
    if (err == 0) {
        for (int i = 0; i < STORE_BUCKETS && err == 0; i++) {
            const char *name = store_bucket_name(i);

            h.bucket = i;
            h.crc = crc32c(h.crc, name, strlen(name));
            err = store_scan(reader, i, bytes_of(NULL, 0), add_record, &h);
        }
        store_read_end(reader);
    }
    store_reader_close(reader);
    *hash = h.crc;
    return err;
}
