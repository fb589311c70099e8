#include "chorad/base/clock.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/takeover.h"
#include "node.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_QUOTA ((uint64_t)2 << 30)
/* Entries in one append (source: etcd's maxSizePerMsg). */
#define MESSAGE_BYTES ((uint64_t)1 << 20)

static void on_flushed(void *arg, uint64_t seq)
{
    struct node *node = arg;

    if (node->mvcc)
        mvcc_flushed(node->mvcc, seq);
}

static void on_store_failed(void *arg, int err, const struct errmsg *msg)
{
    (void)err;
    node_fail(arg, "writing the store", msg->text);
}

static void on_corrupt(void *arg, enum store_bucket bucket, struct bytes key)
{
    struct node *node = arg;
    struct mvcc_rev rev;
    bool tombstone;

    if (bucket == STORE_KEY && mvcc_decode_rev(key, &rev, &tombstone) == 0)
        log_error("a damaged record was found in the store",
                  LOG_STR("bucket", store_bucket_name(bucket)),
                  LOG_I64("revision", rev.main), LOG_I64("sub", rev.sub));
    else
        log_error("a damaged record was found in the store",
                  LOG_STR("bucket", store_bucket_name(bucket)),
                  LOG_BYTES("key", key.data, key.len));
    if (node->apply)
        node_raise_alarm(node, ALARM_CORRUPT);
}

static void attach_lease(void *arg, int64_t lease, struct bytes key)
{
    struct node *node = arg;

    lessor_attach(node->lessor, lease, key);
}

static void on_changed(void *arg, int64_t rev,
                       const struct mvcc_change *changes, size_t n)
{
    struct node *node = arg;

    watch_feed_add(node->feed, rev, changes, n);
}

/* ---- the store and what is in it ---- */

struct store_config node_store_config(const struct node *node, const char *dir)
{
    const struct node_config *config = &node->config;
    uint64_t quota = node->quota_bytes;

    return (struct store_config){
        .dir = dir,
        .map_bytes = quota > ((uint64_t)16 << 30) ? quota * 4 : 0,
        .flush_interval_ns = config->flush_interval_ns,
        .flush_ops = config->flush_ops,
        .no_sync = config->unsafe_no_fsync,
    };
}

/* While nobody is served yet. A store that can't be copied is as good as it
 * was. */
static void defrag_at_start(const struct node *node)
{
    struct store_size size = store_size(node->store);
    uint64_t threshold = node->config.defrag_threshold_mib << 20;

    if (threshold == 0)
        return;
    if (size.file < size.in_use + threshold) {
        log_info("Skipping defragmentation",
                 LOG_U64("current-db-size-bytes", size.file),
                 LOG_U64("current-db-size-in-use-bytes", size.in_use),
                 LOG_U64("bootstrap-defrag-threshold-bytes", threshold));
        return;
    }
    (void)store_defrag(node->store, NULL); /* which logs what comes of it */
}

static int open_store(struct node *node, struct errmsg *msg)
{
    int64_t given = node->config.quota_bytes;
    struct store_config store;
    int rc;

    node->quota_bytes = given == 0  ? DEFAULT_QUOTA
                        : given < 0 ? 0
                                    : (uint64_t)given;
    store = node_store_config(node, node->kv_dir);
    store.flushed = on_flushed;
    store.failed = on_store_failed;
    store.arg = node;
    rc = store_open(&store, &node->store, msg);
    if (rc < 0)
        return rc;
    store_on_corrupt(node->store, on_corrupt, node);
    defrag_at_start(node);
    return 0;
}

/* A TTL below one and a half election timeouts could run out while there is no
 * leader to renew it (source: etcd). */
int64_t node_min_ttl_s(const struct node *node)
{
    return (int64_t)((node->config.election_ms * 3 / 2 + 999) / 1000);
}

static int open_auth(struct node *node, struct errmsg *msg)
{
    int rc = auth_open(node->store, node->config.auth_tokens,
                       node->config.bcrypt_cost, &node->auth, msg);

    if (rc == 0)
        node->config.auth_tokens = NULL;
    return rc;
}

/* What a new store begins with doesn't wait for the first entry to be written:
 * a snapshot may come before, and take the place of all that is on disk. */
static void mark_new_store(const struct node *node)
{
    uint64_t index;
    uint64_t term;

    store_consistent_index(node->store, &index, &term);
    if (index == 0)
        store_mark(node->store, index, term);
}

