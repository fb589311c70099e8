/* Entries of the log, applied to a real store: none crashes, none that another
 * member may propose ends the member, and what they have made is there again
 * after a reopen. The input is a row of entries: a
 * byte that names the kind (0: the bytes are the entry itself) and in its
 * highest bit that root asks, the length in two bytes, the request. */
#include "chorad/apply.h"
#include "fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct env {
    struct fuzz_store s;
    struct mvcc *mvcc;
    struct mvcc_reader *reader;
    struct lessor *lessor;
    struct cluster *cluster;
    struct alarms *alarms;
    struct auth *auth;
    struct apply *apply;
    uint64_t index;
};

static void attach(void *arg, int64_t lease, struct bytes key)
{
    lessor_attach(arg, lease, key);
}

static void env_open(struct env *env)
{
    struct mvcc_config config = {.compact_pause_ns = 1};
    struct auth_tokens *tokens;
    struct errmsg msg;

    fuzz_store_open(&env->s);
    CHECK(lessor_open(env->s.store, 2, &env->lessor, &msg) == 0);
    CHECK(mvcc_open(env->s.store, &config, attach, env->lessor, &env->mvcc,
                    &msg) == 0);
    atomic_store(&env->s.mvcc, env->mvcc);
    CHECK(mvcc_reader_open(env->mvcc, &env->reader) == 0);
    CHECK(cluster_open(env->s.store, &env->cluster, &msg) == 0);
    CHECK(alarms_open(env->s.store, &env->alarms, &msg) == 0);
    CHECK(auth_tokens_open("simple", 0, &tokens, &msg) == 0);
    CHECK(auth_open(env->s.store, tokens, AUTH_COST_MIN, &env->auth, &msg) ==
          0);
    env->apply = apply_new(&(struct apply_config){
        .store = env->s.store,
        .mvcc = env->mvcc,
        .lessor = env->lessor,
        .cluster = env->cluster,
        .alarms = env->alarms,
        .auth = env->auth,
        .cluster_id = 1,
        .member_id = 2,
        .quota_bytes = 1 << 20,
    });
}

static void env_close(struct env *env)
{
    store_stop(env->s.store);
    mvcc_reader_close(env->reader);
    apply_free(env->apply);
    auth_close(env->auth);
    alarms_close(env->alarms);
    cluster_close(env->cluster);
    atomic_store(&env->s.mvcc, NULL);
    mvcc_close(env->mvcc);
    lessor_close(env->lessor);
    store_close(env->s.store);
}

