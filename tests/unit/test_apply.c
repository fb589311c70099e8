/* Entries of the log: what they change, and what they are answered. */
#include "test_apply.h"

/* ---- puts and deletes ---------------------------------------------------- */

static void test_put(void **state)
{
    struct env *env = *state;
    Etcdserverpb__PutRequest req = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__PutResponse *got;

    got = answer(env, put(env, "k", "one"),
                 &etcdserverpb__put_response__descriptor);
    assert_header(got->header, 2);
    assert_null(got->prev_kv);
    assert_int_equal(env->changed, 1);
    assert_int_equal(env->changed_rev, 2);
    assert_int_equal(env->changes, 1);
    req.key = data("k");
    req.value = data("two");
    req.prev_kv = true;
    got = answer(env, apply_message(env, APPLY_PUT, &req),
                 &etcdserverpb__put_response__descriptor);
    assert_header(got->header, 3);
    assert_string_equal(kvs_text(env, &got->prev_kv, 1), "k=one");
    assert_store(env, "k=two");
}

static void test_put_ignores(void **state)
{
    struct env *env = *state;
    Etcdserverpb__PutRequest req = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *got;

    req.key = data("k");
    req.ignore_value = true;
    assert_int_equal(apply_message(env, APPLY_PUT, &req).err,
                     ERR_KEY_NOT_FOUND);
    req.ignore_value = false;
    req.ignore_lease = true;
    assert_int_equal(apply_message(env, APPLY_PUT, &req).err,
                     ERR_KEY_NOT_FOUND);
    assert_int_equal(mvcc_revision(env->kv->mvcc), 1);
    assert_int_equal(env->changed, 0);

    grant(env, 9);
    grant(env, 8);
    put_lease(env, "k", "one", 9);
    req.value = data("two");
    assert_int_equal(apply_message(env, APPLY_PUT, &req).err, 0);
    range.key = data("k");
    got = read_range(env, &range);
    assert_string_equal(kvs_text(env, got->kvs, 1), "k=two");
    assert_int_equal(got->kvs[0]->lease, 9);
    req.ignore_lease = false;
    req.ignore_value = true;
    req.value = data("");
    req.lease = 8;
    assert_int_equal(apply_message(env, APPLY_PUT, &req).err, 0);
    got = read_range(env, &range);
    assert_string_equal(kvs_text(env, got->kvs, 1), "k=two");
    assert_int_equal(got->kvs[0]->lease, 8);
}

static void test_put_with_unknown_lease(void **state)
{
    struct env *env = *state;

    assert_int_equal(put_lease(env, "k", "v", 5).err, ERR_LEASE_NOT_FOUND);
    assert_int_equal(mvcc_revision(env->kv->mvcc), 1);
    assert_store(env, "");
}

static Etcdserverpb__DeleteRangeResponse *delete_range(struct env *env,
                                                       const char *key,
                                                       const char *end,
                                                       bool prev)
{
    Etcdserverpb__DeleteRangeRequest req =
        ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;

    req.key = data(key);
    req.range_end = data(end);
    req.prev_kv = prev;
    return answer(env, apply_message(env, APPLY_DELETE_RANGE, &req),
                  &etcdserverpb__delete_range_response__descriptor);
}

static void test_delete(void **state)
{
    struct env *env = *state;
    Etcdserverpb__DeleteRangeResponse *got;

    put(env, "a", "1");
    put(env, "b", "2");
    put(env, "c", "3");
    got = delete_range(env, "x", "", true);
    assert_int_equal(got->deleted, 0);
    assert_header(got->header, 4);
    assert_int_equal(env->changed, 3);
    got = delete_range(env, "a", "c", true);
    assert_int_equal(got->deleted, 2);
    assert_string_equal(kvs_text(env, got->prev_kvs, got->n_prev_kvs),
                        "a=1,b=2");
    assert_header(got->header, 5);
    assert_int_equal(env->changes, 2);
    got = delete_range(env, "c", "", false);
    assert_int_equal(got->deleted, 1);
    assert_int_equal(got->n_prev_kvs, 0);
    assert_store(env, "");
}

/* ---- leases -------------------------------------------------------------- */

