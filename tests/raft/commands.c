/* The directives of interaction scenarios. */
#include "chorad/base/check.h"
#include "core.h"
#include "describe.h"
#include "env.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct node *node_of(struct env *env, const struct directive *d,
                            const char *text)
{
    uint64_t id = directive_number(d, text);
    if (id == 0 || id > env->node_count)
        directive_fatal(d, "no such node");
    return &env->nodes[id - 1];
}

static struct node *first_node(struct env *env, const struct directive *d)
{
    if (d->arg_count == 0)
        directive_fatal(d, "which node?");
    return node_of(env, d, d->args[0].key);
}

/* The arguments without a value; returns how many. */
static size_t all_nodes(struct env *env, const struct directive *d,
                        struct node **nodes)
{
    size_t count = 0;
    for (size_t i = 0; i < d->arg_count; i++)
        if (d->args[i].value_count == 0)
            nodes[count++] = node_of(env, d, d->args[i].key);
    return count;
}

static void read_ids(const struct directive *d, const char *key,
                     struct raft_ids *ids)
{
    const struct arg *arg = directive_arg(d, key);
    for (size_t i = 0; arg && i < arg->value_count; i++)
        raft_ids_add(ids, directive_number(d, arg->values[i]));
}

static void read_bool(const struct directive *d, const char *key, bool *value)
{
    const struct arg *arg = directive_arg(d, key);
    if (arg)
        *value = directive_bool(d, arg->values[0]);
}

static uint64_t read_number(const struct directive *d, const char *key,
                            uint64_t otherwise)
{
    const struct arg *arg = directive_arg(d, key);
    return arg ? directive_number(d, arg->values[0]) : otherwise;
}

static struct raft_config read_config(const struct directive *d)
{
    struct raft_config config = {
        .election_tick = 3,
        .heartbeat_tick = 1,
        .max_size_per_msg = RAFT_NO_LIMIT,
        .seed = 1,
    };
    config.max_inflight_msgs = read_number(d, "inflight", INT32_MAX);
    config.max_committed_size =
        read_number(d, "max-committed-size-per-ready", 0);
    read_bool(d, "async-storage-writes", &config.async_storage);
    read_bool(d, "prevote", &config.pre_vote);
    read_bool(d, "checkquorum", &config.check_quorum);
    read_bool(d, "disable-conf-change-validation",
              &config.disable_conf_change_validation);
    read_bool(d, "step-down-on-removal", &config.step_down_on_removal);
    const struct arg *reads = directive_arg(d, "read-only");
    if (reads && strcmp(reads->values[0], "lease-based") == 0)
        config.read_option = RAFT_READ_LEASE;
    return config;
}

static const char *add_nodes(struct env *env, const struct directive *d)
{
    struct raft_config config = read_config(d);
    struct raft_snapshot image = {.index = read_number(d, "index", 0)};
    image.term = image.index > 0;
    read_ids(d, "voters", &image.conf_state.voters);
    read_ids(d, "learners", &image.conf_state.learners);
    const struct arg *content = directive_arg(d, "content");
    if (content) {
        size_t len = strlen(content->values[0]);
        image.data = shared_new(len);
        memcpy(image.data->data, content->values[0], len);
    }
    uint64_t count = directive_number(d, d->args[0].key);
    for (uint64_t i = 0; i < count; i++)
        env_add_node(env, &config, &image);
    raft_conf_state_close(&image.conf_state);
    shared_unref(image.data);
    return NULL;
}

static const char *campaign(struct env *env, const struct directive *d)
{
    raft_campaign(first_node(env, d)->raft);
    return NULL;
}

static const char *raft_log(struct env *env, const struct directive *d)
{
    const struct storage *s = &first_node(env, d)->storage;
    if (s->count == 0) {
        env_print(env,
                  "log is empty: first index=%" PRIu64 ", last index=%" PRIu64,
                  s->base_index + 1, s->base_index);
        return NULL;
    }
    struct buf text = {0};
    describe_entries(s->entries, s->count, &text);
    env_take(env, &text);
    return NULL;
}

static const char *compact(struct env *env, const struct directive *d)
{
    struct node *node = first_node(env, d);
    uint64_t index = directive_number(d, d->args[1].key);
    const char *error = storage_compact(&node->storage, index);
    if (error)
        return error;
    int rc = raft_compact(node->raft, index);
    if (rc < 0)
        return describe_error(rc);
    return raft_log(env, d);
}

