/* Records of the key bucket as bytes.
 *
 *     key    main i64 BE | '_' | sub i64 BE [| 't' on a tombstone]
 *     value  mvccpb.KeyValue: 1 key, 2 create_revision, 3 mod_revision,
 *            4 version, 5 value, 6 lease; in this order, zeros left out */
#ifndef CHORAD_MVCC_RECORD_H
#define CHORAD_MVCC_RECORD_H

#include "chorad/mvcc.h"

#define REV_KEY_LEN 17
#define REV_KEY_MAX 18

struct rev_key {
    struct mvcc_rev rev;
    bool tombstone;
};

/* Writes the key at `out`, REV_KEY_MAX bytes; returns it. */
struct bytes rev_encode(struct rev_key key, uint8_t *out);
/* ERR_MALFORMED: length, separator, mark or a negative number. */
int rev_decode(struct bytes key, struct rev_key *out);

/* The KeyValue in pieces around the borrowed key and value. */
#define RECORD_PIECES 5
struct record {
    struct bytes pieces[RECORD_PIECES];
    size_t n;
    size_t len; /* of all pieces */
    uint8_t scratch[64];
};

/* Not movable: the pieces point into it. */
void record_encode(struct record *record, const struct mvcc_fields *fields);

/* The key of an encoded KeyValue, which was checked before. */
struct bytes record_key(struct bytes record);

#endif
