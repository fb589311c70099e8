/* Requests of the Auth service in the log, and what auth asks of the others. */
#include "chorad/base/pb.h"
#include "test_apply.h"

/* ---- requests by hand ---- */

struct request {
    uint8_t data[256];
    size_t len;
};

static void add(struct request *r, uint32_t field, struct bytes value)
{
    uint8_t *end = pb_put_bytes(r->data + r->len, field, value);

    r->len = (size_t)(end - r->data);
}

static struct request with(const char *first, const char *second)
{
    struct request r = {.len = 0};

    add(&r, 1, bytes_of(first, strlen(first)));
    add(&r, 2, bytes_of(second, strlen(second)));
    return r;
}

static struct outcome play(struct env *env, enum apply_kind kind,
                           const struct request *r)
{
    struct apply_stamp stamp = {77, env->user, env->auth_rev};
    struct shared *wrapped =
        apply_wrap(&stamp, kind, bytes_of(r->data, r->len));
    struct outcome out = apply_bytes(env, wrapped->data, wrapped->len);

    shared_unref(wrapped);
    assert_int_equal(out.fatal, 0);
    return out;
}

static int outcome_of(struct env *env, enum apply_kind kind, const char *first,
                      const char *second)
{
    struct request r = with(first, second);

    return play(env, kind, &r).err;
}

static int add_user(struct env *env, const char *name)
{
    struct request r = with(name, "");

    add(&r, 4, bytes_of("aGFzaA==", 8));
    return play(env, APPLY_USER_ADD, &r).err;
}

/* Read or write a key or a range with this role. */
static int permit(struct env *env, const char *role, uint8_t type,
                  const char *key, const char *end)
{
    struct request perm = {.data = {1 << 3, type}, .len = 2};
    struct request r = with(role, "");

    add(&perm, 2, bytes_of(key, strlen(key)));
    add(&perm, 3, bytes_of(end, strlen(end)));
    add(&r, 2, bytes_of(perm.data, perm.len));
    return play(env, APPLY_ROLE_GRANT_PERMISSION, &r).err;
}

/* Who asks from now on, as of now. */
static void as(struct env *env, const char *name)
{
    env->user = bytes_of(name, strlen(name));
    env->auth_rev = auth_revision(env->auth);
}

static void as_nobody(struct env *env)
{
    env->user = (struct bytes){NULL, 0};
    env->auth_rev = 0;
}

/* Root, and a user u that may write a and b, and read a. */
static void enable(struct env *env)
{
    assert_int_equal(add_user(env, "root"), 0);
    assert_int_equal(outcome_of(env, APPLY_USER_GRANT_ROLE, "root", "root"), 0);
    assert_int_equal(add_user(env, "u"), 0);
    assert_int_equal(outcome_of(env, APPLY_ROLE_ADD, "r", ""), 0);
    assert_int_equal(permit(env, "r", AUTH_READWRITE, "a", ""), 0);
    assert_int_equal(permit(env, "r", AUTH_WRITE, "b", ""), 0);
    assert_int_equal(outcome_of(env, APPLY_USER_GRANT_ROLE, "u", "r"), 0);
    assert_int_equal(outcome_of(env, APPLY_AUTH_ENABLE, "", ""), 0);
}

/* ---- answers ---- */

/* The answer without its header. */
static void assert_answer(struct env *env, enum apply_kind kind,
                          const struct request *r, const char *want, size_t len)
{
    struct outcome out = play(env, kind, r);
    struct pb_reader reader = {out.body.data, out.body.data + out.body.len};
    struct pb_field header;

    assert_int_equal(out.err, 0);
    assert_int_equal(pb_next(&reader, &header), 1);
    assert_int_equal(header.number, 1);
    assert_true(header.bytes.len > 0);
    assert_int_equal(reader.end - reader.at, len);
    if (len > 0)
        assert_memory_equal(reader.at, want, len);
}
#define ASSERT_ANSWER(env, kind, first, second, literal)                       \
    do {                                                                       \
        struct request r_ = with(first, second);                               \
        assert_answer(env, kind, &r_, literal, sizeof(literal) - 1);           \
    } while (0)