static int message_type(const struct directive *d, const char *name)
{
    for (int i = 0; i < RAFT_MSG_TYPES; i++)
        if (strcmp(raft_message_type_name((enum raft_message_type)i), name) ==
            0)
            return i;
    directive_fatal(d, "unknown message type");
}

static const char *deliver_msgs(struct env *env, const struct directive *d)
{
    const struct arg *type_arg = directive_arg(d, "type");
    int type = type_arg ? message_type(d, type_arg->values[0]) : -1;
    size_t count = 0;
    for (size_t i = 0; i < d->arg_count; i++) {
        const struct arg *arg = &d->args[i];
        if (arg->value_count == 0)
            count +=
                env_deliver(env, directive_number(d, arg->key), type, false);
        for (size_t j = 0; j < arg->value_count; j++)
            if (strcmp(arg->key, "drop") == 0)
                count += env_deliver(env, directive_number(d, arg->values[j]),
                                     type, true);
    }
    if (count == 0)
        env_print(env, "no messages\n");
    return NULL;
}

/* Each of the nodes in turn; with several, each under its own title. */
static const char *for_each(struct env *env, const struct directive *d,
                            const char *title, env_step_cb step)
{
    struct node *nodes[ARGS_MAX];
    size_t count = all_nodes(env, d, nodes);
    if (count == 1)
        return step(env, nodes[0]);
    const char *error = NULL;
    for (size_t i = 0; i < count && !error; i++) {
        env_print(env, "> %" PRIu64 " %s\n", nodes[i]->id, title);
        error = env_indented(env, nodes[i], step);
    }
    return error;
}

static const char *process_ready(struct env *env, const struct directive *d)
{
    return for_each(env, d, "handling Ready", env_process_ready);
}

static const char *process_append(struct env *env, const struct directive *d)
{
    return for_each(env, d, "processing append thread", env_process_append);
}

static const char *process_apply(struct env *env, const struct directive *d)
{
    return for_each(env, d, "processing apply thread", env_process_apply);
}

static const char *log_level(struct env *env, const struct directive *d)
{
    if (!env_set_level(env, d->args[0].key))
        directive_fatal(d, "unknown log level");
    return NULL;
}

static const char *raft_state(struct env *env, const struct directive *d)
{
    (void)d;
    for (size_t i = 0; i < env->node_count; i++) {
        const struct raft *raft = env->nodes[i].raft;
        struct raft_status st;
        raft_status(raft, &st);
        bool voter = tracker_is_voter(&raft->trk, st.id);
        env_print(env, "%" PRIu64 ": %s %s Term:%" PRIu64 " Lead:%" PRIu64 "\n",
                  st.id, raft_role_name(st.role),
                  voter ? "(Voter)" : "(Non-Voter)", st.term, st.leader);
    }
    return NULL;
}

static const char *set_timeout(struct env *env, const struct directive *d)
{
    first_node(env, d)->raft->election_timeout =
        (unsigned)read_number(d, "timeout", 0);
    return NULL;
}

static const char *stabilize(struct env *env, const struct directive *d)
{
    int before = env->level;
    const struct arg *level = directive_arg(d, "log-level");
    if (level && !env_set_level(env, level->values[0]))
        directive_fatal(d, "unknown log level");
    struct node *nodes[NODES_MAX + ARGS_MAX];
    size_t count = all_nodes(env, d, nodes);
    if (count == 0)
        for (; count < env->node_count; count++)
            nodes[count] = &env->nodes[count];
    const char *error = env_stabilize(env, nodes, count);
    env->level = before;
    return error;
}

static const char *status(struct env *env, const struct directive *d)
{
    const struct raft *raft = first_node(env, d)->raft;
    char text[256];
    for (size_t i = 0; raft->role == RAFT_LEADER && i < raft->trk.count; i++)
        env_print(env, "%" PRIu64 ": %s\n", raft->trk.progress[i].id,
                  progress_text(&raft->trk.progress[i], text, sizeof(text)));
    return NULL;
}

static const char *tick_election(struct env *env, const struct directive *d)
{
    struct node *node = first_node(env, d);
    for (unsigned i = 0; i < node->election_tick; i++)
        raft_tick(node->raft);
    return NULL;
}

static const char *tick_heartbeat(struct env *env, const struct directive *d)
{
    struct node *node = first_node(env, d);
    for (unsigned i = 0; i < node->heartbeat_tick; i++)
        raft_tick(node->raft);
    return NULL;
}