static void assert_lease_keys(struct env *env, int64_t id, size_t want)
{
    struct bytes *keys;
    size_t n;

    assert_int_equal(lessor_keys(env->lessor, id, &env->arena, &keys, &n), 0);
    assert_int_equal(n, want);
}

static void test_leases(void **state)
{
    struct env *env = *state;
    Etcdserverpb__LeaseRevokeRequest revoke =
        ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    Etcdserverpb__LeaseGrantResponse *granted;
    Etcdserverpb__LeaseRevokeResponse *revoked;

    granted = answer(env, grant(env, 9),
                     &etcdserverpb__lease_grant_response__descriptor);
    assert_int_equal(granted->id, 9);
    assert_int_equal(granted->ttl, 60);
    assert_header(granted->header, 1);
    assert_int_equal(grant(env, 9).err, ERR_LEASE_EXISTS);
    assert_int_equal(grant(env, 0).err, ERR_LEASE_NOT_FOUND);
    put_lease(env, "b", "1", 9);
    put_lease(env, "a", "2", 9);
    put_lease(env, "c", "3", 9);
    assert_lease_keys(env, 9, 3);
    put(env, "c", "free");
    delete_range(env, "b", "", false);
    assert_lease_keys(env, 9, 1);
    put_lease(env, "b", "4", 9);
    revoke.id = 9;
    revoked = answer(env, apply_message(env, APPLY_LEASE_REVOKE, &revoke),
                     &etcdserverpb__lease_revoke_response__descriptor);
    assert_header(revoked->header, 8);
    assert_int_equal(env->changes, 2);
    assert_store(env, "c=free");
    assert_int_equal(apply_message(env, APPLY_LEASE_REVOKE, &revoke).err,
                     ERR_LEASE_NOT_FOUND);
}

static void test_revoke_without_keys_makes_no_revision(void **state)
{
    struct env *env = *state;
    Etcdserverpb__LeaseRevokeRequest revoke =
        ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;

    grant(env, 9);
    revoke.id = 9;
    assert_int_equal(apply_message(env, APPLY_LEASE_REVOKE, &revoke).err, 0);
    assert_int_equal(mvcc_revision(env->kv->mvcc), 1);
    assert_false(lessor_has(env->lessor, 9));
}

static void test_checkpoint(void **state)
{
    struct env *env = *state;
    Etcdserverpb__LeaseCheckpointRequest req =
        ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    Etcdserverpb__LeaseCheckpoint one = ETCDSERVERPB__LEASE_CHECKPOINT__INIT;
    Etcdserverpb__LeaseCheckpoint *list[] = {&one};
    struct lease_info info;

    grant(env, 9);
    one.id = 9;
    one.remaining_ttl = 33;
    req.checkpoints = list;
    req.n_checkpoints = 1;
    assert_int_equal(apply_message(env, APPLY_LEASE_CHECKPOINT, &req).err, 0);
    lessor_promote(env->lessor, 0, 0);
    assert_int_equal(lessor_info(env->lessor, 9, 0, &info), 0);
    assert_int_equal(info.remaining_ns, INT64_C(33000000000));
}

/* ---- quota and alarms ---------------------------------------------------- */

static void test_quota(void **state)
{
    struct env *env = *state;
    uint64_t size = store_size(env->kv->store).total;
    struct outcome out;

    env_close(env);
    env_open(env, size + 1000);
    out = put(env, "k", "fits");
    assert_int_equal(out.err, 0);
    assert_false(out.over_quota);
    char *large = arena_zalloc(&env->arena, 2001);
    memset(large, 'x', 2000);
    out = put(env, "big", large);
    assert_int_equal(out.err, ERR_NO_SPACE);
    assert_true(out.over_quota);
    /* It is in the log of all members: carried out all the same. */
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = data("big");
    assert_int_equal(read_range(env, &range)->count, 1);
}

static int32_t raise_alarm(struct env *env, int action, int type)
{
    Etcdserverpb__AlarmRequest req = ETCDSERVERPB__ALARM_REQUEST__INIT;
    Etcdserverpb__AlarmResponse *got;

    req.action = (Etcdserverpb__AlarmRequest__AlarmAction)action;
    req.alarm = (Etcdserverpb__AlarmType)type;
    req.memberid = MEMBER_ID;
    got = answer(env, apply_message(env, APPLY_ALARM, &req),
                 &etcdserverpb__alarm_response__descriptor);
    assert_header(got->header, mvcc_revision(env->kv->mvcc));
    if (got->n_alarms == 0)
        return -1;
    assert_int_equal(got->alarms[0]->memberid, MEMBER_ID);
    return (int32_t)got->alarms[0]->alarm;
}

