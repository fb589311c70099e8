/* What the store holds besides keys. */
#include "check.h"

#include "chorad/alarm.h"
#include "chorad/base/be.h"
#include "chorad/base/pb.h"
#include "chorad/cluster.h"
#include "chorad/lease.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- users and roles: their first field is their name ----------------------
 */

struct named {
    struct check *check;
    enum store_bucket bucket;
};

static int visit_named(void *arg, struct bytes key, struct bytes value)
{
    struct named *n = arg;
    struct pb_reader r = {value.data, value.data + value.len};
    struct bytes name = {0};
    struct pb_field f;
    int rc;

    while ((rc = pb_next(&r, &f)) > 0)
        if (f.number == 1 && f.wire == PB_LEN)
            name = f.bytes;
    if (rc < 0 || bytes_cmp(name, key) != 0)
        check_found(n->check, "bucket %s, %.*s: the record is another one's",
                    store_bucket_name(n->bucket), (int)key.len,
                    (const char *)key.data);
    return 0;
}

static void check_named(struct check *c, enum store_bucket bucket)
{
    struct named n = {c, bucket};
    int err = store_load(c->place.store, bucket, visit_named, &n);

    if (err != 0)
        check_found(c, "bucket %s: %s", store_bucket_name(bucket),
                    err_text(err));
}

/* ---- what modules read at a start ------------------------------------------
 */

static void check_members(struct check *c)
{
    const struct cluster_member *members;
    struct errmsg msg = {""};
    struct cluster *cluster;
    uint64_t *voters;
    uint64_t *learners;
    size_t n_voters;
    size_t n_learners;
    size_t n;
    int err = cluster_open(c->place.store, &cluster, &msg);

    if (err != 0) {
        check_found(c, "%s", msg.text);
        return;
    }
    members = cluster_members(cluster, &n);
    err = cluster_load_conf_state(cluster, &voters, &n_voters, &learners,
                                  &n_learners);
    if (err != 0)
        check_found(c, "bucket meta, confState: %s", err_text(err));
    else if (n_voters + n_learners != n)
        check_found(c,
                    "bucket members has %zu members, Raft's configuration "
                    "%zu voters and %zu learners",
                    n, n_voters, n_learners);
    for (size_t i = 0; i < n_voters; i++)
        if (!cluster_find(cluster, voters[i]))
            check_found(c, "voter %" PRIx64 " isn't in bucket members",
                        voters[i]);
    (void)members;
    free(voters);
    free(learners);
    cluster_close(cluster);
}

static void check_leases(struct check *c)
{
    struct errmsg msg = {""};
    struct lessor *lessor;

    if (lessor_open(c->place.store, 1, &lessor, &msg) != 0)
        check_found(c, "%s", msg.text);
    else
        lessor_close(lessor);
}

static void check_alarms(struct check *c)
{
    struct errmsg msg = {""};
    struct alarms *alarms;

    if (alarms_open(c->place.store, &alarms, &msg) != 0)
        check_found(c, "%s", msg.text);
    else
        alarms_close(alarms);
}

void check_buckets(struct check *c)
{
    check_members(c);
    check_leases(c);
    check_alarms(c);
    check_named(c, STORE_AUTH_USERS);
    check_named(c, STORE_AUTH_ROLES);
}
