/* What is checked of a message before the node sees it: that it is who it says
 * that it is from. What it says is the node's to look at. */
#include "chorad/base/log.h"
#include "peers.h"

/* These keep the member that made them as `from` when another passes them on.
 */
static bool is_passed_on(enum raft_message_type type)
{
    return type == RAFT_MSG_PROP || type == RAFT_MSG_READ_INDEX ||
           type == RAFT_MSG_TRANSFER_LEADER;
}

const char *peers_wrong_sender(const struct peers *peers, uint64_t sender,
                               const struct raft_message *m)
{
    if (m->to != peers->self.member_id)
        return "wrong-receiver";
    if (raft_message_is_local(m->type))
        return "local-type";
    if (m->from == RAFT_NONE)
        return "no-sender";
    if (m->from != sender && !is_passed_on(m->type))
        return "wrong-sender";
    if (m->from != sender && m->from != peers->self.member_id &&
        !peers_find_member(peers, m->from))
        return "wrong-sender";
    return NULL;
}

const char *peers_receive(struct peers *peers, uint64_t sender,
                          const struct raft_message *m)
{
    const char *why;

    if (peers->closing)
        return NULL;
    why = peers_wrong_sender(peers, sender, m);
    if (!why && m->type == RAFT_MSG_SNAP)
        why = "snapshot-without-database";
    if (!why)
        why = peers->config.received(peers->config.arg, m);
    if (why)
        peers_refused(peers, why, sender, m, "");
    return why;
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
