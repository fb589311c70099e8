/* What a member does with an update: storage, state machine, network. */
#include "chorad/base/check.h"
#include "describe.h"
#include "env.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state machine appends the entries' payloads. */
static struct shared *appended(const struct raft_snapshot *image,
                               const uint8_t *data, size_t len)
{
    size_t old = image->data ? image->data->len : 0;
    struct shared *text = shared_new(old + len);
    if (old > 0)
        memcpy(text->data, image->data->data, old);
    if (len > 0)
        memcpy(text->data + old, data, len);
    return text;
}

static void apply_entry(struct node *node, const struct raft_entry *e)
{
    const uint8_t *data = e->data;
    size_t len = e->len;
    struct raft_conf_state cs = raft_conf_state_copy(&node->image->conf_state);
    if (e->type != RAFT_ENTRY_NORMAL) {
        struct raft_conf_change cc;
        CHECK(raft_conf_change_decode(&cc, e->type, e->data, e->len) == 0);
        raft_conf_state_close(&cs);
        CHECK(raft_apply_conf_change(node->raft, &cc, &cs) == 0);
        data = cc.context.data;
        len = cc.context.len;
    }
    struct raft_snapshot *image = raft_snapshot_new(
        e->index, e->term, &cs, appended(node->image, data, len));
    raft_conf_state_close(&cs);
    raft_snapshot_unref(node->image);
    node->image = image;
    raft_set_snapshot(node->raft, raft_snapshot_ref(image));
}

static void apply_entries(struct node *node, const struct raft_entry *entries,
                          size_t count)
{
    for (size_t i = 0; i < count; i++)
        apply_entry(node, &entries[i]);
}

static void send_messages(struct env *env, const struct raft_update *u)
{
    for (size_t i = 0; i < u->message_count; i++) {
        messages_push(&env->messages, &u->messages[i]);
        memset(&u->messages[i], 0, sizeof(u->messages[i]));
    }
}

static void queue_work(struct node *node, const struct raft_update *u)
{
    if (u->append) {
        CHECK(node->append_count < WORK_MAX);
        node->append_work[node->append_count++] = u->append;
    }
    if (u->committed_count > 0) {
        CHECK(node->apply_count < WORK_MAX);
        node->apply_work[node->apply_count++] = (struct apply_work){
            entries_copy(u->committed, u->committed_count), u->committed_count};
    }
}

const char *env_process_ready(struct env *env, struct node *node)
{
    struct raft_update u;
    raft_update(node->raft, &u);
    struct buf text = {0};
    describe_update(node->id, node->async, &u, &text);
    env_take(env, &text);
    const char *error = NULL;
    if (node->async) {
        queue_work(node, &u);
    } else {
        if (u.append)
            error = storage_write(&node->storage, u.append);
        apply_entries(node, u.committed, u.committed_count);
    }
    send_messages(env, &u);
    if (!node->async)
        raft_advance(node->raft);
    return error;
}

static void print_message(struct env *env, const struct raft_message *m)
{
    struct buf text = {0};
    describe_message("", m, &text);
    buf_append(&text, "\n", 1);
    env_take(env, &text);
}

const char *env_process_append(struct env *env, struct node *node)
{
    if (node->append_count == 0) {
        env_print(env, "no append work to perform");
        return NULL;
    }
    struct raft_append *append = node->append_work[0];
    node->append_count--;
    for (size_t i = 0; i < node->append_count; i++)
        node->append_work[i] = node->append_work[i + 1];
    struct buf text = {0};
    describe_append(node->id, append, false, &text);
    env_print(env, "Processing:\n");
    env_take(env, &text);
    env_print(env, "\n");
    const char *error = storage_write(&node->storage, append);
    if (!error)
        env_print(env, "Responses:\n");
    for (size_t i = 0; i < append->response_count && !error; i++) {
        print_message(env, &append->responses[i]);
        messages_push(&env->messages, &append->responses[i]);
        memset(&append->responses[i], 0, sizeof(append->responses[i]));
    }
    raft_append_close(append);
    return error;
}

