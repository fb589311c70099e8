/* What is refused of other members: counted by reason, and told of once in a
 * while, as whoever sends it may send it for ever. */
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "peers.h"
#include <string.h>

/* Lines of one reason are so far apart. */
#define TELL_AGAIN_MS 10000

static struct refusal *refusal_of(struct peers *peers, const char *why)
{
    struct metric_label labels[] = {{"reason", why}};
    struct refusal *refusal;

    for (size_t i = 0; i < peers->refusal_count; i++)
        if (strcmp(peers->refusals[i].why, why) == 0)
            return &peers->refusals[i];
    CHECK(peers->refusal_count < REFUSALS_MAX);
    refusal = &peers->refusals[peers->refusal_count++];
    refusal->why = why;
    refusal->count = metric_counter(
        "chorad_peer_refused_messages_total",
        "Messages of other members that no member sends.", labels, 1);
    return refusal;
}

static bool may_tell(const struct peers *peers, struct refusal *refusal)
{
    uint64_t now = net_now_ms(&peers->net);

    if (refusal->told && now - refusal->told_ms < TELL_AGAIN_MS) {
        refusal->unlogged++;
        return false;
    }
    refusal->told = true;
    refusal->told_ms = now;
    return true;
}

void peers_refused(struct peers *peers, const char *why, uint64_t sender,
                   const struct raft_message *m, const char *detail)
{
    struct refusal *refusal = refusal_of(peers, why);
    const struct peer *peer = peers_find(peers, sender);
    static const struct raft_message none;

    metric_inc(refusal->count);
    if (peer)
        metric_inc(peer->metrics.received_failures);
    if (!may_tell(peers, refusal))
        return;
    if (m == NULL)
        m = &none;
    log_warn("refused a Raft message that no member sends",
             LOG_STR("reason", why), LOG_STR("detail", detail),
             LOG_STR("message-type", raft_message_type_name(m->type)),
             LOG_HEX("from", m->from), LOG_HEX("to", m->to),
             LOG_HEX("remote-peer-id", sender), LOG_U64("term", m->term),
             LOG_U64("index", m->snapshot ? m->snapshot->index : m->index),
             LOG_U64("commit", m->commit),
             LOG_U64("unlogged", refusal->unlogged));
    refusal->unlogged = 0;
}

void peers_note_refusal(struct peers *peers, const struct raft_message *m,
                        const char *why, const char *detail)
{
    peers_refused(peers, why, m->from, m, detail);
}
