/* Flags into struct options, by the C library's getopt_long. */
#include "tool.h"

#include "chorad/base/check.h"
#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct options, field)

const struct flag_info tool_flags[] = {
    {F_DATA_DIR, "data-dir", 0, FLAG_IS_TEXT, AT(data_dir), "DIR", NULL,
     "the member's directory"},
    {F_WAL_DIR, "wal-dir", 0, FLAG_IS_TEXT, AT(wal_dir), "DIR", NULL,
     "the log's directory (default: within --data-dir)"},
    {F_TO, "to", 0, FLAG_IS_TEXT, AT(to), "DIR", NULL,
     "the new directory, which may be there if it is empty"},
    {F_MEMBER, "name", 0, FLAG_IS_TEXT, AT(name), "NAME", "default",
     "this member's name"},
    {F_MEMBER, "initial-cluster", 0, FLAG_IS_TEXT, AT(initial_cluster),
     "NAME=URL,...", "default=http://localhost:2380",
     "all members of the new cluster with their peer URLs"},
    {F_MEMBER, "initial-cluster-token", 0, FLAG_IS_TEXT,
     AT(initial_cluster_token), "TOKEN", "etcd-cluster",
     "tells the cluster from others, the same for all its members"},
    {F_MEMBER, "initial-advertise-peer-urls", 0, FLAG_IS_TEXT,
     AT(initial_advertise_peer_urls), "URL,...", "http://localhost:2380",
     "this member's peer URLs"},
    {F_RESTORE, "skip-hash-check", 0, FLAG_IS_BOOL, AT(skip_hash_check), NULL,
     NULL,
     "take a file without a checksum at its end, such as a copy of etcd's\n"
     "database, or one that doesn't match"},
    {F_RESTORE, "bump-revision", 0, FLAG_IS_NUMBER, AT(bump_revision), "N",
     NULL,
     "go on so many revisions later, so that clients never see the revision\n"
     "go back; with --mark-compacted"},
    {F_RESTORE, "mark-compacted", 0, FLAG_IS_BOOL, AT(mark_compacted), NULL,
     NULL,
     "mark all revisions up to there as compacted, which ends old watchers;\n"
     "with --bump-revision"},
    {F_RESTORE, "initial-memory-map-size", 0, FLAG_IS_TEXT, AT(map_size), "N",
     NULL, "has no effect: for command lines made for etcdutl"},
    {F_REV, "rev", 0, FLAG_IS_NUMBER, AT(rev), "N", NULL,
     "the newest revision to be hashed (default: the latest)"},
    {F_WRITE_OUT, "write-out", 'w', FLAG_IS_TEXT, AT(write_out),
     "simple|fields|json|table", "simple", "the format of the output"},
    {F_PROGRESS, "progress", 0, FLAG_IS_BOOL, AT(progress), NULL, NULL,
     "say now and then how far it is (on a terminal a bar is shown anyway)"},
    {F_HELP, "help", 'h', FLAG_IS_BOOL, AT(help), NULL, NULL,
     "print this help"},
};
const size_t tool_flag_count = sizeof(tool_flags) / sizeof(tool_flags[0]);

#define FLAGS_MAX 20

static char program[] = "chorad";

static void *field(const struct flag_info *info, struct options *options)
{
    return (char *)options + info->at;
}

static bool set(const struct flag_info *info, struct options *options,
                const char *value)
{
    char *end;

    if (info->type == FLAG_IS_TEXT) {
        *(const char **)field(info, options) = value;
        return true;
    }
    if (info->type == FLAG_IS_BOOL) {
        bool off = value && strcmp(value, "false") == 0;

        *(bool *)field(info, options) = !off;
        return !value || off || strcmp(value, "true") == 0;
    }
    errno = 0;
    *(uint64_t *)field(info, options) = strtoull(value, &end, 10);
    return errno == 0 && *value >= '0' && *value <= '9' && *end == '\0';
}

/* Those that the command takes, for getopt; *letters gets the short ones. */
static void make_table(const struct command *command, struct option *table,
                       char *letters)
{
    size_t n = 0;

    CHECK(tool_flag_count < FLAGS_MAX);
    for (size_t i = 0; i < tool_flag_count; i++) {
        const struct flag_info *info = &tool_flags[i];

        if (!((command->flags | F_HELP) & (unsigned)info->flag))
            continue;
        table[n++] = (struct option){
            info->name,
            info->type == FLAG_IS_BOOL ? optional_argument : required_argument,
            NULL, (int)i + 256};
        if (info->letter != 0) {
            *letters++ = info->letter;
            if (info->type != FLAG_IS_BOOL)
                *letters++ = ':';
        }
    }
    table[n] = (struct option){0};
    *letters = '\0';
}

static const struct flag_info *find(int c)
{
    if (c >= 256)
        return &tool_flags[c - 256];
    for (size_t i = 0; i < tool_flag_count; i++)
        if (tool_flags[i].letter == c)
            return &tool_flags[i];
    return NULL;
}

bool flags_read(const struct command *command, int argc, char *argv[],
                int first, struct options *options)
{
    struct option table[FLAGS_MAX + 1];
    char letters[2 * FLAGS_MAX + 1];
    int c;

    *options = (struct options){0};
    for (size_t i = 0; i < tool_flag_count; i++)
        if (tool_flags[i].fallback)
            (void)set(&tool_flags[i], options, tool_flags[i].fallback);
    make_table(command, table, letters);
    /* getopt takes the word before the flags for the program's name. */
    argv += first - 1;
    argc -= first - 1;
    argv[0] = program;
    optind = 0;
    while ((c = getopt_long(argc, argv, letters, table, NULL)) != -1) {
        const struct flag_info *info = find(c);

        if (!info)
            return false;
        if (!set(info, options, optarg)) {
            (void)fprintf(stderr, "Error: --%s can't be \"%s\"\n", info->name,
                          optarg);
            return false;
        }
    }
    options->args = argv + optind;
    options->n_args = argc - optind;
    return true;
}
