/* Runs this program again with libfaultio.so loaded. */
#ifndef CHORAD_TESTS_FAULTS_CHILD_H
#define CHORAD_TESTS_FAULTS_CHILD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUIRE(cond)                                                          \
    do {                                                                       \
        if (!(cond)) {                                                         \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);   \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

struct child_result {
    int status; /* as from waitpid */
    char out[65536];
};

/* `env` is a NULL-terminated list of "NAME=value"; `args` follow the
 * program's name. */
static void child_run(struct child_result *result, const char *library,
                      const char *const env[], const char *const args[])
{
    int fds[2];
    size_t len = 0;
    ssize_t n;

    REQUIRE(pipe(fds) == 0);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        (void)dup2(fds[1], 1);
        (void)close(fds[0]);
        (void)close(fds[1]);
        (void)setenv("LD_PRELOAD", library, 1);
        for (size_t i = 0; env[i]; i++)
            (void)putenv((char *)(uintptr_t)env[i]);
        (void)execv("/proc/self/exe", (char *const *)(uintptr_t)args);
        _exit(127);
    }
    (void)close(fds[1]);
    while (len < sizeof(result->out) - 1 &&
           (n = read(fds[0], result->out + len,
                     sizeof(result->out) - 1 - len)) > 0)
        len += (size_t)n;
    result->out[len] = '\0';
    (void)close(fds[0]);
    REQUIRE(waitpid(pid, &result->status, 0) == pid);
}

#endif
