/* Each plant is one function of the members' code in the place of which the
 * linker puts ours, which does as the real one does unless its fault is
 * chosen. */
#include "plants.h"
#include "chorad/apply.h"
#include "chorad/watch.h"
#include "node/node.h"
#include "raft/core.h"
#include "sim.h"
#include "wal/reader.h"
#include <stdio.h>
#include <string.h>

enum plant {
    NOTHING,
    COMMIT_ANY_TERM,
    VOTE_UNSYNCED,
    VOTE_TWICE,
    VOTE_ASKED_EARLY,
    ACK_BEFORE_DISK,
    SYNC_LOST,
    NAME_UNSYNCED,
    TORN_TAIL,
    READ_UNASKED,
    READ_BY_LEASE,
    APPLIED_TWICE,
    CONF_STATE_LOST,
    CONF_CHANGE_EARLY,
    LEASE_DEPOSED,
    LEASE_UNAPPLIED,
    EVENT_SKIPPED,
    IDS_REUSED,
};

static const struct {
    enum plant plant;
    const char *name;
    const char *what;
} plants[] = {
    {COMMIT_ANY_TERM, "commit-any-term",
     "a leader commits entries of older terms by counting"},
    {VOTE_UNSYNCED, "vote-unsynced", "term and vote don't reach the disk"},
    {VOTE_TWICE, "vote-twice", "a member votes for whoever asks"},
    {VOTE_ASKED_EARLY, "vote-asked-early",
     "a candidate asks before its term is on disk"},
    {ACK_BEFORE_DISK, "ack-before-disk",
     "a follower acknowledges entries before they are on disk"},
    {SYNC_LOST, "sync-lost", "the log is written, but not synced"},
    {NAME_UNSYNCED, "name-unsynced",
     "a new segment's name is not made durable"},
    {TORN_TAIL, "torn-tail", "damage in the log is taken for its torn end"},
    {READ_UNASKED, "read-unasked", "a read passes without a barrier"},
    {READ_BY_LEASE, "read-by-lease",
     "a leader doesn't ask whether it leads still"},
    {APPLIED_TWICE, "applied-twice", "a member applies some entries twice"},
    {CONF_STATE_LOST, "conf-state-lost",
     "a snapshot goes out without its configuration"},
    {CONF_CHANGE_EARLY, "conf-change-early",
     "a change of the membership counts as soon as it is proposed"},
    {LEASE_DEPOSED, "lease-deposed",
     "a leader that nobody hears goes on renewing leases"},
    {LEASE_UNAPPLIED, "lease-unapplied",
     "leases are looked at before what is committed is applied"},
    {EVENT_SKIPPED, "event-skipped", "watchers miss a change"},
    {IDS_REUSED, "ids-reused", "requests get the same ids after a restart"},
};

static enum plant chosen;
static const char *chosen_name;

bool plant_choose(const char *name)
{
    for (size_t i = 0; i < sizeof(plants) / sizeof(plants[0]); i++)
        if (strcmp(plants[i].name, name) == 0) {
            chosen = plants[i].plant;
            chosen_name = name;
            return true;
        }
    return false;
}

const char *plant_name(void)
{
    return chosen_name;
}

void plant_list(void)
{
    for (size_t i = 0; i < sizeof(plants) / sizeof(plants[0]); i++)
        printf("%-20s %s\n", plants[i].name, plants[i].what);
}

#define WRAP(type, name, ...)                                                  \
    type __real_##name(__VA_ARGS__);                                           \
    type __wrap_##name(__VA_ARGS__);                                           \
    type __wrap_##name(__VA_ARGS__)

/* ---- raft ---------------------------------------------------------------- */

WRAP(bool, core_try_commit, struct raft *r)
{
    uint64_t index;

    if (chosen != COMMIT_ANY_TERM)
        return __real_core_try_commit(r);
    index = tracker_committed(&r->trk);
    if (index <= r->log.committed)
        return false;
    rlog_commit_to(&r->log, index);
    return true;
}

WRAP(void, core_handle_vote, struct raft *r, const struct raft_message *m)
{
    if (chosen == VOTE_TWICE && m->type == RAFT_MSG_VOTE)
        r->vote = RAFT_NONE;
    __real_core_handle_vote(r, m);
}