const char *env_process_apply(struct env *env, struct node *node)
{
    if (node->apply_count == 0) {
        env_print(env, "no apply work to perform");
        return NULL;
    }
    struct apply_work work = node->apply_work[0];
    node->apply_count--;
    memmove(node->apply_work, node->apply_work + 1,
            node->apply_count * sizeof(work));
    struct buf text = {0};
    describe_apply(node->id, work.entries, work.count, false, &text);
    env_print(env, "Processing:\n");
    env_take(env, &text);
    env_print(env, "\n");
    apply_entries(node, work.entries, work.count);
    env_print(env, "Responses:\n");
    struct raft_message m = {.type = RAFT_MSG_STORAGE_APPLY_RESP,
                             .from = RAFT_APPLY_THREAD,
                             .to = node->id,
                             .entries = work.entries,
                             .entry_count = work.count};
    print_message(env, &m);
    messages_push(&env->messages, &m);
    return NULL;
}

static void deliver(struct env *env, struct raft_message *m)
{
    CHECK(m->to > 0 && m->to <= env->node_count);
    struct raft *raft = env->nodes[m->to - 1].raft;
    int rc = 0;
    if (m->type == RAFT_MSG_STORAGE_APPLY_RESP)
        raft_applied(raft, m->entries[m->entry_count - 1].index);
    else
        rc = raft_step(raft, m);
    if (rc < 0)
        env_print(env, "%s\n", describe_error(rc));
}

static bool is_local(const struct raft_message *m)
{
    return m->from == m->to || m->from >= RAFT_APPLY_THREAD ||
           m->to >= RAFT_APPLY_THREAD;
}

static bool concerns(const struct raft_message *m, uint64_t id, int type,
                     bool drop)
{
    return m->to == id && !(drop && is_local(m)) &&
           (type < 0 || (int)m->type == type);
}

size_t env_deliver(struct env *env, uint64_t id, int type, bool drop)
{
    struct messages all = env->messages;
    struct messages mine = {0};
    env->messages = (struct messages){0};
    for (size_t i = 0; i < all.count; i++)
        messages_push(concerns(&all.items[i], id, type, drop) ? &mine
                                                              : &env->messages,
                      &all.items[i]);
    free(all.items);
    size_t count = mine.count;
    for (size_t i = 0; i < count; i++) {
        if (drop)
            env_print(env, "dropped: ");
        print_message(env, &mine.items[i]);
        if (!drop)
            deliver(env, &mine.items[i]);
    }
    messages_close(&mine);
    return count;
}

static const char *receive(struct env *env, struct node *node)
{
    env_deliver(env, node->id, -1, false);
    return NULL;
}

static bool has_messages(const struct env *env, uint64_t id)
{
    for (size_t i = 0; i < env->messages.count; i++)
        if (env->messages.items[i].to == id)
            return true;
    return false;
}

/* One round; false in `busy` if there was nothing to do. */
static const char *stabilize_round(struct env *env, struct node **nodes,
                                   size_t count, bool *busy)
{
    const char *error = NULL;
    for (size_t i = 0; i < count && !error; i++) {
        if (!raft_has_update(nodes[i]->raft))
            continue;
        env_print(env, "> %" PRIu64 " handling Ready\n", nodes[i]->id);
        error = env_indented(env, nodes[i], env_process_ready);
        *busy = true;
    }
    for (size_t i = 0; i < count && !error; i++) {
        if (!has_messages(env, nodes[i]->id))
            continue;
        env_print(env, "> %" PRIu64 " receiving messages\n", nodes[i]->id);
        env_indented(env, nodes[i], receive);
        *busy = true;
    }
    for (size_t i = 0; i < count && !error; i++) {
        if (nodes[i]->append_count == 0)
            continue;
        env_print(env, "> %" PRIu64 " processing append thread\n",
                  nodes[i]->id);
        while (nodes[i]->append_count > 0 && !error)
            error = env_indented(env, nodes[i], env_process_append);
        *busy = true;
    }
    for (size_t i = 0; i < count && !error; i++) {
        if (nodes[i]->apply_count == 0)
            continue;
        env_print(env, "> %" PRIu64 " processing apply thread\n", nodes[i]->id);
        while (nodes[i]->apply_count > 0)
            env_indented(env, nodes[i], env_process_apply);
        *busy = true;
    }
    return error;
}

const char *env_stabilize(struct env *env, struct node **nodes, size_t count)
{
    bool busy = true;
    const char *error = NULL;
    while (busy && !error) {
        busy = false;
        error = stabilize_round(env, nodes, count, &busy);
    }
    return error;
}
