/* The table of commands, and which one is meant. */
#include "tool.h"

#include "chorad/base/log.h"
#include <string.h>

const struct command tool_commands[] = {
    {"snapshot status", "<file>", 1, 1, F_WRITE_OUT | F_PROGRESS,
     "check a snapshot's file and say what is in it",
     "Every page and the checksum at the end are checked. Prints the hash of\n"
     "all records, the revision, the number of keys, the size and the storage\n"
     "version, as etcdutl does.",
     status_run},
    {"snapshot restore", "<file>", 1, 1,
     F_DATA_DIR | F_WAL_DIR | F_MEMBER | F_RESTORE | F_PROGRESS,
     "make a new member's directory out of a snapshot's file",
     "To be run once for each member of the new cluster, with the same file\n"
     "and the same --initial-cluster. The directory may be there if it is\n"
     "empty. Where the command is cut off it can be run again.",
     restore_run},
    {"hashkv", "<file or data directory>", 1, 1,
     F_WRITE_OUT | F_REV | F_PROGRESS,
     "print the hash over keys and revisions, as HashKV gives it",
     "Of a member's directory the store alone is looked at: what only its log\n"
     "has yet isn't in it.",
     hashkv_run},
    {"check", "", 0, 0, F_DATA_DIR | F_WAL_DIR | F_WRITE_OUT | F_PROGRESS,
     "verify every checksum and that log and store fit together",
     "Says what is wrong where. Exit code 0: nothing is; 3: something is;\n"
     "1: it couldn't be looked at.",
     check_run},
    {"defrag", "", 0, 0, F_DATA_DIR | F_WAL_DIR | F_PROGRESS,
     "give space that is free within the store back to the file system", NULL,
     defrag_run},
    {"export", "", 0, 0, F_DATA_DIR | F_WAL_DIR | F_TO | F_PROGRESS,
     "make a directory from which etcd 3.7 goes on as this member",
     "Nothing is lost: keys with all revisions, leases, users, roles, alarms,\n"
     "members, ids and term go along. This directory stays as it is; don't\n"
     "start both.",
     export_run},
    {"completion", "bash", 1, 1, 0, "print a script for the shell's completion",
     "  source <(chorad completion bash)", completion_run},
};
const size_t tool_command_count =
    sizeof(tool_commands) / sizeof(tool_commands[0]);

/* Does the command's name begin with these words? How many it has, or 0. */
static int match(const struct command *command, int argc, char *argv[])
{
    const char *blank = strchr(command->name, ' ');
    size_t len =
        blank ? (size_t)(blank - command->name) : strlen(command->name);

    if (argc < 2 || strlen(argv[1]) != len ||
        strncmp(argv[1], command->name, len) != 0)
        return 0;
    if (!blank)
        return 1;
    return argc > 2 && strcmp(argv[2], blank + 1) == 0 ? 2 : 0;
}

static bool begins(const struct command *command, const char *word)
{
    size_t len = strlen(word);

    return strncmp(command->name, word, len) == 0 &&
           (command->name[len] == ' ' || command->name[len] == '\0');
}

/* How many words -w is in front, as etcd's documents have it:
 * "--write-out=table snapshot status <file>". */
static int count_before(int argc, char *argv[])
{
    if (argc > 1 && strncmp(argv[1], "--write-out=", 12) == 0)
        return 1;
    return argc > 1 && (strcmp(argv[1], "--write-out") == 0 ||
                        strcmp(argv[1], "-w") == 0)
               ? 2
               : 0;
}

bool tool_knows(int argc, char *argv[])
{
    int at = 1 + count_before(argc, argv);

    for (size_t i = 0; i < tool_command_count && at < argc; i++)
        if (begins(&tool_commands[i], argv[at]))
            return true;
    return false;
}

/* Puts it behind the rest. */
static void move_back(int argc, char *argv[])
{
    int n = count_before(argc, argv);
    char *moved[2] = {argv[1], argv[2]};

    memmove(argv + 1, argv + 1 + n, (size_t)(argc - 1 - n) * sizeof(argv[0]));
    for (int i = 0; i < n; i++)
        argv[argc - n + i] = moved[i];
}

void tool_print_commands(FILE *out)
{
    for (size_t i = 0; i < tool_command_count; i++)
        (void)fprintf(out, "  chorad %s\n    %s.\n\n", tool_commands[i].name,
                      tool_commands[i].brief);
}

int tool_fail(const struct errmsg *msg)
{
    (void)fprintf(stderr, "Error: %s\n", msg->text);
    return EXIT_FAILED;
}

static int run(const struct command *command, int argc, char *argv[], int words)
{
    struct options options;

    if (!flags_read(command, argc, argv, words + 1, &options)) {
        (void)fprintf(stderr, "see chorad %s --help\n", command->name);
        return EXIT_BAD_USAGE;
    }
    if (options.help) {
        help_print(stdout, command);
        return EXIT_OK;
    }
    if (options.n_args < command->min_args ||
        options.n_args > command->max_args) {
        (void)fprintf(stderr,
                      command->max_args == 0
                          ? "Error: %s takes no arguments besides flags\n"
                          : "Error: %s requires exactly one argument\n",
                      command->name);
        return EXIT_BAD_USAGE;
    }
    return command->run(&options);
}

/* "chorad snapshot" alone, or with a second word that isn't known. */
static int say_which(int argc, char *argv[])
{
    bool asked = argc > 2 &&
                 (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0);
    FILE *out = asked ? stdout : stderr;

    if (argc > 2 && !asked)
        (void)fprintf(out, "Error: unknown command \"%s\" for \"chorad %s\"\n",
                      argv[2], argv[1]);
    for (size_t i = 0; i < tool_command_count; i++)
        if (begins(&tool_commands[i], argv[1]))
            (void)fprintf(out, "chorad %s %s\n    %s\n", tool_commands[i].name,
                          tool_commands[i].args, tool_commands[i].brief);
    return asked ? EXIT_OK : EXIT_BAD_USAGE;
}

int tool_main(int argc, char *argv[])
{
    log_set_level(LOG_WARN);
    log_set_json(false);
    if (argc > 2)
        move_back(argc, argv);
    for (size_t i = 0; i < tool_command_count; i++) {
        int words = match(&tool_commands[i], argc, argv);

        if (words > 0)
            return run(&tool_commands[i], argc, argv, words);
    }
    return say_which(argc, argv);
}
