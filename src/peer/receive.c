/* What is checked of a message before the node sees it. The core takes `from`
 * for granted; etcd checks the other things in EtcdServer.Process. */
#include "chorad/base/log.h"
#include "peers.h"

/* These keep the member that made them as `from` when another passes them on.
 */
static bool is_passed_on(enum raft_message_type type)
{
    return type == RAFT_MSG_PROP || type == RAFT_MSG_READ_INDEX ||
           type == RAFT_MSG_TRANSFER_LEADER;
}

static const char *wrong(const struct peers *peers, uint64_t sender,
                         const struct raft_message *m)
{
    if (m->to != peers->self.member_id)
        return "it is for another member";
    if (raft_message_is_local(m->type))
        return "no member sends this type";
    if (m->type == RAFT_MSG_SNAP)
        return "a snapshot without its database";
    if (m->from == RAFT_NONE)
        return "it has no sender";
    if (m->from != sender && !is_passed_on(m->type))
        return "its sender is another member";
    if (m->from != sender && m->from != peers->self.member_id &&
        !peers_find_member(peers, m->from))
        return "its first sender isn't a member";
    return NULL;
}

void peers_receive(struct peers *peers, uint64_t sender,
                   const struct raft_message *m)
{
    const char *why;

    if (peers->closing)
        return;
    why = wrong(peers, sender, m);
    if (!why) {
        peers->config.received(peers->config.arg, m);
        return;
    }
    const struct peer *peer = peers_find(peers, sender);
    if (peer)
        metric_inc(peer->metrics.received_failures);
    log_warn("dropped a Raft message", LOG_STR("reason", why),
             LOG_STR("message-type", raft_message_type_name(m->type)),
             LOG_HEX("from", m->from), LOG_HEX("to", m->to),
             LOG_HEX("remote-peer-id", sender));
}

void peers_tell_removed(struct peers *peers, uint64_t by)
{
    if (peers->told_removed || peers->closing)
        return;
    peers->told_removed = true;
    log_warn("the member has been permanently removed from the cluster",
             LOG_HEX("local-member-id", peers->self.member_id),
             LOG_HEX("remote-peer-id", by));
    peers->config.removed(peers->config.arg);
}
