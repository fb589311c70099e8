#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"
#include "chorad/base/quote.h"
#include "flags.h"
#include "sources.h"
#include "value.h"

#define PREFIX "ETCD_"

const char *env_value(char *const env[], const char *name)
{
    size_t len = strlen(name);

    for (; *env != NULL; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    }
    return NULL;
}

/* "data-dir" -> "ETCD_DATA_DIR", in fresh memory. */
static char *variable_name(const char *flag)
{
    char *name = mem_printf(PREFIX "%s", flag);

    for (char *at = name; *at != '\0'; at++)
        *at = (char)(*at == '-' ? '_' : toupper((unsigned char)*at));
    return name;
}

/* The flag of "ETCD_DATA_DIR=...", or NULL. */
static const struct flag *flag_of(const char *entry)
{
    size_t len = strcspn(entry, "=");

    for (size_t i = 0; i < flag_count; i++) {
        char *name = variable_name(flag_table[i].name);
        bool same = strlen(name) == len && strncmp(name, entry, len) == 0;

        free(name);
        if (same)
            return &flag_table[i];
    }
    return NULL;
}

static int set_from(const struct flag *flag, const char *name,
                    const char *value, struct config *config,
                    struct errmsg *msg)
{
    struct errmsg why = {0};
    char *text;

    if (flag_set(flag, config, value, &why) != 0) {
        text = quote_text(value);
        err_set(msg, ERR_INVALID, "invalid value %s for %s: %s", text, name,
                why.text);
        free(text);
        return ERR_INVALID;
    }
    config->set[flag_index(flag)] = true;
    /* What opens a door stays out of the log. */
    text = mem_printf("%s=%s", name,
                      strcmp(flag->name, "discovery-password") == 0 ||
                              strcmp(flag->name, "discovery-user") == 0
                          ? "***"
                          : value);
    config_note(config, LOG_INFO, "recognized and used environment variable",
                "variable", text);
    free(text);
    return 0;
}

/* Both given is a mistake that would go unseen: etcd refuses to start, and so
 * it does for an empty variable. */
static int conflict(struct config *config, const char *name, struct errmsg *msg)
{
    static const char text[] =
        "conflicting environment variable is shadowed by corresponding "
        "command-line flag (either unset environment variable or disable "
        "flag))";

    config_note(config, LOG_FATAL, text, "environment-variable", name);
    return err_set(msg, ERR_INVALID, "%s: %s", text, name);
}

/* One variable that begins with ETCD_. */
static int read_entry(const char *entry, const bool *by_flag,
                      struct config *config, struct errmsg *msg)
{
    const struct flag *flag = flag_of(entry);
    const char *value = strchr(entry, '=');
    char *name;
    int err = 0;

    if (value == NULL)
        return 0;
    name = mem_printf("%.*s", (int)(value - entry), entry);
    value++;
    if (flag != NULL && strcmp(flag->name, "version") == 0) {
        config_note(config, LOG_WARN, "cannot set special environment variable",
                    "variable", entry);
    } else if (flag != NULL && by_flag[flag_index(flag)]) {
        err = conflict(config, name, msg);
    } else if (flag == NULL) {
        config_note(config, LOG_WARN, "unrecognized environment variable",
                    "environment-variable", entry);
    } else if (value[0] != '\0') {
        err = set_from(flag, name, value, config, msg);
    }
    free(name);
    return err;
}

int env_read(char *const env[], struct config *config, struct errmsg *msg)
{
    bool by_flag[CONFIG_FLAGS_MAX];
    int err = 0;

    memcpy(by_flag, config->set, sizeof(by_flag));
    for (; *env != NULL && err == 0; env++) {
        if (strncmp(*env, PREFIX, strlen(PREFIX)) == 0)
            err = read_entry(*env, by_flag, config, msg);
    }
    return err;
}