static void test_answers(void **state)
{
    struct env *env = *state;

    ASSERT_ANSWER(env, APPLY_AUTH_STATUS, "", "", "\x18\x01");
    enable(env);
    as(env, "root");
    ASSERT_ANSWER(env, APPLY_AUTH_STATUS, "", "", "\x10\x01\x18\x08");
    ASSERT_ANSWER(env, APPLY_USER_LIST, "", "", "\x12\x04root\x12\x01u");
    ASSERT_ANSWER(env, APPLY_ROLE_LIST, "", "", "\x12\x01r");
    ASSERT_ANSWER(env, APPLY_USER_GET, "u", "", "\x12\x01r");
    ASSERT_ANSWER(env, APPLY_ROLE_GET, "r", "",
                  "\x12\x05\x08\x02\x12\x01"
                  "a\x12\x05\x08\x01\x12\x01"
                  "b");
    ASSERT_ANSWER(env, APPLY_USER_DELETE, "u", "", "");
    ASSERT_ANSWER(env, APPLY_AUTH_DISABLE, "", "", "");
}

/* The token's number is that of the entry before. */
static void test_a_token(void **state)
{
    struct env *env = *state;
    struct request r = with("u", "");
    char want[32];
    int len;

    add(&r, 3, bytes_of("prefix", 6));
    assert_int_equal(play(env, APPLY_AUTHENTICATE, &r).err,
                     ERR_AUTH_NOT_ENABLED);
    enable(env);
    len = snprintf(want, sizeof(want), "\x12%cprefix.%d",
                   env->index < 10 ? 8 : 9, (int)env->index);
    as_nobody(env); /* needs no user */
    assert_answer(env, APPLY_AUTHENTICATE, &r, want, (size_t)len);
}

/* ---- root only ---- */

static void test_what_only_root_may(void **state)
{
    static const enum apply_kind kinds[] = {APPLY_AUTH_ENABLE,
                                            APPLY_AUTH_DISABLE,
                                            APPLY_USER_ADD,
                                            APPLY_USER_DELETE,
                                            APPLY_USER_CHANGE_PASSWORD,
                                            APPLY_USER_GRANT_ROLE,
                                            APPLY_USER_REVOKE_ROLE,
                                            APPLY_USER_LIST,
                                            APPLY_ROLE_LIST,
                                            APPLY_ROLE_ADD,
                                            APPLY_ROLE_DELETE,
                                            APPLY_ROLE_GRANT_PERMISSION,
                                            APPLY_ROLE_REVOKE_PERMISSION};
    struct env *env = *state;

    enable(env);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        as_nobody(env);
        assert_int_equal(outcome_of(env, kinds[i], "x", ""), ERR_USER_EMPTY);
        as(env, "u");
        assert_int_equal(outcome_of(env, kinds[i], "x", ""),
                         ERR_PERMISSION_DENIED);
        as(env, "x");
        assert_int_equal(outcome_of(env, kinds[i], "x", ""),
                         ERR_USER_NOT_FOUND);
    }
    assert_int_equal(auth_revision(env->auth), 8);
    assert_true(auth_enabled(env->auth));
}

static void test_everybody_may_look_at_himself(void **state)
{
    struct env *env = *state;

    enable(env);
    as(env, "u");
    assert_int_equal(outcome_of(env, APPLY_USER_GET, "u", ""), 0);
    assert_int_equal(outcome_of(env, APPLY_USER_GET, "root", ""),
                     ERR_PERMISSION_DENIED);
    assert_int_equal(outcome_of(env, APPLY_ROLE_GET, "r", ""), 0);
    assert_int_equal(outcome_of(env, APPLY_ROLE_GET, "s", ""),
                     ERR_PERMISSION_DENIED);
    assert_int_equal(outcome_of(env, APPLY_AUTH_STATUS, "", ""), 0);
    as(env, "root");
    assert_int_equal(outcome_of(env, APPLY_USER_GET, "nobody", ""),
                     ERR_USER_NOT_FOUND);
    assert_int_equal(outcome_of(env, APPLY_ROLE_GET, "root", ""),
                     ERR_ROLE_NOT_FOUND);
}

/* ---- keys ---- */

static int put_error(struct env *env, const char *key, int64_t lease,
                     bool prev_kv)
{
    Etcdserverpb__PutRequest req = ETCDSERVERPB__PUT_REQUEST__INIT;

    req.key = data(key);
    req.lease = lease;
    req.prev_kv = prev_kv;
    return apply_message(env, APPLY_PUT, &req).err;
}

