/* What the tests of apply share: everything that it works on, in a directory
 * of its own, and requests in and answers out. */
#ifndef CHORAD_TEST_APPLY_H
#define CHORAD_TEST_APPLY_H

#include "test_mvcc.h"

#include "chorad/apply.h"
#include "chorad/codec.h"
#include "raft_internal.pb-c.h"

#define CLUSTER_ID 0xc1
#define MEMBER_ID 0xe1
#define TERM 5

struct env {
    struct kv *kv;
    struct lessor *lessor;
    struct cluster *cluster;
    struct alarms *alarms;
    struct auth *auth;
    struct apply *apply;
    struct arena arena;
    struct bytes user; /* who the next requests come from */
    uint64_t auth_rev;
    uint64_t index;
    int changed; /* transactions that the watchers were told of */
    int64_t changed_rev;
    size_t changes;
};

static inline void env_changed(void *arg, int64_t rev,
                               const struct mvcc_change *changes, size_t n)
{
    struct env *env = arg;

    assert_non_null(changes);
    env->changed++;
    env->changed_rev = rev;
    env->changes = n;
}

static inline void env_open(struct env *env, uint64_t quota_bytes)
{
    struct auth_tokens *tokens;
    struct errmsg msg;

    assert_int_equal(lessor_open(env->kv->store, 2, &env->lessor, &msg), 0);
    assert_int_equal(cluster_open(env->kv->store, &env->cluster, &msg), 0);
    assert_int_equal(alarms_open(env->kv->store, &env->alarms, &msg), 0);
    assert_int_equal(auth_tokens_open("simple", 0, &tokens, &msg), 0);
    assert_int_equal(auth_open(env->kv->store, tokens, 4, &env->auth, &msg), 0);
    env->apply = apply_new(&(struct apply_config){
        .store = env->kv->store,
        .mvcc = env->kv->mvcc,
        .lessor = env->lessor,
        .cluster = env->cluster,
        .alarms = env->alarms,
        .auth = env->auth,
        .cluster_id = CLUSTER_ID,
        .member_id = MEMBER_ID,
        .quota_bytes = quota_bytes,
        .changed = env_changed,
        .arg = env,
    });
    apply_set_term(env->apply, TERM);
}

static inline void env_close(struct env *env)
{
    apply_free(env->apply);
    auth_close(env->auth);
    alarms_close(env->alarms);
    cluster_close(env->cluster);
    lessor_close(env->lessor);
}

static inline int env_setup(void **state)
{
    struct env *env = mem_zalloc(sizeof(*env));
    void *kv;

    kv_setup(&kv);
    log_set_level(LOG_FATAL);
    env->kv = kv;
    env_open(env, 0);
    *state = env;
    return 0;
}

static inline int env_teardown(void **state)
{
    struct env *env = *state;
    void *kv = env->kv;

    env_close(env);
    kv_teardown(&kv);
    arena_close(&env->arena);
    free(env);
    return 0;
}

#define ENV_TEST(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

static inline ProtobufCBinaryData data(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

/* ---- entries ------------------------------------------------------------- */

struct outcome {
    int fatal; /* what apply_entry gave */
    int err;
    bool over_quota;
    bool deferred;
    struct bytes body; /* in the arena */
};

static inline struct outcome apply_bytes(struct env *env, const void *bytes,
                                         size_t len)
{
    struct raft_entry entry = {
        .term = TERM,
        .index = ++env->index,
        .data = bytes,
        .len = (uint32_t)len,
    };
    struct apply_result result = {0};
    struct outcome out = {0};

    out.fatal =
        apply_entry(env->apply, &entry, 1, true, kv_done, NULL, &result);
    out.err = result.err;
    out.over_quota = result.over_quota;
    out.deferred = result.deferred;
    out.body =
        bytes_of(arena_dup(&env->arena, result.body.data, result.body.len),
                 result.body.len);
    buf_close(&result.body);
    return out;
}

static inline struct outcome apply_message(struct env *env,
                                           enum apply_kind kind,
                                           const void *message)
{
    struct buf packed = {0};
    struct outcome out;

    codec_pack(&packed, message);
    struct shared *wrapped =
        apply_wrap(&(struct apply_stamp){77, env->user, env->auth_rev}, kind,
                   bytes_of(packed.data, packed.len));
    out = apply_bytes(env, wrapped->data, wrapped->len);
    shared_unref(wrapped);
    buf_close(&packed);
    return out;
}

/* The answer, decoded; in the arena. */
static inline void *answer(struct env *env, struct outcome out,
                           const ProtobufCMessageDescriptor *type)
{
    void *message;

    assert_int_equal(out.fatal, 0);
    assert_int_equal(out.err, 0);
    message = codec_unpack(type, &env->arena, out.body);
    assert_non_null(message);
    return message;
}

static inline void assert_header(const Etcdserverpb__ResponseHeader *header,
                                 int64_t revision)
{
    assert_non_null(header);
    assert_int_equal(header->cluster_id, CLUSTER_ID);
    assert_int_equal(header->member_id, MEMBER_ID);
    assert_int_equal(header->raft_term, TERM);
    assert_int_equal(header->revision, revision);
}

static inline struct outcome put_lease(struct env *env, const char *key,
                                       const char *value, int64_t lease)
{
    Etcdserverpb__PutRequest req = ETCDSERVERPB__PUT_REQUEST__INIT;

    req.key = data(key);
    req.value = data(value);
    req.lease = lease;
    return apply_message(env, APPLY_PUT, &req);
}

static inline struct outcome put(struct env *env, const char *key,
                                 const char *value)
{
    return put_lease(env, key, value, 0);
}

static inline struct outcome grant(struct env *env, int64_t id)
{
    Etcdserverpb__LeaseGrantRequest req =
        ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;

    req.id = id;
    req.ttl = 60;
    return apply_message(env, APPLY_LEASE_GRANT, &req);
}

/* ---- reading ------------------------------------------------------------- */

static inline Etcdserverpb__RangeResponse *read_range(
    struct env *env, const Etcdserverpb__RangeRequest *req)
{
    struct apply_header header = {CLUSTER_ID, MEMBER_ID, 0, TERM};
    struct buf out = {0};
    struct bytes body;

    assert_int_equal(
        apply_range(env->kv->reader, req, header, &env->arena, &out), 0);
    body = bytes_of(arena_dup(&env->arena, out.data, out.len), out.len);
    buf_close(&out);
    return answer(env, (struct outcome){.body = body},
                  &etcdserverpb__range_response__descriptor);
}

/* "key=value", with commas; of the response's keys. */
static inline char *kvs_text(struct env *env, Mvccpb__KeyValue **kvs, size_t n)
{
    struct buf text = {0};
    char *copy;

    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%s%.*s=%.*s", i > 0 ? "," : "", (int)kvs[i]->key.len,
                   (const char *)kvs[i]->key.data, (int)kvs[i]->value.len,
                   (const char *)kvs[i]->value.data);
    buf_append(&text, "", 1);
    copy = arena_dup(&env->arena, text.data, text.len);
    buf_close(&text);
    return copy;
}

/* All keys. */
static inline void assert_store(struct env *env, const char *want)
{
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *got;

    req.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "\0"};
    req.range_end = req.key;
    got = read_range(env, &req);
    assert_string_equal(kvs_text(env, got->kvs, got->n_kvs), want);
}

#endif
