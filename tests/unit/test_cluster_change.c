/* Changes of the membership: which may be made, what they come to. The rules
 * are those of etcd 3.7's ValidateConfigurationChange and IsReadyTo... */
#include "chorad/cluster.h"
#include "test_store.h"

#include <stdio.h>

struct membership {
    struct fixture *f;
    struct cluster *cluster;
};

static int setup_membership(void **state)
{
    struct membership *m = mem_zalloc(sizeof(*m));
    struct errmsg msg;
    void *f = NULL;

    assert_int_equal(setup(&f), 0);
    m->f = f;
    assert_int_equal(cluster_open(m->f->store, &m->cluster, &msg), 0);
    *state = m;
    return 0;
}

static int teardown_membership(void **state)
{
    struct membership *m = *state;
    void *f = m->f;

    cluster_close(m->cluster);
    free(m);
    return teardown(&f);
}

static void reopen(struct membership *m)
{
    struct errmsg msg;

    cluster_close(m->cluster);
    mark(m->f);
    reopen_store(m->f);
    assert_int_equal(cluster_open(m->f->store, &m->cluster, &msg), 0);
}

static int change(struct membership *m, enum cluster_change_type type,
                  uint64_t id, const char *context)
{
    struct cluster_change c = {type, id,
                               context ? text(context) : bytes_of(NULL, 0)};
    int rc = cluster_check(m->cluster, &c, 1);

    if (rc == 0)
        cluster_apply(m->cluster, &c);
    return rc;
}

/* A member `id` at http://m<id>:1; started: it has a name. */
static void have(struct membership *m, uint64_t id, bool learner, bool started)
{
    char json[128];
    char *const urls[] = {NULL};

    snprintf(json, sizeof(json),
             "{\"id\":%d,\"peerURLs\":[\"http://m%d:1\"]%s}", (int)id, (int)id,
             learner ? ",\"isLearner\":true" : "");
    assert_int_equal(
        change(m, learner ? CLUSTER_ADD_LEARNER : CLUSTER_ADD, id, json), 0);
    if (started)
        cluster_set_attributes(m->cluster, id, "n", urls);
}

static const struct cluster_member *get(const struct membership *m, uint64_t id)
{
    const struct cluster_member *member = cluster_find(m->cluster, id);

    assert_non_null(member);
    return member;
}

/* ---- one after the other ---- */

static void test_add(void **state)
{
    struct membership *m = *state;

    have(m, 5, false, true);
    assert_int_equal(
        change(m, CLUSTER_ADD, 5, "{\"id\":5,\"peerURLs\":[\"http://x:1\"]}"),
        ERR_MEMBER_EXISTS);
    assert_int_equal(
        change(m, CLUSTER_ADD, 6,
               "{\"id\":6,\"peerURLs\":[\"http://x:1\",\"http://m5:1\"]}"),
        ERR_PEER_URL_EXISTS);
    /* The change and what describes it name different members. */
    assert_int_equal(
        change(m, CLUSTER_ADD, 6, "{\"id\":7,\"peerURLs\":[\"http://x:1\"]}"),
        ERR_INVALID);
    assert_int_equal(change(m, CLUSTER_ADD, 6, "{\"id\":6"), ERR_INVALID);
    have(m, 6, false, false);
    reopen(m);
    assert_string_equal(get(m, 6)->peer_urls[0], "http://m6:1");
}

static void test_learners(void **state)
{
    struct membership *m = *state;

    have(m, 5, false, true);
    have(m, 6, true, true);
    assert_true(get(m, 6)->is_learner);
    assert_int_equal(change(m, CLUSTER_ADD_LEARNER, 7,
                            "{\"id\":7,\"peerURLs\":[\"http://x:1\"],"
                            "\"isLearner\":true}"),
                     ERR_TOO_MANY_LEARNERS);
    /* A voter is none too many. */
    have(m, 7, false, false);
}

