/* Random histories against a naive model that forgets nothing: writes, reads
 * at any revision, compactions, changes, restarts. The seed of a failure is
 * printed; CHORAD_SEED runs it alone. */
#include "test_mvcc.h"

#define KEYS 48
#define CHANGES_MAX 6000
#define STEPS 500

struct change {
    struct mvcc_fields fields; /* borrowed from the model */
    int64_t main;
    int64_t sub;
    int64_t seen; /* used while comparing */
    bool tombstone;
    char value[40];
};

struct model {
    struct kv *kv;
    struct prng prng;
    char keys[KEYS][32];
    struct change changes[CHANGES_MAX];
    size_t n;
    int64_t rev;
    int64_t compacted;
    size_t txn_from;
};

static int cmp_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void model_init(struct model *m, struct kv *kv, uint64_t seed)
{
    static const char *const roots[] = {"/chora/capabilities/service/",
                                        "/chora/agents/", "b", ""};

    memset(m, 0, sizeof(*m));
    m->kv = kv;
    m->prng.state = seed;
    m->rev = 1;
    m->compacted = -1;
    for (int i = 0; i < KEYS; i++)
        snprintf(m->keys[i], sizeof(m->keys[i]), "%s%d", roots[i % 4], i);
    qsort(m->keys, KEYS, sizeof(m->keys[0]), cmp_text);
}

/* The newest change of the key up to `rev`; NULL if it isn't live then. */
static struct change *live_at(struct model *m, struct bytes key, int64_t rev)
{
    for (size_t i = m->n; i-- > 0;) {
        struct change *c = &m->changes[i];

        if (c->main <= rev && bytes_cmp(c->fields.key, key) == 0)
            return c->tombstone ? NULL : c;
    }
    return NULL;
}

static struct change *add_change(struct model *m, struct bytes key)
{
    struct change *c = &m->changes[m->n];

    assert_true(m->n < CHANGES_MAX);
    *c = (struct change){.main = m->rev + 1,
                         .sub = (int64_t)(m->n - m->txn_from)};
    c->fields.key = key;
    c->fields.value = bytes_of("", 0);
    return c;
}

static void model_put(struct model *m, struct bytes key, const char *value,
                      int64_t lease)
{
    struct change *old = live_at(m, key, INT64_MAX);
    struct change *c = add_change(m, key);

    snprintf(c->value, sizeof(c->value), "%s", value);
    c->fields.value = text(c->value);
    c->fields.create_rev = old != NULL ? old->fields.create_rev : c->main;
    c->fields.version = old != NULL ? old->fields.version + 1 : 1;
    c->fields.mod_rev = c->main;
    c->fields.lease = lease;
    m->n++;
}

static bool in_range(struct bytes key, struct bytes from, struct bytes end)
{
    if (end.len == 0)
        return bytes_cmp(key, from) == 0;
    if (bytes_cmp(key, from) < 0)
        return false;
    return (end.len == 1 && end.data[0] == 0) || bytes_cmp(key, end) < 0;
}

static int64_t model_delete(struct model *m, struct bytes from,
                            struct bytes end)
{
    int64_t n = 0;

    for (int i = 0; i < KEYS; i++) {
        struct bytes key = text(m->keys[i]);

        if (!in_range(key, from, end) || live_at(m, key, INT64_MAX) == NULL)
            continue;
        add_change(m, key)->tombstone = true;
        m->n++;
        n++;
    }
    return n;
}

/* ---- random arguments -------------------------------------------------- */

static struct bytes random_key(struct model *m)
{
    return text(m->keys[prng_below(&m->prng, KEYS)]);
}

static struct bytes random_end(struct model *m)
{
    switch (prng_below(&m->prng, 4)) {
    case 0:
        return bytes_of("", 0);
    case 1:
        return bytes_of("", 1);
    default:
        return random_key(m);
    }
}

/* ---- reading ----------------------------------------------------------- */

struct expect {
    struct model *m;
    struct mvcc_range range;
    int64_t rev;
    int at; /* the next key that may come */
    int64_t visited;
};

