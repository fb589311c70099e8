/* The database becomes a store: all records as they are, then what the log's
 * replay needs to find. */
#include "internal.h"

#include "chorad/base/headway.h"
#include "chorad/base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conversion {
    struct store *store;
    const struct wal_contents *log;
    const struct roster *history;
};

static int tell(void *arg, const struct snapshot_progress *at)
{
    headway_at(arg, at->done, at->total, at->records);
    return 0;
}

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static int delete_meta(void *arg, struct bytes key, struct bytes value)
{
    (void)value;
    store_delete(arg, STORE_MEMBERS, key);
    return 0;
}

static int delete_removed(void *arg, struct bytes key, struct bytes value)
{
    (void)value;
    store_delete(arg, STORE_MEMBERS_REMOVED, key);
    return 0;
}

static void put_members(struct store *store, const struct roster *m)
{
    char key[17];

    for (size_t i = 0; i < m->n; i++) {
        char *json = cluster_member_json(&m->members[i]);

        (void)snprintf(key, sizeof(key), "%" PRIx64, m->members[i].id);
        (void)store_put(store, STORE_MEMBERS, text(key), text(json));
        free(json);
    }
    for (size_t i = 0; i < m->n_removed; i++) {
        (void)snprintf(key, sizeof(key), "%" PRIx64, m->removed[i]);
        (void)store_put(store, STORE_MEMBERS_REMOVED, text(key),
                        text("removed"));
    }
    if (m->version)
        (void)store_put(store, STORE_CLUSTER, text("clusterVersion"),
                        text(m->version));
}

static int replace_members(struct conversion *c)
{
    int rc = store_load(c->store, STORE_MEMBERS, delete_meta, c->store);

    if (rc == 0)
        rc = store_load(c->store, STORE_MEMBERS_REMOVED, delete_removed,
                        c->store);
    if (rc == 0)
        put_members(c->store, c->history);
    return rc;
}

static int compare_members(const void *a, const void *b)
{
    const struct cluster_member *x = a;
    const struct cluster_member *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static void save_conf_state(struct cluster *cluster,
                            const struct cluster_member *members, size_t n)
{
    uint64_t *voters = mem_alloc((n + 1) * sizeof(uint64_t));
    uint64_t *learners = mem_alloc((n + 1) * sizeof(uint64_t));
    size_t n_voters = 0;
    size_t n_learners = 0;

    for (size_t i = 0; i < n; i++) {
        if (members[i].is_learner)
            learners[n_learners++] = members[i].id;
        else
            voters[n_voters++] = members[i].id;
    }
    cluster_save_conf_state(cluster, voters, n_voters, learners, n_learners);
    free(voters);
    free(learners);
}

/* Raft's configuration follows from the members (source: etcd 3.7, which
 * doesn't read its own record of it). */
static int put_conf_state(struct conversion *c, struct errmsg *msg)
{
    const struct roster *history = c->history;
    const struct cluster_member *members;
    struct cluster *cluster;
    size_t n;
    int rc = cluster_open(c->store, &cluster, msg);

    if (rc < 0)
        return rc;
    members = cluster_members(cluster, &n);
    if (history) {
        members = history->members;
        n = history->n;
        if (n > 1)
            qsort(history->members, n, sizeof(members[0]), compare_members);
    }
    save_conf_state(cluster, members, n);
    cluster_close(cluster);
    return 0;
}

/* That of the entry; etcd before 3.5 didn't keep it. */
static uint64_t term_of(const struct wal_contents *log, uint64_t index)
{
    if (index <= log->snapshot.index)
        return log->snapshot.term;
    return log->entries[index - log->snapshot.index - 1].term;
}

static int finish(struct conversion *c, const char *dir, uint64_t index,
                  struct errmsg *msg)
{
    struct store_config config = {.dir = dir};
    int rc = store_open(&config, &c->store, msg);

    if (rc < 0)
        return rc;
    rc = put_conf_state(c, msg);
    if (rc == 0 && c->history) {
        rc = replace_members(c);
        if (rc < 0)
            (void)err_set(msg, rc, "%s: the members: %s", dir, err_text(rc));
    }
    if (rc == 0) {
        store_mark(c->store, index, term_of(c->log, index));
        rc = store_flush_wait(c->store);
        if (rc < 0)
            (void)err_set(msg, rc, "%s: write: %s", dir, err_text(rc));
    }
    store_close(c->store);
    return rc;
}

int takeover_convert(const struct database *db, const char *dir,
                     const struct wal_contents *log,
                     const struct roster *history, struct errmsg *msg)
{
    struct conversion c = {.log = log, .history = history};
    struct headway headway;
    struct snapshot_build build = {
        .file = {db->fd, db->path},
        .dir = dir,
        .progress = tell,
        .arg = &headway,
    };
    struct snapshot_info info;
    int rc;

    headway_begin(&headway, headway_way(HEADWAY_LOG),
                  "taking over the database");
    rc = snapshot_build(&build, &info, msg);
    headway_end(&headway);
    return rc == 0 ? finish(&c, dir, info.index, msg) : rc;
}
