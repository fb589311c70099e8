#include "chorad/app.h"
#include "chorad/base/log.h"

#include <string.h>

int app_log_setup(const struct config *config, struct errmsg *msg)
{
    const struct config_strs *outputs = &config->log_outputs;
    size_t bad = 0;
    int level = log_level_parse(config->log_level);
    int err = log_set_rotated(
        (const char *const *)outputs->items, outputs->n,
        config->enable_log_rotation ? &config->log_rotation : NULL, &bad);

    if (err != 0)
        return err_set(msg, err, "open log output \"%s\": %s",
                       bad < outputs->n ? outputs->items[bad] : "",
                       err_text(err));
    log_set_json(strcmp(config->log_format, "console") != 0);
    log_set_level(level < 0 ? LOG_INFO : (enum log_level)level);
    return 0;
}

void app_log_notes(const struct config *config)
{
    for (size_t i = 0; i < config->n_notes; i++) {
        const struct config_note *note = &config->notes[i];

        if (note->key == NULL)
            LOG_AT(note->level, note->msg);
        else
            LOG_AT(note->level, note->msg, LOG_STR(note->key, note->value));
    }
}