static void test_promote(void **state)
{
    struct membership *m = *state;
    char *six = cluster_promote_json(6);
    char *five = cluster_promote_json(5);
    char *nine = cluster_promote_json(9);

    assert_string_equal(six, "{\"id\":6,\"peerURLs\":null,\"isPromote\":true}");
    have(m, 5, false, true);
    have(m, 6, true, true);
    assert_int_equal(change(m, CLUSTER_ADD, 9, nine), ERR_MEMBER_NOT_FOUND);
    assert_int_equal(change(m, CLUSTER_ADD, 5, five), ERR_NOT_LEARNER);
    assert_int_equal(change(m, CLUSTER_ADD, 6, six), 0);
    reopen(m);
    assert_false(get(m, 6)->is_learner);
    assert_string_equal(get(m, 6)->peer_urls[0], "http://m6:1");
    assert_string_equal(get(m, 6)->name, "n");
    assert_int_equal(change(m, CLUSTER_ADD, 6, six), ERR_NOT_LEARNER);
    free(six);
    free(five);
    free(nine);
}

static void test_remove(void **state)
{
    struct membership *m = *state;

    have(m, 5, false, true);
    have(m, 0x6a, false, true);
    assert_int_equal(change(m, CLUSTER_REMOVE, 7, NULL), ERR_MEMBER_NOT_FOUND);
    assert_int_equal(change(m, CLUSTER_REMOVE, 0x6a, NULL), 0);
    assert_null(cluster_find(m->cluster, 0x6a));
    reopen(m);
    assert_null(cluster_find(m->cluster, 0x6a));
    assert_true(cluster_is_removed(m->cluster, 0x6a));
    assert_false(cluster_is_removed(m->cluster, 5));
    assert_value(m->f, STORE_MEMBERS_REMOVED, "6a", "removed");
    assert_missing(m->f, STORE_MEMBERS, "6a");
    /* An id is never used again, its URLs may be. */
    assert_int_equal(change(m, CLUSTER_ADD, 0x6a,
                            "{\"id\":106,\"peerURLs\":[\"http://z:1\"]}"),
                     ERR_MEMBER_NOT_FOUND);
    assert_int_equal(change(m, CLUSTER_REMOVE, 0x6a, NULL),
                     ERR_MEMBER_NOT_FOUND);
    assert_int_equal(change(m, CLUSTER_ADD, 7,
                            "{\"id\":7,\"peerURLs\":[\"http://m106:1\"]}"),
                     0);
}

static void test_update(void **state)
{
    struct membership *m = *state;

    have(m, 5, false, true);
    have(m, 6, true, true);
    assert_int_equal(change(m, CLUSTER_UPDATE, 9,
                            "{\"id\":9,\"peerURLs\":[\"http://y:1\"]}"),
                     ERR_MEMBER_NOT_FOUND);
    assert_int_equal(change(m, CLUSTER_UPDATE, 6,
                            "{\"id\":6,\"peerURLs\":[\"http://m5:1\"]}"),
                     ERR_PEER_URL_EXISTS);
    /* Its own may stay; nothing else of it changes. */
    assert_int_equal(change(m, CLUSTER_UPDATE, 6,
                            "{\"id\":6,\"peerURLs\":[\"http://m6:1\",\"junk\"],"
                            "\"name\":\"other\"}"),
                     0);
    reopen(m);
    assert_string_equal(get(m, 6)->peer_urls[1], "junk");
    assert_string_equal(get(m, 6)->name, "n");
    assert_true(get(m, 6)->is_learner);
}

/* ---- strict reconfiguration ---- */

/* So many voters, the first `started` of them started. */
static void have_voters(struct membership *m, uint64_t n, uint64_t started)
{
    for (uint64_t id = 1; id <= n; id++)
        have(m, id, false, id <= started);
}