static int delete_error(struct env *env, const char *key, const char *end,
                        bool prev_kv)
{
    Etcdserverpb__DeleteRangeRequest req =
        ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;

    req.key = data(key);
    req.range_end = data(end);
    req.prev_kv = prev_kv;
    return apply_message(env, APPLY_DELETE_RANGE, &req).err;
}

static void test_writes(void **state)
{
    struct env *env = *state;

    enable(env);
    as_nobody(env);
    assert_int_equal(put_error(env, "a", 0, false), ERR_USER_EMPTY);
    as(env, "u");
    assert_int_equal(put_error(env, "a", 0, true), 0);
    assert_int_equal(put_error(env, "b", 0, false), 0);
    assert_int_equal(put_error(env, "b", 0, true), ERR_PERMISSION_DENIED);
    assert_int_equal(put_error(env, "c", 0, false), ERR_PERMISSION_DENIED);
    assert_int_equal(delete_error(env, "a", "", true), 0);
    assert_int_equal(delete_error(env, "b", "", true), ERR_PERMISSION_DENIED);
    assert_int_equal(delete_error(env, "b", "", false), 0);
    assert_int_equal(delete_error(env, "a", "c", false), ERR_PERMISSION_DENIED);
    env->auth_rev--;
    assert_int_equal(put_error(env, "a", 0, false), ERR_AUTH_OLD_REVISION);
    assert_int_equal(mvcc_revision(env->kv->mvcc), 5);
}

static void test_a_name_that_is_too_long(void **state)
{
    struct env *env = *state;
    char name[AUTH_NAME_MAX + 2];

    enable(env);
    memset(name, 'n', sizeof(name));
    as(env, "u");
    env->user = bytes_of(name, sizeof(name));
    assert_int_equal(put_error(env, "a", 0, false), ERR_PERMISSION_DENIED);
    assert_int_equal(outcome_of(env, APPLY_USER_LIST, "", ""), ERR_USER_EMPTY);
}

/* ---- leases ---- */

static int grant_lease(struct env *env, int64_t id)
{
    Etcdserverpb__LeaseGrantRequest req =
        ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;

    req.id = id;
    req.ttl = 100;
    return apply_message(env, APPLY_LEASE_GRANT, &req).err;
}

static int revoke_lease(struct env *env, int64_t id)
{
    Etcdserverpb__LeaseRevokeRequest req =
        ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;

    req.id = id;
    return apply_message(env, APPLY_LEASE_REVOKE, &req).err;
}

static void test_leases_with_the_keys_of_others(void **state)
{
    struct env *env = *state;

    enable(env);
    as(env, "u");
    assert_int_equal(grant_lease(env, 1), 0);
    assert_int_equal(put_error(env, "a", 1, false), 0);
    as(env, "root");
    assert_int_equal(put_error(env, "x", 1, false), 0);
    as(env, "u");
    assert_int_equal(put_error(env, "b", 1, false), ERR_PERMISSION_DENIED);
    assert_int_equal(revoke_lease(env, 1), ERR_PERMISSION_DENIED);
    assert_int_equal(revoke_lease(env, 2), ERR_LEASE_NOT_FOUND);
    assert_int_equal(put_error(env, "b", 2, false), ERR_LEASE_NOT_FOUND);
    as(env, "root");
    env->auth_rev = 1; /* root's revocations are never too old */
    assert_int_equal(revoke_lease(env, 1), 0);
    as(env, "u");
    assert_int_equal(grant_lease(env, 3), 0);
    assert_int_equal(put_error(env, "b", 3, false), 0);
    assert_int_equal(revoke_lease(env, 3), 0);
}

/* ---- transactions ---- */

enum place { COMPARE, SUCCESS, FAILURE, NESTED };

