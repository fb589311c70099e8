/* Ranges: order, filters, limits, what is left out. */
#include "test_apply.h"

/* a created at 2, changed at 7; b at 3; c at 4, changed at 6; d at 5. */
static void fill(struct env *env)
{
    put(env, "a", "9");
    put(env, "b", "5");
    put(env, "c", "7");
    put(env, "d", "1");
    put(env, "c", "6");
    put(env, "a", "8");
}

enum {
    BY_KEY,
    BY_VERSION,
    BY_CREATE,
    BY_MOD,
    BY_VALUE,
};

enum { NONE, UP, DOWN };

struct row {
    int target;
    int order;
    int64_t limit;
    int64_t filters[4]; /* min mod, max mod, min create, max create */
    int64_t revision;
    const char *want;
    bool more;
    int64_t count;
};

static const struct row rows[] = {
    {BY_KEY, NONE, 0, {0}, 0, "a=8,b=5,c=6,d=1", false, 4},
    {BY_KEY, UP, 0, {0}, 0, "a=8,b=5,c=6,d=1", false, 4},
    {BY_KEY, DOWN, 0, {0}, 0, "d=1,c=6,b=5,a=8", false, 4},
    {BY_KEY, NONE, 2, {0}, 0, "a=8,b=5", true, 4},
    {BY_KEY, NONE, 4, {0}, 0, "a=8,b=5,c=6,d=1", false, 4},
    {BY_KEY, DOWN, 3, {0}, 0, "d=1,c=6,b=5", true, 4},
    {BY_KEY, NONE, INT64_MAX, {0}, 0, "a=8,b=5,c=6,d=1", false, 4},
    {BY_VERSION, UP, 0, {0}, 0, "b=5,d=1,a=8,c=6", false, 4},
    {BY_VERSION, DOWN, 0, {0}, 0, "a=8,c=6,b=5,d=1", false, 4},
    {BY_CREATE, DOWN, 2, {0}, 0, "d=1,c=6", true, 4},
    {BY_MOD, UP, 0, {0}, 0, "b=5,d=1,c=6,a=8", false, 4},
    {BY_MOD, NONE, 0, {0}, 0, "b=5,d=1,c=6,a=8", false, 4},
    {BY_VALUE, UP, 0, {0}, 0, "d=1,b=5,c=6,a=8", false, 4},
    {BY_VALUE, DOWN, 1, {0}, 0, "a=8", true, 4},
    {BY_VALUE, UP, 0, {0}, 5, "d=1,b=5,c=7,a=9", false, 4},
    {BY_KEY, NONE, 0, {0}, 3, "a=9,b=5", false, 2},
    {BY_KEY, NONE, 0, {6}, 0, "a=8,c=6", false, 4},
    {BY_KEY, NONE, 0, {0, 5}, 0, "b=5,d=1", false, 4},
    {BY_KEY, NONE, 0, {0, 0, 4}, 0, "c=6,d=1", false, 4},
    {BY_KEY, NONE, 0, {0, 0, 0, 3}, 0, "a=8,b=5", false, 4},
    {BY_KEY, DOWN, 0, {0, 6, 3, 0}, 0, "d=1,c=6,b=5", false, 4},
    {BY_KEY, NONE, 1, {6}, 0, "a=8", true, 4},
    {BY_KEY, NONE, 0, {100}, 0, "", false, 4},
};

static void set(Etcdserverpb__RangeRequest *req, const struct row *row)
{
    etcdserverpb__range_request__init(req);
    req->key = data("a");
    req->range_end = data("z");
    req->sort_target = (Etcdserverpb__RangeRequest__SortTarget)row->target;
    req->sort_order = (Etcdserverpb__RangeRequest__SortOrder)row->order;
    req->limit = row->limit;
    req->min_mod_revision = row->filters[0];
    req->max_mod_revision = row->filters[1];
    req->min_create_revision = row->filters[2];
    req->max_create_revision = row->filters[3];
    req->revision = row->revision;
}

static void test_rows(void **state)
{
    struct env *env = *state;

    fill(env);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Etcdserverpb__RangeRequest req;
        Etcdserverpb__RangeResponse *got;

        set(&req, &rows[i]);
        got = read_range(env, &req);
        char *text = kvs_text(env, got->kvs, got->n_kvs);
        if (strcmp(text, rows[i].want) != 0)
            fail_msg("row %zu: %s, not %s", i, text, rows[i].want);
        assert_int_equal(got->more, rows[i].more);
        assert_int_equal(got->count, rows[i].count);
        assert_header(got->header, 7);
    }
}

/* The same without values: the same order, and all other fields. */
static void test_keys_only(void **state)
{
    struct env *env = *state;

    grant(env, 9);
    fill(env);
    put_lease(env, "b", "5", 9);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Etcdserverpb__RangeRequest req;
        Etcdserverpb__RangeResponse *full;
        Etcdserverpb__RangeResponse *keys;

        set(&req, &rows[i]);
        full = read_range(env, &req);
        req.keys_only = true;
        keys = read_range(env, &req);
        assert_int_equal(keys->n_kvs, full->n_kvs);
        assert_int_equal(keys->more, full->more);
        assert_int_equal(keys->count, full->count);
        for (size_t j = 0; j < keys->n_kvs; j++) {
            assert_int_equal(keys->kvs[j]->value.len, 0);
            assert_memory_equal(keys->kvs[j]->key.data, full->kvs[j]->key.data,
                                1);
            assert_int_equal(keys->kvs[j]->mod_revision,
                             full->kvs[j]->mod_revision);
            assert_int_equal(keys->kvs[j]->create_revision,
                             full->kvs[j]->create_revision);
            assert_int_equal(keys->kvs[j]->version, full->kvs[j]->version);
        }
    }
}