static int open_domain(struct node *node, struct errmsg *msg)
{
    struct mvcc_config mvcc = {node->config.compact_batch,
                               node->config.compact_pause_ns};
    int rc = lessor_open(node->store, node_min_ttl_s(node), &node->lessor, msg);

    if (rc == 0)
        rc = alarms_open(node->store, &node->alarms, msg);
    if (rc == 0)
        rc = cluster_open(node->store, &node->cluster, msg);
    if (rc == 0 && node->config.lease_checkpoint)
        lessor_enable_checkpoints(node->lessor);
    if (rc == 0)
        rc =
            mvcc_open(node->store, &mvcc, attach_lease, node, &node->mvcc, msg);
    if (rc == 0)
        rc = open_auth(node, msg);
    if (rc == 0)
        mark_new_store(node);
    return rc;
}

void node_open_apply(struct node *node)
{
    struct apply_config config = {
        .store = node->store,
        .mvcc = node->mvcc,
        .lessor = node->lessor,
        .cluster = node->cluster,
        .alarms = node->alarms,
        .auth = node->auth,
        .cluster_id = node->cluster_id,
        .member_id = node->member_id,
        .quota_bytes = node->quota_bytes,
        .checkpoint_persist = node->config.lease_checkpoint_persist,
        .changed = on_changed,
        .arg = node,
    };

    apply_free(node->apply);
    node->apply = apply_new(&config);
    apply_set_term(node->apply, node->term);
}

/* ---- the log ---- */

/* Where a member begins that has no log yet, or one in which nothing is: its
 * first start was cut off. */
static int ask_start(struct node *node, struct cluster_start *start,
                     struct errmsg *msg)
{
    if (start->self != 0)
        return 0;
    return node->config.start(node->config.arg, start, msg);
}

static int open_wal(struct node *node, struct wal_contents *contents,
                    struct cluster_start *start, struct errmsg *msg)
{
    struct wal_options options = {.unsafe_no_fsync =
                                      node->config.unsafe_no_fsync};
    struct wal_metadata metadata;
    int rc;

    if (wal_exists(node->wal_dir)) {
        rc = wal_open(&node->wal, node->wal_dir, &options, contents, msg);
        node->member_id = contents->metadata.node_id;
        node->cluster_id = contents->metadata.cluster_id;
        return rc;
    }
    rc = ask_start(node, start, msg);
    if (rc < 0)
        return rc;
    node->member_id = start->self;
    node->cluster_id = start->cluster_id;
    metadata = (struct wal_metadata){node->member_id, node->cluster_id};
    return wal_create(&node->wal, node->wal_dir, &options, &metadata, msg);
}

/* The configuration at what the store has applied. */
static int load_conf(struct node *node, struct errmsg *msg)
{
    struct raft_conf_state *conf = &node->conf;
    int rc = cluster_load_conf_state(node->cluster, &conf->voters.ids,
                                     &conf->voters.count, &conf->learners.ids,
                                     &conf->learners.count);

    return rc < 0 ? err_set(msg, rc, "the stored configuration is damaged") : 0;
}

static void log_raft_line(void *arg, enum raft_log_level level,
                          const char *line)
{
    static const enum log_level levels[] = {LOG_DEBUG, LOG_INFO, LOG_WARN,
                                            LOG_ERROR, LOG_FATAL};
    enum log_level at = levels[level];

    (void)arg;
    /* With several appends under way their acknowledgements overlap, which is
     * of no interest to an operator. */
    if (strstr(line, "missing from unstable log"))
        at = LOG_DEBUG;
    LOG_AT(at, line);
}

/* The first entries of a new cluster say who belongs to it: the same in the
 * logs of all its members. */
static int bootstrap(struct node *node, const struct cluster_start *start,
                     struct errmsg *msg)
{
    size_t n = start->list.n;
    struct raft_conf_change *changes = mem_zalloc(n * sizeof(*changes));
    char **contexts = mem_zalloc(n * sizeof(char *));
    int rc;

