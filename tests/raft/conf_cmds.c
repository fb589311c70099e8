#include "confchange.h"
#include "quorum_cmds.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CHANGES_MAX 32

static size_t read_changes(const struct directive *d,
                           struct raft_conf_single *changes)
{
    char text[512];
    char *rest = text;
    const char *word;
    size_t count = 0;
    snprintf(text, sizeof(text), "%s", d->input);
    while ((word = strsep(&rest, " "))) {
        if (*word == '\0')
            continue;
        const char *letter = strchr("vrul", word[0]);
        if (!letter || count == CHANGES_MAX)
            directive_fatal(d, "unknown change");
        changes[count++] = (struct raft_conf_single){
            (enum raft_conf_change_type)(letter - "vrul"),
            directive_number(d, word + 1)};
    }
    return count;
}

static int change(struct conf_env *env, const struct directive *d,
                  struct conf_next *next, struct errmsg *why)
{
    struct raft_conf_single changes[CHANGES_MAX];
    size_t count = read_changes(d, changes);
    if (strcmp(d->command, "simple") == 0)
        return confchange_simple(&env->trk, env->last_index, changes, count,
                                 next, why);
    if (strcmp(d->command, "enter-joint") == 0) {
        const struct arg *leave = directive_arg(d, "autoleave");
        return confchange_enter_joint(&env->trk, env->last_index,
                                      leave &&
                                          directive_bool(d, leave->values[0]),
                                      changes, count, next, why);
    }
    if (strcmp(d->command, "leave-joint") != 0)
        directive_fatal(d, "unknown command");
    if (count > 0)
        return err_set(why, ERR_INVALID, "this command takes no input");
    return confchange_leave_joint(&env->trk, next, why);
}

void conf_command(void *arg, const struct directive *d, struct buf *out)
{
    struct conf_env *env = arg;
    struct conf_next next;
    struct errmsg why;
    int rc = change(env, d, &next, &why);
    env->last_index++;
    if (rc < 0) {
        buf_printf(out, "%s\n", why.text);
        return;
    }
    confchange_switch(&env->trk, &next);
    conf_text(&env->trk.conf, out);
    out->data[out->len - 1] = '\n'; /* instead of the zero */
    char text[256];
    for (size_t i = 0; i < env->trk.count; i++)
        buf_printf(out, "%" PRIu64 ": %s\n", env->trk.progress[i].id,
                   progress_text(&env->trk.progress[i], text, sizeof(text)));
}
