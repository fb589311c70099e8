/* The settings that were given, as one line of the log. */
#include "chorad/base/log.h"
#include "chorad/base/mem.h"
#include "chorad/config.h"
#include "flags.h"
#include "gates.h"

#include <stdlib.h>
#include <string.h>

static struct log_field url_field(const char *name, const struct url_list *urls,
                                  struct arena *arena)
{
    const char **texts = arena_alloc(arena, (urls->n + 1) * sizeof(*texts));

    for (size_t i = 0; i < urls->n; i++)
        texts[i] = urls->items[i].text;
    return LOG_STRS(name, texts, urls->n);
}

static struct log_field gates_field(const char *name,
                                    const struct config_gates *gates,
                                    struct arena *arena)
{
    const char **texts = arena_alloc(arena, CONFIG_GATE_COUNT * sizeof(*texts));
    size_t n = 0;

    for (size_t i = 0; i < CONFIG_GATE_COUNT; i++) {
        char *text;

        if (!gates->given[i])
            continue;
        text =
            mem_printf("%s=%s", gates_name(i), gates->on[i] ? "true" : "false");
        texts[n++] = arena_dup(arena, text, strlen(text) + 1);
        free(text);
    }
    return LOG_STRS(name, texts, n);
}

static struct log_field strs_field(const char *name,
                                   const struct config_strs *strs)
{
    return LOG_STRS(name, (const char *const *)strs->items, strs->n);
}

static struct log_field field_of(const struct flag *flag, struct config *config,
                                 struct arena *arena)
{
    const void *value = flag_field(flag, config);
    const char *name = flag->name;

    switch (flag->type) {
    case FLAG_STR:
    case FLAG_STATE:
    case FLAG_FALLBACK:
    case FLAG_V2DEPR:
        return LOG_STR(name, *(char *const *)value);
    case FLAG_BOOL:
        return LOG_BOOL(name, *(const bool *)value);
    case FLAG_INT:
    case FLAG_I64:
        return LOG_I64(name, *(const int64_t *)value);
    case FLAG_UINT:
    case FLAG_U64:
        return LOG_U64(name, *(const uint64_t *)value);
    case FLAG_U32:
        return LOG_U64(name, *(const uint32_t *)value);
    case FLAG_DURATION:
        return LOG_NS(name, *(const int64_t *)value);
    case FLAG_URLS:
        return url_field(name, value, arena);
    case FLAG_ORIGINS:
    case FLAG_STRS:
    case FLAG_USTRS:
        return strs_field(name, value);
    case FLAG_GATES:
        return gates_field(name, value, arena);
    case FLAG_IGNORED:
        break;
    }
    return LOG_BOOL(name, true);
}

static bool is_secret(const struct flag *flag)
{
    return strcmp(flag->name, "discovery-password") == 0;
}

void config_log_settings(struct config *config)
{
    struct log_field fields[CONFIG_FLAGS_MAX];
    struct arena arena = {0};
    size_t n = 0;

    if (log_level() > LOG_INFO)
        return;
    for (size_t i = 0; i < flag_count; i++) {
        if (config->set[i] && !is_secret(&flag_table[i]))
            fields[n++] = field_of(&flag_table[i], config, &arena);
    }
    log_write(LOG_INFO, __FILE__, __LINE__, "settings that were given", fields,
              n);
    arena_close(&arena);
}
