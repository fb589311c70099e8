/* A leader takes entries into its log. */
#include "chorad/base/check.h"
#include "conf_codec.h"
#include "core.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool increase_uncommitted(struct raft *r,
                                 const struct raft_entry *entries, size_t count)
{
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += entries[i].len;
    /* One proposal of any size is taken when nothing else waits, and an empty
     * entry always. */
    uint64_t max = r->config.max_uncommitted_size;
    if (r->uncommitted_size > 0 && size > 0 && max > 0 &&
        r->uncommitted_size + size > max)
        return false;
    r->uncommitted_size += size;
    return true;
}

void core_reduce_uncommitted(struct raft *r, uint64_t size)
{
    r->uncommitted_size -=
        size < r->uncommitted_size ? size : r->uncommitted_size;
}

bool core_append(struct raft *r, struct raft_entry *entries, size_t count)
{
    uint64_t last = rlog_last(&r->log);
    if (!increase_uncommitted(r, entries, count)) {
        WARN(r,
             "%" PRIx64 " appending new entries to log would exceed "
             "uncommitted entry size limit; dropping proposal",
             r->id);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        entries[i].term = r->term;
        entries[i].index = last + 1 + i;
    }
    rlog_append(&r->log, entries, count);
    /* A leader counts its own copy once it is on disk: it answers itself. */
    core_send(r, (struct raft_message){.type = RAFT_MSG_APP_RESP,
                                       .to = r->id,
                                       .index = last + count});
    return true;
}

/* NULL if the change may be made now, given what is known of the
 * configuration; the active one may trail the log. */
static const char *refusal(const struct raft *r,
                           const struct raft_conf_change *cc, char *buf,
                           size_t size)
{
    bool joint = tracker_is_joint(&r->trk);
    bool leaves = cc->change_count == 0;
    if (r->pending_conf_index > r->log.applied) {
        snprintf(buf, size,
                 "possible unapplied conf change at index %" PRIu64
                 " (applied to %" PRIu64 ")",
                 r->pending_conf_index, r->log.applied);
        return buf;
    }
    if (joint && !leaves)
        return "must transition out of joint config first";
    if (!joint && leaves)
        return "not in joint state; refusing empty conf change";
    return NULL;
}

static void say_refused(struct raft *r, const struct raft_conf_change *cc,
                        const char *why)
{
    if (!say_enabled(&r->sayer, RAFT_LOG_INFO))
        return;
    struct buf change = {0};
    struct buf conf = {0};
    INFO(r, "%" PRIx64 " ignoring conf change %s at config %s: %s", r->id,
         conf_change_text(cc, &change), conf_text(&r->trk.conf, &conf), why);
    buf_close(&change);
    buf_close(&conf);
}

/* False if the entry's bytes make no sense. */
static bool review_conf_change(struct raft *r, struct raft_entry *entry,
                               uint64_t index)
{
    struct raft_conf_change cc;
    if (raft_conf_change_decode(&cc, entry->type, entry->data, entry->len) < 0)
        return false;
    char buf[128];
    const char *why = refusal(r, &cc, buf, sizeof(buf));
    if (!why || r->config.disable_conf_change_validation) {
        r->pending_conf_index = index;
        return true;
    }
    say_refused(r, &cc, why);
    /* Keeps its place, so that the proposer sees it come to nothing. Its
     * owner stays: the reference goes with the entry. */
    entry->type = RAFT_ENTRY_NORMAL;
    entry->data = NULL;
    entry->len = 0;
    return true;
}

int core_propose(struct raft *r, struct raft_entry *entries, size_t count)
{
    CHECK(count > 0);
    if (!tracker_find(&r->trk, r->id))
        return ERR_AGAIN; /* removed from the configuration, still leading */
    if (r->lead_transferee != RAFT_NONE) {
        DEBUG(r,
              "%" PRIx64 " [term %" PRIu64 "] transfer leadership to %" PRIx64
              " is in progress; dropping proposal",
              r->id, r->term, r->lead_transferee);
        return ERR_AGAIN;
    }
    uint64_t last = rlog_last(&r->log);
    for (size_t i = 0; i < count; i++)
        if (entries[i].type != RAFT_ENTRY_NORMAL &&
            !review_conf_change(r, &entries[i], last + 1 + i))
            return ERR_INVALID;
    if (!core_append(r, entries, count))
        return ERR_AGAIN;
    core_bcast_append(r);
    return 0;
}

int raft_propose(struct raft *r, struct raft_entry *entries, size_t count)
{
    CHECK(count > 0);
    if (r->role == RAFT_LEADER)
        return core_propose(r, entries, count);
    for (size_t i = 0; i < count; i++) {
        entries[i].term = 0;
        entries[i].index = 0;
    }
    struct raft_message m = {.type = RAFT_MSG_PROP,
                             .from = r->id,
                             .entries = entries,
                             .entry_count = count};
    int rc = core_step(r, &m);
    if (rc == 0)
        for (size_t i = 0; i < count; i++)
            raft_entry_unref(&entries[i]);
    return rc;
}

int raft_propose_conf_change(struct raft *r, const struct raft_conf_change *cc)
{
    struct raft_entry entry = raft_conf_change_entry(cc);
    int rc = raft_propose(r, &entry, 1);
    if (rc < 0)
        raft_entry_unref(&entry);
    return rc;
}

bool raft_is_reconfiguring(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->pending_conf_index > r->log.applied;
}
