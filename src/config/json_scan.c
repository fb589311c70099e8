/* JSON text, one value after the other. */
#include "json_scan.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/quote.h"

/* As deep as Go follows. */
#define DEPTH_MAX 10000

struct scan {
    const char *at; /* ends with NUL */
    unsigned depth;
    json_pair_cb pair;
    void *arg;
    struct errmsg *msg;
};

/* The byte as the character of that number, in quotes. */
static int unexpected(const struct scan *s, const char *where)
{
    unsigned char c = (unsigned char)*s->at;
    char utf8[3] = {(char)c};
    char *quoted;

    if (c == '\0')
        return err_set(s->msg, ERR_INVALID, "unexpected end of JSON input");
    if (c == '\'' || c == '"')
        return err_set(s->msg, ERR_INVALID, "invalid character %s %s",
                       c == '"' ? "'\"'" : "'\\''", where);
    if (c >= 0x80) {
        utf8[0] = (char)(0xc0 | (c >> 6));
        utf8[1] = (char)(0x80 | (c & 0x3f));
    }
    quoted = quote_text(utf8);
    err_set(s->msg, ERR_INVALID, "invalid character '%.*s' %s",
            (int)strlen(quoted) - 2, quoted + 1, where);
    free(quoted);
    return ERR_INVALID;
}

static void skip_space(struct scan *s)
{
    s->at += strspn(s->at, " \t\r\n");
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- single values ---- */

static int scan_literal(struct scan *s, const char *word)
{
    char where[64];

    for (const char *want = word; *want != '\0'; want++, s->at++) {
        if (*s->at == *want)
            continue;
        (void)snprintf(where, sizeof(where), "in literal %s (expecting '%c')",
                       word, *want);
        return unexpected(s, where);
    }
    return 0;
}

static int scan_digits(struct scan *s, const char *where)
{
    if (!is_digit(*s->at))
        return unexpected(s, where);
    s->at += strspn(s->at, "0123456789");
    return 0;
}

static int scan_number(struct scan *s)
{
    int err = 0;

    if (*s->at == '-')
        s->at++;
    if (*s->at == '0')
        s->at++;
    else
        err = scan_digits(s, "in numeric literal");
    if (err == 0 && *s->at == '.') {
        s->at++;
        err = scan_digits(s, "after decimal point in numeric literal");
    }
    if (err == 0 && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (*s->at == '+' || *s->at == '-')
            s->at++;
        err = scan_digits(s, "in exponent of numeric literal");
    }
    return err;
}

/* Behind the backslash. */
static int scan_escape(struct scan *s)
{
    if (*s->at == '\0' || strchr("bfnrt\\/\"u", *s->at) == NULL)
        return unexpected(s, "in string escape code");
    if (*s->at++ != 'u')
        return 0;
    for (int i = 0; i < 4; i++, s->at++) {
        if (*s->at == '\0' || strchr("0123456789abcdefABCDEF", *s->at) == NULL)
            return unexpected(s, "in \\u hexadecimal character escape");
    }
    return 0;
}

static int scan_string(struct scan *s)
{
    int err = 0;

    s->at++;
    while (err == 0 && *s->at != '"') {
        if ((unsigned char)*s->at < 0x20)
            return unexpected(s, "in string literal");
        if (*s->at++ == '\\')
            err = scan_escape(s);
    }
    if (err == 0)
        s->at++;
    return err;
}

/* ---- what has others in it ---- */

static int scan_value(struct scan *s, enum json_kind *kind);

static int scan_array(struct scan *s)
{
    enum json_kind kind;

    s->at++;
    skip_space(s);
    if (*s->at == ']') {
        s->at++;
        return 0;
    }
    for (;;) {
        int err = scan_value(s, &kind);

        if (err < 0)
            return err;
        skip_space(s);
        if (*s->at != ',' && *s->at != ']')
            return unexpected(s, "after array element");
        if (*s->at++ == ']')
            return 0;
    }
}

static int scan_pair(struct scan *s)
{
    struct json_value value = {0};
    const char *key;
    size_t len;
    int err;

    skip_space(s);
    if (*s->at != '"')
        return unexpected(s, "looking for beginning of object key string");
    key = s->at + 1;
    err = scan_string(s);
    if (err < 0)
        return err;
    len = (size_t)(s->at - key) - 1;
    skip_space(s);
    if (*s->at != ':')
        return unexpected(s, "after object key");
    s->at++;
    skip_space(s);
    value.text = s->at;
    err = scan_value(s, &value.kind);
    value.len = (size_t)(s->at - value.text);
    if (err == 0 && s->depth == 1)
        s->pair(s->arg, key, len, &value);
    return err;
}

static int scan_object(struct scan *s)
{
    s->at++;
    skip_space(s);
    if (*s->at == '}') {
        s->at++;
        return 0;
    }
    for (;;) {
        int err = scan_pair(s);

        if (err < 0)
            return err;
        skip_space(s);
        if (*s->at != ',' && *s->at != '}')
            return unexpected(s, "after object key:value pair");
        if (*s->at++ == '}')
            return 0;
    }
}

static int scan_deeper(struct scan *s, enum json_kind kind)
{
    int err;

    if (++s->depth > DEPTH_MAX)
        return err_set(s->msg, ERR_INVALID, "exceeded max depth");
    err = kind == JSON_OBJECT ? scan_object(s) : scan_array(s);
    s->depth--;
    return err;
}

static int scan_value(struct scan *s, enum json_kind *kind)
{
    skip_space(s);
    switch (*s->at) {
    case '{':
        *kind = JSON_OBJECT;
        return scan_deeper(s, *kind);
    case '[':
        *kind = JSON_ARRAY;
        return scan_deeper(s, *kind);
    case '"':
        *kind = JSON_STRING;
        return scan_string(s);
    case 't':
        *kind = JSON_BOOL;
        return scan_literal(s, "true");
    case 'f':
        *kind = JSON_BOOL;
        return scan_literal(s, "false");
    case 'n':
        *kind = JSON_NULL;
        return scan_literal(s, "null");
    default:
        *kind = JSON_NUMBER;
        return *s->at == '-' || is_digit(*s->at)
                   ? scan_number(s)
                   : unexpected(s, "looking for beginning of value");
    }
}

int json_scan(const char *text, json_pair_cb pair, void *arg,
              enum json_kind *kind, struct errmsg *msg)
{
    struct scan s = {.at = text, .pair = pair, .arg = arg, .msg = msg};
    int err = scan_value(&s, kind);

    skip_space(&s);
    if (err == 0 && *s.at != '\0')
        err = unexpected(&s, "after top-level value");
    return err;
}
