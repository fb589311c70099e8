#include "chorad/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chorad/base/check.h"
#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "flags.h"
#include "gates.h"
#include "sources.h"
#include "value.h"

/* Larger than any settings file, small enough to read at once. */
#define MAX_FILE_SIZE ((size_t)1 << 20)

void config_default(struct config *config)
{
    *config = (struct config){0};
    gates_default(&config->gates);
    for (size_t i = 0; i < flag_count; i++)
        CHECK(flag_set(&flag_table[i], config, flag_table[i].def, NULL) == 0);
}

void config_close(struct config *config)
{
    for (size_t i = 0; i < flag_count; i++)
        flag_clear(&flag_table[i], config);
    config_initial_free(config->members, config->n_members);
    for (size_t i = 0; i < config->n_notes; i++) {
        free(config->notes[i].msg);
        free(config->notes[i].key);
        free(config->notes[i].value);
    }
    free(config->notes);
    *config = (struct config){0};
}

void config_note(struct config *config, enum log_level level, const char *msg,
                 const char *key, const char *value)
{
    struct config_note *note;

    config->notes = mem_realloc(config->notes, (config->n_notes + 1) *
                                                   sizeof(config->notes[0]));
    note = &config->notes[config->n_notes++];
    note->level = level;
    note->msg = mem_strdup(msg);
    note->key = key == NULL ? NULL : mem_strdup(key);
    note->value = key == NULL ? NULL : mem_strdup(value);
}

bool config_is_set(const struct config *config, const char *flag)
{
    const struct flag *row = flag_find(flag, strlen(flag));

    return row != NULL && config->set[flag_index(row)];
}

bool config_gate(const struct config *config, enum config_gate gate)
{
    return config->gates.on[gate];
}

/* Reads the whole file; ERR_TOOBIG when it can't be a settings file. */
static int read_file(const char *path, struct buf *buf, struct errmsg *msg)
{
    FILE *file = fopen(path, "re");
    size_t got;
    int err = 0;

    if (file == NULL)
        return err_set(msg, ERR_IO, "open %s: %m", path);
    do {
        got = fread(buf_reserve(buf, 4096), 1, 4096, file);
        buf->len += got;
    } while (got > 0 && buf->len <= MAX_FILE_SIZE);
    if (ferror(file))
        err = err_set(msg, ERR_IO, "read %s: %m", path);
    else if (buf->len > MAX_FILE_SIZE)
        err = err_set(msg, ERR_TOOBIG, "read %s: file is too large", path);
    (void)fclose(file);
    return err;
}

static int load_file(struct config *config, const char *path,
                     struct errmsg *msg)
{
    struct buf buf = {0};
    int err = read_file(path, &buf, msg);

    if (err == 0)
        err = config_read_yaml(config, (const char *)buf.data, buf.len, msg);
    buf_close(&buf);
    if (err == 0)
        config_note(config, LOG_INFO,
                    "loaded server configuration, other configuration command "
                    "line flags and environment variables will be ignored if "
                    "provided",
                    "path", path);
    return err;
}

/* All from the file, nothing from flags and variables. */
static int load_from_file(struct config *config, struct errmsg *msg)
{
    char *path = config->config_file;
    int err;

    config->config_file = NULL;
    config_close(config);
    config_default(config);
    err = load_file(config, path, msg);
    free(config->config_file);
    config->config_file = path;
    return err;
}

/* What changes the meaning of defaults where flags and variables count. */
static void adjust_defaults(struct config *config)
{
    if (config_is_set(config, "listen-client-urls") &&
        !config_is_set(config, "advertise-client-urls"))
        urls_close(&config->advertise_client_urls);
    if ((config->discovery.srv[0] != '\0' ||
         config->discovery.srv_name[0] != '\0' ||
         config->discovery.endpoints.n > 0) &&
        !config_is_set(config, "initial-cluster"))
        value_str(&config->initial_cluster, "");
}

static void note_deprecated(struct config *config)
{
    if (config_is_set(config, "max-snapshots"))
        config_note(config, LOG_WARN,
                    "--max-snapshots is deprecated in 3.6 and will be "
                    "decommissioned in 3.8.",
                    NULL, NULL);
    if (config_is_set(config, "v2-deprecation"))
        config_note(config, LOG_WARN,
                    "--v2-deprecation is deprecated and scheduled for removal "
                    "in v3.8. The default value is enforced, ignoring user "
                    "input.",
                    NULL, NULL);
    value_str(&config->v2_deprecation, "write-only");
}

enum config_action config_load(int argc, char *const argv[], char *const env[],
                               struct config *config, struct errmsg *msg)
{
    enum config_action action;
    int err;

    config_default(config);
    action = args_read(argc, argv, config, msg);
    if (action != CONFIG_RUN)
        return action;
    if (config->config_file[0] == '\0') {
        const char *path = env_value(env, "ETCD_CONFIG_FILE");

        value_str(&config->config_file, path == NULL ? "" : path);
    }
    if (config->config_file[0] != '\0') {
        err = load_from_file(config, msg);
    } else {
        err = env_read(env, config, msg);
        adjust_defaults(config);
    }
    if (err == 0)
        err = config_check(config, msg);
    note_deprecated(config);
    return err == 0 ? CONFIG_RUN : CONFIG_BAD_SETTING;
}