enum { GET, ACTIVATE, DEACTIVATE };

static int delete_error(struct env *env, const char *key)
{
    Etcdserverpb__DeleteRangeRequest req =
        ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;

    req.key = data(key);
    return apply_message(env, APPLY_DELETE_RANGE, &req).err;
}

static int compact_error(struct env *env, int64_t revision)
{
    Etcdserverpb__CompactionRequest req =
        ETCDSERVERPB__COMPACTION_REQUEST__INIT;

    req.revision = revision;
    return apply_message(env, APPLY_COMPACTION, &req).err;
}

static void test_no_space(void **state)
{
    struct env *env = *state;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;

    grant(env, 7);
    put(env, "k", "v");
    assert_int_equal(raise_alarm(env, GET, 0), -1);
    assert_int_equal(raise_alarm(env, ACTIVATE, ALARM_NONE), -1);
    assert_int_equal(raise_alarm(env, ACTIVATE, ALARM_NOSPACE), ALARM_NOSPACE);
    assert_int_equal(raise_alarm(env, GET, 0), ALARM_NOSPACE);
    assert_int_equal(raise_alarm(env, GET, ALARM_CORRUPT), -1);
    assert_int_equal(put(env, "k", "w").err, ERR_NO_SPACE);
    assert_int_equal(grant(env, 9).err, ERR_NO_SPACE);
    assert_false(lessor_has(env->lessor, 9));
    assert_int_equal(apply_message(env, APPLY_TXN, &txn).err, 0);
    assert_int_equal(delete_error(env, "k"), 0);
    assert_int_equal(compact_error(env, 3), 0);
    assert_store(env, "");
    assert_int_equal(raise_alarm(env, DEACTIVATE, ALARM_NOSPACE),
                     ALARM_NOSPACE);
    assert_int_equal(raise_alarm(env, DEACTIVATE, ALARM_NOSPACE), -1);
    assert_int_equal(put(env, "k", "w").err, 0);
}

static void test_corrupt(void **state)
{
    struct env *env = *state;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__LeaseRevokeRequest revoke =
        ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;

    grant(env, 7);
    put(env, "k", "v");
    raise_alarm(env, ACTIVATE, ALARM_CORRUPT);
    revoke.id = 7;
    assert_int_equal(put(env, "k", "w").err, ERR_CORRUPT_CLUSTER);
    assert_int_equal(delete_error(env, "k"), ERR_CORRUPT_CLUSTER);
    assert_int_equal(compact_error(env, 2), ERR_CORRUPT_CLUSTER);
    assert_int_equal(grant(env, 9).err, ERR_CORRUPT_CLUSTER);
    assert_int_equal(apply_message(env, APPLY_TXN, &txn).err,
                     ERR_CORRUPT_CLUSTER);
    assert_int_equal(apply_message(env, APPLY_LEASE_REVOKE, &revoke).err,
                     ERR_CORRUPT_CLUSTER);
    assert_store(env, "k=v");
    raise_alarm(env, DEACTIVATE, ALARM_CORRUPT);
    assert_int_equal(put(env, "k", "w").err, 0);
}

/* ---- compaction ---------------------------------------------------------- */

static void test_compaction(void **state)
{
    struct env *env = *state;
    Etcdserverpb__CompactionRequest req =
        ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct kv_wait wait = KV_WAIT_INIT;
    struct apply_result result = {0};
    struct buf packed = {0};

    put(env, "a", "1");
    put(env, "a", "2");
    assert_int_equal(compact_error(env, 4), ERR_FUTURE_REV);
    assert_int_equal(compact_error(env, 2), 0);
    assert_int_equal(compact_error(env, 2), ERR_COMPACTED);
    assert_int_equal(mvcc_compacted(env->kv->mvcc), 2);
    req.revision = 3;
    req.physical = true;
    codec_pack(&packed, &req.base);
    struct shared *wrapped =
        apply_wrap(&(struct apply_stamp){.id = 1}, APPLY_COMPACTION,
                   bytes_of(packed.data, packed.len));
    struct raft_entry entry = {.term = 1,
                               .index = ++env->index,
                               .data = wrapped->data,
                               .len = (uint32_t)wrapped->len};
    assert_int_equal(
        apply_entry(env->apply, &entry, 1, true, kv_done, &wait, &result), 0);
    assert_true(result.deferred);
    assert_int_equal(kv_await(&wait), 0);
    buf_close(&result.body);
    buf_close(&packed);
    shared_unref(wrapped);
}

