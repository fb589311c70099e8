/* The records of the bucket key against each other: every key's versions go up
 * by one from where its generation begins. Then the index that a member builds
 * of them, entry by entry, against the records. */
#include "check.h"

#include "chorad/mvcc.h"
#include <inttypes.h>
#include <stdlib.h>

struct scan {
    struct check *check;
    struct keys keys;
    int64_t *leases; /* sorted */
    size_t n_leases;
};

static void wrong(struct scan *s, const struct mvcc_rev *rev, const char *what)
{
    check_found(s->check, "bucket key, revision {%" PRId64 " %" PRId64 "}: %s",
                rev->main, rev->sub, what);
}

/* ---- record by record ------------------------------------------------------
 */

static void bury(struct scan *s, struct key_state *key,
                 const struct mvcc_rev *rev)
{
    if (!key->live && key->main != 0)
        wrong(s, rev, "a tombstone on a key that isn't there");
    s->keys.live -= key->live;
    key->live = false;
}

/* What came before the oldest record of a key may have been compacted away. */
static void put(struct scan *s, struct key_state *key,
                const struct mvcc_rev *rev, const struct mvcc_fields *f)
{
    bool first = key->main == 0;

    if (f->mod_rev != rev->main)
        wrong(s, rev, "its record is of another revision");
    if (first && (f->create_rev > rev->main || f->version < 1))
        wrong(s, rev, "its record has numbers that can't be");
    if (key->live &&
        (f->create_rev != key->created || f->version != key->version + 1))
        wrong(s, rev, "it doesn't go on from the key's record before");
    if (!first && !key->live && (f->create_rev != rev->main || f->version != 1))
        wrong(s, rev, "a key that was deleted begins in the middle");
    s->keys.live += !key->live;
    key->live = true;
    key->created = f->create_rev;
    key->version = f->version;
    key->lease = f->lease;
}

static int visit_record(void *arg, struct bytes key, struct bytes value)
{
    struct scan *s = arg;
    struct check *c = s->check;
    struct mvcc_fields fields;
    struct mvcc_rev rev;
    struct key_state *state;
    bool tombstone;

    if (++c->records % 1024 == 0)
        headway_at(&c->headway, c->records, s->check->keys, c->records);
    if (mvcc_decode_rev(key, &rev, &tombstone) != 0) {
        check_found(c,
                    "bucket key, behind revision %" PRId64
                    ": a key that is no revision",
                    c->revision);
        return 0;
    }
    c->revision = rev.main;
    /* An empty record is that of a restore with a revision bumped. */
    if (value.len == 0)
        return 0;
    if (mvcc_decode(value, &fields) != 0) {
        wrong(s, &rev, "the record is no KeyValue");
        return 0;
    }
    state = keys_at(&s->keys, fields.key);
    if (tombstone)
        bury(s, state, &rev);
    else
        put(s, state, &rev, &fields);
    state->main = rev.main;
    state->sub = (uint32_t)rev.sub;
    return 0;
}

/* ---- leases ----------------------------------------------------------------
 */

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static int note_lease(void *arg, struct bytes key, struct bytes value)
{
    struct scan *s = arg;
    uint64_t id = 0;

    (void)value;
    for (size_t i = 0; i < key.len; i++)
        id = id << 8 | key.data[i];
    s->leases =
        mem_realloc(s->leases, (s->n_leases + 1) * sizeof(s->leases[0]));
    s->leases[s->n_leases++] = (int64_t)id;
    return 0;
}

static void check_attached(struct scan *s)
{
    if (s->n_leases > 1)
        qsort(s->leases, s->n_leases, sizeof(s->leases[0]), compare_ids);
    for (size_t i = 0; i < s->keys.cap; i++) {
        const struct key_state *key = &s->keys.slots[i];
        struct mvcc_rev rev = {key->main, key->sub};

        if (key->hash[0] == 0 || !key->live || key->lease == 0)
            continue;
        if (s->n_leases == 0 || !bsearch(&key->lease, s->leases, s->n_leases,
                                         sizeof(s->leases[0]), compare_ids))
            wrong(s, &rev, "its key hangs on a lease that isn't there");
    }
}

/* ---- the index -------------------------------------------------------------
 */

static int visit_entry(void *arg, const struct mvcc_kv *kv)
{
    struct scan *s = arg;
    struct key_state *key = keys_at(&s->keys, kv->key);
    struct mvcc_rev rev = {kv->mod_rev, key->sub};
    struct mvcc_fields fields;

    /* As above. */
    if (kv->record.len == 0)
        return 0;
    if (mvcc_decode(kv->record, &fields) != 0 ||
        bytes_cmp(fields.key, kv->key) != 0)
        wrong(s, &rev, "the index finds another key's record there");
    else if (!key->live || key->main != kv->mod_rev ||
             key->created != kv->create_rev || key->version != kv->version ||
             fields.version != kv->version)
        wrong(s, &rev, "the index has other numbers than the record");
    s->check->keys++;
    return 0;
}

static void check_index(struct scan *s, struct mvcc *mvcc)
{
    static const struct mvcc_range all = {
        .key = {(const uint8_t *)"", 0},
        .end = {(const uint8_t *)"", 1},
        .want = MVCC_RECORDS,
    };
    struct mvcc_range_result result;
    struct mvcc_reader *reader;
    int err = mvcc_reader_open(mvcc, &reader);

    if (err == 0) {
        err = mvcc_range(reader, &all, visit_entry, s, &result);
        mvcc_reader_close(reader);
    }
    if (err != 0)
        check_found(s->check, "the index: %s", err_text(err));
    else if (s->check->keys != s->keys.live)
        check_found(s->check,
                    "the index has %" PRIu64 " keys, the records %" PRIu64,
                    s->check->keys, s->keys.live);
    s->check->revision = mvcc_revision(mvcc);
}

static void check_with_index(struct scan *s)
{
    struct mvcc_config config = {.only_reads = true};
    struct store *store = s->check->place.store;
    struct errmsg msg = {""};
    struct mvcc *mvcc;

    if (mvcc_open(store, &config, NULL, NULL, &mvcc, &msg) != 0) {
        check_found(s->check, "%s", msg.text);
        return;
    }
    check_index(s, mvcc);
    store_stop(store);
    mvcc_close(mvcc);
}

void check_keys(struct check *c)
{
    struct scan s = {.check = c};
    int err;

    keys_open(&s.keys);
    tool_headway(&c->headway, c->options, "checking keys");
    err = store_load(c->place.store, STORE_KEY, visit_record, &s);
    if (err == 0)
        err = store_load(c->place.store, STORE_LEASE, note_lease, &s);
    headway_end(&c->headway);
    if (err != 0)
        check_found(c, "%s: reading: %s", c->place.kv_dir, err_text(err));
    check_attached(&s);
    check_with_index(&s);
    keys_close(&s.keys);
    free(s.leases);
}
