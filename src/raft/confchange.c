#include "confchange.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct change {
    struct conf_next *next;
    const struct tracker *trk;
    uint64_t last_index;
};

static struct progress *find(const struct conf_next *next, uint64_t id)
{
    for (size_t i = 0; i < next->count; i++)
        if (next->progress[i].id == id)
            return &next->progress[i];
    return NULL;
}

static void close_next(struct conf_next *next)
{
    raft_conf_state_close(&next->conf);
    free(next->progress);
    *next = (struct conf_next){0};
}

static void insert_progress(struct conf_next *next, const struct progress *pr)
{
    size_t at = 0;
    while (at < next->count && next->progress[at].id < pr->id)
        at++;
    next->progress =
        mem_realloc(next->progress, (next->count + 1) * sizeof(*pr));
    memmove(next->progress + at + 1, next->progress + at,
            (next->count - at) * sizeof(*pr));
    next->progress[at] = *pr;
    next->count++;
}

static void delete_progress(struct conf_next *next, uint64_t id)
{
    struct progress *pr = find(next, id);
    if (!pr)
        return;
    size_t at = (size_t)(pr - next->progress);
    next->count--;
    memmove(pr, pr + 1, (next->count - at) * sizeof(*pr));
}

static void add_member(struct change *c, uint64_t id, bool learner)
{
    raft_ids_add(learner ? &c->next->conf.learners : &c->next->conf.voters, id);
    struct progress pr = {
        .id = id,
        /* The optimistic guess that it has the whole log; a rejection tells
         * how much it really has. */
        .next = c->last_index > 1 ? c->last_index : 1,
        .is_learner = learner,
        /* It must get a chance to speak before a quorum check counts it. */
        .recent_active = true,
    };
    inflights_init(&pr.inflights, c->trk->max_inflight,
                   c->trk->max_inflight_bytes);
    insert_progress(c->next, &pr);
}

static void make_voter(struct change *c, uint64_t id)
{
    struct raft_conf_state *conf = &c->next->conf;
    struct progress *pr = find(c->next, id);
    if (!pr) {
        add_member(c, id, false);
        return;
    }
    pr->is_learner = false;
    raft_ids_remove(&conf->learners, id);
    raft_ids_remove(&conf->learners_next, id);
    raft_ids_add(&conf->voters, id);
}

static void remove_member(struct change *c, uint64_t id)
{
    struct raft_conf_state *conf = &c->next->conf;
    if (!find(c->next, id))
        return;
    raft_ids_remove(&conf->voters, id);
    raft_ids_remove(&conf->learners, id);
    raft_ids_remove(&conf->learners_next, id);
    /* A voter of the outgoing half still counts. */
    if (!raft_ids_has(&conf->voters_outgoing, id))
        delete_progress(c->next, id);
}

static void make_learner(struct change *c, uint64_t id)
{
    struct raft_conf_state *conf = &c->next->conf;
    struct progress *pr = find(c->next, id);
    if (!pr) {
        add_member(c, id, true);
        return;
    }
    if (pr->is_learner)
        return;
    raft_ids_remove(&conf->voters, id);
    raft_ids_remove(&conf->learners_next, id);
    /* Nobody is voter and learner at once: who still votes in the outgoing
     * half becomes a learner when the joint state is left. */
    if (raft_ids_has(&conf->voters_outgoing, id)) {
        raft_ids_add(&conf->learners_next, id);
    } else {
        pr->is_learner = true;
        raft_ids_add(&conf->learners, id);
    }
}

static int apply_changes(struct change *c,
                         const struct raft_conf_single *changes, size_t count,
                         struct errmsg *why)
{
    for (size_t i = 0; i < count; i++) {
        /* An id of 0 is a change that the application took back. */
        if (changes[i].node_id == RAFT_NONE)
            continue;
        switch (changes[i].type) {
        case RAFT_CONF_ADD_NODE:
            make_voter(c, changes[i].node_id);
            break;
        case RAFT_CONF_ADD_LEARNER:
            make_learner(c, changes[i].node_id);
            break;
        case RAFT_CONF_REMOVE_NODE:
            remove_member(c, changes[i].node_id);
            break;
        case RAFT_CONF_UPDATE_NODE:
            break;
        default:
            return err_set(why, ERR_INVALID, "unexpected conf type %d",
                           (int)changes[i].type);
        }
    }
    if (c->next->conf.voters.count == 0)
        return err_set(why, ERR_INVALID, "removed all voters");
    return 0;
}

static int check_members(const struct conf_next *next,
                         const struct raft_ids *ids, struct errmsg *why)
{
    for (size_t i = 0; i < ids->count; i++)
        if (!find(next, ids->ids[i]))
            return err_set(why, ERR_INVALID, "no progress for %" PRIu64,
                           ids->ids[i]);
    return 0;
}

