/* What is refused before it is proposed. The tables were read from etcd 3.7.3,
 * which was sent these transactions (the second with --max-txn-ops 4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "chorad/apply.h"
#include "chorad/base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Operations of a branch, comparisons of a transaction. */
#define LIST_MAX 64

/* A transaction in short: compares "cKEY", then operations of the branch that
 * is taken when they hold, "|", and those of the other. Operations: "pKEY"
 * puts, "gKEY" gets, "dKEY" and "dKEY-END" delete, "e" is none, "(...)" a
 * transaction. The key "0" stands for a zero byte. */
struct parser {
    const char *at;
    struct arena *arena;
};

static Etcdserverpb__TxnRequest *parse_txn(struct parser *p);

static ProtobufCBinaryData parse_key(struct parser *p)
{
    size_t len = strcspn(p->at, " |()-");
    uint8_t *key = arena_dup(p->arena, p->at, len);

    if (len == 1 && key[0] == '0')
        key[0] = 0;
    p->at += len;
    return (ProtobufCBinaryData){len, key};
}

static void parse_delete(struct parser *p, Etcdserverpb__RequestOp *op)
{
    Etcdserverpb__DeleteRangeRequest *req = arena_alloc(p->arena, sizeof(*req));

    etcdserverpb__delete_range_request__init(req);
    req->key = parse_key(p);
    if (*p->at == '-') {
        p->at++;
        req->range_end = parse_key(p);
    }
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = req;
}

static Etcdserverpb__RequestOp *parse_op(struct parser *p)
{
    Etcdserverpb__RequestOp *op = arena_alloc(p->arena, sizeof(*op));

    etcdserverpb__request_op__init(op);
    switch (*p->at++) {
    case 'p':
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op->request_put = arena_alloc(p->arena, sizeof(*op->request_put));
        etcdserverpb__put_request__init(op->request_put);
        op->request_put->key = parse_key(p);
        break;
    case 'g':
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = arena_alloc(p->arena, sizeof(*op->request_range));
        etcdserverpb__range_request__init(op->request_range);
        op->request_range->key = parse_key(p);
        break;
    case 'd':
        parse_delete(p, op);
        break;
    case '(':
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = parse_txn(p);
        assert_int_equal(*p->at++, ')');
        break;
    default:
        assert_int_equal(p->at[-1], 'e');
        break;
    }
    return op;
}

static void parse_ops(struct parser *p, Etcdserverpb__RequestOp ***ops,
                      size_t *n)
{
    *ops = arena_alloc(p->arena, LIST_MAX * sizeof(**ops));
    for (*n = 0; *p->at && *p->at != '|' && *p->at != ')';) {
        if (*p->at == ' ') {
            p->at++;
            continue;
        }
        assert_true(*n < LIST_MAX);
        (*ops)[(*n)++] = parse_op(p);
    }
}

static Etcdserverpb__TxnRequest *parse_txn(struct parser *p)
{
    Etcdserverpb__TxnRequest *txn = arena_alloc(p->arena, sizeof(*txn));

    etcdserverpb__txn_request__init(txn);
    txn->compare = arena_alloc(p->arena, LIST_MAX * sizeof(void *));
    while (*p->at == 'c') {
        Etcdserverpb__Compare *c = arena_alloc(p->arena, sizeof(*c));
        etcdserverpb__compare__init(c);
        p->at++;
        c->key = parse_key(p);
        assert_true(txn->n_compare < LIST_MAX);
        txn->compare[txn->n_compare++] = c;
        p->at += strspn(p->at, " ");
    }
    parse_ops(p, &txn->success, &txn->n_success);
    if (*p->at == '|') {
        p->at++;
        parse_ops(p, &txn->failure, &txn->n_failure);
    }
    return txn;
}

static Etcdserverpb__TxnRequest *parse(struct arena *arena, const char *text)
{
    struct parser p = {text, arena};
    Etcdserverpb__TxnRequest *txn = parse_txn(&p);

    assert_string_equal(p.at, "");
    return txn;
}

struct row {
    const char *txn;
    int err;
};

static void check_rows(const struct row *rows, size_t n, uint32_t max_ops)
{
    struct arena arena = {0};

    for (size_t i = 0; i < n; i++) {
        int err = apply_check_txn(parse(&arena, rows[i].txn), max_ops, &arena);
        if (err != rows[i].err)
            fail_msg("%s: %s, etcd has %s", rows[i].txn, err_name(err),
                     err_name(rows[i].err));
        arena_reset(&arena);
    }
    arena_close(&arena);
}

