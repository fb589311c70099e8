/* Proposals of other members that came when nobody could take them: while the
 * leadership is handed on or the configuration changes, or the sender believes
 * this member to lead and it does no more. They came by a message, whose sender
 * waits for what becomes of them. What waits here is what a slow network would
 * do to them, no more. */
#include "chorad/base/clock.h"
#include "node.h"
#include <stdlib.h>
#include <string.h>

#define STRAY_BYTES_MAX ((uint64_t)16 << 20)

struct stray {
    struct stray *next;
    uint64_t due_ns; /* its sender doesn't wait any more */
    uint64_t bytes;
    size_t count;
    struct raft_entry entries[];
};

static bool changes_conf(const struct raft_entry *entries, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (entries[i].type != RAFT_ENTRY_NORMAL)
            return true;
    return false;
}

static void stray_close(struct node *node, struct stray *stray)
{
    node->stray_bytes -= stray->bytes;
    for (size_t i = 0; i < stray->count; i++)
        raft_entry_unref(&stray->entries[i]);
    free(stray);
}

bool node_must_stray(const struct node *node,
                     const struct raft_message *message)
{
    return message->type == RAFT_MSG_PROP &&
           raft_is_reconfiguring(node->raft) &&
           changes_conf(message->entries, message->entry_count);
}

void node_keep_stray(struct node *node, const struct raft_message *message)
{
    size_t n = message->entry_count;
    struct stray **at = &node->strays;
    struct stray *stray;
    uint64_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += raft_entry_size(&message->entries[i]);
    if (n == 0 || node->stray_bytes + bytes > STRAY_BYTES_MAX)
        return;
    stray = mem_zalloc(sizeof(*stray) + n * sizeof(stray->entries[0]));
    stray->due_ns = clock_mono_ns() + node_request_timeout_ns(node);
    stray->bytes = bytes;
    stray->count = n;
    for (size_t i = 0; i < n; i++) {
        stray->entries[i] = message->entries[i];
        raft_entry_ref(&stray->entries[i]);
    }
    node->stray_bytes += bytes;
    while (*at)
        at = &(*at)->next;
    *at = stray;
}

void node_release_strays(struct node *node)
{
    while (node->strays && node->leader != RAFT_NONE) {
        struct stray *stray = node->strays;
        int rc = ERR_AGAIN;

        if (!raft_is_reconfiguring(node->raft) ||
            !changes_conf(stray->entries, stray->count))
            rc = raft_propose(node->raft, stray->entries, stray->count);
        if (rc == ERR_AGAIN)
            return;
        node->strays = stray->next;
        if (rc == 0)
            stray->count = 0; /* Raft has taken the references */
        stray_close(node, stray);
    }
}

void node_expire_strays(struct node *node, uint64_t now_ns)
{
    while (node->strays && node->strays->due_ns <= now_ns) {
        struct stray *stray = node->strays;

        node->strays = stray->next;
        stray_close(node, stray);
    }
}
