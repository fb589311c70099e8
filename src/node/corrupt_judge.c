#include "corrupt.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>

/* ---- JSON as Go has it: zeros left out ---- */

void corrupt_put_request(struct buf *out, int64_t revision)
{
    if (revision == 0)
        buf_printf(out, "{}");
    else
        buf_printf(out, "{\"revision\":%" PRId64 "}", revision);
}

static int64_t number(json_object *obj, const char *name)
{
    json_object *field;

    return json_object_object_get_ex(obj, name, &field)
               ? json_object_get_int64(field)
               : 0;
}

int corrupt_read_answer(struct bytes body, struct corrupt_answer *answer)
{
    json_tokener *tok = json_tokener_new();
    json_object *obj = NULL;
    json_object *header;
    int rc = ERR_INVALID;

    if (body.len > 0 && body.len <= INT_MAX)
        obj =
            json_tokener_parse_ex(tok, (const char *)body.data, (int)body.len);
    json_tokener_free(tok);
    if (json_object_is_type(obj, json_type_object) &&
        json_object_object_get_ex(obj, "header", &header) &&
        json_object_is_type(header, json_type_object)) {
        answer->revision = number(header, "revision");
        answer->hash.hash = (uint32_t)number(obj, "hash");
        answer->hash.compact_rev = number(obj, "compact_revision");
        answer->hash.hash_rev = number(obj, "hash_revision");
        answer->known = true;
        rc = 0;
    }
    json_object_put(obj);
    return rc;
}

/* ---- judging ---- */

bool corrupt_differs(const struct mvcc_hash *own,
                     const struct corrupt_answer *answer)
{
    return answer->known && answer->hash.compact_rev == own->compact_rev &&
           answer->hash.hash != own->hash;
}

bool corrupt_find(uint64_t self, const struct mvcc_hash *before,
                  const struct mvcc_hash *after, int64_t revision,
                  const struct corrupt_answer *answers, size_t n, uint64_t *id)
{
    *id = self;
    if (after->hash != before->hash && after->hash_rev == before->hash_rev &&
        after->compact_rev == before->compact_rev)
        return true;
    for (size_t i = 0; i < n; i++) {
        const struct corrupt_answer *a = &answers[i];

        *id = a->id;
        /* Who follows has nothing that the leader hasn't. */
        if (a->known && (a->revision > revision ||
                         a->hash.compact_rev > after->compact_rev))
            return true;
        if (corrupt_differs(before, a))
            return true;
    }
    return false;
}

/* Those with a hash, the member itself included. */
static size_t count(const struct mvcc_hash *own,
                    const struct corrupt_answer *answers, size_t n,
                    uint32_t hash)
{
    size_t found = own->hash == hash;

    for (size_t i = 0; i < n; i++)
        found += answers[i].known &&
                 answers[i].hash.compact_rev == own->compact_rev &&
                 answers[i].hash.hash == hash;
    return found;
}

enum corrupt_verdict corrupt_compare(uint64_t self, const struct mvcc_hash *own,
                                     const struct corrupt_answer *answers,
                                     size_t n, uint64_t *ids, size_t *n_ids)
{
    size_t quorum = (n + 1) / 2 + 1;
    size_t compared = 0;
    bool differ = false;
    uint32_t most = own->hash;

    *n_ids = 0;
    for (size_t i = 0; i < n; i++) {
        const struct corrupt_answer *a = &answers[i];

        if (!a->known || a->hash.compact_rev != own->compact_rev)
            continue;
        compared++;
        differ |= a->hash.hash != own->hash;
        if (count(own, answers, n, a->hash.hash) >= quorum)
            most = a->hash.hash;
    }
    if (!differ)
        return compared == n ? CORRUPT_ALL_EQUAL : CORRUPT_UNDECIDED;
    if (count(own, answers, n, most) < quorum)
        return CORRUPT_ANY;
    if (own->hash != most)
        ids[(*n_ids)++] = self;
    for (size_t i = 0; i < n; i++)
        if (answers[i].known &&
            answers[i].hash.compact_rev == own->compact_rev &&
            answers[i].hash.hash != most)
            ids[(*n_ids)++] = answers[i].id;
    return CORRUPT_SOME;
}
