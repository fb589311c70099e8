#include "datadriven.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    char *at;
    int line;
};

/* The next line without its newline, or NULL; cuts the text up. */
static char *next_line(struct reader *r)
{
    if (*r->at == '\0')
        return NULL;
    char *line = r->at;
    char *end = strchr(line, '\n');
    if (end) {
        *end = '\0';
        r->at = end + 1;
    } else {
        r->at = line + strlen(line);
    }
    r->line++;
    return line;
}

static char *trim(char *s)
{
    while (*s == ' ' || *s == '\t' || *s == '\n')
        s++;
    size_t len = strlen(s);
    while (len > 0 && strchr(" \t\n", s[len - 1]))
        s[--len] = '\0';
    return s;
}

_Noreturn void directive_fatal(const struct directive *d, const char *why)
{
    fprintf(stderr, "%s:%d: %s: %s\n", d->file, d->line,
            d->command ? d->command : "?", why);
    exit(2);
}

/* Cuts at the first of the characters and returns what stood there. */
static char cut(char **s, const char *chars)
{
    char *end = *s + strcspn(*s, chars);
    char found = *end;
    if (found != '\0')
        *end++ = '\0';
    *s = end;
    return found;
}

static void add_value(const struct directive *d, struct arg *arg, char *value)
{
    if (arg->value_count == VALUES_MAX)
        directive_fatal(d, "too many values");
    arg->values[arg->value_count++] = trim(value);
}

static void parse_values(const struct directive *d, struct arg *arg, char **s)
{
    if (**s != '(') {
        char *value = *s;
        cut(s, " ");
        add_value(d, arg, value);
        return;
    }
    ++*s;
    char found;
    do {
        char *value = *s;
        found = cut(s, ",)");
        add_value(d, arg, value);
    } while (found == ',');
    if (found != ')')
        directive_fatal(d, "no closing parenthesis");
}

static void parse_line(struct directive *d, char *line)
{
    char *s = line;
    d->command = s;
    cut(&s, " ");
    for (s = trim(s); *s != '\0'; s = trim(s)) {
        if (d->arg_count == ARGS_MAX)
            directive_fatal(d, "too many arguments");
        struct arg *arg = &d->args[d->arg_count++];
        arg->key = s;
        if (cut(&s, " =") == '=')
            parse_values(d, arg, &s);
    }
}

/* The text as a string of the directive's; empties the buffer. */
static char *finish(struct directive *d, struct buf *text)
{
    char *s = arena_alloc(&d->arena, text->len + 1);
    if (text->len > 0)
        memcpy(s, text->data, text->len);
    s[text->len] = '\0';
    text->len = 0;
    return s;
}

/* Up to a blank line; or, after a second "----", up to two of them. */
static void read_expected(struct reader *r, struct buf *text)
{
    char *line = next_line(r);
    if (line && strcmp(line, "----") == 0) {
        while ((line = next_line(r))) {
            if (strcmp(line, "----") == 0) {
                next_line(r);
                next_line(r);
                return;
            }
            buf_printf(text, "%s\n", line);
        }
        return;
    }
    for (; line && line[strspn(line, " \t")] != '\0'; line = next_line(r))
        buf_printf(text, "%s\n", line);
}

static bool read_directive(struct reader *r, struct directive *d)
{
    char *line;
    do {
        line = next_line(r);
        if (!line)
            return false;
        d->line = r->line;
        line = trim(line);
    } while (line[0] == '#' || line[0] == '\0');
    parse_line(d, line);
    struct buf text = {0};
    while ((line = next_line(r)) && strcmp(line, "----") != 0)
        buf_printf(&text, "%s\n", line);
    d->input = trim(finish(d, &text));
    if (line)
        read_expected(r, &text);
    d->expected = finish(d, &text);
    buf_close(&text);
    return true;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        exit(2);
    }
    struct buf text = {0};
    size_t n;
    do {
        n = fread(buf_reserve(&text, 65536), 1, 65536, f);
        text.len += n;
    } while (n > 0);
    fclose(f);
    buf_append(&text, "", 1);
    return (char *)text.data;
}

/* Both texts from the first line that differs. */
static void print_difference(const struct directive *d, const char *actual)
{
    const char *a = d->expected;
    const char *b = actual;
    size_t line = 0;
    for (size_t i = 0; a[i] != '\0' && a[i] == b[i]; i++)
        if (a[i] == '\n')
            line = i + 1;
    printf("%s:%d: %s: output differs\n--- expected\n%s--- got\n%s---\n",
           d->file, d->line, d->command, a + line, b + line);
}

bool datadriven_run(const char *path, directive_cb run, void *arg)
{
    char *text = read_file(path);
    struct reader reader = {.at = text};
    struct buf out = {0};
    bool ok = true;
    while (ok) {
        struct directive d = {.file = path};
        if (!read_directive(&reader, &d))
            break;
        out.len = 0;
        run(arg, &d, &out);
        if (out.len > 0 && out.data[out.len - 1] != '\n')
            buf_append(&out, "\n", 1);
        buf_append(&out, "", 1);
        ok = strcmp(d.expected, (const char *)out.data) == 0;
        if (!ok)
            print_difference(&d, (const char *)out.data);
        arena_close(&d.arena);
    }
    buf_close(&out);
    free(text);
    return ok;
}

uint64_t directive_number(const struct directive *d, const char *text)
{
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        directive_fatal(d, "not a number");
    return n;
}

bool directive_bool(const struct directive *d, const char *text)
{
    if (strcmp(text, "true") == 0)
        return true;
    if (strcmp(text, "false") != 0)
        directive_fatal(d, "not a boolean");
    return false;
}

const struct arg *directive_arg(const struct directive *d, const char *key)
{
    for (size_t i = 0; i < d->arg_count; i++)
        if (strcmp(d->args[i].key, key) == 0)
            return &d->args[i];
    return NULL;
}
