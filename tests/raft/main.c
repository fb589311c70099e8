/* Runs the scenario files of go.etcd.io/raft/v3 against the Raft core and
 * compares the output, byte for byte.
 *
 *   raft_scenarios <directory of the module>   all of them
 *   raft_scenarios <file>...                   interaction scenarios */
#include "env.h"
#include "quorum_cmds.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct score {
    size_t passed;
    size_t failed;
};

typedef bool (*file_cb)(const char *path);

static bool run_interaction(const char *path)
{
    struct env *env = mem_alloc(sizeof(*env));
    env_init(env);
    bool ok = datadriven_run(path, env_command, env);
    env_close(env);
    free(env);
    return ok;
}

static bool run_quorum(const char *path)
{
    return datadriven_run(path, quorum_command, NULL);
}

static bool run_conf(const char *path)
{
    struct conf_env env = {0};
    tracker_init(&env.trk, 10, 0);
    bool ok = datadriven_run(path, conf_command, &env);
    tracker_close(&env.trk);
    return ok;
}

static void run_file(const char *path, file_cb run, struct score *score)
{
    bool ok = run(path);
    printf("%s %s\n", ok ? "ok    " : "FAILED", path);
    fflush(stdout);
    if (ok)
        score->passed++;
    else
        score->failed++;
}

static void run_folder(const char *module, const char *folder, file_cb run,
                       struct score *score)
{
    char pattern[4096];
    snprintf(pattern, sizeof(pattern), "%s/%s/*.txt", module, folder);
    glob_t files;
    if (glob(pattern, 0, NULL, &files) != 0) {
        fprintf(stderr, "%s: no scenario files\n", pattern);
        exit(2);
    }
    for (size_t i = 0; i < files.gl_pathc; i++)
        run_file(files.gl_pathv[i], run, score);
    globfree(&files);
}

int main(int argc, char **argv)
{
    struct score score = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: %s <module directory> | <file>...\n", argv[0]);
        return 2;
    }
    size_t len = strlen(argv[1]);
    if (len > 4 && strcmp(argv[1] + len - 4, ".txt") == 0) {
        for (int i = 1; i < argc; i++)
            run_file(argv[i], run_interaction, &score);
    } else {
        run_folder(argv[1], "testdata", run_interaction, &score);
        run_folder(argv[1], "quorum/testdata", run_quorum, &score);
        run_folder(argv[1], "confchange/testdata", run_conf, &score);
    }
    printf("%zu passed, %zu failed\n", score.passed, score.failed);
    return score.failed > 0;
}
