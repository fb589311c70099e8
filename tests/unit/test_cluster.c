/* The membership: ids, JSON, and what survives a reopen. Ids and JSON were
 * read from etcd 3.7.3, started with the same names, URLs and tokens. */
#include "chorad/cluster.h"
#include "test_store.h"

#include <stdio.h>

/* A string that may be changed, as the members of structs want it. */
#define TEXT(s) ((char[]){s})

static struct cluster *open_cluster(struct fixture *f)
{
    struct cluster *cluster = NULL;
    struct errmsg msg;

    assert_int_equal(cluster_open(f->store, &cluster, &msg), 0);
    return cluster;
}

static struct cluster *reopen_cluster(struct fixture *f, struct cluster *c)
{
    cluster_close(c);
    mark(f);
    reopen_store(f);
    return open_cluster(f);
}

static int add(struct cluster *cluster, uint64_t id, const char *json)
{
    struct cluster_change change = {CLUSTER_ADD, id, text(json)};
    int rc = cluster_check(cluster, &change, 1);

    if (rc == 0)
        cluster_apply(cluster, &change);
    return rc;
}

/* ---- pure ---------------------------------------------------------------- */

static void test_ids(void **state)
{
    const char *one[] = {"http://127.0.0.1:43380", "http://localhost:43381",
                         NULL};
    const char *turned[] = {one[1], one[0], NULL};
    uint64_t member = UINT64_C(4892162542312089702);
    uint64_t ids[] = {member};

    (void)state;
    assert_int_equal(cluster_member_id(one, "tok1"), member);
    assert_int_equal(cluster_member_id(turned, "tok1"), member);
    assert_ptr_equal(turned[0], one[1]);
    assert_int_not_equal(cluster_member_id(one, "tok2"), member);
    assert_int_equal(cluster_id(ids, 1), UINT64_C(15468424997280413526));
}

/* etcd's documentation uses this member everywhere. */
static void test_default_ids(void **state)
{
    const char *urls[] = {"http://localhost:2380", NULL};
    uint64_t ids[] = {cluster_member_id(urls, "etcd-cluster")};

    (void)state;
    assert_int_equal(ids[0], UINT64_C(0x8e9e05c52164694d));
    assert_int_equal(cluster_id(ids, 1), UINT64_C(0xcdf818194e3a8c32));
}

static void test_cluster_id_sorts(void **state)
{
    uint64_t a[] = {UINT64_MAX, 1, UINT64_C(1) << 63};
    uint64_t b[] = {1, UINT64_C(1) << 63, UINT64_MAX};

    (void)state;
    assert_int_equal(cluster_id(a, 3), cluster_id(b, 3));
    assert_memory_equal(a, b, sizeof(a));
}

static void assert_json(const struct cluster_member *member, const char *want)
{
    char *json = cluster_member_json(member);

    assert_string_equal(json, want);
    free(json);
}

static void test_json(void **state)
{
    char *peers[] = {TEXT("http://127.0.0.1:43380"),
                     TEXT("http://localhost:43381"), NULL};
    char *clients[] = {TEXT("http://127.0.0.1:43379"),
                       TEXT("http://localhost:43379"), NULL};
    char *learner_peers[] = {TEXT("http://10.0.0.1:2380"), NULL};
    char *none[] = {NULL};
    struct cluster_member member = {
        .id = UINT64_C(4892162542312089702),
        .name = TEXT("a<b>&\"q\\ \xc3\xa9\xe2\x80\xa8\xe2\x82\xac "
                     "\x01\b\f\t\n\r\x7f/end"),
        .peer_urls = peers,
        .client_urls = clients,
    };
    struct cluster_member learner = {
        .id = UINT64_C(18137350568626986485),
        .name = TEXT(""),
        .peer_urls = learner_peers,
        .client_urls = none,
        .is_learner = true,
    };

    (void)state;
    assert_json(&member,
                "{\"id\":4892162542312089702,\"peerURLs\":[\"http://"
                "127.0.0.1:43380\",\"http://localhost:43381\"],\"name\":"
                "\"a\\u003cb\\u003e\\u0026\\\"q\\\\ \xc3\xa9\\u2028"
                "\xe2\x82\xac \\u0001\\b\\f\\t\\n\\r\x7f/end\","
                "\"clientURLs\":[\"http://127.0.0.1:43379\","
                "\"http://localhost:43379\"]}");
    assert_json(&learner, "{\"id\":18137350568626986485,\"peerURLs\":[\"http:"
                          "//10.0.0.1:2380\"],\"isLearner\":true}");
}