static void test_may_add_voter(void **state)
{
    static const struct {
        uint64_t voters;
        uint64_t started;
        bool may;
    } cases[] = {
        {1, 1, true},  {1, 0, false}, {2, 1, false}, {2, 2, true},
        {3, 2, false}, {3, 3, true},  {4, 3, true},  {5, 3, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        void *inner;
        assert_int_equal(setup_membership(&inner), 0);
        have_voters(inner, cases[i].voters, cases[i].started);
        have(inner, 90, true, false); /* a learner counts for nothing */
        assert_int_equal(
            cluster_may_add_voter(((struct membership *)inner)->cluster),
            cases[i].may);
        teardown_membership(&inner);
    }
    (void)state;
}

static void test_may_remove_voter(void **state)
{
    struct membership *m = *state;

    have_voters(m, 1, 1);
    assert_false(cluster_may_remove_voter(m->cluster, 1));
    have(m, 2, false, false);
    /* Of one started and one that isn't, the latter may go. */
    assert_true(cluster_may_remove_voter(m->cluster, 2));
    assert_false(cluster_may_remove_voter(m->cluster, 1));
    have(m, 3, false, true);
    assert_true(cluster_may_remove_voter(m->cluster, 2));
    assert_false(cluster_may_remove_voter(m->cluster, 1));
}

static void test_may_promote(void **state)
{
    struct membership *m = *state;

    have_voters(m, 1, 1);
    have(m, 90, true, false);
    assert_true(cluster_may_promote(m->cluster));
    have(m, 2, false, false);
    assert_true(cluster_may_promote(m->cluster));
    have(m, 3, false, false);
    assert_false(cluster_may_promote(m->cluster));
}

/* ---- lists and the old store ---- */

static void test_list(void **state)
{
    struct cluster_list list;
    char *json;

    (void)state;
    assert_int_equal(
        cluster_list_read(
            text("[{\"id\":9,\"peerURLs\":[\"http://b:1\"],\"name\":\"b\","
                 "\"clientURLs\":[\"http://c:1\"]},{\"id\":3,\"peerURLs\":"
                 "[\"http://a:1\"],\"isLearner\":true}]\n"),
            &list),
        0);
    assert_int_equal(list.n, 2);
    assert_int_equal(list.members[0].id, 3);
    assert_true(list.members[0].is_learner);
    assert_string_equal(list.members[1].name, "b");
    json = cluster_list_json(list.members, list.n);
    assert_string_equal(
        json, "[{\"id\":3,\"peerURLs\":[\"http://a:1\"],\"isLearner\":true},"
              "{\"id\":9,\"peerURLs\":[\"http://b:1\"],\"name\":\"b\","
              "\"clientURLs\":[\"http://c:1\"]}]\n");
    free(json);
    cluster_list_close(&list);
    json = cluster_list_json(NULL, 0);
    assert_string_equal(json, "null\n");
    free(json);
}

static void test_bad_lists(void **state)
{
    static const char *const bad[] = {
        "", "{}", "[", "[7]", "[{\"peerURLs\":[]}]", "[{\"id\":1},{\"id\":",
    };
    struct cluster_list list;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(cluster_list_read(text(bad[i]), &list), ERR_INVALID);
        assert_null(list.members);
    }
}

/* What etcd 3.7's GetMembershipInfoInV2Format says of these members, without
 * its history of events. */
