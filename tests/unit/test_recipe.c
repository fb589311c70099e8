/* Recipes: keys, transactions and their answers, and the line against a plain
 * list. */
#include "chorad/base/clock.h"
#include "chorad/codec.h"
#include "chorad/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static void assert_bytes(struct bytes got, const char *want)
{
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.data, want, got.len);
}

/* ---- keys ---- */

static void keys_are_the_lease_in_hex(void **state)
{
    static const struct {
        int64_t lease;
        const char *key;
    } cases[] = {
        {1, "n/1"},
        {0x7001, "n/7001"},
        {INT64_C(0x694d8f1b2c3a4e5f), "n/694d8f1b2c3a4e5f"},
        {INT64_MAX, "n/7fffffffffffffff"},
        {-5, "n/-5"},
        {INT64_MIN, "n/-8000000000000000"},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_bytes(recipe_key(&arena, text("n/"), cases[i].lease),
                     cases[i].key);
    arena_close(&arena);
}

static void a_name_ends_with_a_slash(void **state)
{
    struct arena arena = {0};
    struct bytes prefix;
    struct bytes end;

    (void)state;
    recipe_range(&arena, text("a/b"), &prefix, &end);
    assert_bytes(prefix, "a/b/");
    assert_bytes(end, "a/b0");
    recipe_range(&arena, bytes_of(NULL, 0), &prefix, &end);
    assert_bytes(prefix, "/");
    assert_bytes(end, "0");
    arena_close(&arena);
}

/* ---- transactions ---- */

/* There and back, as the log has it. */
static Etcdserverpb__TxnRequest *sent(struct arena *arena,
                                      const Etcdserverpb__TxnRequest *txn)
{
    struct buf buf = {0};
    Etcdserverpb__TxnRequest *out;

    codec_pack(&buf, &txn->base);
    out = (void *)codec_unpack(&etcdserverpb__txn_request__descriptor, arena,
                               bytes_of(buf.data, buf.len));
    assert_non_null(out);
    buf_close(&buf);
    return out;
}

static void assert_condition(const Etcdserverpb__TxnRequest *txn,
                             const char *key, int64_t rev)
{
    const Etcdserverpb__Compare *c = txn->compare[0];

    assert_int_equal(txn->n_compare, 1);
    assert_int_equal(c->target, ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE);
    assert_int_equal(c->result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL);
    assert_bytes(bytes_of(c->key.data, c->key.len), key);
    assert_int_equal(c->create_revision, rev);
    assert_int_equal(txn->n_success, 1);
}

static void assert_put(const Etcdserverpb__RequestOp *op, const char *key,
                       const char *value, int64_t lease)
{
    assert_int_equal(op->request_case,
                     ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT);
    assert_bytes(bytes_of(op->request_put->key.data, op->request_put->key.len),
                 key);
    assert_bytes(
        bytes_of(op->request_put->value.data, op->request_put->value.len),
        value);
    assert_int_equal(op->request_put->lease, lease);
}

static void transactions_do_what_they_say(void **state)
{
    struct arena arena = {0};
    Etcdserverpb__TxnRequest *txn;

    (void)state;
    txn = sent(&arena, recipe_claim(&arena, text("n/7"), text("v"), 7));
    assert_condition(txn, "n/7", 0);
    assert_put(txn->success[0], "n/7", "v", 7);
    assert_int_equal(txn->n_failure, 1);
    assert_int_equal(txn->failure[0]->request_case,
                     ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE);
    assert_int_equal(txn->failure[0]->request_range->range_end.len, 0);

    txn = sent(&arena, recipe_change(&arena, text("n/7"), 5, text(""), -7));
    assert_condition(txn, "n/7", 5);
    assert_put(txn->success[0], "n/7", "", -7);
    assert_int_equal(txn->n_failure, 0);

    txn = sent(&arena, recipe_release(&arena, text("n/7"), 5));
    assert_condition(txn, "n/7", 5);
    assert_int_equal(txn->success[0]->request_case,
                     ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE);
    assert_int_equal(txn->n_failure, 0);
    arena_close(&arena);
}

/* ---- answers ---- */

static int read_answer(struct arena *arena, bool succeeded, int64_t revision,
                       Mvccpb__KeyValue *kv, struct recipe_claimed *out)
{
    Etcdserverpb__TxnResponse txn = ETCDSERVERPB__TXN_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    Etcdserverpb__ResponseOp op = ETCDSERVERPB__RESPONSE_OP__INIT;
    Etcdserverpb__ResponseOp *ops[] = {&op};
    struct buf buf = {0};
    int rc;

    header.revision = revision;
    txn.header = &header;
    txn.succeeded = succeeded;
    range.n_kvs = kv != NULL;
    range.kvs = &kv;
    op.response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
    op.response_range = &range;
    txn.n_responses = !succeeded;
    txn.responses = ops;
    codec_pack(&buf, &txn.base);
    assert_int_equal(recipe_held(bytes_of(buf.data, buf.len)), succeeded);
    rc = recipe_read_claim(arena, bytes_of(buf.data, buf.len), out);
    buf_close(&buf);
    return rc;
}

static void answers_to_claims_are_read(void **state)
{
    struct arena arena = {0};
    struct recipe_claimed what;
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;

    (void)state;
    assert_int_equal(read_answer(&arena, true, 9, NULL, &what), 0);
    assert_true(what.created);
    assert_int_equal(what.rev, 9);
    assert_int_equal(what.header->revision, 9);

    kv.create_revision = 4;
    kv.value = (ProtobufCBinaryData){1, (uint8_t *)"v"};
    assert_int_equal(read_answer(&arena, false, 9, &kv, &what), 0);
    assert_false(what.created);
    assert_int_equal(what.rev, 4);
    assert_bytes(what.value, "v");
    assert_int_equal(what.header->revision, 9);

    assert_int_equal(read_answer(&arena, false, 9, NULL, &what), ERR_MALFORMED);
    assert_int_equal(recipe_read_claim(&arena, text("\x0a\xff"), &what),
                     ERR_MALFORMED);
    assert_int_equal(recipe_read_claim(&arena, text(""), &what), ERR_MALFORMED);
    assert_false(recipe_held(text("\x0a\xff")));
    arena_close(&arena);
}

/* ---- the line against a plain list ---- */

#define KEYS 300

struct model {
    struct recipe_line line;
    int64_t revs[KEYS]; /* 0: not in the line */
    size_t n;
};

static struct bytes model_key(char space[16], unsigned k)
{
    int n = snprintf(space, 16, "key%03u", k);

    return bytes_of(space, (size_t)n);
}

/* All places, in both directions, in order, and found by key. */
static void assert_model(const struct model *m)
{
    const struct recipe_place *prev = NULL;
    size_t n = 0;
    char space[16];

    for (const struct recipe_place *p = m->line.first; p; p = p->next) {
        struct bytes key = bytes_of(p->key, p->key_len);
        unsigned k = (unsigned)strtoul((const char *)p->key + 3, NULL, 10);
        assert_int_equal(m->revs[k], p->rev);
        assert_ptr_equal(p->prev, prev);
        if (prev)
            assert_true(
                prev->rev < p->rev ||
                (prev->rev == p->rev &&
                 bytes_cmp(bytes_of(prev->key, prev->key_len), key) < 0));
        prev = p;
        n++;
    }
    assert_ptr_equal(m->line.last, prev);
    assert_int_equal(n, m->n);
    assert_int_equal(m->line.n, m->n);
    for (unsigned k = 0; k < KEYS; k++) {
        struct bytes key = model_key(space, k);
        const struct recipe_place *p = recipe_line_find(&m->line, key);
        assert_int_equal(p ? p->rev : 0, m->revs[k]);
    }
}

static void the_line_is_in_the_order_of_creation(void **state)
{
    struct model m = {.line.seed = 17};
    struct prng prng = {.state = 4711};
    char space[16];

    (void)state;
    for (int64_t step = 1; step <= 20000; step++) {
        unsigned k = (unsigned)prng_below(&prng, KEYS);
        struct bytes key = model_key(space, k);
        struct recipe_place *p = recipe_line_find(&m.line, key);
        if (p) {
            recipe_line_remove(&m.line, p);
            m.revs[k] = 0;
            m.n--;
        } else {
            /* Mostly the newest one, sometimes several of one revision, and
             * sometimes late. */
            int64_t rev = step / 3 + 100 - (int64_t)prng_below(&prng, 3) * 20;
            p = recipe_line_add(&m.line, key, rev);
            assert_int_equal(p->rev, rev);
            m.revs[k] = rev;
            m.n++;
        }
        if (step % 100 == 0)
            assert_model(&m);
    }
    assert_true(m.n > 0);
    recipe_line_clear(&m.line);
    memset(m.revs, 0, sizeof(m.revs));
    m.n = 0;
    assert_model(&m);
    (void)recipe_line_add(&m.line, model_key(space, 5), 1);
    m.revs[5] = 1;
    m.n = 1;
    assert_model(&m);
    recipe_line_clear(&m.line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_the_lease_in_hex),
        cmocka_unit_test(a_name_ends_with_a_slash),
        cmocka_unit_test(transactions_do_what_they_say),
        cmocka_unit_test(answers_to_claims_are_read),
        cmocka_unit_test(the_line_is_in_the_order_of_creation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
