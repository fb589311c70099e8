/* Help and completion, out of the tables. */
#include "tool.h"

#include "chorad/base/mem.h"
#include <stdlib.h>
#include <string.h>

static bool takes(const struct command *command, const struct flag_info *info)
{
    return ((command->flags | F_HELP) & (unsigned)info->flag) != 0;
}

/* Each line of the text behind four blanks. */
static void print_indented(FILE *out, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        (void)fprintf(out, "    %.*s\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

static void print_flag(FILE *out, const struct flag_info *info)
{
    if (info->letter != 0)
        (void)fprintf(out, "  -%c, --%s", info->letter, info->name);
    else
        (void)fprintf(out, "  --%s", info->name);
    if (info->value)
        (void)fprintf(out, " %s", info->value);
    if (info->fallback)
        (void)fprintf(out, " (default %s)", info->fallback);
    (void)fputc('\n', out);
    print_indented(out, info->help);
}

void help_print(FILE *out, const struct command *command)
{
    (void)fprintf(out, "chorad %s %s: %s.\n", command->name, command->args,
                  command->brief);
    if (command->help)
        (void)fprintf(out, "\n%s\n", command->help);
    (void)fputs("\nFlags:\n", out);
    for (size_t i = 0; i < tool_flag_count; i++)
        if (takes(command, &tool_flags[i]))
            print_flag(out, &tool_flags[i]);
}

/* ---- completion -----------------------------------------------------------
 */

static void print_flag_words(const struct command *command)
{
    for (size_t i = 0; i < tool_flag_count; i++)
        if (takes(command, &tool_flags[i]))
            (void)printf(" --%s", tool_flags[i].name);
}

static void print_words(void)
{
    for (size_t i = 0; i < tool_command_count; i++) {
        const char *name = tool_commands[i].name;
        int len = (int)strcspn(name, " ");
        const char *before = i > 0 ? tool_commands[i - 1].name : "";

        if (strncmp(name, before, (size_t)len) != 0)
            (void)printf(" %.*s", len, name);
    }
}

/* Where the words so far are a command: its flags; else commands. */
int completion_run(const struct options *options)
{
    if (strcmp(options->args[0], "bash") != 0) {
        (void)fprintf(stderr, "Error: no completion for \"%s\"\n",
                      options->args[0]);
        return EXIT_BAD_USAGE;
    }
    (void)puts("_chorad() {\n"
               "    local cur=${COMP_WORDS[COMP_CWORD]} words=\n"
               "    case \"${COMP_WORDS[*]:1:COMP_CWORD-1} \" in");
    for (size_t i = 0; i < tool_command_count; i++) {
        (void)printf("    '%s '*) words='", tool_commands[i].name);
        print_flag_words(&tool_commands[i]);
        (void)puts("' ;;");
    }
    (void)puts("    'snapshot ') words='status restore' ;;");
    (void)fputs("    ' ') words='", stdout);
    print_words();
    (void)puts("' ;;\n"
               "    esac\n"
               "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
               "    [[ $cur != -* ]] && [[ ${#COMPREPLY[@]} -eq 0 ]] &&\n"
               "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
               "}\n"
               "complete -o filenames -F _chorad chorad");
    return EXIT_OK;
}
