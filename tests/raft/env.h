/* A cluster whose members move only when a scenario says so: their storage,
 * the messages under way, and the text that comes of it. */
#ifndef TESTS_RAFT_ENV_H
#define TESTS_RAFT_ENV_H

#include "chorad/raft.h"
#include "datadriven.h"
#include "types.h"

/* What a member has on disk. */
struct storage {
    struct raft_hard_state hard_state;
    uint64_t base_index;
    uint64_t base_term;
    struct raft_entry *entries;
    size_t count;
    uint64_t snapshot_index;
};

void storage_init(struct storage *s, uint64_t index, uint64_t term);
void storage_close(struct storage *s);
/* NULL, or why it can't be. */
const char *storage_write(struct storage *s, const struct raft_append *append);
const char *storage_compact(struct storage *s, uint64_t index);

/* Committed entries on their way to the state machine. */
struct apply_work {
    struct raft_entry *entries;
    size_t count;
};

#define NODES_MAX 16
#define WORK_MAX 256

struct node {
    uint64_t id;
    struct raft *raft;
    bool async;
    unsigned election_tick;
    unsigned heartbeat_tick;
    struct storage storage;
    struct raft_append *append_work[WORK_MAX];
    size_t append_count;
    struct apply_work apply_work[WORK_MAX];
    size_t apply_count;
    /* The state machine: an image of it at the last entry applied. */
    struct raft_snapshot *image;
};

enum { LEVEL_NONE = RAFT_LOG_FATAL + 1 };

struct env {
    struct node nodes[NODES_MAX];
    size_t node_count;
    struct messages messages; /* under way */
    struct buf *out;
    int level; /* log lines below it are dropped; NONE: all output */
};

void env_init(struct env *env);
void env_close(struct env *env);

/* Output; nothing at level NONE. */
void env_print(struct env *env, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Output of what is in `text`, which is closed. */
void env_take(struct env *env, struct buf *text);
bool env_set_level(struct env *env, const char *name);

/* A member after `config` whose log starts after `image`. */
void env_add_node(struct env *env, const struct raft_config *config,
                  const struct raft_snapshot *image);

/* Each does one piece of work and prints it: NULL, or an error. */
const char *env_process_ready(struct env *env, struct node *node);
const char *env_process_append(struct env *env, struct node *node);
const char *env_process_apply(struct env *env, struct node *node);
/* The same for every member that has any, until none has. */
const char *env_stabilize(struct env *env, struct node **nodes, size_t count);

/* Runs a step with its output indented by two. */
typedef const char *(*env_step_cb)(struct env *env, struct node *node);
const char *env_indented(struct env *env, struct node *node, env_step_cb step);

/* Delivers, or drops, the messages to `id`; type -1: all. Returns how
 * many. */
size_t env_deliver(struct env *env, uint64_t id, int type, bool drop);

/* commands.c: one directive of an interaction scenario. */
void env_command(void *env, const struct directive *d, struct buf *out);

#endif
