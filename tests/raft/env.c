#include "env.h"
#include "chorad/base/check.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const level_names[] = {"DEBUG", "INFO",  "WARN",
                                          "ERROR", "FATAL", "NONE"};

void env_init(struct env *env)
{
    memset(env, 0, sizeof(*env));
}

static void close_node(struct node *node)
{
    for (size_t i = 0; i < node->append_count; i++)
        raft_append_close(node->append_work[i]);
    for (size_t i = 0; i < node->apply_count; i++) {
        for (size_t j = 0; j < node->apply_work[i].count; j++)
            raft_entry_unref(&node->apply_work[i].entries[j]);
        free(node->apply_work[i].entries);
    }
    raft_free(node->raft);
    storage_close(&node->storage);
    raft_snapshot_unref(node->image);
}

void env_close(struct env *env)
{
    for (size_t i = 0; i < env->node_count; i++)
        close_node(&env->nodes[i]);
    messages_close(&env->messages);
}

void env_print(struct env *env, const char *fmt, ...)
{
    if (env->level == LEVEL_NONE)
        return;
    char text[8192];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < sizeof(text));
    buf_append(env->out, text, (size_t)n);
}

void env_take(struct env *env, struct buf *text)
{
    if (env->level != LEVEL_NONE && text->len > 0)
        buf_append(env->out, text->data, text->len);
    buf_close(text);
}

bool env_set_level(struct env *env, const char *name)
{
    for (int i = 0; i <= LEVEL_NONE; i++) {
        if (strcasecmp(level_names[i], name) == 0) {
            env->level = i;
            return true;
        }
    }
    return false;
}

static void print_line(void *arg, enum raft_log_level level, const char *line)
{
    struct env *env = arg;
    if (level == RAFT_LOG_FATAL)
        fprintf(stderr, "%s\n", line);
    if (env->level <= (int)level)
        env_print(env, "%s %s\n", level_names[level], line);
}

void env_add_node(struct env *env, const struct raft_config *config,
                  const struct raft_snapshot *image)
{
    CHECK(env->node_count < NODES_MAX);
    struct node *node = &env->nodes[env->node_count];
    node->id = ++env->node_count;
    node->async = config->async_storage;
    node->election_tick = config->election_tick;
    node->heartbeat_tick = config->heartbeat_tick;
    storage_init(&node->storage, image->index, image->term);
    struct shared *data = image->data ? shared_ref(image->data) : NULL;
    node->image =
        raft_snapshot_new(image->index, image->term, &image->conf_state, data);
    struct raft_config mine = *config;
    mine.id = node->id;
    mine.log = print_line;
    mine.log_arg = env;
    mine.log_level = RAFT_LOG_DEBUG;
    mine.early_vote_requests = true;
    struct raft_init init = {
        .base_index = image->index,
        .base_term = image->term,
        .conf_state = &image->conf_state,
        .snapshot = node->image,
        .applied = image->index,
    };
    struct errmsg msg;
    if (raft_new(&node->raft, &mine, &init, &msg) < 0) {
        fprintf(stderr, "raft_new: %s\n", msg.text);
        exit(2);
    }
}

const char *env_indented(struct env *env, struct node *node, env_step_cb step)
{
    struct buf *outer = env->out;
    struct buf inner = {0};
    env->out = &inner;
    const char *error = step(env, node);
    env->out = outer;
    const char *at = (const char *)inner.data;
    const char *end = at + inner.len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        buf_printf(outer, "  %.*s\n", (int)(stop - at), at);
        at = newline ? newline + 1 : end;
    }
    buf_close(&inner);
    return error;
}
