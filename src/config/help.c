/* What the program says about itself. */
#include <string.h>
#include <sys/utsname.h>

#include "chorad/config.h"
#include "gates.h"

/* The table once more, with its titles (which have no name). */
static const struct entry {
    const char *name;
    const char *def;
    const char *text;
} entries[] = {
#define GROUP(title) {NULL, NULL, title},
#define FLAG(name, type, field, def, status, yaml, help) {name, def, help},
#include "flags.def"
#undef FLAG
#undef GROUP
};

void config_print_version(FILE *out)
{
    struct utsname machine;

    /* Tools look for the first line. */
    (void)fprintf(out, "etcd Version: %s\n", CONFIG_ETCD_VERSION);
    (void)fprintf(out, "chorad Version: %s\n", CHORAD_VERSION);
    (void)fprintf(out, "C Compiler: %s\n", __VERSION__);
    if (uname(&machine) == 0)
        (void)fprintf(out, "OS/Arch: %s/%s\n", machine.sysname,
                      machine.machine);
}

void config_print_usage(FILE *out)
{
    static const char text[] =
        "Usage:\n"
        "\n"
        "  chorad [flags]\n"
        "    Run a member.\n"
        "\n"
        "  chorad --version\n"
        "    Print the version.\n"
        "\n"
        "  chorad -h | --help\n"
        "    Print this help.\n"
        "\n"
        "  chorad --config-file <path>\n"
        "    Take all settings from a YAML file; flags and environment\n"
        "    variables are then ignored. Durations in the file are whole\n"
        "    numbers of nanoseconds.\n"
        "\n"
        "  Each flag can be given as an environment variable instead:\n"
        "  --data-dir as ETCD_DATA_DIR, and so on. Not both.\n";

    (void)fputs(text, out);
}

/* Breaks the text at blanks, so that lines end before the 80th column. */
static void print_wrapped(FILE *out, const char *text)
{
    const size_t width = 75;

    while (*text != '\0') {
        size_t len = strlen(text);

        if (len > width) {
            len = width;
            while (len > 1 && text[len] != ' ')
                len--;
        }
        (void)fprintf(out, "    %.*s\n", (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
}

static void print_entry(FILE *out, const struct entry *entry)
{
    if (entry->name == NULL) {
        (void)fprintf(out, "\n%s:\n", entry->text);
        return;
    }
    (void)fprintf(out, "  --%s '%s'\n", entry->name, entry->def);
    print_wrapped(out, entry->text);
    if (strcmp(entry->name, "feature-gates") == 0) {
        for (size_t i = 0; gates_help(i) != NULL; i++)
            (void)fprintf(out, "    %s\n", gates_help(i));
    }
}

void config_print_help(FILE *out)
{
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        print_entry(out, &entries[i]);
    (void)fputs("\nThe unsafe flags give up what the consensus protocol "
                "promises.\n",
                out);
}