static const char *transfer(struct env *env, const struct directive *d)
{
    uint64_t from = read_number(d, "from", 0);
    if (from == 0 || from > env->node_count)
        directive_fatal(d, "no such node");
    raft_transfer_leader(env->nodes[from - 1].raft, read_number(d, "to", 0));
    return NULL;
}

static const char *forget_leader(struct env *env, const struct directive *d)
{
    raft_forget_leader(first_node(env, d)->raft);
    return NULL;
}

static const char *send_snapshot(struct env *env, const struct directive *d)
{
    struct node *from = first_node(env, d);
    struct raft_status st;
    raft_status(from->raft, &st);
    struct raft_message m = {
        .type = RAFT_MSG_SNAP,
        .term = st.term,
        .from = from->id,
        .to = directive_number(d, d->args[1].key),
        .snapshot = raft_snapshot_ref(from->image),
    };
    messages_push(&env->messages, &m);
    struct buf text = {0};
    describe_message("", &m, &text);
    env_take(env, &text);
    return NULL;
}

static const char *result_of(struct raft_entry *e, int rc)
{
    if (rc == 0)
        return NULL;
    raft_entry_unref(e);
    return describe_error(rc);
}

static const char *propose(struct env *env, const struct directive *d)
{
    struct node *node = first_node(env, d);
    const char *data = d->args[1].key;
    struct raft_entry e = raft_entry_new(RAFT_ENTRY_NORMAL, data, strlen(data));
    return result_of(&e, raft_propose(node->raft, &e, 1));
}

static void read_changes(const struct directive *d, struct raft_conf_change *cc)
{
    char text[256];
    char *rest = text;
    const char *word;
    snprintf(text, sizeof(text), "%s", d->input);
    while ((word = strsep(&rest, " "))) {
        if (*word == '\0')
            continue;
        const char *letter = strchr("vrul", word[0]);
        if (!letter)
            directive_fatal(d, "unknown change");
        cc->changes[cc->change_count++] = (struct raft_conf_single){
            (enum raft_conf_change_type)(letter - "vrul"),
            directive_number(d, word + 1)};
    }
}

static const char *propose_conf_change(struct env *env,
                                       const struct directive *d)
{
    struct raft_conf_change cc = {0};
    read_bool(d, "v1", &cc.v1);
    const struct arg *transition = directive_arg(d, "transition");
    if (transition && strcmp(transition->values[0], "implicit") == 0)
        cc.transition = RAFT_CONF_JOINT_IMPLICIT;
    if (transition && strcmp(transition->values[0], "explicit") == 0)
        cc.transition = RAFT_CONF_JOINT_EXPLICIT;
    read_changes(d, &cc);
    int rc = raft_propose_conf_change(first_node(env, d)->raft, &cc);
    return rc < 0 ? describe_error(rc) : NULL;
}

static const char *report_unreachable(struct env *env,
                                      const struct directive *d)
{
    raft_report_unreachable(first_node(env, d)->raft,
                            node_of(env, d, d->args[1].key)->id);
    return NULL;
}

static const struct {
    const char *name;
    const char *(*run)(struct env *env, const struct directive *d);
} commands[] = {
    {"add-nodes", add_nodes},
    {"campaign", campaign},
    {"compact", compact},
    {"deliver-msgs", deliver_msgs},
    {"forget-leader", forget_leader},
    {"log-level", log_level},
    {"process-append-thread", process_append},
    {"process-apply-thread", process_apply},
    {"process-ready", process_ready},
    {"propose", propose},
    {"propose-conf-change", propose_conf_change},
    {"raft-log", raft_log},
    {"raft-state", raft_state},
    {"report-unreachable", report_unreachable},
    {"send-snapshot", send_snapshot},
    {"set-randomized-election-timeout", set_timeout},
    {"stabilize", stabilize},
    {"status", status},
    {"tick-election", tick_election},
    {"tick-heartbeat", tick_heartbeat},
    {"transfer-leadership", transfer},
};

void env_command(void *arg, const struct directive *d, struct buf *out)
{
    struct env *env = arg;
    size_t i = 0;
    size_t count = sizeof(commands) / sizeof(commands[0]);
    while (i < count && strcmp(commands[i].name, d->command) != 0)
        i++;
    if (i == count)
        directive_fatal(d, "unknown command");
    env->out = out;
    const char *error = commands[i].run(env, d);
    /* Errors are shown at any level. */
    if (error)
        buf_append(out, error, strlen(error));
    if (out->len == 0)
        buf_append(out, "ok", 2);
}