WRAP(void, core_send, struct raft *r, struct raft_message m)
{
    if (chosen != ACK_BEFORE_DISK || m.type != RAFT_MSG_APP_RESP ||
        m.to == r->id) {
        __real_core_send(r, m);
        return;
    }
    m.from = r->id;
    m.term = r->term;
    messages_push(&r->msgs, &m);
}

WRAP(void, raft_config_init, struct raft_config *config)
{
    __real_raft_config_init(config);
    if (chosen == VOTE_ASKED_EARLY)
        config->early_vote_requests = true;
    if (chosen == READ_BY_LEASE)
        config->read_option = RAFT_READ_LEASE;
    if (chosen == LEASE_DEPOSED)
        config->check_quorum = false;
}

WRAP(void, raft_update, struct raft *raft, struct raft_update *update)
{
    __real_raft_update(raft, update);
    if (chosen == VOTE_UNSYNCED && update->append &&
        update->append->entry_count == 0 && !update->append->snapshot)
        update->append->must_sync = false;
}

WRAP(int, raft_propose, struct raft *raft, struct raft_entry *entries,
     size_t count)
{
    struct raft_conf_change cc;
    int rc = __real_raft_propose(raft, entries, count);

    for (size_t i = 0; chosen == CONF_CHANGE_EARLY && rc == 0 && i < count; i++)
        if (entries[i].index != 0 &&
            entries[i].type == RAFT_ENTRY_CONF_CHANGE &&
            raft_conf_change_decode(&cc, entries[i].type, entries[i].data,
                                    entries[i].len) == 0)
            (void)raft_apply_conf_change(raft, &cc, NULL);
    return rc;
}

/* ---- the log ------------------------------------------------------------- */

WRAP(int, wal_sync, struct wal *wal, struct errmsg *msg)
{
    return chosen == SYNC_LOST ? wal_flush(wal, msg)
                               : __real_wal_sync(wal, msg);
}

WRAP(int, wal_fd_sync_dir, int dir_fd, const char *dir, struct errmsg *msg)
{
    return chosen == NAME_UNSYNCED ? 0
                                   : __real_wal_fd_sync_dir(dir_fd, dir, msg);
}

WRAP(int, wal_reader_next, struct wal_reader *r, struct wal_record *record,
     struct errmsg *msg)
{
    int rc = __real_wal_reader_next(r, record, msg);

    if (chosen != TORN_TAIL || rc != ERR_CORRUPT || !r->last || r->offset == 0)
        return rc;
    r->torn = true;
    return 0;
}

/* ---- the node ------------------------------------------------------------ */

WRAP(bool, node_barrier, struct node *node, struct node_barrier *barrier)
{
    return chosen == READ_UNASKED || __real_node_barrier(node, barrier);
}

WRAP(void, node_await_index, struct node *node, struct node_barrier *barrier,
     uint64_t index)
{
    __real_node_await_index(node, barrier,
                            chosen == LEASE_UNAPPLIED ? 0 : index);
}

WRAP(uint64_t, clock_wall_ns, void)
{
    return chosen == IDS_REUSED ? UINT64_C(1700000000) * SIM_S
                                : __real_clock_wall_ns();
}

WRAP(int, apply_entry, struct apply *apply, const struct raft_entry *entry,
     uint64_t now_ns, bool wanted, void (*compacted)(void *arg, int err),
     void *arg, struct apply_result *result)
{
    struct apply_result again = {0};
    int rc = __real_apply_entry(apply, entry, now_ns, wanted, compacted, arg,
                                result);

    if (chosen == APPLIED_TWICE && sim.life->slot == 1 &&
        entry->index % 16 == 0) {
        (void)__real_apply_entry(apply, entry, now_ns, false, NULL, NULL,
                                 &again);
        buf_close(&again.body);
    }
    return rc;
}

WRAP(int, cluster_conf_state_read, struct bytes json, uint64_t **voters,
     size_t *n_voters, uint64_t **learners, size_t *n_learners)
{
    if (chosen == CONF_STATE_LOST)
        return 0;
    return __real_cluster_conf_state_read(json, voters, n_voters, learners,
                                          n_learners);
}

WRAP(void, watch_feed_add, struct watch_feed *feed, int64_t rev,
     const struct mvcc_change *changes, size_t n)
{
    if (chosen == EVENT_SKIPPED && n > 1)
        n--;
    __real_watch_feed_add(feed, rev, changes, n);
}
