/* What is read from the store at a start: members, raft's configuration,
 * leases, alarms. The input is a row of records: a byte that names the bucket,
 * lengths of key and value, both. */
#include "chorad/alarm.h"
#include "chorad/cluster.h"
#include "chorad/lease.h"
#include "fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

static struct bytes take(struct input *in, size_t len)
{
    struct bytes b;

    if (len > in->left)
        len = in->left;
    b = bytes_of(in->at, len);
    in->at += len;
    in->left -= len;
    return b;
}

static void fill(struct store *store, struct input in)
{
    static const enum store_bucket buckets[] = {
        STORE_MEMBERS, STORE_MEMBERS_REMOVED, STORE_CLUSTER,
        STORE_META,    STORE_LEASE,           STORE_ALARM,
    };

    while (in.left >= 3) {
        struct bytes head = take(&in, 3);
        struct bytes key = take(&in, head.data[1]);
        struct bytes value = take(&in, head.data[2]);
        if (key.len == 0)
            continue;
        store_put(store, buckets[head.data[0] % 6], key, value);
    }
    store_mark(store, 1, 1);
}

static void read_cluster(struct store *store)
{
    struct cluster *cluster;
    struct errmsg msg;
    uint64_t *voters;
    uint64_t *learners;
    size_t n_voters;
    size_t n_learners;
    size_t n;

    if (cluster_open(store, &cluster, &msg) < 0) {
        CHECK(msg.text[0]);
        return;
    }
    const struct cluster_member *members = cluster_members(cluster, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(i == 0 || members[i - 1].id < members[i].id);
        char *json = cluster_member_json(&members[i]);
        struct cluster_change change = {CLUSTER_ADD, members[i].id,
                                        bytes_of(json, strlen(json))};
        CHECK(cluster_check(cluster, &change, n) < 0);
        free(json);
    }
    free(cluster_v2_store(cluster));
    (void)cluster_follow_version(cluster);
    if (cluster_load_conf_state(cluster, &voters, &n_voters, &learners,
                                &n_learners) == 0) {
        cluster_save_conf_state(cluster, voters, n_voters, learners,
                                n_learners);
        free(voters);
        free(learners);
    }
    cluster_close(cluster);
}

static void read_leases(struct store *store)
{
    struct lessor *lessor;
    struct arena arena = {0};
    struct errmsg msg;
    int64_t *ids;
    size_t n;

    if (lessor_open(store, 2, &lessor, &msg) < 0)
        return;
    lessor_promote(lessor, UINT64_C(1) << 50, 1000000000);
    lessor_list(lessor, &arena, &ids, &n);
    for (size_t i = 0; i < n; i++) {
        struct lease_info info;
        CHECK(lessor_info(lessor, ids[i], UINT64_C(1) << 50, &info) == 0);
        CHECK(info.remaining_ns > 0);
    }
    arena_close(&arena);
    lessor_close(lessor);
}

static void read_alarms(struct store *store)
{
    struct alarms *alarms;
    struct alarm list[8];
    struct errmsg msg;

    if (alarms_open(store, &alarms, &msg) < 0)
        return;
    size_t n = alarms_list(alarms, ALARM_NONE, list, 8);
    for (size_t i = 0; i < n && i < 8; i++)
        CHECK(alarms_deactivate(alarms, list[i]));
    alarms_close(alarms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_store s = {{0}};

    fuzz_store_open(&s);
    fill(s.store, (struct input){data, size});
    /* With all of it written. */
    store_stop(s.store);
    store_close(s.store);
    fuzz_store_open(&s);
    read_cluster(s.store);
    read_leases(s.store);
    read_alarms(s.store);
    store_stop(s.store);
    store_close(s.store);
    fuzz_store_remove(&s);
    return 0;
}