/* A transaction that touches `key` in one place, and a elsewhere. */
static int txn_error(struct env *env, enum place place, const char *key)
{
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RequestOp put_op = ETCDSERVERPB__REQUEST_OP__INIT;
    Etcdserverpb__RequestOp range_op = ETCDSERVERPB__REQUEST_OP__INIT;
    Etcdserverpb__RequestOp txn_op = ETCDSERVERPB__REQUEST_OP__INIT;
    Etcdserverpb__TxnRequest inner = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare *compares[] = {&compare};
    Etcdserverpb__RequestOp *puts[] = {&put_op};
    Etcdserverpb__RequestOp *ranges[] = {&range_op};
    Etcdserverpb__RequestOp *txns[] = {&txn_op};

    compare.key = data(place == COMPARE ? key : "a");
    put.key = data(place == SUCCESS || place == NESTED ? key : "a");
    range.key = data(place == FAILURE ? key : "a");
    put_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    put_op.request_put = &put;
    range_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    range_op.request_range = &range;
    inner.n_success = 1;
    inner.success = puts;
    txn_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    txn_op.request_txn = &inner;
    txn.n_compare = 1;
    txn.compare = compares;
    txn.n_success = 1;
    txn.success = place == NESTED ? txns : puts;
    txn.n_failure = 1;
    txn.failure = ranges;
    return apply_message(env, APPLY_TXN, &txn).err;
}

/* Both branches count, whichever is taken. */
static void test_transactions(void **state)
{
    struct env *env = *state;

    enable(env);
    as(env, "u");
    for (enum place place = COMPARE; place <= NESTED; place++) {
        bool writes = place == SUCCESS || place == NESTED;

        assert_int_equal(txn_error(env, place, "a"), 0);
        assert_int_equal(txn_error(env, place, "b"),
                         writes ? 0 : ERR_PERMISSION_DENIED);
        assert_int_equal(txn_error(env, place, "c"), ERR_PERMISSION_DENIED);
    }
}

/* ---- decoding ---- */

static int read_auth(enum apply_kind kind, const void *bytes, size_t len,
                     struct apply_auth_request *out)
{
    return apply_read_auth((uint32_t)kind, bytes_of(bytes, len), out);
}

static void test_decoding(void **state)
{
    struct apply_auth_request out;

    (void)state;
    /* A zero byte is part of a name. */
    assert_int_equal(read_auth(APPLY_USER_DELETE, "\x0a\x06root\0x", 8, &out),
                     0);
    assert_int_equal(out.name.len, 6);
    /* Messages that come twice are merged, other fields passed over. */
    assert_int_equal(read_auth(APPLY_ROLE_GRANT_PERMISSION,
                               "\x12\x05\x08\x01\x12\x01k\x12\x03\x1a\x01l"
                               "\x08\x05\x7a\x01x",
                               17, &out),
                     0);
    assert_true(out.has_permission);
    assert_int_equal(out.permission.type, AUTH_WRITE);
    assert_int_equal(out.permission.key.len, 1);
    assert_int_equal(out.permission.end.data[0], 'l');
    assert_int_equal(
        read_auth(APPLY_USER_ADD, "\x1a\x02\x08\x01\x1a\x00", 6, &out), 0);
    assert_true(out.no_password);
    assert_int_equal(read_auth(APPLY_USER_ADD, "\x22\x02\xc3\x28", 4, &out),
                     ERR_INVALID);
    /* A token is no part of what a client asks. */
    assert_int_equal(read_auth(APPLY_AUTHENTICATE, "\x1a\x01\xff", 3, &out),
                     ERR_INVALID);
    assert_int_equal(apply_read_auth(APPLY_ASKED_TO_AUTHENTICATE,
                                     bytes_of("\x0a\x01u\x1a\x01\xff", 6),
                                     &out),
                     0);
    assert_int_equal(out.token.len, 0);
    /* Keys may be anything. */
    assert_int_equal(
        read_auth(APPLY_ROLE_REVOKE_PERMISSION, "\x12\x02\xc3\x28", 4, &out),
        0);
    assert_int_equal(read_auth(APPLY_USER_ADD, "\x0a\x02x", 3, &out),
                     ERR_MALFORMED);
    assert_int_equal(read_auth(APPLY_USER_ADD, "\x1a\x01\x08", 3, &out),
                     ERR_MALFORMED);
    assert_int_equal(
        read_auth(APPLY_ROLE_GRANT_PERMISSION, "\x12\x01\x0a", 3, &out),
        ERR_MALFORMED);
    assert_int_equal(read_auth(APPLY_PUT, "", 0, &out), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENV_TEST(test_answers),
        ENV_TEST(test_a_token),
        ENV_TEST(test_what_only_root_may),
        ENV_TEST(test_everybody_may_look_at_himself),
        ENV_TEST(test_writes),
        ENV_TEST(test_a_name_that_is_too_long),
        ENV_TEST(test_leases_with_the_keys_of_others),
        ENV_TEST(test_transactions),
        cmocka_unit_test(test_decoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