/* ---- the cluster --------------------------------------------------------- */

static void test_membership(void **state)
{
    struct env *env = *state;
    Membershippb__ClusterVersionSetRequest version =
        MEMBERSHIPPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    Membershippb__ClusterMemberAttrSetRequest attr =
        MEMBERSHIPPB__CLUSTER_MEMBER_ATTR_SET_REQUEST__INIT;
    Membershippb__Attributes attributes = MEMBERSHIPPB__ATTRIBUTES__INIT;
    char url[] = "http://c:1";
    char name[] = "n";
    char ver[] = "3.7.0";
    char *urls[] = {url};
    struct cluster_change member = {
        CLUSTER_ADD, 4, text("{\"id\":4,\"peerURLs\":[\"http://p:1\"]}")};

    cluster_apply(env->cluster, &member);
    version.ver = ver;
    assert_int_equal(apply_message(env, APPLY_CLUSTER_VERSION, &version).fatal,
                     0);
    assert_string_equal(cluster_version(env->cluster), "3.7.0");
    attr.member_id = 4;
    assert_int_equal(apply_message(env, APPLY_MEMBER_ATTR, &attr).fatal, 0);
    attributes.name = name;
    attributes.client_urls = urls;
    attributes.n_client_urls = 1;
    attr.member_attributes = &attributes;
    assert_int_equal(apply_message(env, APPLY_MEMBER_ATTR, &attr).fatal, 0);
    assert_string_equal(cluster_find(env->cluster, 4)->name, "n");
    assert_string_equal(cluster_find(env->cluster, 4)->client_urls[0], url);
}

/* etcd before 3.6 wrote these as requests of its old API. */
static void test_v2_requests(void **state)
{
    struct env *env = *state;
    static const char attributes[] =
        "\x08\x07\x12\x03PUT\x1a\x18/0/members/4d/attributes"
        "\"\x29{\"name\":\"m1\",\"clientURLs\":[\"http://c:1\"]}"
        "\x28\x00\x32\x00";
    static const char version[] = "\x08\x07\x12\x03PUT\x1a\x0a/0/version"
                                  "\"\x05"
                                  "3.4.0\x28\x00";
    static const char other[] = "\x08\x07\x12\x03PUT\x1a\x04/1/k\"\x01v";
    static const char damaged[] =
        "\x08\x07\x12\x03PUT\x1a\x18/0/members/4d/attributes\"\x01{";
    struct cluster_change member = {CLUSTER_ADD, 77,
                                    text("{\"id\":77,\"peerURLs\":[]}")};

    cluster_apply(env->cluster, &member);
    assert_int_equal(apply_bytes(env, attributes, sizeof(attributes) - 1).fatal,
                     0);
    assert_string_equal(cluster_find(env->cluster, 77)->name, "m1");
    assert_string_equal(cluster_find(env->cluster, 77)->client_urls[0],
                        "http://c:1");
    assert_int_equal(apply_bytes(env, version, sizeof(version) - 1).fatal, 0);
    assert_string_equal(cluster_version(env->cluster), "3.4.0");
    assert_int_equal(apply_bytes(env, other, sizeof(other) - 1).fatal, 0);
    assert_int_equal(mvcc_revision(env->kv->mvcc), 1);
    assert_int_equal(apply_bytes(env, damaged, sizeof(damaged) - 1).fatal,
                     ERR_CORRUPT);
}

/* ---- odd and damaged entries --------------------------------------------- */

static uint64_t request_id(const void *bytes, size_t len)
{
    struct raft_entry entry = {.data = bytes, .len = (uint32_t)len};

    return apply_request_id(&entry);
}