static void test_v2_store(void **state)
{
    struct membership *m = *state;
    char *const urls[] = {(char[]){"http://c:1"}, NULL};
    char *json;

    assert_int_equal(change(m, CLUSTER_ADD, 0x8e,
                            "{\"id\":142,\"peerURLs\":[\"http://a:1&x\"]}"),
                     0);
    cluster_set_attributes(m->cluster, 0x8e, "n1", urls);
    have(m, 0x12, true, false);
    have(m, 0x13, false, false);
    assert_int_equal(change(m, CLUSTER_REMOVE, 0x13, NULL), 0);
    cluster_set_version(m->cluster, "3.7.0");
    json = cluster_v2_store(m->cluster);
#define TIMES(n)                                                               \
    "\"CreatedIndex\":" #n ",\"ModifiedIndex\":" #n                            \
    ",\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":"
    assert_string_equal(
        json,
        "{\"Root\":{\"Path\":\"/\"," TIMES(
            0) "\"\",\"Children\":{\"0\":{\"Path\":\"/"
               "0\"," TIMES(
                   0) "\"\","
                      "\"Children\":{\"members\":{"
                      "\"Path\":\"/0/members\"," TIMES(
                          1) "\"\","
                             "\"Children\":{\"12\":{"
                             "\"Path\":\"/0/members/"
                             "12\"," TIMES(
                                 1) "\"\","
                                    "\"Children\":{"
                                    "\"raftAttributes"
                                    "\":{\"Path\":"
                                    "\"/0/members/12/"
                                    "raftAttributes\""
                                    "," TIMES(
                                        1) "\"{"
                                           "\\\"peerUR"
                                           "Ls\\\":["
                                           "\\\"http:/"
                                           "/m18:"
                                           "1\\\"],"
                                           "\\\"isLear"
                                           "ner\\\":"
                                           "true}\","
                                           "\"Children"
                                           "\":null}}}"
                                           ","
                                           "\"8e\":{"
                                           "\"Path\":"
                                           "\"/0/"
                                           "members/"
                                           "8e\""
                                           "," TIMES(
                                               2) "\""
                                                  "\","
                                                  "\"C"
                                                  "hil"
                                                  "dre"
                                                  "n\""
                                                  ":{"
                                                  "\"r"
                                                  "aft"
                                                  "Att"
                                                  "rib"
                                                  "ute"
                                                  "s\""
                                                  ":{"
                                                  "\"P"
                                                  "ath"
                                                  "\":"
                                                  "\"/"
                                                  "0/"
                                                  "mem"
                                                  "ber"
                                                  "s/"
                                                  "8e/"
                                                  "raf"
                                                  "tAt"
                                                  "tri"
                                                  "but"
                                                  "es"
                                                  "\""
                                                  "," TIMES(
                                                      2) "\"{\\\"peerURLs\\\":["
                                                         "\\\"http://"
                                                         "a:1\\\\u0026x\\\"]}"
                                                         "\","
                                                         "\"Children\":null},"
                                                         "\"attributes\":{"
                                                         "\"Path\":"
                                                         "\"/0/members/8e/"
                                                         "attributes\"," TIMES(
                                                             3) "\"{"
                                                                "\\\"name\\\":"
                                                                "\\\"n1\\\","
                                                                "\\\"clientURLs"
                                                                "\\\":["
                                                                "\\\"http://"
                                                                "c:1\\\"]}\","
                                                                "\"Children\":"
                                                                "null}}}}},"
                                                                "\"removed_"
                                                                "members\":{"
                                                                "\"Path\":"
                                                                "\"/0/"
                                                                "removed_"
                                                                "members\""
                                                                "," TIMES(
                                                                    4) "\"\","
                                                                       "\"Child"
                                                                       "ren\":{"
                                                                       "\"13\":"
                                                                       "{"
                                                                       "\"Path"
                                                                       "\":\"/"
                                                                       "0/"
                                                                       "removed"
                                                                       "_member"
                                                                       "s/"
                                                                       "13\""
                                                                       "," TIMES(
                                                                           4) "\"\",\"Children\":"
                                                                              "null}}},\"version\":{\"Path\":\"/0/version\"," TIMES(
                                                                                  5) "\"3.7.0\","
                                                                                     "\"Children\":null}}},\"1\":{\"Path\":\"/1\"," TIMES(
                                                                                         0) "\"\","
                                                                                            "\"Children\":{}}}},\"CurrentIndex\":5,\"CurrentVersion\":2}");
    free(json);
}

#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, setup_membership, teardown_membership)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_add),
        TEST(test_learners),
        TEST(test_promote),
        TEST(test_remove),
        TEST(test_update),
        cmocka_unit_test(test_may_add_voter),
        TEST(test_may_remove_voter),
        TEST(test_may_promote),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_bad_lists),
        TEST(test_v2_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
