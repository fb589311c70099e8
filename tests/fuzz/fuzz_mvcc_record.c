/* Records from a damaged or foreign disk: nothing is read beyond the end,
 * pieces lie within the record, and what decodes encodes to the same. */
#include "chorad/base/check.h"
#include "mvcc/record.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_within(struct bytes piece, const uint8_t *data, size_t size)
{
    return piece.len == 0 ||
           (piece.data >= data && piece.data + piece.len <= data + size);
}

static void check_round_trip(const struct mvcc_fields *fields)
{
    uint8_t joined[8192];
    struct mvcc_fields again;
    struct record record;
    size_t at = 0;

    record_encode(&record, fields);
    if (record.len > sizeof(joined))
        return;
    for (size_t i = 0; i < record.n; i++) {
        memcpy(joined + at, record.pieces[i].data, record.pieces[i].len);
        at += record.pieces[i].len;
    }
    CHECK(at == record.len);
    CHECK(mvcc_decode(bytes_of(joined, at), &again) == 0);
    CHECK(bytes_cmp(again.key, fields->key) == 0);
    CHECK(bytes_cmp(again.value, fields->value) == 0);
    CHECK(again.create_rev == fields->create_rev);
    CHECK(again.mod_rev == fields->mod_rev);
    CHECK(again.version == fields->version);
    CHECK(again.lease == fields->lease);
    CHECK(bytes_cmp(record_key(bytes_of(joined, at)), fields->key) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mvcc_fields fields;
    uint8_t space[REV_KEY_MAX];
    struct rev_key rev;

    CHECK(lies_within(record_key(bytes_of(data, size)), data, size));
    if (mvcc_decode(bytes_of(data, size), &fields) == 0) {
        CHECK(lies_within(fields.key, data, size));
        CHECK(lies_within(fields.value, data, size));
        check_round_trip(&fields);
    }
    if (rev_decode(bytes_of(data, size), &rev) == 0) {
        struct bytes key = rev_encode(rev, space);

        CHECK(key.len == size && memcmp(key.data, data, size) == 0);
    }
    return 0;
}