/* As Go's encoder has it: each bad byte becomes a replacement character. */
static void test_json_of_bad_utf8(void **state)
{
    static const struct {
        const char *name;
        const char *json;
    } cases[] = {
        {"\xff", "\\ufffd"},
        {"a\x80z", "a\\ufffdz"},
        {"\xe2\x82", "\\ufffd\\ufffd"},
        {"\xc0\xaf", "\\ufffd\\ufffd"},
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xe2\x80\xa9", "\\u2029"},
    };
    char want[128];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cluster_member member = {.id = 1, .name = (char *)cases[i].name};
        snprintf(want, sizeof(want),
                 "{\"id\":1,\"peerURLs\":[],\"name\":\"%s\"}", cases[i].json);
        assert_json(&member, want);
    }
}

/* ---- members ------------------------------------------------------------- */

#define ID_A UINT64_C(18137350568626986485)
#define JSON_A "{\"id\":18137350568626986485,\"peerURLs\":[\"http://a:1\"]}"
#define JSON_B                                                                 \
    "{\"id\":7,\"peerURLs\":[\"http://b:1\",\"http://b:2\"],"                  \
    "\"isLearner\":true,\"name\":\"b\",\"clientURLs\":[\"http://c:1\"]}"

static void assert_members(const struct cluster *cluster)
{
    size_t n;
    const struct cluster_member *m = cluster_members(cluster, &n);

    assert_int_equal(n, 2);
    assert_int_equal(m[0].id, 7);
    assert_string_equal(m[0].name, "b");
    assert_true(m[0].is_learner);
    assert_string_equal(m[0].peer_urls[0], "http://b:1");
    assert_string_equal(m[0].peer_urls[1], "http://b:2");
    assert_null(m[0].peer_urls[2]);
    assert_string_equal(m[0].client_urls[0], "http://c:1");
    assert_null(m[0].client_urls[1]);
    assert_int_equal(m[1].id, UINT64_C(18137350568626986485));
    assert_string_equal(m[1].name, "");
    assert_false(m[1].is_learner);
    assert_null(m[1].client_urls[0]);
    assert_ptr_equal(cluster_find(cluster, 7), &m[0]);
    assert_ptr_equal(cluster_find(cluster, m[1].id), &m[1]);
    assert_null(cluster_find(cluster, 8));
    assert_null(cluster_find(cluster, UINT64_MAX));
}

static void test_members(void **state)
{
    struct fixture *f = *state;
    struct cluster *cluster = open_cluster(f);
    size_t n;

    cluster_members(cluster, &n);
    assert_int_equal(n, 0);
    assert_int_equal(add(cluster, ID_A, JSON_A), 0);
    assert_int_equal(add(cluster, 7, JSON_B), 0);
    assert_int_equal(add(cluster, ID_A, JSON_A), ERR_MEMBER_EXISTS);
    assert_members(cluster);
    cluster = reopen_cluster(f, cluster);
    assert_members(cluster);
    assert_value(f, STORE_MEMBERS, "fbb4d03f11bd9df5", JSON_A);
    assert_value(f, STORE_MEMBERS, "7", JSON_B);
    cluster_close(cluster);
}