static const enum apply_kind kinds[] = {
    APPLY_PUT,
    APPLY_DELETE_RANGE,
    APPLY_TXN,
    APPLY_COMPACTION,
    APPLY_LEASE_GRANT,
    APPLY_LEASE_REVOKE,
    APPLY_ALARM,
    APPLY_LEASE_CHECKPOINT,
    APPLY_CLUSTER_VERSION,
    APPLY_MEMBER_ATTR,
    APPLY_AUTH_ENABLE,
    APPLY_AUTH_DISABLE,
    APPLY_AUTHENTICATE,
    APPLY_AUTH_STATUS,
    APPLY_USER_ADD,
    APPLY_USER_DELETE,
    APPLY_USER_GET,
    APPLY_USER_CHANGE_PASSWORD,
    APPLY_USER_GRANT_ROLE,
    APPLY_USER_REVOKE_ROLE,
    APPLY_USER_LIST,
    APPLY_ROLE_LIST,
    APPLY_ROLE_ADD,
    APPLY_ROLE_DELETE,
    APPLY_ROLE_GET,
    APPLY_ROLE_GRANT_PERMISSION,
    APPLY_ROLE_REVOKE_PERMISSION,
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* False once a damaged entry has ended the member. */
static bool apply_one(struct env *env, uint8_t kind, struct bytes bytes)
{
    struct apply_stamp stamp = {.id = 7};
    struct shared *wrapped = NULL;
    struct apply_result result = {0};
    struct raft_entry entry = {
        .term = 1,
        .index = ++env->index,
        .data = bytes.data,
        .len = (uint32_t)bytes.len,
    };

    if (kind & 0x80) {
        stamp.user = bytes_of("root", 4);
        stamp.auth_rev = UINT64_MAX;
    }
    kind = (kind & 0x7f) % (KINDS + 1);
    if (kind > 0) {
        wrapped = apply_wrap(&stamp, kinds[kind - 1], bytes);
        CHECK(wrapped->len > bytes.len);
        entry.data = wrapped->data;
        entry.len = (uint32_t)wrapped->len;
        CHECK(apply_request_id(&entry) == 7);
    }
    (void)apply_request_id(&entry);
    struct arena scratch = {0};
    bool may = apply_check_entry(&entry, &scratch) == 0;
    arena_close(&scratch);
    int rc = apply_entry(env->apply, &entry, 1, true, NULL, NULL, &result);
    /* Not capable: the cluster's version is above this server's. */
    CHECK(rc == 0 || rc == ERR_CORRUPT || rc == ERR_MALFORMED ||
          rc == ERR_NAME_TOO_LONG || rc == ERR_NOT_CAPABLE);
    /* What may come from another member ends none. */
    CHECK(rc == 0 || !may);
    CHECK(!result.deferred);
    buf_close(&result.body);
    if (wrapped)
        shared_unref(wrapped);
    return rc == 0;
}

static void append_name(void *arg, struct bytes name)
{
    buf_append(arg, name.data, name.len);
    buf_append(arg, " ", 1);
}

static void append_permission(void *arg, const struct auth_permission *p)
{
    buf_printf(arg, "%d ", p->type);
    append_name(arg, p->key);
    append_name(arg, p->end);
}

struct each {
    const struct auth *auth;
    struct buf *out;
};

static void append_user(void *arg, struct bytes name)
{
    struct each *each = arg;

    append_name(each->out, name);
    CHECK(auth_user_roles(each->auth, name, append_name, each->out) == 0);
}

static void append_role(void *arg, struct bytes name)
{
    struct each *each = arg;

    append_name(each->out, name);
    CHECK(auth_role_permissions(each->auth, name, append_permission,
                                each->out) == 0);
}

static void read_auth(const struct auth *auth, struct buf *out)
{
    struct each each = {auth, out};

    auth_users(auth, append_user, &each);
    auth_roles(auth, append_role, &each);
    buf_printf(out, "%d %llu", auth_enabled(auth),
               (unsigned long long)auth_revision(auth));
}

/* All that a client could read. */
static void read_all(struct env *env, struct buf *out)
{
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct apply_header header = {0};
    struct arena arena = {0};
    uint8_t zero = 0;
    int64_t *ids;
    size_t n;

    req.key = (ProtobufCBinaryData){1, &zero};
    req.range_end = req.key;
    CHECK(apply_range(env->reader, &req, header, &arena, out) == 0);
    lessor_list(env->lessor, &arena, &ids, &n);
    for (size_t i = 0; i < n; i++) {
        struct bytes *keys;
        size_t count;
        CHECK(lessor_keys(env->lessor, ids[i], &arena, &keys, &count) == 0);
        buf_append(out, &ids[i], sizeof(ids[i]));
        for (size_t j = 0; j < count; j++)
            buf_append(out, keys[j].data, keys[j].len);
    }
    buf_printf(out, " %zu %s", alarms_list(env->alarms, ALARM_NONE, NULL, 0),
               cluster_version(env->cluster) ? cluster_version(env->cluster)
                                             : "");
    read_auth(env->auth, out);
    arena_close(&arena);
}

static void same_after_reopen(struct env *env)
{
    struct buf before = {0};
    struct buf after = {0};

    read_all(env, &before);
    env_close(env);
    env_open(env);
    read_all(env, &after);
    CHECK(before.len == after.len &&
          memcmp(before.data, after.data, before.len) == 0);
    buf_close(&before);
    buf_close(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char member[] = "{\"id\":4,\"peerURLs\":[\"http://p:1\"]}";
    struct env env = {0};
    bool good = true;

    env_open(&env);
    struct cluster_change change = {CLUSTER_ADD, 4,
                                    bytes_of(member, sizeof(member) - 1)};
    CHECK(cluster_check(env.cluster, &change, 1) == 0);
    cluster_apply(env.cluster, &change);
    while (size >= 3 && good) {
        size_t len = (size_t)data[1] << 8 | data[2];
        if (len > size - 3)
            len = size - 3;
        good = apply_one(&env, data[0], bytes_of(data + 3, len));
        data += 3 + len;
        size -= 3 + len;
    }
    if (good)
        same_after_reopen(&env);
    env_close(&env);
    fuzz_store_remove(&env.s);
    return 0;
}
