/* The JSON encoding of log lines, byte for byte as zap's. */
#include "float_text.h"
#include "log_line.h"

#include "chorad/base/duration.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The length of the UTF-8 sequence at `p`, 0 if it isn't one (RFC 3629: no
 * overlong forms, no surrogates, nothing above U+10FFFF). */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    size_t len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint8_t low = 0x80;
    uint8_t high = 0xbf;

    if (p[0] < 0xc2 || p[0] > 0xf4 || left < len)
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    }
    return len;
}

static void put_escape(struct log_text *out, uint8_t c)
{
    char text[8];

    switch (c) {
    case '"':
        log_text_puts(out, "\\\"");
        break;
    case '\\':
        log_text_puts(out, "\\\\");
        break;
    case '\n':
        log_text_puts(out, "\\n");
        break;
    case '\r':
        log_text_puts(out, "\\r");
        break;
    case '\t':
        log_text_puts(out, "\\t");
        break;
    default:
        (void)snprintf(text, sizeof(text), "\\u%04x", c);
        log_text_puts(out, text);
        break;
    }
}

static void put_string(struct log_text *out, const char *s, size_t len)
{
    const uint8_t *p = (const uint8_t *)s;
    size_t done = 0;
    size_t i = 0;

    if (len == 0) {
        log_text_puts(out, "\"\"");
        return;
    }
    log_text_puts(out, "\"");
    while (i < len) {
        size_t good = 0;

        if (p[i] >= 0x80)
            good = utf8_len(p + i, len - i);
        else if (p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')
            good = 1;
        if (good > 0) {
            i += good;
            continue;
        }
        log_text_put(out, s + done, i - done);
        if (p[i] >= 0x80)
            log_text_puts(out, "\\ufffd");
        else
            put_escape(out, p[i]);
        done = ++i;
    }
    log_text_put(out, s + done, len - done);
    log_text_puts(out, "\"");
}

static void put_cstring(struct log_text *out, const char *s)
{
    put_string(out, s, s == NULL ? 0 : strlen(s));
}

static void put_float(struct log_text *out, double v)
{
    char text[FLOAT_TEXT_SIZE];
    size_t len = float_text_f(text, v);

    /* JSON has no words for these, so they are strings. */
    if (isfinite(v))
        log_text_put(out, text, len);
    else
        put_string(out, text, len);
}

static void put_list(struct log_text *out, const struct log_field *field,
                     const char *separator)
{
    log_text_puts(out, "[");
    for (size_t i = 0; i < field->len; i++) {
        if (i > 0) {
            log_text_puts(out, ",");
            log_text_puts(out, separator);
        }
        put_cstring(out, field->v.strs[i]);
    }
    log_text_puts(out, "]");
}

static void put_value(struct log_text *out, const struct log_field *field,
                      const char *separator)
{
    char text[64];

    switch (field->type) {
    case LOG_FIELD_STR:
        put_cstring(out, field->v.str);
        return;
    case LOG_FIELD_BYTES:
        put_string(out, field->v.str, field->len);
        return;
    case LOG_FIELD_STRS:
        put_list(out, field, separator);
        return;
    case LOG_FIELD_F64:
        put_float(out, field->v.f64);
        return;
    case LOG_FIELD_BOOL:
        log_text_puts(out, field->v.u64 != 0 ? "true" : "false");
        return;
    case LOG_FIELD_DURATION:
        put_string(out, text, duration_format(text, field->v.i64));
        return;
    case LOG_FIELD_I64:
        (void)snprintf(text, sizeof(text), "%" PRId64, field->v.i64);
        break;
    case LOG_FIELD_U64:
        (void)snprintf(text, sizeof(text), "%" PRIu64, field->v.u64);
        break;
    case LOG_FIELD_HEX:
        (void)snprintf(text, sizeof(text), "\"%" PRIx64 "\"", field->v.u64);
        break;
    }
    log_text_puts(out, text);
}

void log_json_fields(struct log_text *out, const struct log_field *fields,
                     size_t n, const char *separator)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            log_text_puts(out, ",");
            log_text_puts(out, separator);
        }
        put_cstring(out, fields[i].key);
        log_text_puts(out, ":");
        log_text_puts(out, separator);
        put_value(out, &fields[i], separator);
    }
}

void log_json_line(struct log_text *out, const struct log_line *line)
{
    log_text_puts(out, "{\"level\":");
    put_cstring(out, log_level_name(line->level));
    log_text_puts(out, ",\"ts\":");
    put_cstring(out, line->ts);
    log_text_puts(out, ",\"caller\":");
    put_cstring(out, line->caller);
    log_text_puts(out, ",\"msg\":");
    put_cstring(out, line->msg);
    if (line->n_fields > 0)
        log_text_puts(out, ",");
    log_json_fields(out, line->fields, line->n_fields, "");
    log_text_puts(out, "}\n");
}