static const struct row writes[] = {
    {"", 0},
    {"|", 0},
    {"pa", 0},
    {"pa pb", 0},
    {"pa pa", ERR_DUPLICATE_KEY},
    {"pa|pa", 0},
    {"|pa pa", ERR_DUPLICATE_KEY},
    {"p", ERR_EMPTY_KEY},
    {"d", ERR_EMPTY_KEY},
    {"g", ERR_EMPTY_KEY},
    {"ga ga", 0},
    {"e", ERR_KEY_NOT_FOUND},
    {"|e", ERR_KEY_NOT_FOUND},
    {"c", ERR_EMPTY_KEY},
    {"ca pa", 0},
    {"da da", 0},
    {"da-c db-d", 0},
    {"da pa", ERR_DUPLICATE_KEY},
    {"pa da", ERR_DUPLICATE_KEY},
    {"pb da-c", ERR_DUPLICATE_KEY},
    {"da-c pb", ERR_DUPLICATE_KEY},
    {"pc da-c", 0},
    {"pa da-c", ERR_DUPLICATE_KEY},
    {"da-0 pb", 0},
    {"pb da-0", 0},
    {"d0-0 pb", 0},
    {"db-a pa", 0},
    {"dc-a pb", 0},
    {"pa (pa)", ERR_DUPLICATE_KEY},
    {"(pa) pa", ERR_DUPLICATE_KEY},
    {"(pa) (pa)", ERR_DUPLICATE_KEY},
    {"(pa|pa)", 0},
    {"(pa|pa) pa", ERR_DUPLICATE_KEY},
    {"(pa|pb) pb", ERR_DUPLICATE_KEY},
    {"(pa) (pb)", 0},
    {"(pa|) (|pa)", ERR_DUPLICATE_KEY},
    {"pa (da)", ERR_DUPLICATE_KEY},
    {"(da) pa", ERR_DUPLICATE_KEY},
    {"(da) (pa)", ERR_DUPLICATE_KEY},
    {"(pa) (da)", 0},
    {"(pa) da", ERR_DUPLICATE_KEY},
    {"da (pa)", ERR_DUPLICATE_KEY},
    {"(da) (da)", 0},
    {"(da-c) (pb)", ERR_DUPLICATE_KEY},
    {"(pb) (da-c)", 0},
    {"(pb) da-c", ERR_DUPLICATE_KEY},
    {"da-c (pb)", ERR_DUPLICATE_KEY},
    {"((pa)) pa", ERR_DUPLICATE_KEY},
    {"((pa) (pa))", ERR_DUPLICATE_KEY},
    {"((pa|pb)|pb)", 0},
    {"((pa|pb)|pb) pb", ERR_DUPLICATE_KEY},
    {"((da) pb) pa", ERR_DUPLICATE_KEY},
    {"((pb) da) pa", ERR_DUPLICATE_KEY},
    {"(pa da|pb)", ERR_DUPLICATE_KEY},
    {"(da|pb) pb", ERR_DUPLICATE_KEY},
    {"(da|pb) pa", ERR_DUPLICATE_KEY},
    {"(pa|da) (pa|da)", ERR_DUPLICATE_KEY},
    {"(da|pa) (da|pb)", 0},
    {"(p)", ERR_EMPTY_KEY},
    {"(|p)", ERR_EMPTY_KEY},
    {"(d)", ERR_EMPTY_KEY},
    {"(g)", ERR_EMPTY_KEY},
    {"(e)", ERR_KEY_NOT_FOUND},
    {"(c)", ERR_EMPTY_KEY},
    {"(|(|(|p)))", ERR_EMPTY_KEY},
    {"()", 0},
    {"pa|pb (pb)", ERR_DUPLICATE_KEY},
};

