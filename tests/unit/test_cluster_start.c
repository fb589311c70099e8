/* The cluster a member begins in. The ids are those that three etcd 3.7.3 have
 * given themselves with these names, URLs and tokens. */
#include "chorad/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID1 UINT64_C(0x69b38ac7138de88d)
#define ID2 UINT64_C(0x9e737febb6b99eee)
#define ID3 UINT64_C(0x61f97220ab052a12)
#define CLUSTER UINT64_C(0xf2cb1557076fcb4d)

static const char *const url1[] = {"http://127.0.0.1:21380", NULL};
static const char *const url2[] = {"http://127.0.0.1:22380", NULL};
static const char *const url3[] = {"http://127.0.0.1:23380", NULL};

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static void add_three(struct cluster_start *start)
{
    assert_int_equal(cluster_start_add(start, "m1", url1, "etcd-cluster", NULL),
                     0);
    assert_int_equal(cluster_start_add(start, "m2", url2, "etcd-cluster", NULL),
                     0);
    assert_int_equal(cluster_start_add(start, "m3", url3, "etcd-cluster", NULL),
                     0);
}

static void test_new(void **state)
{
    struct cluster_start start = {0};

    (void)state;
    add_three(&start);
    assert_int_equal(cluster_start_finish(&start, "m2"), 0);
    assert_int_equal(start.self, ID2);
    assert_int_equal(start.cluster_id, CLUSTER);
    assert_false(start.join);
    assert_int_equal(start.list.n, 3);
    assert_int_equal(start.list.members[0].id, ID3);
    assert_int_equal(start.list.members[1].id, ID1);
    assert_int_equal(start.list.members[2].id, ID2);
    assert_string_equal(start.list.members[0].name, "m3");
    assert_int_equal(cluster_start_finish(&start, "m4"), ERR_NOTFOUND);
    cluster_start_close(&start);
}

static void test_token(void **state)
{
    struct cluster_start start = {0};

    (void)state;
    assert_int_equal(cluster_start_add(&start, "m1", url1, "other", NULL), 0);
    assert_int_equal(cluster_start_finish(&start, "m1"), 0);
    assert_int_not_equal(start.self, ID1);
    cluster_start_close(&start);
}

static void test_twice(void **state)
{
    struct cluster_start start = {0};
    struct errmsg msg;

    (void)state;
    add_three(&start);
    assert_int_equal(
        cluster_start_add(&start, "m4", url2, "etcd-cluster", &msg),
        ERR_EXISTS);
    assert_non_null(strstr(msg.text, "identical ID 9e737febb6b99eee"));
    cluster_start_close(&start);
}

/* ---- joining ---- */

static bool equal_texts(void *arg, char *const *a, char *const *b,
                        struct errmsg *why)
{
    (void)arg;
    if (strcmp(a[0], b[0]) == 0)
        return true;
    err_set(why, ERR_INVALID, "%s isn't %s", a[0], b[0]);
    return false;
}

static struct cluster_list running(const char *json)
{
    struct cluster_list list;

    assert_int_equal(cluster_list_read(text(json), &list), 0);
    return list;
}

static void test_join(void **state)
{
    struct cluster_start start = {0};
    struct cluster_list list =
        running("[{\"id\":7,\"peerURLs\":[\"http://127.0.0.1:23380\"]},"
                "{\"id\":8,\"peerURLs\":[\"http://127.0.0.1:21380\"],"
                "\"name\":\"m1\"},"
                "{\"id\":9,\"peerURLs\":[\"http://127.0.0.1:22380\"]}]");

    (void)state;
    add_three(&start);
    assert_int_equal(cluster_start_finish(&start, "m3"), 0);
    assert_int_equal(
        cluster_start_join(&start, &list, 99, equal_texts, NULL, NULL), 0);
    assert_true(start.join);
    assert_int_equal(start.self, 7);
    assert_int_equal(start.cluster_id, 99);
    assert_int_equal(start.list.members[0].id, 7);
    assert_string_equal(start.list.members[0].name, "m3");
    assert_int_equal(start.list.members[1].id, 8);
    assert_string_equal(start.list.members[1].name, "m1");
    cluster_start_close(&start);
    cluster_list_close(&list);
}

static void test_join_other(void **state)
{
    struct cluster_start start = {0};
    struct cluster_list two =
        running("[{\"id\":7,\"peerURLs\":[\"http://127.0.0.1:23380\"]},"
                "{\"id\":8,\"peerURLs\":[\"http://127.0.0.1:21380\"]}]");
    struct cluster_list other =
        running("[{\"id\":7,\"peerURLs\":[\"http://127.0.0.1:23380\"]},"
                "{\"id\":8,\"peerURLs\":[\"http://127.0.0.1:21380\"]},"
                "{\"id\":9,\"peerURLs\":[\"http://x:1\",\"http://y:1\"]}]");
    struct errmsg msg;

    (void)state;
    add_three(&start);
    assert_int_equal(cluster_start_finish(&start, "m3"), 0);
    assert_int_equal(
        cluster_start_join(&start, &two, 99, equal_texts, NULL, &msg),
        ERR_INVALID);
    assert_string_equal(msg.text, "member count is unequal");
    assert_int_equal(
        cluster_start_join(&start, &other, 99, equal_texts, NULL, &msg),
        ERR_INVALID);
    assert_non_null(strstr(msg.text,
                           "PeerURLs: no match found for existing member (9, "
                           "[http://x:1 http://y:1]), last resolver error ("));
    assert_false(start.join);
    cluster_start_close(&start);
    cluster_list_close(&two);
    cluster_list_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),        cmocka_unit_test(test_token),
        cmocka_unit_test(test_twice),      cmocka_unit_test(test_join),
        cmocka_unit_test(test_join_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
