#include "describe.h"
#include "types.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void put(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

void describe_hard_state(const struct raft_hard_state *hs, struct buf *out)
{
    buf_printf(out, "Term:%" PRIu64, hs->term);
    if (hs->vote != 0)
        buf_printf(out, " Vote:%" PRIu64, hs->vote);
    buf_printf(out, " Commit:%" PRIu64, hs->commit);
}

static void describe_ids(const char *name, const struct raft_ids *set,
                         struct buf *out)
{
    buf_printf(out, "%s:[", name);
    for (size_t i = 0; i < set->count; i++)
        buf_printf(out, "%s%" PRIu64, i > 0 ? " " : "", set->ids[i]);
    put(out, "] ");
}

void describe_snapshot(const struct raft_snapshot *snapshot, struct buf *out)
{
    const struct raft_conf_state *cs = &snapshot->conf_state;
    buf_printf(out,
               "Index:%" PRIu64 " Term:%" PRIu64 " ConfState:", snapshot->index,
               snapshot->term);
    describe_ids("Voters", &cs->voters, out);
    describe_ids("VotersOutgoing", &cs->voters_outgoing, out);
    describe_ids("Learners", &cs->learners, out);
    describe_ids("LearnersNext", &cs->learners_next, out);
    buf_printf(out, "AutoLeave:%s", cs->auto_leave ? "true" : "false");
}

static void describe_conf_change(const struct raft_entry *e, struct buf *out)
{
    static const char letters[] = "vrul";
    struct raft_conf_change cc;
    if (raft_conf_change_decode(&cc, e->type, e->data, e->len) < 0) {
        put(out, " bad conf change");
        return;
    }
    for (size_t i = 0; i < cc.change_count; i++)
        buf_printf(out, " %c%" PRIu64, letters[cc.changes[i].type],
                   cc.changes[i].node_id);
}

static void describe_quoted(const struct raft_entry *e, struct buf *out)
{
    put(out, " \"");
    for (size_t i = 0; i < e->len; i++) {
        if (e->data[i] == '"' || e->data[i] == '\\')
            buf_printf(out, "\\%c", e->data[i]);
        else if (e->data[i] < 0x20 || e->data[i] >= 0x7f)
            buf_printf(out, "\\x%02x", e->data[i]);
        else
            buf_printf(out, "%c", e->data[i]);
    }
    put(out, "\"");
}

static void describe_entry(const struct raft_entry *e, struct buf *out)
{
    static const char *const names[] = {"EntryNormal", "EntryConfChange",
                                        "EntryConfChangeV2"};
    buf_printf(out, "%" PRIu64 "/%" PRIu64 " %s", e->term, e->index,
               names[e->type]);
    if (e->type == RAFT_ENTRY_NORMAL)
        describe_quoted(e, out);
    else
        describe_conf_change(e, out);
}

void describe_entries(const struct raft_entry *entries, size_t count,
                      struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        describe_entry(&entries[i], out);
        put(out, "\n");
    }
}

static void describe_target(uint64_t id, struct buf *out)
{
    if (id == RAFT_NONE)
        put(out, "None");
    else if (id == RAFT_APPEND_THREAD)
        put(out, "AppendThread");
    else if (id == RAFT_APPLY_THREAD)
        put(out, "ApplyThread");
    else
        buf_printf(out, "%" PRIx64, id);
}

static void describe_message_entries(const char *indent,
                                     const struct raft_entry *entries,
                                     size_t count, struct buf *out)
{
    if (count == 0)
        return;
    put(out, " Entries:[");
    if (count == 1) {
        describe_entry(&entries[0], out);
    } else {
        for (size_t i = 0; i < count; i++) {
            buf_printf(out, "\n%s  ", indent);
            describe_entry(&entries[i], out);
        }
        buf_printf(out, "\n%s", indent);
    }
    put(out, "]");
}

/* `vote` isn't part of struct raft_message: only local appends have one. */
static void describe_parts(const char *indent, const struct raft_message *m,
                           uint64_t vote, struct buf *out)
{
    put(out, indent);
    describe_target(m->from, out);
    put(out, "->");
    describe_target(m->to, out);
    buf_printf(out, " %s Term:%" PRIu64 " Log:%" PRIu64 "/%" PRIu64,
               raft_message_type_name(m->type), m->term, m->log_term, m->index);
    if (m->reject)
        buf_printf(out, " Rejected (Hint: %" PRIu64 ")", m->reject_hint);
    if (m->commit != 0)
        buf_printf(out, " Commit:%" PRIu64, m->commit);
    if (vote != 0)
        buf_printf(out, " Vote:%" PRIu64, vote);
    describe_message_entries(indent, m->entries, m->entry_count, out);
    if (m->snapshot && m->snapshot->index != 0) {
        buf_printf(out, "\n%s  Snapshot: ", indent);
        describe_snapshot(m->snapshot, out);
    }
}

