/* --force-new-cluster: the one member that is left of a cluster goes on alone
 * with its data. The log is cut behind what was committed, and what removes the
 * others follows as committed: a majority isn't there to ask (source: etcd). */
#include "chorad/base/log.h"
#include "node.h"
#include <stdlib.h>
#include <string.h>

/* The configuration behind all entries, as far as voters and learners go. */
static int conf_at_end(const struct node *node, const struct wal_contents *log,
                       uint64_t applied, struct raft_conf_state *conf)
{
    for (size_t i = 0; i < node->conf.voters.count; i++)
        raft_ids_add(&conf->voters, node->conf.voters.ids[i]);
    for (size_t i = 0; i < node->conf.learners.count; i++)
        raft_ids_add(&conf->learners, node->conf.learners.ids[i]);
    for (size_t i = 0; i < log->entry_count; i++) {
        const struct raft_entry *entry = &log->entries[i];
        struct raft_conf_change cc;
        uint64_t id;

        if (entry->index <= applied || entry->type == RAFT_ENTRY_NORMAL)
            continue;
        if (raft_conf_change_decode(&cc, entry->type, entry->data, entry->len) <
            0)
            return ERR_CORRUPT;
        if (cc.change_count != 1 || cc.changes[0].type == RAFT_CONF_UPDATE_NODE)
            continue;
        id = cc.changes[0].node_id;
        raft_ids_remove(&conf->voters, id);
        raft_ids_remove(&conf->learners, id);
        if (cc.changes[0].type == RAFT_CONF_ADD_NODE)
            raft_ids_add(&conf->voters, id);
        else if (cc.changes[0].type == RAFT_CONF_ADD_LEARNER)
            raft_ids_add(&conf->learners, id);
    }
    return 0;
}

/* What isn't committed goes: nobody was promised it. */
static void drop_uncommitted(struct wal_contents *log)
{
    size_t before = log->entry_count;

    while (log->entry_count > 0 &&
           log->entries[log->entry_count - 1].index > log->hard_state.commit)
        raft_entry_unref(&log->entries[--log->entry_count]);
    if (log->entry_count < before)
        log_info("discarding uncommitted entries of the log",
                 LOG_U64("commit-index", log->hard_state.commit),
                 LOG_U64("discarded-entries", before - log->entry_count));
}

static void append_change(struct wal_contents *log,
                          enum raft_conf_change_type type, uint64_t id,
                          const char *context)
{
    struct raft_conf_change cc = {
        .v1 = true,
        .change_count = 1,
        .changes = {{type, id}},
        .context = bytes_of(context, strlen(context)),
    };
    struct raft_entry *entry;

    log->entries = mem_realloc(log->entries, (log->entry_count + 1) *
                                                 sizeof(log->entries[0]));
    entry = &log->entries[log->entry_count++];
    *entry = raft_conf_change_entry(&cc);
    entry->term = log->hard_state.term;
    entry->index = ++log->hard_state.commit;
}

/* A learner becomes a voter: it is the only one. */
static void keep_self(const struct node *node, struct wal_contents *log)
{
    const struct cluster_member *self =
        cluster_find(node->cluster, node->member_id);
    struct cluster_member member = {.id = node->member_id};
    char *json;

    if (self)
        member = *self;
    member.is_learner = false;
    json = cluster_member_json(&member);
    append_change(log, RAFT_CONF_ADD_NODE, node->member_id, json);
    free(json);
}

static void append_changes(const struct node *node,
                           const struct raft_conf_state *conf,
                           struct wal_contents *log)
{
    const struct raft_ids *const lists[] = {&conf->voters, &conf->learners};

    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->count; i++)
            if (lists[l]->ids[i] != node->member_id)
                append_change(log, RAFT_CONF_REMOVE_NODE, lists[l]->ids[i], "");
    if (!raft_ids_has(&conf->voters, node->member_id))
        keep_self(node, log);
}

static int save(struct node *node, const struct wal_contents *log, size_t from,
                struct errmsg *msg)
{
    struct wal_batch batch = {
        .entries = log->entries + from,
        .entry_count = log->entry_count - from,
        .hard_state = &log->hard_state,
    };
    int rc = wal_append(node->wal, &batch, msg);

    return rc == 0 ? wal_sync(node->wal, msg) : rc;
}

int node_force_alone(struct node *node, struct wal_contents *log,
                     uint64_t applied, struct errmsg *msg)
{
    struct raft_conf_state conf = {0};
    uint64_t committed;
    size_t kept;
    int rc;

    /* The commit index reaches the disk late. */
    if (log->hard_state.commit < applied)
        log->hard_state.commit = applied;
    committed = log->hard_state.commit;
    drop_uncommitted(log);
    kept = log->entry_count;
    rc = conf_at_end(node, log, applied, &conf);
    if (rc == 0)
        append_changes(node, &conf, log);
    else
        (void)err_set(msg, rc, "the log: a configuration change is damaged");
    raft_conf_state_close(&conf);
    if (rc == 0)
        rc = save(node, log, kept, msg);
    if (rc == 0)
        log_warn("forcing a new cluster of this member alone",
                 LOG_HEX("cluster-id", node->cluster_id),
                 LOG_HEX("local-member-id", node->member_id),
                 LOG_U64("wal-commit-index", committed),
                 LOG_U64("commit-index", log->hard_state.commit));
    return rc;
}