static void test_removed_stay_out(void **state)
{
    struct fixture *f = *state;
    struct cluster *cluster;

    put_text(f, STORE_MEMBERS_REMOVED, "fbb4d03f11bd9df5", "removed");
    mark(f);
    reopen_store(f);
    cluster = open_cluster(f);
    assert_int_equal(add(cluster, ID_A, JSON_A), ERR_MEMBER_NOT_FOUND);
    assert_null(cluster_find(cluster, UINT64_C(18137350568626986485)));
    assert_int_equal(add(cluster, 7, JSON_B), 0);
    cluster_close(cluster);
}

static void test_attributes(void **state)
{
    struct fixture *f = *state;
    struct cluster *cluster = open_cluster(f);
    char *urls[] = {TEXT("http://x:1"), TEXT("http://x:2"), NULL};
    const struct cluster_member *m;

    assert_int_equal(add(cluster, ID_A, JSON_A), 0);
    cluster_set_attributes(cluster, 1234, "nobody", urls);
    cluster_set_attributes(cluster, UINT64_C(18137350568626986485), "me", urls);
    cluster = reopen_cluster(f, cluster);
    m = cluster_find(cluster, UINT64_C(18137350568626986485));
    assert_non_null(m);
    assert_string_equal(m->name, "me");
    assert_string_equal(m->client_urls[1], "http://x:2");
    assert_string_equal(m->peer_urls[0], "http://a:1");
    assert_missing(f, STORE_MEMBERS, "4d2");
    cluster_close(cluster);
}

static void test_damaged_json(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        "{\"peerURLs\":[]}",
        "{\"id\":7,\"peerURLs\":[\"http://b:1\"]",
    };
    struct fixture *f = *state;
    struct cluster *cluster = open_cluster(f);
    struct errmsg msg;
    size_t n;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(add(cluster, 7, bad[i]), ERR_INVALID);
    cluster_members(cluster, &n);
    assert_int_equal(n, 0);
    /* Odd, but an object with an id. */
    assert_int_equal(add(cluster, 1,
                         "{\"id\":1,\"peerURLs\":null,\"name\":null,"
                         "\"clientURLs\":[null,1]}"),
                     0);
    assert_string_equal(cluster_find(cluster, 1)->client_urls[0], "");
    cluster_close(cluster);
    put_text(f, STORE_MEMBERS, "8", "{\"id\":");
    mark(f);
    reopen_store(f);
    assert_int_equal(cluster_open(f->store, &cluster, &msg), ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "membership"));
}

/* ---- raft's configuration --------------------------------------------------
 */