    for (size_t i = 0; i < n; i++) {
        contexts[i] = cluster_member_json(&start->list.members[i]);
        changes[i].v1 = true;
        changes[i].change_count = 1;
        changes[i].changes[0] = (struct raft_conf_single){
            RAFT_CONF_ADD_NODE, start->list.members[i].id};
        changes[i].context = bytes_of(contexts[i], strlen(contexts[i]));
    }
    rc = raft_bootstrap(node->raft, changes, n);
    for (size_t i = 0; i < n; i++)
        free(contexts[i]);
    free(contexts);
    free(changes);
    return rc < 0 ? err_set(msg, rc, "starting a new cluster: %s", err_text(rc))
                  : 0;
}

/* A log in which nothing is yet. The member that joins gets everything from the
 * others. */
static int begin(struct node *node, struct cluster_start *start,
                 struct errmsg *msg)
{
    int rc = ask_start(node, start, msg);

    if (rc < 0)
        return rc;
    if (start->self != node->member_id || start->cluster_id != node->cluster_id)
        return err_set(msg, ERR_INVALID,
                       "the first start in %s was cut off, and was for another "
                       "cluster or member: remove the directory",
                       node->config.data_dir);
    return start->join ? 0 : bootstrap(node, start, msg);
}

static int open_raft(struct node *node, const struct wal_contents *contents,
                     uint64_t applied, struct errmsg *msg)
{
    struct raft_config config;
    struct raft_snapshot *snapshot = NULL;
    struct raft_init init = {
        .hard_state = contents->hard_state,
        .base_index = contents->snapshot.index,
        .base_term = contents->snapshot.term,
        .conf_state = &node->conf,
        .entries = contents->entries,
        .entry_count = contents->entry_count,
        .applied = applied,
    };

    int rc;

    /* The commit index reaches the disk late, what was applied was
     * committed. */
    if (init.hard_state.commit < applied)
        init.hard_state.commit = applied;
    /* What snapshot_send.c puts in its place is newer. */
    if (contents->snapshot.index > 0)
        snapshot =
            raft_snapshot_new(contents->snapshot.index, contents->snapshot.term,
                              &node->conf, NULL);
    init.snapshot = snapshot;
    raft_config_init(&config);
    config.id = node->member_id;
    config.election_tick =
        (unsigned)(node->config.election_ms / node->config.heartbeat_ms);
    config.pre_vote = node->config.pre_vote;
    config.max_size_per_msg = MESSAGE_BYTES;
    config.seed = random_u64();
    config.log = log_raft_line;
    config.log_level =
        log_level() == LOG_DEBUG ? RAFT_LOG_DEBUG : RAFT_LOG_INFO;
    rc = raft_new(&node->raft, &config, &init, msg);
    raft_snapshot_unref(snapshot);
    return rc;
}

/* What the log and the store say has to fit together. */
static int check_log(const struct node *node,
                     const struct wal_contents *contents, uint64_t applied,
                     struct errmsg *msg)
{
    uint64_t last = contents->snapshot.index + contents->entry_count;

    if (applied < contents->snapshot.index)
        return err_set(msg, ERR_CORRUPT,
                       "the store in %s ends at index %llu, but the log in %s "
                       "begins after %llu: restore the member from a backup "
                       "or remove it and add it again",
                       node->kv_dir, (unsigned long long)applied, node->wal_dir,
                       (unsigned long long)contents->snapshot.index);
    if (applied > last)
        return err_set(msg, ERR_CORRUPT,
                       "the store in %s has applied index %llu, but the log "
                       "in %s ends at %llu: the log has lost entries; restore "
                       "the member from a backup or remove it and add it "
                       "again",
                       node->kv_dir, (unsigned long long)applied, node->wal_dir,
                       (unsigned long long)last);
    return 0;
}

/* A member doesn't understand what a newer cluster may say (source: etcd's
 * MustDetectDowngrade). */
static int check_version(const struct node *node, struct errmsg *msg)
{
    const char *version = cluster_version(node->cluster);

    if (!version || cluster_is_supported(version))
        return 0;
    return err_set(msg, ERR_UNSUPPORTED,
                   "invalid downgrade; server version %s is lower than "
                   "determined cluster version %s",
                   CLUSTER_API_VERSION, version);
}

static int read_log(struct node *node, struct wal_contents *contents,
                    struct cluster_start *start, struct errmsg *msg)
{
    uint64_t applied;
    uint64_t term;
    int rc = open_wal(node, contents, start, msg);

