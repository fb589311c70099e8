#include "tracker.h"
#include <inttypes.h>
#include <stdlib.h>

void tracker_init(struct tracker *trk, size_t max_inflight,
                  uint64_t max_inflight_bytes)
{
    *trk = (struct tracker){.max_inflight = max_inflight,
                            .max_inflight_bytes = max_inflight_bytes};
}

void tracker_close(struct tracker *trk)
{
    for (size_t i = 0; i < trk->count; i++)
        inflights_close(&trk->progress[i].inflights);
    free(trk->progress);
    raft_conf_state_close(&trk->conf);
    votes_close(&trk->votes);
    *trk = (struct tracker){0};
}

struct progress *tracker_find(const struct tracker *trk, uint64_t id)
{
    for (size_t i = 0; i < trk->count; i++)
        if (trk->progress[i].id == id)
            return &trk->progress[i];
    return NULL;
}

bool tracker_is_voter(const struct tracker *trk, uint64_t id)
{
    return raft_ids_has(&trk->conf.voters, id) ||
           raft_ids_has(&trk->conf.voters_outgoing, id);
}

bool tracker_is_single(const struct tracker *trk)
{
    return trk->conf.voters.count == 1 && trk->conf.voters_outgoing.count == 0;
}

static uint64_t match_of(const void *arg, uint64_t id)
{
    const struct progress *pr = tracker_find(arg, id);
    return pr ? pr->match : 0;
}

uint64_t tracker_committed(const struct tracker *trk)
{
    return quorum_joint_committed(&trk->conf.voters, &trk->conf.voters_outgoing,
                                  match_of, trk);
}

enum vote_result tracker_vote_result(const struct tracker *trk,
                                     const struct votes *votes)
{
    return quorum_joint_vote(&trk->conf.voters, &trk->conf.voters_outgoing,
                             votes);
}

bool tracker_quorum_active(const struct tracker *trk)
{
    struct votes votes = {0};
    for (size_t i = 0; i < trk->count; i++)
        if (!trk->progress[i].is_learner)
            votes_record(&votes, trk->progress[i].id,
                         trk->progress[i].recent_active);
    bool active = tracker_vote_result(trk, &votes) == VOTE_WON;
    votes_close(&votes);
    return active;
}

enum vote_result tracker_tally(const struct tracker *trk, unsigned *granted,
                               unsigned *rejected)
{
    *granted = 0;
    *rejected = 0;
    for (size_t i = 0; i < trk->count; i++) {
        if (trk->progress[i].is_learner)
            continue;
        int vote = votes_of(&trk->votes, trk->progress[i].id);
        *granted += vote == 1;
        *rejected += vote == 0;
    }
    return tracker_vote_result(trk, &trk->votes);
}

void ids_text(const struct raft_ids *ids, struct buf *out)
{
    buf_append(out, "(", 1);
    for (size_t i = 0; i < ids->count; i++)
        buf_printf(out, "%s%" PRIu64, i > 0 ? " " : "", ids->ids[i]);
    buf_append(out, ")", 1);
}

static void named_ids_text(const char *name, const struct raft_ids *ids,
                           struct buf *out)
{
    if (ids->count == 0)
        return;
    buf_printf(out, "%s", name);
    ids_text(ids, out);
}

const char *conf_text(const struct raft_conf_state *conf, struct buf *out)
{
    buf_printf(out, "voters=");
    ids_text(&conf->voters, out);
    named_ids_text("&&", &conf->voters_outgoing, out);
    named_ids_text(" learners=", &conf->learners, out);
    named_ids_text(" learners_next=", &conf->learners_next, out);
    if (conf->auto_leave)
        buf_printf(out, " autoleave");
    buf_append(out, "", 1);
    return (const char *)out->data;
}