static void check_record(struct bytes record, const struct mvcc_fields *want)
{
    struct mvcc_fields got;

    assert_int_equal(mvcc_decode(record, &got), 0);
    assert_int_equal(bytes_cmp(got.key, want->key), 0);
    assert_int_equal(bytes_cmp(got.value, want->value), 0);
    assert_int_equal(got.create_rev, want->create_rev);
    assert_int_equal(got.mod_rev, want->mod_rev);
    assert_int_equal(got.version, want->version);
    assert_int_equal(got.lease, want->lease);
}

static struct change *next_expected(struct expect *e)
{
    while (e->at < KEYS) {
        struct bytes key = text(e->m->keys[e->at++]);

        if (in_range(key, e->range.key, e->range.end)) {
            struct change *c = live_at(e->m, key, e->rev);

            if (c != NULL)
                return c;
        }
    }
    return NULL;
}

static int check_visit(void *arg, const struct mvcc_kv *kv)
{
    struct expect *e = arg;
    struct change *want = next_expected(e);

    assert_non_null(want);
    assert_int_equal(bytes_cmp(kv->key, want->fields.key), 0);
    assert_int_equal(kv->create_rev, want->fields.create_rev);
    assert_int_equal(kv->mod_rev, want->fields.mod_rev);
    assert_int_equal(kv->version, want->fields.version);
    if (e->range.want == MVCC_RECORDS)
        check_record(kv->record, &want->fields);
    e->visited++;
    return 0;
}

static void check_range(struct model *m, bool in_txn)
{
    int64_t current = m->rev + (in_txn && m->n > m->txn_from);
    struct expect e = {.m = m};
    struct mvcc_range_result result;
    int64_t visited;
    int rv;

    e.range.key = random_key(m);
    e.range.end = random_end(m);
    e.range.rev = (int64_t)prng_below(&m->prng, (uint64_t)m->rev + 3);
    if (prng_below(&m->prng, 2))
        e.range.rev = 0;
    e.range.limit = (int64_t)prng_below(&m->prng, 6);
    e.range.want = (enum mvcc_want)prng_below(&m->prng, 3);
    e.rev = e.range.rev > 0 ? e.range.rev : current;
    rv = in_txn
             ? mvcc_txn_range(m->kv->mvcc, &e.range, check_visit, &e, &result)
             : mvcc_range(m->kv->reader, &e.range, check_visit, &e, &result);
    assert_int_equal(result.rev, current);
    if (e.rev > current) {
        assert_int_equal(rv, ERR_FUTURE_REV);
        return;
    }
    if (e.rev < m->compacted) {
        assert_int_equal(rv, ERR_COMPACTED);
        return;
    }
    assert_int_equal(rv, 0);
    visited = e.visited;
    if (e.range.want == MVCC_COUNT)
        assert_int_equal(visited, 0);
    else if (e.range.limit > 0)
        assert_true(visited <= e.range.limit);
    e.at = 0;
    e.visited = 0;
    while (next_expected(&e) != NULL)
        e.visited++;
    assert_int_equal(result.count, e.visited);
    if (e.range.want != MVCC_COUNT)
        assert_int_equal(visited,
                         e.range.limit > 0 && e.range.limit < result.count
                             ? e.range.limit
                             : result.count);
}

/* ---- writing ----------------------------------------------------------- */

static void txn_put(struct model *m)
{
    struct bytes key = random_key(m);
    char value[40];
    int64_t lease = prng_below(&m->prng, 3) ? 0 : (int64_t)prng_next(&m->prng);

    snprintf(value, sizeof(value), "%.*s", (int)prng_below(&m->prng, 30),
             "{\"dc_title\": \"a capability\"}");
    mvcc_txn_put(m->kv->mvcc, key, text(value), lease);
    model_put(m, key, value, lease);
}

static void check_txn_changes(struct model *m)
{
    size_t n;
    const struct mvcc_change *changes = mvcc_txn_changes(m->kv->mvcc, &n);

    assert_int_equal(n, m->n - m->txn_from);
    for (size_t i = 0; i < n; i++) {
        struct change *want = &m->changes[m->txn_from + i];

        assert_int_equal(changes[i].rev.main, want->main);
        assert_int_equal(changes[i].rev.sub, want->sub);
        assert_int_equal(changes[i].tombstone, want->tombstone);
        assert_int_equal(bytes_cmp(changes[i].key, want->fields.key), 0);
        check_record(changes[i].record, &want->fields);
    }
}

