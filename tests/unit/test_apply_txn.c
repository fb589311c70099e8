/* Transactions: which branch is taken, what it does and answers. */
#include "test_apply.h"

/* ---- compares ------------------------------------------------------------ */

enum { EQUAL, GREATER, LESS, NOT_EQUAL };
enum { VERSION, CREATE, MOD, VALUE, LEASE };

/* a: created at 2, changed at 5, version 2, value "m", lease 9; b: created at
 * 3, changed at 3, version 1, value "n"; c as b, at 4. */
static void fill(struct env *env)
{
    grant(env, 9);
    put(env, "a", "x");
    put(env, "b", "n");
    put(env, "c", "n");
    put_lease(env, "a", "m", 9);
}

struct row {
    const char *key;
    const char *end;
    int target;
    int64_t number;
    const char *value;
    int order; /* of what is there to what is asked for: -1, 0, 1 */
};

static const struct row rows[] = {
    {"a", "", VERSION, 2, NULL, 0},
    {"a", "", VERSION, 1, NULL, 1},
    {"a", "", VERSION, 3, NULL, -1},
    {"a", "", CREATE, 2, NULL, 0},
    {"a", "", CREATE, -1, NULL, 1},
    {"a", "", CREATE, INT64_MAX, NULL, -1},
    {"a", "", MOD, 5, NULL, 0},
    {"a", "", MOD, 4, NULL, 1},
    {"a", "", MOD, 6, NULL, -1},
    {"a", "", VALUE, 0, "m", 0},
    {"a", "", VALUE, 0, "l", 1},
    {"a", "", VALUE, 0, "mm", -1},
    {"a", "", VALUE, 0, "", 1},
    {"a", "", LEASE, 9, NULL, 0},
    {"a", "", LEASE, 0, NULL, 1},
    {"b", "", LEASE, 1, NULL, -1},
    /* A key that isn't there has zeros. */
    {"zz", "", VERSION, 0, NULL, 0},
    {"zz", "", CREATE, 1, NULL, -1},
    {"zz", "", MOD, -1, NULL, 1},
    {"zz", "", LEASE, 0, NULL, 0},
};

static const bool holds[4][3] = {
    [EQUAL] = {false, true, false},
    [GREATER] = {false, false, true},
    [LESS] = {true, false, false},
    [NOT_EQUAL] = {true, false, true},
};

static void set_compare(Etcdserverpb__Compare *c, const struct row *row,
                        int result)
{
    etcdserverpb__compare__init(c);
    c->key = data(row->key);
    c->range_end = data(row->end);
    c->result = (Etcdserverpb__Compare__CompareResult)result;
    c->target = (Etcdserverpb__Compare__CompareTarget)row->target;
    switch (row->target) {
    case VERSION:
        c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        c->version = row->number;
        break;
    case CREATE:
        c->target_union_case =
            ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        c->create_revision = row->number;
        break;
    case MOD:
        c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        c->mod_revision = row->number;
        break;
    case LEASE:
        c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        c->lease = row->number;
        break;
    default:
        c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        c->value = data(row->value);
        break;
    }
}

static Etcdserverpb__TxnResponse *run(struct env *env,
                                      const Etcdserverpb__TxnRequest *req)
{
    return answer(env, apply_message(env, APPLY_TXN, req),
                  &etcdserverpb__txn_response__descriptor);
}

/* By an entry, and by a read. */
static bool succeeds(struct env *env, const Etcdserverpb__TxnRequest *req)
{
    struct apply_header header = {CLUSTER_ID, MEMBER_ID, 0, TERM};
    struct buf out = {0};
    Etcdserverpb__TxnResponse *applied = run(env, req);
    Etcdserverpb__TxnResponse *got;

    assert_int_equal(apply_txn_read(env->kv->mvcc, env->kv->reader, req, header,
                                    &env->arena, &out),
                     0);
    got = (void *)codec_unpack(&etcdserverpb__txn_response__descriptor,
                               &env->arena, bytes_of(out.data, out.len));
    assert_non_null(got);
    assert_header(got->header, mvcc_revision(env->kv->mvcc));
    assert_header(applied->header, mvcc_revision(env->kv->mvcc));
    assert_int_equal(got->succeeded, applied->succeeded);
    buf_close(&out);
    return got->succeeded;
}

static void test_compares(void **state)
{
    struct env *env = *state;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare compare;
    Etcdserverpb__Compare *list[] = {&compare};

    fill(env);
    txn.compare = list;
    txn.n_compare = 1;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int result = EQUAL; result <= NOT_EQUAL; result++) {
            set_compare(&compare, &rows[i], result);
            if (succeeds(env, &txn) != holds[result][rows[i].order + 1])
                fail_msg("row %zu, result %d", i, result);
        }
    }
}