static int check_learners(const struct conf_next *next, struct errmsg *why)
{
    const struct raft_conf_state *conf = &next->conf;
    for (size_t i = 0; i < conf->learners_next.count; i++) {
        uint64_t id = conf->learners_next.ids[i];
        if (!raft_ids_has(&conf->voters_outgoing, id))
            return err_set(why, ERR_INVALID,
                           "%" PRIu64 " is in LearnersNext, but not Voters[1]",
                           id);
        if (find(next, id)->is_learner)
            return err_set(why, ERR_INVALID,
                           "%" PRIu64 " is in LearnersNext, but is already "
                           "marked as learner",
                           id);
    }
    for (size_t i = 0; i < conf->learners.count; i++) {
        uint64_t id = conf->learners.ids[i];
        if (raft_ids_has(&conf->voters_outgoing, id) ||
            raft_ids_has(&conf->voters, id))
            return err_set(why, ERR_INVALID,
                           "%" PRIu64 " is in Learners and Voters", id);
        if (!find(next, id)->is_learner)
            return err_set(why, ERR_INVALID,
                           "%" PRIu64 " is in Learners, but is not marked as "
                           "learner",
                           id);
    }
    return 0;
}

static int check(const struct conf_next *next, struct errmsg *why)
{
    const struct raft_conf_state *conf = &next->conf;
    const struct raft_ids *const sets[] = {
        &conf->voters, &conf->voters_outgoing, &conf->learners,
        &conf->learners_next};
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        int rc = check_members(next, sets[i], why);
        if (rc < 0)
            return rc;
    }
    int rc = check_learners(next, why);
    if (rc < 0)
        return rc;
    if (conf->voters_outgoing.count == 0 && conf->auto_leave)
        return err_set(why, ERR_INVALID,
                       "AutoLeave must be false when not joint");
    return 0;
}

static void copy_conf(const struct tracker *trk, struct conf_next *next)
{
    *next = (struct conf_next){.conf = raft_conf_state_copy(&trk->conf),
                               .count = trk->count};
    if (trk->count > 0) {
        next->progress = mem_alloc(trk->count * sizeof(*next->progress));
        memcpy(next->progress, trk->progress,
               trk->count * sizeof(*next->progress));
    }
}

static int finish(struct conf_next *next, int rc, struct errmsg *why)
{
    if (rc == 0)
        rc = check(next, why);
    if (rc < 0)
        close_next(next);
    return rc;
}

static size_t count_missing(const struct raft_ids *from,
                            const struct raft_ids *in)
{
    size_t n = 0;
    for (size_t i = 0; i < from->count; i++)
        n += !raft_ids_has(in, from->ids[i]);
    return n;
}

int confchange_simple(const struct tracker *trk, uint64_t last_index,
                      const struct raft_conf_single *changes, size_t count,
                      struct conf_next *next, struct errmsg *why)
{
    *next = (struct conf_next){0};
    if (tracker_is_joint(trk))
        return err_set(why, ERR_INVALID,
                       "can't apply simple config change in joint config");
    copy_conf(trk, next);
    struct change c = {next, trk, last_index};
    int rc = apply_changes(&c, changes, count, why);
    /* With more, two majorities need not share a member. */
    if (rc == 0 &&
        count_missing(&trk->conf.voters, &next->conf.voters) +
                count_missing(&next->conf.voters, &trk->conf.voters) >
            1)
        rc = err_set(why, ERR_INVALID,
                     "more than one voter changed without entering joint "
                     "config");
    return finish(next, rc, why);
}

int confchange_enter_joint(const struct tracker *trk, uint64_t last_index,
                           bool auto_leave,
                           const struct raft_conf_single *changes, size_t count,
                           struct conf_next *next, struct errmsg *why)
{
    *next = (struct conf_next){0};
    if (tracker_is_joint(trk))
        return err_set(why, ERR_INVALID, "config is already joint");
    if (trk->conf.voters.count == 0)
        return err_set(why, ERR_INVALID,
                       "can't make a zero-voter config joint");
    copy_conf(trk, next);
    next->conf.voters_outgoing = raft_ids_copy(&next->conf.voters);
    struct change c = {next, trk, last_index};
    int rc = apply_changes(&c, changes, count, why);
    next->conf.auto_leave = auto_leave;
    return finish(next, rc, why);
}