void describe_message(const char *indent, const struct raft_message *m,
                      struct buf *out)
{
    describe_parts(indent, m, 0, out);
}

static void describe_responses(const struct raft_message *responses,
                               size_t count, struct buf *out)
{
    if (count == 0)
        return;
    put(out, " Responses:[");
    for (size_t i = 0; i < count; i++) {
        put(out, "\n");
        describe_message("  ", &responses[i], out);
    }
    put(out, "\n]");
}

void describe_append(uint64_t id, const struct raft_append *append,
                     bool responses, struct buf *out)
{
    struct raft_message m = {
        .type = RAFT_MSG_STORAGE_APPEND,
        .from = id,
        .to = RAFT_APPEND_THREAD,
        .term = append->hard_state.term,
        .commit = append->hard_state.commit,
        .entries = append->entries,
        .entry_count = append->entry_count,
        .snapshot = append->snapshot,
    };
    describe_parts("", &m, append->hard_state.vote, out);
    if (responses)
        describe_responses(append->responses, append->response_count, out);
}

struct raft_message apply_response(uint64_t id,
                                   const struct raft_entry *entries,
                                   size_t count)
{
    struct raft_message m = {.entries = entries_copy(entries, count),
                             .entry_count = count};
    m.type = RAFT_MSG_STORAGE_APPLY_RESP;
    m.from = RAFT_APPLY_THREAD;
    m.to = id;
    return m;
}

void describe_apply(uint64_t id, const struct raft_entry *entries, size_t count,
                    bool response, struct buf *out)
{
    struct raft_message answer = apply_response(id, entries, count);
    struct raft_message m = {
        .type = RAFT_MSG_STORAGE_APPLY,
        .from = id,
        .to = RAFT_APPLY_THREAD,
        .entries = answer.entries,
        .entry_count = count,
    };
    describe_message("", &m, out);
    if (response)
        describe_responses(&answer, 1, out);
    raft_message_close(&answer);
}

static void describe_to_persist(const struct raft_append *append,
                                struct buf *out)
{
    if (append->has_hard_state) {
        put(out, "HardState ");
        describe_hard_state(&append->hard_state, out);
        put(out, "\n");
    }
    if (append->entry_count > 0) {
        put(out, "Entries:\n");
        describe_entries(append->entries, append->entry_count, out);
    }
    if (append->snapshot) {
        put(out, "Snapshot ");
        describe_snapshot(append->snapshot, out);
        put(out, "\n");
    }
}

static void describe_messages(uint64_t id, bool async,
                              const struct raft_update *u, struct buf *out)
{
    if (u->message_count == 0 &&
        (!async || (!u->append && u->committed_count == 0)))
        return;
    put(out, "Messages:\n");
    for (size_t i = 0; i < u->message_count; i++) {
        describe_message("", &u->messages[i], out);
        put(out, "\n");
    }
    if (async && u->append) {
        describe_append(id, u->append, true, out);
        put(out, "\n");
    }
    if (async && u->committed_count > 0) {
        describe_apply(id, u->committed, u->committed_count, true, out);
        put(out, "\n");
    }
}

void describe_update(uint64_t id, bool async, const struct raft_update *u,
                     struct buf *out)
{
    struct buf text = {0};
    if (u->has_soft_state)
        buf_printf(&text, "Lead:%" PRIu64 " State:%s\n", u->soft_state.leader,
                   raft_role_name(u->soft_state.role));
    if (u->append)
        describe_to_persist(u->append, &text);
    if (u->committed_count > 0) {
        put(&text, "CommittedEntries:\n");
        describe_entries(u->committed, u->committed_count, &text);
    }
    describe_messages(id, async, u, &text);
    if (text.len > 0) {
        bool must_sync = u->append && u->append->must_sync;
        buf_printf(out, "Ready MustSync=%s:\n", must_sync ? "true" : "false");
        buf_append(out, text.data, text.len);
    } else {
        put(out, "<empty Ready>");
    }
    buf_close(&text);
}

const char *describe_error(int rc)
{
    switch (rc) {
    case ERR_AGAIN:
        return "raft proposal dropped";
    case ERR_MEMBER_NOT_FOUND:
        return "raft: cannot step as peer not found";
    case ERR_INVALID:
        return "raft: cannot step raft local message";
    default:
        return err_text(rc);
    }
}