/* No value compares with one that isn't there, whatever is asked. */
static void test_value_of_a_missing_key(void **state)
{
    struct env *env = *state;
    static const struct row missing = {"zz", "", VALUE, 0, "", 0};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare compare;
    Etcdserverpb__Compare *list[] = {&compare};

    txn.compare = list;
    txn.n_compare = 1;
    for (int result = EQUAL; result <= NOT_EQUAL; result++) {
        set_compare(&compare, &missing, result);
        assert_false(succeeds(env, &txn));
    }
}

/* Every key of the range has to hold; of none, the zeros do. */
static void test_ranges(void **state)
{
    static const struct {
        struct row row;
        int result;
        bool holds;
    } cases[] = {
        {{"a", "z", VERSION, 0, NULL, 0}, GREATER, true},
        {{"a", "z", VERSION, 1, NULL, 0}, EQUAL, false},
        {{"b", "z", VERSION, 1, NULL, 0}, EQUAL, true},
        {{"b", "z", VALUE, 0, "n", 0}, EQUAL, true},
        {{"a", "z", VALUE, 0, "n", 0}, EQUAL, false},
        {{"a", "z", VALUE, 0, "z", 0}, LESS, true},
        {{"a", "z", MOD, 3, NULL, 0}, NOT_EQUAL, false},
        {{"x", "z", MOD, 0, NULL, 0}, EQUAL, true},
        {{"x", "z", VALUE, 0, "", 0}, NOT_EQUAL, false},
    };
    struct env *env = *state;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare compare;
    Etcdserverpb__Compare *list[] = {&compare};

    fill(env);
    txn.compare = list;
    txn.n_compare = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_compare(&compare, &cases[i].row, cases[i].result);
        if (succeeds(env, &txn) != cases[i].holds)
            fail_msg("case %zu", i);
    }
}

static void test_all_compares_have_to_hold(void **state)
{
    struct env *env = *state;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare a;
    Etcdserverpb__Compare b;
    Etcdserverpb__Compare *list[] = {&a, &b};

    fill(env);
    txn.compare = list;
    txn.n_compare = 2;
    set_compare(&a, &rows[0], EQUAL);
    set_compare(&b, &rows[3], EQUAL);
    assert_true(succeeds(env, &txn));
    set_compare(&b, &rows[3], LESS);
    assert_false(succeeds(env, &txn));
    set_compare(&a, &rows[0], LESS);
    set_compare(&b, &rows[3], EQUAL);
    assert_false(succeeds(env, &txn));
    txn.n_compare = 0;
    assert_true(succeeds(env, &txn));
}

/* ---- operations ---------------------------------------------------------- */

struct ops {
    Etcdserverpb__TxnRequest txn;
    Etcdserverpb__RequestOp *list[8];
    Etcdserverpb__RequestOp op[8];
    Etcdserverpb__PutRequest puts[8];
    Etcdserverpb__RangeRequest ranges[8];
    Etcdserverpb__DeleteRangeRequest deletes[8];
};

static void start(struct ops *ops)
{
    etcdserverpb__txn_request__init(&ops->txn);
    ops->txn.success = ops->list;
}

static Etcdserverpb__RequestOp *next(struct ops *ops, size_t *i)
{
    *i = ops->txn.n_success++;
    etcdserverpb__request_op__init(&ops->op[*i]);
    ops->list[*i] = &ops->op[*i];
    return &ops->op[*i];
}

static Etcdserverpb__PutRequest *add_put(struct ops *ops, const char *key,
                                         const char *value)
{
    size_t i;
    Etcdserverpb__RequestOp *op = next(ops, &i);

    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = &ops->puts[i];
    etcdserverpb__put_request__init(&ops->puts[i]);
    ops->puts[i].key = data(key);
    ops->puts[i].value = data(value);
    return &ops->puts[i];
}

static Etcdserverpb__RangeRequest *add_range(struct ops *ops, const char *key)
{
    size_t i;
    Etcdserverpb__RequestOp *op = next(ops, &i);

    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = &ops->ranges[i];
    etcdserverpb__range_request__init(&ops->ranges[i]);
    ops->ranges[i].key = data(key);
    return &ops->ranges[i];
}

static void add_delete(struct ops *ops, const char *key)
{
    size_t i;
    Etcdserverpb__RequestOp *op = next(ops, &i);

    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = &ops->deletes[i];
    etcdserverpb__delete_range_request__init(&ops->deletes[i]);
    ops->deletes[i].key = data(key);
}

static void add_txn(struct ops *ops, Etcdserverpb__TxnRequest *txn)
{
    size_t i;
    Etcdserverpb__RequestOp *op = next(ops, &i);

    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    op->request_txn = txn;
}

