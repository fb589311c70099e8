/* Versions: reading, deciding, and what the store keeps of them. The cases of
 * the decision are those of etcd 3.7's version monitor. */
#include "chorad/cluster.h"
#include "test_store.h"

#include <stdio.h>

static struct cluster_semver version(const char *text)
{
    struct cluster_semver v;

    assert_int_equal(cluster_semver_read(text, &v), 0);
    return v;
}

/* ---- pure ---- */

static void test_read(void **state)
{
    static const char *const bad[] = {
        "",       "3",      "3.7",    "3.7.",  "a.b.c",           "3.7.1.2",
        "03.7.1", "3.07.1", "-3.7.1", "3.7.x", "99999999999.0.0", " 3.7.1",
    };
    struct cluster_semver v = version("3.7.12");

    (void)state;
    assert_int_equal(v.major, 3);
    assert_int_equal(v.minor, 7);
    assert_int_equal(v.patch, 12);
    assert_int_equal(version("3.8.0-rc.1+git").minor, 8);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(cluster_semver_read(bad[i], &v), ERR_INVALID);
}

static void test_compare(void **state)
{
    static const char *const rising[] = {"2.9.9", "3.0.0", "3.0.1", "3.10.0",
                                         "4.0.0"};

    (void)state;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            int sign =
                cluster_semver_compare(version(rising[i]), version(rising[j]));
            assert_int_equal((sign > 0) - (sign < 0), (i > j) - (i < j));
        }
}

static void test_decide(void **state)
{
    static const struct {
        const char *cluster;
        const char *lowest;
        const char *downgrade;
        const char *want; /* NULL: stays */
    } cases[] = {
        {NULL, "3.7.1", NULL, "3.7.0"},
        {NULL, "3.6.5", NULL, "3.6.0"},
        {NULL, NULL, NULL, "3.0.0"},
        {"3.7.0", "3.7.1", NULL, NULL},
        {"3.7.0", NULL, NULL, NULL},
        {"3.7.0", "3.6.5", NULL, NULL}, /* never back by itself */
        {"3.6.0", "3.7.1", NULL, "3.7.0"},
        {"3.0.0", "3.7.1", NULL, "3.7.0"},
        {"3.7.0", "4.0.0", NULL, NULL},
        {"3.7.0", "3.7.1", "3.6.0", "3.6.0"},
        {"3.6.0", "3.7.1", "3.6.0", NULL}, /* reached */
        {"3.6.0", "3.6.5", "3.6.0", NULL},
        {"3.7.0", "3.7.1", "3.5.0", NULL},
        {"3.7.0", "3.6.5", "3.6.0", NULL},
        {"3.7.0", NULL, "3.6.0", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cluster_semver lowest = {0};
        struct cluster_semver out;
        struct cluster_version_view view = {
            .cluster = cases[i].cluster,
            .lowest = cases[i].lowest ? &lowest : NULL,
            .downgrade = cases[i].downgrade,
        };
        char text[64] = "";

        if (cases[i].lowest)
            lowest = version(cases[i].lowest);
        if (cluster_decide_version(&view, &out))
            snprintf(text, sizeof(text), "%d.%d.%d", (int)out.major,
                     (int)out.minor, (int)out.patch);
        assert_string_equal(text, cases[i].want ? cases[i].want : "");
    }
}

static void test_downgrade_target(void **state)
{
    struct cluster_semver v;

    (void)state;
    assert_int_equal(cluster_downgrade_read("3.6", &v), 0);
    assert_true(cluster_downgrade_allowed("3.7.0", v));
    assert_false(cluster_downgrade_allowed("3.6.0", v));
    assert_int_equal(cluster_downgrade_read("3.6.9", &v), 0);
    assert_int_equal(v.patch, 0);
    assert_int_equal(cluster_downgrade_read("3.5.0", &v), 0);
    assert_false(cluster_downgrade_allowed("3.7.0", v));
    assert_int_equal(cluster_downgrade_read("bogus", &v), ERR_DOWNGRADE_FORMAT);
    assert_int_equal(cluster_downgrade_read("", &v), ERR_DOWNGRADE_FORMAT);
}

static void test_supported(void **state)
{
    (void)state;
    assert_true(cluster_is_supported("3.0.0"));
    assert_true(cluster_is_supported("3.7.0"));
    assert_false(cluster_is_supported("3.8.0"));
    assert_false(cluster_is_supported("4.0.0"));
    assert_false(cluster_is_supported("new"));
}

/* ---- kept ---- */

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

static void test_storage_follows(void **state)
{
    struct fixture *f = *state;
    struct cluster *cluster = open_cluster(f);

    assert_null(cluster_version(cluster));
    assert_null(cluster_storage_version(cluster));
    assert_false(cluster_follow_version(cluster));
    cluster_set_version(cluster, "3.0.0");
    assert_false(cluster_follow_version(cluster));
    assert_null(cluster_storage_version(cluster));
    cluster_set_version(cluster, "3.7.0");
    assert_true(cluster_follow_version(cluster));
    assert_false(cluster_follow_version(cluster));
    cluster = reopen_cluster(f, cluster);
    assert_string_equal(cluster_version(cluster), "3.7.0");
    assert_string_equal(cluster_storage_version(cluster), "3.7.0");
    assert_value(f, STORE_CLUSTER, "clusterVersion", "3.7.0");
    assert_value(f, STORE_META, "storageVersion", "3.7.0");
    cluster_set_version(cluster, "3.6.0");
    assert_true(cluster_follow_version(cluster));
    cluster = reopen_cluster(f, cluster);
    assert_string_equal(cluster_storage_version(cluster), "3.6.0");
    /* 3.5 had no such record. */
    cluster_set_version(cluster, "3.5.0");
    assert_true(cluster_follow_version(cluster));
    cluster = reopen_cluster(f, cluster);
    assert_null(cluster_storage_version(cluster));
    assert_false(cluster_follow_version(cluster));
    /* Not known how to. */
    cluster_set_version(cluster, "3.4.0");
    assert_false(cluster_follow_version(cluster));
    cluster_close(cluster);
}

static void test_downgrade(void **state)
{
    struct fixture *f = *state;
    struct cluster *cluster = open_cluster(f);

    assert_null(cluster_downgrade(cluster));
    cluster_set_downgrade(cluster, "3.6.0");
    cluster = reopen_cluster(f, cluster);
    assert_string_equal(cluster_downgrade(cluster), "3.6.0");
    assert_value(f, STORE_CLUSTER, "downgrade",
                 "{\"target-version\":\"3.6.0\",\"enabled\":true}");
    cluster_set_downgrade(cluster, NULL);
    cluster = reopen_cluster(f, cluster);
    assert_null(cluster_downgrade(cluster));
    assert_value(f, STORE_CLUSTER, "downgrade",
                 "{\"target-version\":\"\",\"enabled\":false}");
    cluster_close(cluster);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_decide),
        cmocka_unit_test(test_downgrade_target),
        cmocka_unit_test(test_supported),
        TEST(test_storage_follows),
        TEST(test_downgrade),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
