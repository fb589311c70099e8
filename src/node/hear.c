/* What another member says, at the door: nothing from the network may end this
 * member. The form is the transport's to check, what Raft takes for granted is
 * checked by raft_refusal, and here are the payloads: a committed entry that
 * can't be understood ends every member, and again at each start. */
#include "chorad/base/log.h"
#include "node.h"

/* Whoever is added needs an id. A change or a removal may name nobody, as
 * clients do: it is answered when it is applied, and is none for Raft. */
static bool is_id_fine(const struct raft_conf_single *change)
{
    bool adds = change->type == RAFT_CONF_ADD_NODE ||
                change->type == RAFT_CONF_ADD_LEARNER;

    if (change->node_id == RAFT_NONE)
        return !adds;
    return change->node_id < RAFT_APPLY_THREAD;
}

static const char *wrong_conf_change(const struct raft_entry *entry)
{
    struct raft_conf_change cc;

    /* etcd knows more kinds, but its server makes this one only. */
    if (entry->type != RAFT_ENTRY_CONF_CHANGE ||
        raft_conf_change_decode(&cc, entry->type, entry->data, entry->len) < 0)
        return "no-configuration-change";
    return is_id_fine(&cc.changes[0]) ? NULL : "no-configuration-change";
}

static const char *wrong_request(struct node *node,
                                 const struct raft_entry *entry)
{
    int err = apply_check_entry(entry, &node->scratch);

    arena_reset(&node->scratch);
    switch (err) {
    case 0:
        return NULL;
    case ERR_NOT_CAPABLE:
        return "newer-cluster";
    case ERR_NAME_TOO_LONG:
        return "name-too-long";
    default:
        return "no-request";
    }
}

/* A leader's entries are in its log already, so that this member falls behind
 * where it has to refuse one; it goes on answering and saying so. */
static const char *wrong_entries(struct node *node,
                                 const struct raft_message *message)
{
    const char *why = NULL;

    if (message->type != RAFT_MSG_PROP && message->type != RAFT_MSG_APP)
        return NULL;
    for (size_t i = 0; i < message->entry_count && why == NULL; i++) {
        const struct raft_entry *entry = &message->entries[i];

        why = entry->type == RAFT_ENTRY_NORMAL ? wrong_request(node, entry)
                                               : wrong_conf_change(entry);
    }
    return why;
}

const char *node_refusal(struct node *node, const struct raft_message *message)
{
    const char *why;

    if (node->stopping || node->failed || node->raft == NULL)
        return NULL;
    why = raft_refusal(node->raft, message);
    return why != NULL ? why : wrong_entries(node, message);
}

const char *node_hear(struct node *node, const struct raft_message *message)
{
    const char *why = node_refusal(node, message);
    int rc;

    if (why != NULL)
        return why;
    /* Who was removed may not have heard of it. */
    if (node->stopping || node->failed || node->raft == NULL ||
        cluster_is_removed(node->cluster, message->from))
        return NULL;
    rc = node_must_stray(node, message) ? ERR_AGAIN
                                        : raft_step(node->raft, message);
    if (rc == ERR_AGAIN && message->type == RAFT_MSG_PROP)
        node_keep_stray(node, message);
    else if (rc < 0)
        log_debug("a message of a member came to nothing",
                  LOG_STR("type", raft_message_type_name(message->type)),
                  LOG_HEX("from", message->from),
                  LOG_STR("error", err_text(rc)));
    return NULL;
}