/* Each operation sees what those before it have done. */
static void test_operations(void **state)
{
    struct env *env = *state;
    struct ops ops;
    Etcdserverpb__TxnResponse *got;
    Etcdserverpb__RangeResponse *range;

    put(env, "d", "old");
    start(&ops);
    add_range(&ops, "k");
    add_put(&ops, "k", "v");
    add_range(&ops, "k");
    add_delete(&ops, "d");
    add_put(&ops, "l", "w")->prev_kv = true;
    got = run(env, &ops.txn);
    assert_true(got->succeeded);
    assert_header(got->header, 3);
    assert_int_equal(got->n_responses, 5);
    assert_int_equal(got->responses[0]->response_range->count, 0);
    assert_int_equal(got->responses[1]->response_put->header->revision, 3);
    range = got->responses[2]->response_range;
    assert_string_equal(kvs_text(env, range->kvs, range->n_kvs), "k=v");
    assert_int_equal(range->kvs[0]->mod_revision, 3);
    assert_int_equal(got->responses[3]->response_delete_range->deleted, 1);
    assert_null(got->responses[4]->response_put->prev_kv);
    assert_store(env, "k=v,l=w");
    assert_int_equal(env->changed, 2);
    assert_int_equal(env->changes, 3);
}

/* Branches are chosen before anything is written. */
static void test_nested(void **state)
{
    static const struct row missing = {"k", "", VERSION, 0, NULL, 0};
    struct env *env = *state;
    struct ops outer;
    struct ops inner;
    Etcdserverpb__Compare compare;
    Etcdserverpb__Compare *list[] = {&compare};
    Etcdserverpb__TxnResponse *got;

    start(&inner);
    set_compare(&compare, &missing, EQUAL);
    inner.txn.compare = list;
    inner.txn.n_compare = 1;
    add_put(&inner, "l", "inner");
    start(&outer);
    add_put(&outer, "k", "outer");
    add_txn(&outer, &inner.txn);
    got = run(env, &outer.txn);
    assert_true(got->responses[1]->response_txn->succeeded);
    assert_int_equal(got->responses[1]->response_txn->n_responses, 1);
    assert_store(env, "k=outer,l=inner");
    got = run(env, &outer.txn);
    assert_false(got->responses[1]->response_txn->succeeded);
    assert_int_equal(got->responses[1]->response_txn->n_responses, 0);
    assert_header(got->header, 3);
}

static int refused(struct env *env, struct ops *ops)
{
    int64_t before = mvcc_revision(env->kv->mvcc);
    struct outcome out = apply_message(env, APPLY_TXN, &ops->txn);

    assert_int_equal(out.fatal, 0);
    assert_int_equal(mvcc_revision(env->kv->mvcc), before);
    return out.err;
}

/* All or nothing: what can't be done is seen before anything is. */
static void test_refused_as_a_whole(void **state)
{
    struct env *env = *state;
    struct ops ops;
    struct ops inner;

    fill(env);
    start(&ops);
    add_put(&ops, "k", "v");
    add_put(&ops, "l", "w")->lease = 77;
    assert_int_equal(refused(env, &ops), ERR_LEASE_NOT_FOUND);
    start(&ops);
    add_put(&ops, "k", "v");
    add_put(&ops, "l", "")->ignore_value = true;
    assert_int_equal(refused(env, &ops), ERR_KEY_NOT_FOUND);
    start(&ops);
    add_put(&ops, "k", "v");
    add_range(&ops, "a")->revision = 6;
    assert_int_equal(refused(env, &ops), ERR_FUTURE_REV);
    assert_int_equal(kv_compact(env->kv, 4), 0);
    start(&ops);
    add_put(&ops, "k", "v");
    add_range(&ops, "a")->revision = 3;
    assert_int_equal(refused(env, &ops), ERR_COMPACTED);
    start(&inner);
    add_put(&inner, "l", "w")->lease = 77;
    start(&ops);
    add_put(&ops, "k", "v");
    add_txn(&ops, &inner.txn);
    assert_int_equal(refused(env, &ops), ERR_LEASE_NOT_FOUND);
    assert_store(env, "a=m,b=n,c=n");
}

/* The branch that isn't taken isn't looked at. */
static void test_other_branch_is_not_checked(void **state)
{
    struct env *env = *state;
    struct ops ops;

    start(&ops);
    add_put(&ops, "l", "w")->lease = 77;
    ops.txn.failure = ops.txn.success;
    ops.txn.n_failure = ops.txn.n_success;
    ops.txn.n_success = 0;
    assert_int_equal(apply_message(env, APPLY_TXN, &ops.txn).err, 0);
    assert_int_equal(mvcc_revision(env->kv->mvcc), 1);
}

static void test_leases_follow(void **state)
{
    struct env *env = *state;
    struct ops ops;
    struct bytes *keys;
    size_t n;

    fill(env);
    start(&ops);
    add_delete(&ops, "a");
    add_put(&ops, "b", "n")->lease = 9;
    run(env, &ops.txn);
    assert_int_equal(lessor_keys(env->lessor, 9, &env->arena, &keys, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(keys[0].data, "b", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENV_TEST(test_compares),
        ENV_TEST(test_value_of_a_missing_key),
        ENV_TEST(test_ranges),
        ENV_TEST(test_all_compares_have_to_hold),
        ENV_TEST(test_operations),
        ENV_TEST(test_nested),
        ENV_TEST(test_refused_as_a_whole),
        ENV_TEST(test_other_branch_is_not_checked),
        ENV_TEST(test_leases_follow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