static const struct row budgets[] = {
    {"g0 g1 g2 g3", 0},
    {"g0 g1 g2 g3 g4", ERR_TOO_MANY_OPS},
    {"g0 g1|g0 g1 g2 g3", 0},
    {"g0 g1|g0 g1 g2 g3 g4", ERR_TOO_MANY_OPS},
    {"(g0 g1 g2)", 0},
    {"(g0 g1 g2 g3)", ERR_TOO_MANY_OPS},
    {"g0 g1 (g0)", 0},
    {"g0 g1 (g0 g1)", ERR_TOO_MANY_OPS},
    {"g0 (g0 g1)", 0},
    {"(((ga)))", 0},
    {"((((ga))))", ERR_TOO_MANY_OPS},
    {"(((())))", 0},
    {"((((()))))", ERR_TOO_MANY_OPS},
    {"(g0|g0 g1 g2)", 0},
    {"(g0|g0 g1 g2 g3)", ERR_TOO_MANY_OPS},
    {"|(g0 g1 g2)", 0},
    {"ca cb cc cd", 0},
    {"ca cb cc cd ce", ERR_TOO_MANY_OPS},
};

static void test_writes(void **state)
{
    (void)state;
    check_rows(writes, sizeof(writes) / sizeof(writes[0]), 128);
}

static void test_budgets(void **state)
{
    (void)state;
    check_rows(budgets, sizeof(budgets) / sizeof(budgets[0]), 4);
}

/* ---- requests alone ------------------------------------------------------ */

