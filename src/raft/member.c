/* The active configuration changes, and what follows from it. */
#include "chorad/base/check.h"
#include "confchange.h"
#include "core.h"

static void step_down_if_removed(struct raft *r)
{
    if (r->config.step_down_on_removal)
        core_become_follower(r, r->term, RAFT_NONE);
}

static void react_as_leader(struct raft *r)
{
    if (core_try_commit(r)) {
        /* Fewer voters can mean that more is committed. */
        core_release_reads(r);
        core_bcast_append(r);
    } else {
        /* New members needn't wait for a heartbeat. */
        for (size_t i = 0; i < r->trk.count; i++)
            if (r->trk.progress[i].id != r->id)
                core_send_append(r, &r->trk.progress[i], false);
    }
    if (r->lead_transferee != RAFT_NONE &&
        !tracker_is_voter(&r->trk, r->lead_transferee))
        r->lead_transferee = RAFT_NONE;
    core_reads_config_changed(r);
}

void core_config_changed(struct raft *r)
{
    if (say_enabled(&r->sayer, RAFT_LOG_INFO)) {
        struct buf text = {0};
        INFO(r, "%" PRIx64 " switched to configuration %s", r->id,
             conf_text(&r->trk.conf, &text));
        buf_close(&text);
    }
    const struct progress *self = tracker_find(&r->trk, r->id);
    r->is_learner = self && self->is_learner;
    if (r->role != RAFT_LEADER)
        return;
    if (!self || r->is_learner)
        step_down_if_removed(r);
    else if (r->trk.conf.voters.count > 0)
        react_as_leader(r);
}

int raft_apply_conf_change(struct raft *r, const struct raft_conf_change *cc,
                           struct raft_conf_state *out)
{
    struct conf_next next;
    struct errmsg why;
    int rc = confchange_apply(&r->trk, rlog_last(&r->log), cc, &next, &why);
    if (rc < 0) {
        SAY(&r->sayer, RAFT_LOG_ERROR,
            "%" PRIx64 " can't apply configuration change: %s", r->id,
            why.text);
        return rc;
    }
    confchange_switch(&r->trk, &next);
    core_config_changed(r);
    if (out)
        *out = raft_conf_state_copy(&r->trk.conf);
    return 0;
}

/* Nobody else will propose the end of a joint state that ends by itself. It
 * can fail while leadership is being transferred; then this is tried again
 * with the next applied entry, here or at the new leader. */
static void leave_joint(struct raft *r)
{
    struct raft_entry empty = {.type = RAFT_ENTRY_CONF_CHANGE_V2};
    int rc = core_propose(r, &empty, 1);
    enum raft_log_level level = rc < 0 ? RAFT_LOG_DEBUG : RAFT_LOG_INFO;
    if (!say_enabled(&r->sayer, level))
        return;
    struct buf text = {0};
    conf_text(&r->trk.conf, &text);
    say_line(&r->sayer, level,
             "%sinitiating automatic transition out of joint configuration "
             "%s%s",
             rc < 0 ? "not " : "", (const char *)text.data,
             rc < 0 ? ": raft proposal dropped" : "");
    buf_close(&text);
}

void core_applied_to(struct raft *r, uint64_t index, uint64_t size)
{
    if (index < r->log.applied)
        index = r->log.applied;
    rlog_applied_to(&r->log, index, size);
    if (r->trk.conf.auto_leave && index >= r->pending_conf_index &&
        r->role == RAFT_LEADER)
        leave_joint(r);
}