static void test_count_only(void **state)
{
    struct env *env = *state;
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *got;

    fill(env);
    req.key = data("b");
    req.range_end = data("d");
    req.count_only = true;
    req.limit = 1;
    got = read_range(env, &req);
    assert_int_equal(got->count, 2);
    assert_int_equal(got->n_kvs, 0);
    assert_false(got->more);
}

static void test_single_key(void **state)
{
    struct env *env = *state;
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *got;

    fill(env);
    req.key = data("c");
    got = read_range(env, &req);
    assert_string_equal(kvs_text(env, got->kvs, got->n_kvs), "c=6");
    assert_int_equal(got->kvs[0]->version, 2);
    assert_int_equal(got->kvs[0]->create_revision, 4);
    assert_int_equal(got->kvs[0]->mod_revision, 6);
    req.key = data("cc");
    got = read_range(env, &req);
    assert_int_equal(got->n_kvs, 0);
    assert_header(got->header, 7);
    /* An end that isn't above the key: nothing. */
    req.range_end = data("a");
    assert_int_equal(read_range(env, &req)->count, 0);
}

static void test_refused_revisions(void **state)
{
    struct env *env = *state;
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct apply_header header = {0};
    struct buf out = {0};

    fill(env);
    assert_int_equal(kv_compact(env->kv, 5), 0);
    req.key = data("c");
    req.revision = 8;
    assert_int_equal(
        apply_range(env->kv->reader, &req, header, &env->arena, &out),
        ERR_FUTURE_REV);
    req.revision = 4;
    assert_int_equal(
        apply_range(env->kv->reader, &req, header, &env->arena, &out),
        ERR_COMPACTED);
    req.revision = 5;
    assert_string_equal(kvs_text(env, read_range(env, &req)->kvs, 1), "c=7");
    buf_close(&out);
}

/* A stream's pieces together are the range. */
static void test_chunks(void **state)
{
    struct env *env = *state;
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct apply_chunk chunk = {.limit = 3};
    struct bytes from = {(const uint8_t *)"a", 1};
    struct buf out = {0};
    Etcdserverpb__RangeResponse *got;

    fill(env);
    req.key = data("a");
    req.range_end = data("z");
    assert_int_equal(apply_range_chunk(env->kv->reader, &req, from, &env->arena,
                                       &chunk, &out),
                     0);
    assert_int_equal(chunk.sent, 3);
    assert_int_equal(chunk.rev, 7);
    assert_int_equal(chunk.count, 4);
    assert_memory_equal(chunk.last_key.data, "c", 1);
    put(env, "a", "later");
    from = bytes_of("c\0", 2);
    assert_int_equal(apply_range_chunk(env->kv->reader, &req, from, &env->arena,
                                       &chunk, &out),
                     0);
    assert_int_equal(chunk.sent, 1);
    assert_int_equal(chunk.rev, 7);
    assert_int_equal(chunk.current_rev, 8);
    got = (void *)codec_unpack(&etcdserverpb__range_response__descriptor,
                               &env->arena, bytes_of(out.data, out.len));
    assert_non_null(got);
    assert_string_equal(kvs_text(env, got->kvs, got->n_kvs), "a=8,b=5,c=6,d=1");
    buf_close(&out);
}

static const char *read_chunk(struct env *env, struct apply_chunk *chunk,
                              const char *from, size_t len)
{
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *got;
    struct buf out = {0};

    req.key = data("a");
    req.range_end = data("z");
    req.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE;
    assert_int_equal(apply_range_chunk(env->kv->reader, &req,
                                       bytes_of(from, len), &env->arena, chunk,
                                       &out),
                     0);
    got = (void *)codec_unpack(&etcdserverpb__range_response__descriptor,
                               &env->arena, bytes_of(out.data, out.len));
    assert_non_null(got);
    assert_int_equal(got->n_kvs, chunk->sent);
    buf_close(&out);
    return kvs_text(env, got->kvs, got->n_kvs);
}

/* Sorted pieces leave nothing out, and one alone is what a range is. */
static void test_sorted_chunks(void **state)
{
    struct env *env = *state;
    struct apply_chunk chunk = {.limit = 3};

    fill(env);
    assert_string_equal(read_chunk(env, &chunk, "a", 1), "b=5,c=6,a=8");
    assert_int_equal(chunk.count, 4);
    assert_memory_equal(chunk.last_key.data, "c", 1);
    assert_string_equal(read_chunk(env, &chunk, "c\0", 2), "d=1");
    chunk.is_last = true;
    assert_string_equal(read_chunk(env, &chunk, "a", 1), "d=1,b=5,c=6");
    chunk.limit = INT64_MAX;
    assert_string_equal(read_chunk(env, &chunk, "a", 1), "d=1,b=5,c=6,a=8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENV_TEST(test_rows),          ENV_TEST(test_keys_only),
        ENV_TEST(test_count_only),    ENV_TEST(test_single_key),
        ENV_TEST(test_chunks),        ENV_TEST(test_refused_revisions),
        ENV_TEST(test_sorted_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