static ProtobufCBinaryData data(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static void test_range(void **state)
{
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;

    (void)state;
    assert_int_equal(apply_check_range(&req), ERR_EMPTY_KEY);
    req.range_end = data("z");
    assert_int_equal(apply_check_range(&req), ERR_EMPTY_KEY);
    req.key = data("a");
    assert_int_equal(apply_check_range(&req), 0);
    for (int order = -1; order <= 3; order++)
        for (int target = -1; target <= 5; target++) {
            bool known = order >= 0 && order <= 2 && target >= 0 && target <= 4;
            req.sort_order = (Etcdserverpb__RangeRequest__SortOrder)order;
            req.sort_target = (Etcdserverpb__RangeRequest__SortTarget)target;
            assert_int_equal(apply_check_range(&req), known ? 0 : ERR_BAD_SORT);
        }
}

static void test_put(void **state)
{
    Etcdserverpb__PutRequest req = ETCDSERVERPB__PUT_REQUEST__INIT;

    (void)state;
    assert_int_equal(apply_check_put(&req), ERR_EMPTY_KEY);
    req.key = data("a");
    assert_int_equal(apply_check_put(&req), 0);
    req.ignore_value = true;
    req.ignore_lease = true;
    assert_int_equal(apply_check_put(&req), 0);
    req.lease = 1;
    assert_int_equal(apply_check_put(&req), ERR_LEASE_PROVIDED);
    req.value = data("v");
    assert_int_equal(apply_check_put(&req), ERR_VALUE_PROVIDED);
    req.ignore_value = false;
    req.ignore_lease = false;
    assert_int_equal(apply_check_put(&req), 0);
}

/* ---- kinds and costs ----------------------------------------------------- */

static void test_kinds(void **state)
{
    static const struct {
        const char *txn;
        bool readonly;
    } rows[] = {
        {"", true},    {"ga|gb", true}, {"ca ga", true}, {"ga|pb", false},
        {"da", false}, {"(ga)", false}, {"e", false},    {"ga gb pc", false},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        Etcdserverpb__TxnRequest *txn = parse(&arena, rows[i].txn);
        assert_int_equal(apply_txn_is_readonly(txn), rows[i].readonly);
        assert_int_equal(apply_txn_is_serializable(txn),
                         rows[i].readonly && i == 0);
        for (size_t j = 0; j < txn->n_success; j++)
            if (txn->success[j]->request_case ==
                ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
                txn->success[j]->request_range->serializable = true;
        assert_int_equal(apply_txn_is_serializable(txn),
                         rows[i].readonly && txn->n_failure == 0);
    }
    arena_close(&arena);
}

static void test_costs(void **state)
{
    static const struct {
        const char *txn;
        uint64_t cost;
    } rows[] = {
        {"", 0},        {"ga da", 0},           {"paa", 258},
        {"pa pb", 514}, {"pa|pb pc", 514},      {"pa pb|pc", 514},
        {"(pa)", 257},  {"pa (pb|pc pd)", 771},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(apply_txn_cost(parse(&arena, rows[i].txn)),
                         rows[i].cost);
    arena_close(&arena);
}

/* ---- what an attacker might send ----------------------------------------- */

/* As many puts and deletes as fit into the largest request, in a transaction
 * of as few operations a branch as it takes. */
static void test_large_is_quick(void **state)
{
    enum { WIDE = 60 };
    struct arena arena = {0};
    struct buf text = {0};
    uint64_t began;

    (void)state;
    for (int i = 0; i < WIDE; i++) {
        buf_printf(&text, "(");
        for (int j = 0; j < WIDE; j++) {
            buf_printf(&text, "(");
            for (int k = 0; k < 7; k++)
                buf_printf(&text, "pa%d.%d.%d db%d.%d.%d ", i, j, k, i, j, k);
            buf_printf(&text, ")");
        }
        buf_printf(&text, ")");
    }
    buf_append(&text, "", 1);
    Etcdserverpb__TxnRequest *txn = parse(&arena, (char *)text.data);
    began = clock_mono_ns();
    assert_int_equal(apply_check_txn(txn, 1000, &arena), 0);
    assert_true(clock_mono_ns() - began < UINT64_C(5000000000));
    print_message("%zu bytes took %llu us\n", text.len,
                  (unsigned long long)(clock_mono_ns() - began) / 1000);
    buf_close(&text);
    arena_close(&arena);
}

/* ---- what another member may have put into the log ---- */

#define RAW(text) (text), sizeof(text) - 1

struct foreign {
    int want;
    uint32_t kind; /* 0: the bytes are the entry itself */
    const char *data;
    size_t len;
};

static const struct foreign foreign[] = {
    {0, 0, RAW("")}, /* a leader's first */
    {0, APPLY_PUT, RAW("\x0a\x01k\x12\x01v")},
    {0, APPLY_PUT, RAW("")},
    {0, APPLY_CLUSTER_VERSION,
     RAW("\x0a\x05"
         "3.4.0")},
    {0, APPLY_CLUSTER_VERSION,
     RAW("\x0a\x03"
         "odd")},
    {0, 5000, RAW("\xff\xff")}, /* of a version to come */
    /* etcd 3.4 and 3.5: PUT of a member's attributes, and of the version. */
    {0, 0, RAW("\x12\x03PUT\x1a\x1a/0/members/1234/attributes\x22\x02{}")},
    {0, 0,
     RAW("\x12\x03PUT\x1a\x0a/0/version\x22\x05"
         "3.5.0")},
    {0, 0, RAW("\x12\x04SYNC")},
    {ERR_MALFORMED, 0, RAW("no request")},
    {ERR_MALFORMED, APPLY_PUT, RAW("\x0a\xff")},
    {ERR_MALFORMED, APPLY_TXN, RAW("\x0a\xff")},
    {ERR_MALFORMED, APPLY_USER_ADD, RAW("\x0a\x01\xff")}, /* not UTF-8 */
    {ERR_NOT_CAPABLE, APPLY_CLUSTER_VERSION,
     RAW("\x0a\x05"
         "9.9.0")},
    {ERR_NOT_CAPABLE, 0,
     RAW("\x12\x03PUT\x1a\x0a/0/version\x22\x05"
         "9.9.0")},
};

static int check_foreign(uint32_t kind, const void *data, size_t len)
{
    struct apply_stamp stamp = {.id = 7};
    struct shared *wrapped = NULL;
    struct arena scratch = {0};
    struct raft_entry entry = {.data = data, .len = (uint32_t)len};
    int err;

    if (kind != 0) {
        wrapped =
            apply_wrap(&stamp, (enum apply_kind)kind, bytes_of(data, len));
        entry.data = wrapped->data;
        entry.len = (uint32_t)wrapped->len;
    }
    err = apply_check_entry(&entry, &scratch);
    arena_close(&scratch);
    shared_unref(wrapped);
    return err;
}

static void foreign_entries_are_checked(void **state)
{
    uint8_t name[600] = {0x0a, 0xd5, 0x04}; /* a string of 597 */

    (void)state;
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        const struct foreign *f = &foreign[i];
        int err = check_foreign(f->kind, f->data, f->len);
        if (err != f->want)
            fail_msg("%zu: %d instead of %d", i, err, f->want);
    }
    memset(name + 3, 'n', sizeof(name) - 3);
    assert_int_equal(check_foreign(APPLY_USER_ADD, name, sizeof(name)),
                     ERR_NAME_TOO_LONG);
    assert_int_equal(check_foreign(APPLY_ROLE_ADD, name, sizeof(name)),
                     ERR_NAME_TOO_LONG);
    assert_int_equal(check_foreign(APPLY_ROLE_DELETE, name, sizeof(name)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_entries_are_checked),
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_costs),
        cmocka_unit_test(test_large_is_quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
