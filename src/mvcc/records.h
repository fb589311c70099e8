/* The records of the key bucket at start, read and checked by a thread of their
 * own while the caller builds the index from them. */
#ifndef CHORAD_MVCC_RECORDS_H
#define CHORAD_MVCC_RECORDS_H

#include "chorad/mvcc.h"
#include "record.h"

struct records;

/* What the index needs of a record; the key lies in the store's pages and is
 * valid until records_close. */
struct record_head {
    struct rev_key at;
    struct bytes key;
    int64_t create_rev;
    int64_t version;
    int64_t lease;
};

/* Begins to read inside the reader's transaction, which belongs to the thread
 * until records_close. */
struct records *records_open(struct store_reader *reader, struct errmsg *msg);

/* The next ones in revision order, valid until the next call; 0 at the end.
 * ERR_CORRUPT and others, with the text, after all that was good. */
int records_next(struct records *records, const struct record_head **heads,
                 size_t *n);

/* Ends the thread, wherever it is. */
void records_close(struct records *records);

#endif
