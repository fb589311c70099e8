/* Results as text, table, JSON: as etcdutl prints them. */
#include "tool.h"

#include <ctype.h>
#include <string.h>

static void print_simple(const struct print_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)printf("%s%s", i > 0 ? ", " : "", fields[i].text);
    (void)putchar('\n');
}

static void print_lines(const struct print_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)printf("\"%s\" : %s\n", fields[i].label, fields[i].text);
}

static void print_json(const struct print_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)printf("%c\"%s\":", i > 0 ? ',' : '{', fields[i].json);
        if (fields[i].json_text)
            (void)fputs(fields[i].json_text, stdout);
        else
            (void)printf("\"%s\"", fields[i].text);
    }
    (void)puts("}");
}

static size_t width(const struct print_field *field)
{
    size_t a = strlen(field->column);
    size_t b = strlen(field->text);

    return a > b ? a : b;
}

static void print_rule(const struct print_field *fields, size_t n,
                       const char *left, const char *middle, const char *right)
{
    (void)fputs(left, stdout);
    for (size_t i = 0; i < n; i++) {
        for (size_t w = width(&fields[i]) + 2; w > 0; w--)
            (void)fputs("─", stdout);
        (void)fputs(i + 1 < n ? middle : right, stdout);
    }
    (void)putchar('\n');
}

/* In capitals, in the middle, a blank too many to the right. */
static void print_head(const struct print_field *field)
{
    size_t w = width(field);
    size_t len = strlen(field->column);
    size_t before = (w - len) / 2;

    (void)printf(" %*s", (int)before, "");
    for (size_t i = 0; i < len; i++)
        (void)putchar(toupper((unsigned char)field->column[i]));
    (void)printf("%*s │", (int)(w - len - before), "");
}

static void print_table(const struct print_field *fields, size_t n)
{
    print_rule(fields, n, "┌", "┬", "┐");
    (void)fputs("│", stdout);
    for (size_t i = 0; i < n; i++)
        print_head(&fields[i]);
    (void)putchar('\n');
    print_rule(fields, n, "├", "┼", "┤");
    (void)fputs("│", stdout);
    for (size_t i = 0; i < n; i++)
        (void)printf(" %*s │", (int)width(&fields[i]), fields[i].text);
    (void)putchar('\n');
    print_rule(fields, n, "└", "┴", "┘");
}

static const struct {
    const char *name;
    void (*print)(const struct print_field *fields, size_t n);
} formats[] = {
    {"simple", print_simple},
    {"fields", print_lines},
    {"json", print_json},
    {"table", print_table},
};

bool print_knows(const char *format)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (strcmp(format, formats[i].name) == 0)
            return true;
    (void)fprintf(stderr, "Error: unsupported output format \"%s\"\n", format);
    return false;
}

int print_fields(const char *format, const struct print_field *fields, size_t n)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (strcmp(format, formats[i].name) == 0)
            formats[i].print(fields, n);
    return EXIT_OK;
}

void tool_headway(struct headway *headway, const struct options *options,
                  const char *what)
{
    headway_begin(
        headway,
        headway_way(options->progress ? HEADWAY_LINES : HEADWAY_SILENT), what);
}

int tool_tell(void *headway, const struct snapshot_progress *at)
{
    headway_at(headway, at->done, at->total, at->records);
    return 0;
}