int confchange_leave_joint(const struct tracker *trk, struct conf_next *next,
                           struct errmsg *why)
{
    *next = (struct conf_next){0};
    if (!tracker_is_joint(trk))
        return err_set(why, ERR_INVALID, "can't leave a non-joint config");
    copy_conf(trk, next);
    struct raft_conf_state *conf = &next->conf;
    for (size_t i = 0; i < conf->learners_next.count; i++) {
        raft_ids_add(&conf->learners, conf->learners_next.ids[i]);
        find(next, conf->learners_next.ids[i])->is_learner = true;
    }
    raft_ids_close(&conf->learners_next);
    for (size_t i = 0; i < conf->voters_outgoing.count; i++) {
        uint64_t id = conf->voters_outgoing.ids[i];
        if (!raft_ids_has(&conf->voters, id) &&
            !raft_ids_has(&conf->learners, id))
            delete_progress(next, id);
    }
    raft_ids_close(&conf->voters_outgoing);
    conf->auto_leave = false;
    return finish(next, 0, why);
}

int confchange_apply(const struct tracker *trk, uint64_t last_index,
                     const struct raft_conf_change *cc, struct conf_next *next,
                     struct errmsg *why)
{
    if (cc->change_count == 0 && cc->transition == RAFT_CONF_AUTO)
        return confchange_leave_joint(trk, next, why);
    if (cc->transition != RAFT_CONF_AUTO || cc->change_count > 1)
        return confchange_enter_joint(
            trk, last_index, cc->transition != RAFT_CONF_JOINT_EXPLICIT,
            cc->changes, cc->change_count, next, why);
    return confchange_simple(trk, last_index, cc->changes, cc->change_count,
                             next, why);
}

void confchange_switch(struct tracker *trk, struct conf_next *next)
{
    for (size_t i = 0; i < trk->count; i++) {
        struct progress *old = &trk->progress[i];
        const struct progress *kept = find(next, old->id);
        if (!kept || kept->inflights.ring != old->inflights.ring)
            inflights_close(&old->inflights);
    }
    free(trk->progress);
    raft_conf_state_close(&trk->conf);
    trk->conf = next->conf;
    trk->progress = next->progress;
    trk->count = next->count;
    *next = (struct conf_next){0};
}

static int simple_each(struct tracker *trk, uint64_t last_index,
                       enum raft_conf_change_type type,
                       const struct raft_ids *ids, struct errmsg *why)
{
    for (size_t i = 0; i < ids->count; i++) {
        struct raft_conf_single single = {type, ids->ids[i]};
        struct conf_next next;
        int rc = confchange_simple(trk, last_index, &single, 1, &next, why);
        if (rc < 0)
            return rc;
        confchange_switch(trk, &next);
    }
    return 0;
}

static size_t put_each(struct raft_conf_single *out, size_t n,
                       enum raft_conf_change_type type,
                       const struct raft_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++)
        out[n++] = (struct raft_conf_single){type, ids->ids[i]};
    return n;
}

/* The outgoing voters are the configuration of now; the step into the joint
 * state removes them all and adds those that are wanted. */
static int restore_joint(struct tracker *trk, uint64_t last_index,
                         const struct raft_conf_state *cs, struct errmsg *why)
{
    int rc = simple_each(trk, last_index, RAFT_CONF_ADD_NODE,
                         &cs->voters_outgoing, why);
    if (rc < 0)
        return rc;
    size_t max = cs->voters_outgoing.count + cs->voters.count +
                 cs->learners.count + cs->learners_next.count;
    struct raft_conf_single *changes = mem_alloc(max * sizeof(*changes));
    size_t n =
        put_each(changes, 0, RAFT_CONF_REMOVE_NODE, &cs->voters_outgoing);
    n = put_each(changes, n, RAFT_CONF_ADD_NODE, &cs->voters);
    n = put_each(changes, n, RAFT_CONF_ADD_LEARNER, &cs->learners);
    n = put_each(changes, n, RAFT_CONF_ADD_LEARNER, &cs->learners_next);
    struct conf_next next;
    rc = confchange_enter_joint(trk, last_index, cs->auto_leave, changes, n,
                                &next, why);
    free(changes);
    if (rc == 0)
        confchange_switch(trk, &next);
    return rc;
}

int confchange_restore(struct tracker *trk, uint64_t last_index,
                       const struct raft_conf_state *cs, struct errmsg *why)
{
    int rc;
    if (cs->voters_outgoing.count > 0) {
        rc = restore_joint(trk, last_index, cs, why);
    } else {
        rc = simple_each(trk, last_index, RAFT_CONF_ADD_NODE, &cs->voters, why);
        if (rc == 0)
            rc = simple_each(trk, last_index, RAFT_CONF_ADD_LEARNER,
                             &cs->learners, why);
    }
    if (rc == 0 && !raft_conf_state_equal(cs, &trk->conf)) {
        struct buf stored = {0};
        struct buf made = {0};
        rc = err_set(why, ERR_INVALID,
                     "the stored configuration can't be: %s, of which becomes "
                     "%s",
                     conf_text(cs, &stored), conf_text(&trk->conf, &made));
        buf_close(&stored);
        buf_close(&made);
    }
    return rc;
}