static void run_txn(struct model *m)
{
    size_t ops = 1 + prng_below(&m->prng, prng_below(&m->prng, 3) ? 1 : 8);

    m->txn_from = m->n;
    mvcc_txn_begin(m->kv->mvcc);
    while (ops-- > 0) {
        uint64_t what = prng_below(&m->prng, 10);

        if (what < 6) {
            txn_put(m);
        } else if (what < 8) {
            struct bytes key = random_key(m);
            struct bytes end = random_end(m);

            assert_int_equal(mvcc_txn_delete(m->kv->mvcc, key, end),
                             model_delete(m, key, end));
        } else {
            check_range(m, true);
            /* Nothing of it can be seen from outside. */
            check_range(m, false);
        }
    }
    check_txn_changes(m);
    if (m->n > m->txn_from)
        m->rev++;
    assert_int_equal(mvcc_txn_end(m->kv->mvcc), m->rev);
    assert_int_equal(mvcc_revision(m->kv->mvcc), m->rev);
    kv_mark(m->kv);
}

/* ---- changes and what is on disk ---------------------------------------- */

static bool is_kept(struct model *m, const struct change *c, int64_t rev)
{
    if (c->main > rev)
        return true;
    if (c->tombstone && c->main < rev)
        return false;
    for (const struct change *d = c + 1; d < m->changes + m->n; d++)
        if (d->main <= rev && bytes_cmp(d->fields.key, c->fields.key) == 0)
            return false;
    return true;
}

struct change_expect {
    struct model *m;
    size_t at;
    int64_t revs;
    int64_t last;
};

static bool is_change(const struct change *c, const struct mvcc_change *other)
{
    return c->main == other->rev.main && c->sub == other->rev.sub;
}

static int check_change(void *arg, const struct mvcc_change *change)
{
    struct change_expect *e = arg;

    /* A key that was written twice in the transaction of the compacted
     * revision has its first change until that is gone from the disk. */
    while (e->at < e->m->n &&
           !is_kept(e->m, &e->m->changes[e->at], e->m->compacted) &&
           !is_change(&e->m->changes[e->at], change))
        e->at++;
    assert_true(e->at < e->m->n);
    assert_int_equal(change->rev.main, e->m->changes[e->at].main);
    assert_int_equal(change->rev.sub, e->m->changes[e->at].sub);
    assert_int_equal(change->tombstone, e->m->changes[e->at].tombstone);
    check_record(change->record, &e->m->changes[e->at].fields);
    e->revs += change->rev.main != e->last;
    e->last = change->rev.main;
    e->at++;
    return 0;
}

static void check_changes(struct model *m)
{
    struct change_expect e = {.m = m, .last = -1};
    int64_t from = 1 + (int64_t)prng_below(&m->prng, (uint64_t)m->rev + 1);
    int64_t to = from + (int64_t)prng_below(&m->prng, 200);
    int64_t max = 1 + (int64_t)prng_below(&m->prng, 60);
    int64_t next;
    int rv;

    while (e.at < m->n && m->changes[e.at].main < from)
        e.at++;
    rv = mvcc_changes(m->kv->reader, from, to, max, check_change, &e, &next);
    if (from < m->compacted) {
        assert_int_equal(rv, ERR_COMPACTED);
        return;
    }
    assert_int_equal(rv, 0);
    if (to > m->rev)
        to = m->rev;
    if (next <= to) {
        assert_int_equal(e.revs, max);
        assert_true(next > e.last);
    } else {
        assert_int_equal(next, to + 1);
        while (e.at < m->n && !is_kept(m, &m->changes[e.at], m->compacted))
            e.at++;
        assert_true(e.at == m->n || m->changes[e.at].main > to);
    }
}

static int check_disk_record(void *arg, struct bytes key, struct bytes record)
{
    struct change_expect *e = arg;
    struct change *want;

    while (e->at < e->m->n &&
           !is_kept(e->m, &e->m->changes[e->at], e->m->compacted))
        e->at++;
    assert_true(e->at < e->m->n);
    want = &e->m->changes[e->at++];
    assert_int_equal(key.len, want->tombstone ? 18 : 17);
    check_record(record, &want->fields);
    return 0;
}