static void test_request_id(void **state)
{
    struct shared *wrapped = apply_wrap(&(struct apply_stamp){.id = UINT64_MAX},
                                        APPLY_PUT, text("xyz"));

    (void)state;
    assert_int_equal(request_id(wrapped->data, wrapped->len), UINT64_MAX);
    /* Up to the header it has no id, then it has. */
    for (size_t len = 0; len < wrapped->len; len++) {
        uint64_t id = request_id(wrapped->data, len);
        assert_true(id == 0 || (id == UINT64_MAX && len > 10));
    }
    shared_unref(wrapped);
    assert_int_equal(request_id("\x08\x2a", 2), 42);
    assert_int_equal(request_id("", 0), 0);
}

static void test_empty_and_unknown(void **state)
{
    struct env *env = *state;
    static const char *const kinds[] = {
        "\x12\x00",             /* 2: a request of v2 */
        "\x1a\x00",             /* 3: a range */
        "\xea\xea\x04\x00",     /* 9901: behind the last one that is known */
        "\xfa\xff\xff\xff\x0f", /* the highest number there is */
    };
    static const size_t lens[] = {2, 2, 4, 6};

    assert_int_equal(apply_bytes(env, "", 0).fatal, 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct outcome out = apply_bytes(env, kinds[i], lens[i]);
        assert_int_equal(out.fatal, 0);
        assert_int_equal(out.err, ERR_UNSUPPORTED);
    }
    kv_flush(env->kv);
    uint64_t index;
    uint64_t term;
    store_consistent_index(env->kv->store, &index, &term);
    assert_int_equal(store_flushed_index(env->kv->store), env->index);
}

/* An entry that is cut short anywhere is damaged or another entry, and stays
 * what it is: no crash, and no write that wasn't asked for. */
static void test_damaged(void **state)
{
    struct env *env = *state;
    static const struct {
        enum apply_kind kind;
        const char *bytes;
        size_t len;
    } bad[] = {
        {APPLY_PUT, "\x0a\x05k", 3},
        {APPLY_PUT, "\xff", 1},
        {APPLY_DELETE_RANGE, "\x0a\x7f", 2},
        {APPLY_TXN, "\x12\x03\x12\x05\x0a", 5},
        {APPLY_COMPACTION, "\x08", 1},
        {APPLY_LEASE_GRANT, "\x08\x80", 2},
        {APPLY_LEASE_REVOKE, "\x07", 1},
        {APPLY_ALARM, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
        {APPLY_LEASE_CHECKPOINT, "\x0a\x02\x08", 3},
        {APPLY_CLUSTER_VERSION, "\x0a\x09", 2},
        {APPLY_MEMBER_ATTR, "\x12\x02\x0a\x07", 4},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct shared *wrapped =
            apply_wrap(&(struct apply_stamp){.id = 1}, bad[i].kind,
                       bytes_of(bad[i].bytes, bad[i].len));
        struct outcome out = apply_bytes(env, wrapped->data, wrapped->len);
        if (out.fatal != ERR_CORRUPT)
            fail_msg("kind %d: %s", bad[i].kind, err_name(out.fatal));
        shared_unref(wrapped);
    }
    struct shared *cut = apply_wrap(&(struct apply_stamp){.id = 1}, APPLY_PUT,
                                    text("\x0a\x01k\x12\x01v"));
    for (size_t len = 1; len < cut->len; len++) {
        struct outcome out = apply_bytes(env, cut->data, len);
        assert_true(out.fatal == ERR_CORRUPT || out.err == ERR_UNSUPPORTED);
    }
    shared_unref(cut);
    assert_int_equal(mvcc_revision(env->kv->mvcc), 1);
    assert_int_equal(env->changed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENV_TEST(test_put),
        ENV_TEST(test_put_ignores),
        ENV_TEST(test_put_with_unknown_lease),
        ENV_TEST(test_delete),
        ENV_TEST(test_leases),
        ENV_TEST(test_revoke_without_keys_makes_no_revision),
        ENV_TEST(test_checkpoint),
        ENV_TEST(test_quota),
        ENV_TEST(test_no_space),
        ENV_TEST(test_corrupt),
        ENV_TEST(test_compaction),
        ENV_TEST(test_membership),
        ENV_TEST(test_v2_requests),
        cmocka_unit_test(test_request_id),
        ENV_TEST(test_empty_and_unknown),
        ENV_TEST(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