    if (rc < 0)
        return rc;
    store_consistent_index(node->store, &applied, &term);
    rc = check_log(node, contents, applied, msg);
    if (rc == 0)
        rc = check_version(node, msg);
    if (rc == 0)
        rc = load_conf(node, msg);
    if (rc == 0 && node->config.force_new_cluster && start->self == 0)
        rc = node_force_alone(node, contents, applied, msg);
    if (rc == 0)
        rc = open_raft(node, contents, applied, msg);
    node->snapshot_index = contents->snapshot.index;
    node->applied = applied;
    node->applied_term = term;
    node->term = contents->hard_state.term;
    if (rc == 0 && contents->entry_count == 0 &&
        contents->snapshot.index == 0 && contents->hard_state.term == 0)
        rc = begin(node, start, msg);
    return rc;
}

static int open_log(struct node *node, struct cluster_start *start,
                    struct errmsg *msg)
{
    struct wal_contents contents = {0};
    int rc = read_log(node, &contents, start, msg);

    if (rc == 0)
        log_info(start->self == 0 ? "restarting local member"
                 : start->join    ? "joining a cluster as a new member"
                                  : "starting local member",
                 LOG_HEX("local-member-id", node->member_id),
                 LOG_HEX("cluster-id", node->cluster_id),
                 LOG_U64("applied-index", node->applied),
                 LOG_U64("entries-in-log", contents.entry_count),
                 LOG_I64("revision", mvcc_revision(node->mvcc)));
    wal_contents_close(&contents);
    return rc;
}

/* ---- the directory ---- */

/* A snapshot that a crash kept from being installed is taken again, from the
 * beginning. */
static int take_over(const struct node *node, struct errmsg *msg)
{
    struct takeover_config config = {
        .data_dir = node->config.data_dir,
        .wal_dir = node->wal_dir,
        .kv_dir = node->kv_dir,
        .version = CHORAD_VERSION,
    };

    char *unfinished = node_install_dir(node);
    int rc = file_remove_tree(unfinished, msg);

    free(unfinished);
    return rc < 0 ? rc : takeover_run(&config, msg);
}

static int boot(struct node *node, struct cluster_start *start,
                struct errmsg *msg)
{
    const struct node_config *config = &node->config;
    char *member = mem_printf("%s/member", config->data_dir);
    int rc;

    node->kv_dir = mem_printf("%s/kv", member);
    node->snap_dir = mem_printf("%s/snap", member);
    node->wal_dir = config->wal_dir ? mem_strdup(config->wal_dir)
                                    : mem_printf("%s/wal", member);
    rc = file_make_dirs(node->snap_dir, msg);
    free(member);
    if (rc == 0)
        rc = take_over(node, msg);
    if (rc == 0)
        rc = open_store(node, msg);
    if (rc == 0)
        rc = open_domain(node, msg);
    if (rc == 0)
        rc = open_log(node, start, msg);
    if (rc == 0 && config->initial_check && start->self == 0 &&
        !config->force_new_cluster)
        rc = node_check_initially(node, msg);
    if (rc < 0)
        return rc;
    node_open_apply(node);
    rc = wal_writer_start(&node->writer, node->wal, msg);
    /* The transport is opened last: it has no way back without a loop. */
    if (rc == 0)
        node_net_open(node, start);
    return rc;
}

int node_boot(struct node *node, struct errmsg *msg)
{
    struct cluster_start start = {0};
    int rc = boot(node, &start, msg);

    cluster_start_close(&start);
    return rc;
}

void node_shut(struct node *node)
{
    struct errmsg msg = {""};

    if (node->writer)
        wal_writer_stop(node->writer);
    node->writer = NULL;
    node_take_appended(node);
    if (node->raft)
        raft_free(node->raft);
    node->raft = NULL;
    node_forget_install(node);
    if (node->wal && wal_close(node->wal, &msg) < 0)
        log_error("closing the log failed", LOG_STR("error", msg.text));
    node->wal = NULL;
    apply_free(node->apply);
    node->apply = NULL;
    if (node->store)
        store_stop(node->store);
    if (node->mvcc)
        mvcc_close(node->mvcc);
    if (node->store)
        store_close(node->store);
    lessor_close(node->lessor);
    alarms_close(node->alarms);
    auth_close(node->auth);
    auth_tokens_close(node->config.auth_tokens);
    cluster_close(node->cluster);
    raft_conf_state_close(&node->conf);
    raft_ids_close(&node->peer_ids);
    free(node->kv_dir);
    free(node->wal_dir);
    free(node->snap_dir);
}