static void assert_ids(const uint64_t *got, size_t n, const uint64_t *want,
                       size_t want_n)
{
    assert_int_equal(n, want_n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(got[i], want[i]);
}

static void test_conf_state(void **state)
{
    static const uint64_t voters[] = {1, UINT64_C(15468424997280413526),
                                      UINT64_MAX};
    static const uint64_t learners[] = {UINT64_C(1) << 63};
    struct fixture *f = *state;
    struct cluster *cluster = open_cluster(f);
    uint64_t *v;
    uint64_t *l;
    size_t nv;
    size_t nl;

    assert_int_equal(cluster_load_conf_state(cluster, &v, &nv, &l, &nl), 0);
    assert_int_equal(nv + nl, 0);
    free(v);
    free(l);
    cluster_save_conf_state(cluster, voters, 3, learners, 1);
    cluster = reopen_cluster(f, cluster);
    assert_value(f, STORE_META, "confState",
                 "{\"voters\":[1,15468424997280413526,18446744073709551615],"
                 "\"learners\":[9223372036854775808],\"auto_leave\":false}");
    assert_int_equal(cluster_load_conf_state(cluster, &v, &nv, &l, &nl), 0);
    assert_ids(v, nv, voters, 3);
    assert_ids(l, nl, learners, 1);
    free(v);
    free(l);
    cluster_save_conf_state(cluster, voters, 1, NULL, 0);
    cluster = reopen_cluster(f, cluster);
    assert_value(f, STORE_META, "confState",
                 "{\"voters\":[1],\"auto_leave\":false}");
    cluster_close(cluster);
}

static void test_damaged_conf_state(void **state)
{
    static const char *const bad[] = {
        "{", "no", "", "[1]", "7", "{\"voters\":7}", "{\"voters\":[\"x\"]}"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cluster *cluster;
        uint64_t *v;
        uint64_t *l;
        size_t nv;
        size_t nl;

        put_text(f, STORE_META, "confState", bad[i]);
        mark(f);
        reopen_store(f);
        cluster = open_cluster(f);
        assert_int_equal(cluster_load_conf_state(cluster, &v, &nv, &l, &nl),
                         ERR_CORRUPT);
        assert_null(v);
        assert_null(l);
        cluster_close(cluster);
    }
}

/* A member known in part takes over what comes, and nothing of what is no
 * JSON. */
static void test_member_read(void **state)
{
    struct cluster_member m = {0};

    (void)state;
    assert_int_equal(
        cluster_member_read(text("{\"peerURLs\":[\"http://p\"]}"), &m), 0);
    assert_int_equal(cluster_member_read(text("{\"id\":5,\"name\":\"n\"}"), &m),
                     0);
    assert_int_equal(cluster_member_read(text("{\"id\":\"x\"}"), &m),
                     ERR_INVALID);
    assert_int_equal(cluster_member_read(text("[]"), &m), ERR_INVALID);
    assert_int_equal(cluster_member_read(text("{\"name\":"), &m), ERR_INVALID);
    assert_int_equal(m.id, 5);
    assert_string_equal(m.name, "n");
    assert_string_equal(m.peer_urls[0], "http://p");
    assert_null(m.client_urls);
    cluster_member_close(&m);
}

static enum cluster_v2_kind v2_kind(const char *bytes, size_t len)
{
    return cluster_v2_read(bytes_of(bytes, len)).kind;
}

static void test_v2_kinds(void **state)
{
    static const char put[] = "\x12\x03PUT\x1a\x17/0/members/8/attributes";
    static const char id[] = "\x12\x03PUT\x1a\x17/0/members/x/attributes";
    static const char version[] = "\x12\x03PUT\x1a\x0a/0/version\"\x03"
                                  "3.5";
    static const char sync[] = "\x12\x04SYNC";
    /* An InternalRaftRequest: a range in field 3, a put in field 4. */
    static const char range[] = "\x1a\x03\x0a\x01k\"\x03\x0a\x01k";
    struct cluster_v2 v2 = cluster_v2_read(bytes_of(put, sizeof(put) - 1));

    (void)state;
    assert_int_equal(v2.kind, CLUSTER_V2_ATTRIBUTES);
    assert_int_equal(v2.id, 8);
    v2 = cluster_v2_read(bytes_of(version, sizeof(version) - 1));
    assert_int_equal(v2.kind, CLUSTER_V2_VERSION);
    assert_int_equal(bytes_cmp(v2.value, text("3.5")), 0);
    assert_int_equal(v2_kind(id, sizeof(id) - 1), CLUSTER_V2_OTHER);
    assert_int_equal(v2_kind(sync, sizeof(sync) - 1), CLUSTER_V2_OTHER);
    assert_int_equal(v2_kind(range, sizeof(range) - 1), CLUSTER_V2_NONE);
    assert_int_equal(v2_kind("", 0), CLUSTER_V2_NONE);
    assert_int_equal(v2_kind("\xff", 1), CLUSTER_V2_NONE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_default_ids),
        cmocka_unit_test(test_cluster_id_sorts),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_of_bad_utf8),
        cmocka_unit_test(test_member_read),
        cmocka_unit_test(test_v2_kinds),
        TEST(test_members),
        TEST(test_removed_stay_out),
        TEST(test_attributes),
        TEST(test_damaged_json),
        TEST(test_conf_state),
        TEST(test_damaged_conf_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
