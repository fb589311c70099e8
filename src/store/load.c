/* A whole bucket at a start. */
#include "chorad/store.h"

int store_load(struct store *store, enum store_bucket bucket,
               int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg)
{
    struct store_reader *reader;
    int rc = store_reader_open(store, &reader);

    if (rc < 0)
        return rc;
    rc = store_read_begin(reader);
    if (rc == 0) {
        rc = store_scan(reader, bucket, bytes_of("", 0), visit, arg);
        store_read_end(reader);
    }
    store_reader_close(reader);
    return rc;
}