/* With no compaction on its way: the disk has what is kept and no more. */
static void check_disk(struct model *m)
{
    struct change_expect e = {.m = m};
    struct store_reader *reader;

    kv_flush(m->kv);
    assert_int_equal(mvcc_stats(m->kv->mvcc).tail_records, 0);
    assert_int_equal(store_reader_open(m->kv->store, &reader), 0);
    assert_int_equal(store_read_begin(reader), 0);
    assert_int_equal(
        store_scan(reader, STORE_KEY, bytes_of("", 0), check_disk_record, &e),
        0);
    store_read_end(reader);
    store_reader_close(reader);
    while (e.at < m->n)
        assert_false(is_kept(m, &m->changes[e.at++], m->compacted));
}

/* ---- compaction and restart --------------------------------------------- */

static void compact(struct model *m, bool wait)
{
    int64_t rev =
        m->compacted +
        (int64_t)prng_below(&m->prng, (uint64_t)(m->rev - m->compacted) + 3);
    int want = rev <= m->compacted ? ERR_COMPACTED
               : rev > m->rev      ? ERR_FUTURE_REV
                                   : 0;

    if (wait) {
        assert_int_equal(kv_compact(m->kv, rev), want);
    } else {
        assert_int_equal(mvcc_compact(m->kv->mvcc, rev, NULL, NULL), want);
        kv_mark(m->kv);
    }
    if (want == 0)
        m->compacted = rev;
    assert_int_equal(mvcc_compacted(m->kv->mvcc), m->compacted);
}

static void check_lease(void *arg, int64_t lease, struct bytes key)
{
    struct model *m = arg;
    struct change *c;

    if (m->n == 0)
        return;
    c = live_at(m, key, INT64_MAX);
    assert_non_null(c);
    assert_int_equal(c->fields.lease, lease);
    c->seen++;
}

static void reopen(struct model *m)
{
    m->kv->on_lease = check_lease;
    m->kv->on_lease_arg = m;
    for (size_t i = 0; i < m->n; i++)
        m->changes[i].seen = 0;
    kv_reopen(m->kv);
    assert_int_equal(mvcc_revision(m->kv->mvcc), m->rev);
    assert_int_equal(mvcc_compacted(m->kv->mvcc), m->compacted);
    for (int i = 0; i < KEYS; i++) {
        struct change *c = live_at(m, text(m->keys[i]), INT64_MAX);

        if (c != NULL)
            assert_int_equal(c->seen, c->fields.lease != 0);
    }
}

static void run_step(struct model *m)
{
    uint64_t what = prng_below(&m->prng, 100);

    if (what < 50)
        run_txn(m);
    else if (what < 80)
        check_range(m, false);
    else if (what < 90)
        check_changes(m);
    else if (what < 94)
        kv_flush(m->kv);
    else if (what < 97)
        compact(m, prng_below(&m->prng, 2));
    else if (what < 98)
        reopen(m);
}

static void run_seed(uint64_t seed)
{
    static struct model m;
    void *state;
    struct kv *kv;

    fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
    kv_setup(&state);
    kv = state;
    kv_close(kv);
    kv->config.compact_batch = 1 + (uint32_t)(seed % 40);
    kv->config.compact_pause_ns = seed % 2 ? 100000 : 5000000;
    kv_open(kv);
    model_init(&m, kv, seed);
    for (int i = 0; i < STEPS; i++)
        run_step(&m);
    /* The last compaction waits for all before it. */
    run_txn(&m);
    while (m.compacted < m.rev)
        compact(&m, true);
    check_disk(&m);
    reopen(&m);
    for (int i = 0; i < 50; i++)
        check_range(&m, false);
    kv_teardown(&state);
}

static void test_random_histories(void **state)
{
    const char *seed = getenv("CHORAD_SEED");

    (void)state;
    if (seed != NULL) {
        run_seed(strtoull(seed, NULL, 0));
        return;
    }
    for (uint64_t i = 1; i <= 12; i++)
        run_seed(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_histories),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
