#include "flags.h"
#include "chorad/base/quote.h"

#include <stdlib.h>
#include <string.h>

#include "chorad/base/duration.h"
#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "gates.h"
#include "value.h"

#define GROUP(title)
#define SAME ""
#define NONE NULL

/* A row's type and its field's C type have to agree. */
#define XX(type, ctype) typedef ctype field_##type;
FLAG_TYPE_MAP(XX)
#undef XX
#define FLAG(name, type, field, def, status, yaml, help)                       \
    _Static_assert(__builtin_types_compatible_p(                               \
                       __typeof__(((struct config *)0)->field), field_##type), \
                   "wrong type in flags.def: " name);
#include "flags.def"
#undef FLAG

#define IGNORED(name) {name, FLAG_IGNORED, FLAG_SILENT, 0, "", NULL},

const struct flag flag_table[] = {
#define FLAG(name, type, field, def, status, yaml, help)                       \
    {name, FLAG_##type, FLAG_##status, offsetof(struct config, field),         \
     def,  yaml},
#include "flags.def"
#undef FLAG
    {"config-file", FLAG_STR, FLAG_FULL, offsetof(struct config, config_file),
     "", NULL},
    {"version", FLAG_BOOL, FLAG_FULL, offsetof(struct config, version), "false",
     NULL},
    /* Flags of etcd 0.4, still taken so that old unit files start. */
    IGNORED("cluster-active-size") IGNORED("cluster-remove-delay")
        IGNORED("cluster-sync-interval") IGNORED("config") IGNORED("force")
            IGNORED("max-result-buffer") IGNORED("max-retry-attempts")
                IGNORED("peer-heartbeat-interval")
                    IGNORED("peer-election-timeout") IGNORED("retry-interval")
                        IGNORED("snapshot") IGNORED("v") IGNORED("vv")
                            IGNORED("test.coverprofile")
                                IGNORED("test.outputdir")};

const size_t flag_count = sizeof(flag_table) / sizeof(flag_table[0]);
_Static_assert(sizeof(flag_table) / sizeof(flag_table[0]) <= CONFIG_FLAGS_MAX,
               "config->set is too short");

const struct flag *flag_find(const char *name, size_t len)
{
    for (size_t i = 0; i < flag_count; i++) {
        if (strncmp(flag_table[i].name, name, len) == 0 &&
            flag_table[i].name[len] == '\0')
            return &flag_table[i];
    }
    return NULL;
}

bool flag_is_bool(const struct flag *flag)
{
    return flag->type == FLAG_BOOL || flag->type == FLAG_IGNORED;
}

/* Go's flag package says no more than these two. */
static int number_error(int err, struct errmsg *msg)
{
    if (err == 0)
        return 0;
    return err_set(msg, ERR_INVALID, "%s",
                   err == ERR_TOOBIG ? "value out of range" : "parse error");
}

static int set_u32(uint32_t *field, const char *text, struct errmsg *msg)
{
    uint64_t n;
    int err = value_uint(text, 32, &n);
    char *quoted;

    if (err == 0) {
        *field = (uint32_t)n;
        return 0;
    }
    quoted = quote_text(text);
    err_set(msg, ERR_INVALID, "strconv.ParseUint: parsing %s: %s", quoted,
            err == ERR_TOOBIG ? "value out of range" : "invalid syntax");
    free(quoted);
    return ERR_INVALID;
}

/* An empty text leaves the list as it is: that is how etcd reads it. */
static int set_urls(struct url_list *field, const char *text,
                    struct errmsg *msg)
{
    return text[0] == '\0' ? 0 : urls_parse(field, text, msg);
}

/* "*" joins what is there, a list of URLs replaces it. */
static int set_origins(struct config_strs *field, const char *text,
                       struct errmsg *msg)
{
    struct url_list urls = {0};
    int err;

    if (strcmp(text, "*") == 0 || strs_has(field, text)) {
        if (!strs_has(field, text))
            strs_add(field, text, strlen(text));
        strs_unique(field);
        return 0;
    }
    err = urls_parse(&urls, text, msg);
    if (err != 0)
        return err;
    strs_close(field);
    for (size_t i = 0; i < urls.n; i++)
        strs_add(field, urls.items[i].text, strlen(urls.items[i].text));
    urls_close(&urls);
    return 0;
}

static void set_strs(struct config_strs *field, const char *text, bool unique)
{
    strs_close(field);
    if (text[0] == '\0')
        return;
    strs_split(field, text);
    if (unique)
        strs_unique(field);
}

static int set_choice(char **field, const char *text, const char *first,
                      const char *second, struct errmsg *msg)
{
    if (strcmp(text, first) != 0 && strcmp(text, second) != 0)
        return err_set(msg, ERR_INVALID, "invalid value");
    value_str(field, text);
    return 0;
}

static int set_v2_deprecation(char **field, const char *text,
                              struct errmsg *msg)
{
    static const char *const stages[] = {"write-only", "write-only-skip-check",
                                         "write-only-drop-data", "gone"};
    struct config_strs given = {0};
    int err = 0;

    strs_split(&given, text);
    for (size_t i = 0; i < given.n && err == 0; i++) {
        bool known = false;

        for (size_t j = 0; j < sizeof(stages) / sizeof(stages[0]); j++)
            known = known || strcmp(given.items[i], stages[j]) == 0;
        if (!known) {
            char *quoted = quote_text(given.items[i]);

            err = err_set(msg, ERR_INVALID, "invalid value %s", quoted);
            free(quoted);
        }
    }
    strs_close(&given);
    if (err == 0)
        value_str(field, text);
    return err;
}

int flag_set(const struct flag *flag, struct config *config, const char *text,
             struct errmsg *msg)
{
    void *field = flag_field(flag, config);

    switch (flag->type) {
    case FLAG_STR:
        value_str(field, text);
        return 0;
    case FLAG_BOOL:
        return number_error(value_bool(text, field), msg);
    case FLAG_INT:
    case FLAG_I64:
        return number_error(value_int(text, field), msg);
    case FLAG_UINT:
    case FLAG_U64:
        return number_error(value_uint(text, 64, field), msg);
    case FLAG_U32:
        return set_u32(field, text, msg);
    case FLAG_DURATION:
        return number_error(duration_parse(text, field), msg);
    case FLAG_URLS:
        return set_urls(field, text, msg);
    case FLAG_ORIGINS:
        return set_origins(field, text, msg);
    case FLAG_STRS:
    case FLAG_USTRS:
        set_strs(field, text, flag->type == FLAG_USTRS);
        return 0;
    case FLAG_STATE:
        return set_choice(field, text, "new", "existing", msg);
    case FLAG_FALLBACK:
        return set_choice(field, text, "exit", "proxy", msg);
    case FLAG_V2DEPR:
        return set_v2_deprecation(field, text, msg);
    case FLAG_GATES:
        return gates_set(field, text, msg);
    case FLAG_IGNORED:
        return 0;
    }
    return 0;
}

void flag_clear(const struct flag *flag, struct config *config)
{
    void *field = flag_field(flag, config);

    switch (flag->type) {
    case FLAG_STR:
    case FLAG_STATE:
    case FLAG_FALLBACK:
    case FLAG_V2DEPR:
        free(*(char **)field);
        *(char **)field = NULL;
        break;
    case FLAG_URLS:
        urls_close(field);
        break;
    case FLAG_ORIGINS:
    case FLAG_STRS:
    case FLAG_USTRS:
        strs_close(field);
        break;
    default:
        break;
    }
}

bool flag_equal(const struct flag *flag, struct config *a, struct config *b)
{
    void *left = flag_field(flag, a);
    void *right = flag_field(flag, b);

    switch (flag->type) {
    case FLAG_STR:
    case FLAG_STATE:
    case FLAG_FALLBACK:
    case FLAG_V2DEPR:
        return strcmp(*(char **)left, *(char **)right) == 0;
    case FLAG_BOOL:
        return *(bool *)left == *(bool *)right;
    case FLAG_INT:
    case FLAG_I64:
    case FLAG_DURATION:
    case FLAG_UINT:
    case FLAG_U64:
        return memcmp(left, right, sizeof(int64_t)) == 0;
    case FLAG_U32:
        return *(uint32_t *)left == *(uint32_t *)right;
    case FLAG_URLS:
        return urls_equal(left, right);
    case FLAG_ORIGINS:
    case FLAG_STRS:
    case FLAG_USTRS:
        return strs_equal(left, right);
    case FLAG_GATES:
        return memcmp(((struct config_gates *)left)->on,
                      ((struct config_gates *)right)->on,
                      sizeof(((struct config_gates *)left)->on)) == 0;
    case FLAG_IGNORED:
        return true;
    }
    return true;
}
