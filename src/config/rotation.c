/* --log-rotation-config-json: when a log file is full, and what becomes of full
 * ones. Texts and limits are those of etcd and of lumberjack, which it rotates
 * with. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "chorad/base/mem.h"
#include "chorad/config.h"
#include "json_scan.h"
#include "rotation.h"

#define MIB (INT64_C(1) << 20)
#define DEFAULT_MIB 100
/* More than any disk and any log has. */
#define MIB_MAX (INT64_C(1) << 40)
#define DAYS_MAX (INT64_C(1) << 20)

enum field_type { FIELD_INT, FIELD_BOOL, FIELD_STRING };

struct reading {
    int64_t max_size_mib;
    int64_t max_age_days;
    int64_t max_backups;
    bool local_time;
    bool compress;
    char *wrong; /* the first value of a wrong type, or NULL */
};

/* Where a setting goes; the name of a file comes from --log-outputs. */
static const struct field {
    const char *name;
    enum field_type type;
    size_t offset;
} fields[] = {
    {"filename", FIELD_STRING, 0},
    {"maxsize", FIELD_INT, offsetof(struct reading, max_size_mib)},
    {"maxage", FIELD_INT, offsetof(struct reading, max_age_days)},
    {"maxbackups", FIELD_INT, offsetof(struct reading, max_backups)},
    {"localtime", FIELD_BOOL, offsetof(struct reading, local_time)},
    {"compress", FIELD_BOOL, offsetof(struct reading, compress)},
};

static const char *const kind_names[] = {
    [JSON_NULL] = "null",     [JSON_BOOL] = "bool",   [JSON_NUMBER] = "number",
    [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object",
};

static void refuse(struct reading *r, const struct field *field,
                   const struct json_value *value)
{
    static const char *const types[] = {"int", "bool", "string"};
    bool number = field->type == FIELD_INT && value->kind == JSON_NUMBER;

    if (r->wrong != NULL)
        return;
    r->wrong = mem_printf("json: cannot unmarshal %s%s%.*s into Go struct "
                          "field logRotationConfig.Logger.%s of type %s",
                          kind_names[value->kind], number ? " " : "",
                          number ? (int)value->len : 0, value->text,
                          field->name, types[field->type]);
}

/* Whole numbers without an exponent. */
static bool read_int(const struct json_value *value, int64_t *out)
{
    char *text = mem_printf("%.*s", (int)value->len, value->text);
    char *end;
    long long n;

    errno = 0;
    n = strtoll(text, &end, 10);
    if (*end == '\0' && errno == 0)
        *out = n;
    else
        end = NULL;
    free(text);
    return end != NULL;
}

static void read_field(struct reading *r, const struct field *field,
                       const struct json_value *value)
{
    char *at = (char *)r + field->offset;

    if (value->kind == JSON_NULL)
        return;
    if (field->type == FIELD_BOOL && value->kind == JSON_BOOL)
        *(bool *)at = value->text[0] == 't';
    else if (field->type == FIELD_STRING && value->kind == JSON_STRING)
        return;
    else if (field->type != FIELD_INT || value->kind != JSON_NUMBER ||
             !read_int(value, (int64_t *)(void *)at))
        refuse(r, field, value);
}

/* Names in any case, as Go takes them; others are passed over. */
static void on_pair(void *arg, const char *key, size_t len,
                    const struct json_value *value)
{
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strlen(fields[i].name) == len &&
            strncasecmp(fields[i].name, key, len) == 0)
            read_field(arg, &fields[i], value);
    }
}

static uint64_t clamp(int64_t n, int64_t max)
{
    return n < 0 ? 0 : n > max ? (uint64_t)max : (uint64_t)n;
}

static struct log_rotation rotation_of(const struct reading *r)
{
    int64_t mib = r->max_size_mib > 0 ? r->max_size_mib : DEFAULT_MIB;

    return (struct log_rotation){
        .max_bytes = clamp(mib, MIB_MAX) * MIB,
        .max_age_days = clamp(r->max_age_days, DAYS_MAX),
        .max_backups = clamp(r->max_backups, INT64_MAX),
        .local_time = r->local_time,
        .compress = r->compress,
    };
}

int rotation_parse(const char *json, struct log_rotation *out,
                   struct errmsg *msg)
{
    struct reading r = {0};
    enum json_kind kind = JSON_NULL;
    int err = json_scan(json, on_pair, &r, &kind, msg);

    if (err < 0)
        err_wrap(msg, err, "improperly formatted log rotation config");
    else if (kind == JSON_NULL)
        err = err_set(msg, ERR_INVALID, "invalid log rotation config: null");
    else if (kind != JSON_OBJECT)
        err = err_set(msg, ERR_INVALID,
                      "invalid log rotation config: json: cannot unmarshal %s "
                      "into Go value of type embed.logRotationConfig",
                      kind_names[kind]);
    else if (r.wrong != NULL)
        err = err_set(msg, ERR_INVALID, "invalid log rotation config: %s",
                      r.wrong);
    else
        *out = rotation_of(&r);
    free(r.wrong);
    return err;
}
