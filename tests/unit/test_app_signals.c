/* What each signal does to a member: the table, and processes that get them. */
#include "app/signals.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

#define LIVED 42

static void every_signal_has_one_row(void **state)
{
    (void)state;
    for (int n = 1; n <= SIGRTMAX; n++) {
        unsigned rows = 0;

        for (size_t i = 0; i < signals_rows; i++)
            rows += signals_table[i].first <= n && n <= signals_table[i].last;
        if (rows != 1)
            fail_msg("signal %d has %u rows", n, rows);
        assert_non_null(signals_row(n)->why);
    }
    assert_null(signals_row(0));
    assert_null(signals_row(SIGRTMAX + 1));
}

/* Ends a process and is meant to: a crash has to leave a core. */
static const int ending[] = {SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,
                             SIGFPE,  SIGKILL, SIGSEGV, SIGSYS};
/* Doesn't end it: job control, and what is ignored by default. */
static const int harmless[] = {SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP,
                               SIGTTIN, SIGTTOU, SIGURG,  SIGWINCH};

static bool is_among(int signum, const int *signums, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (signums[i] == signum)
            return true;
    return false;
}

static void no_other_is_left_at_its_default(void **state)
{
    (void)state;
    for (int n = 1; n <= SIGRTMAX; n++) {
        bool left =
            is_among(n, ending, sizeof(ending) / sizeof(ending[0])) ||
            is_among(n, harmless, sizeof(harmless) / sizeof(harmless[0])) ||
            /* The C library's own. */
            (n > SIGSYS && n < SIGRTMIN);

        if ((signals_row(n)->rule == SIGNAL_DEFAULT) != left)
            fail_msg("signal %d: is it left at its default or not?", n);
    }
}

/* The wait status of a process that runs `body` and lives on. */
static int status_of(void (*body)(int signum), int signum)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        static const struct rlimit no_core = {0};

        (void)setrlimit(RLIMIT_CORE, &no_core);
        body(signum);
        _exit(LIVED);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    if (WIFSTOPPED(status)) {
        int end;

        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &end, 0);
    }
    return status;
}

/* A harness may have ignored it for us. */
static void by_default(int signum)
{
    (void)signal(signum, SIG_DFL);
    (void)raise(signum);
}

static void at_the_start(int signum)
{
    (void)signal(signum, SIG_DFL);
    signals_begin();
    (void)raise(signum);
}

static void on_stop(void *arg, int signum)
{
    (void)signum;
    (*(unsigned *)arg)++;
}

static void wake(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
}

/* Runs the loop for a moment, which the handles of signals alone don't. */
static void run(uv_loop_t *loop, unsigned ms)
{
    uv_timer_t timer;

    (void)uv_timer_init(loop, &timer);
    (void)uv_timer_start(&timer, wake, ms, 0);
    (void)uv_run(loop, UV_RUN_DEFAULT);
}

/* While it runs: exits with LIVED and the number of times that it was told to
 * stop. Behind that, ignored signals are still ignored. */
static void while_it_runs(int signum)
{
    struct signals signals;
    unsigned stops = 0;
    uv_loop_t loop;

    (void)signal(signum, SIG_DFL);
    signals_begin();
    (void)uv_loop_init(&loop);
    signals_listen(&signals, &loop, on_stop, &stops);
    (void)raise(signum);
    run(&loop, 30);
    signals_close(&signals);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    signals_begin();
    if (uv_loop_close(&loop) != 0)
        _exit(1);
    if (stops == 0)
        (void)raise(signum);
    _exit(LIVED + (int)stops);
}

static void check_signal(int n, enum signal_rule rule)
{
    int first = status_of(at_the_start, n);
    int later = status_of(while_it_runs, n);
    int own = rule == SIGNAL_DEFAULT ? status_of(by_default, n) : 0;

    if (rule == SIGNAL_DEFAULT && (first != own || later != own))
        fail_msg("signal %d: status %x and %x, by default %x", n, first, later,
                 own);
    if (rule == SIGNAL_STOP &&
        (!WIFEXITED(first) || WEXITSTATUS(first) != 0 || !WIFEXITED(later) ||
         WEXITSTATUS(later) != LIVED + 1))
        fail_msg("signal %d that stops: status %x and %x", n, first, later);
    if ((rule == SIGNAL_TOLD || rule == SIGNAL_IGNORED) &&
        (!WIFEXITED(first) || WEXITSTATUS(first) != LIVED ||
         !WIFEXITED(later) || WEXITSTATUS(later) != LIVED))
        fail_msg("signal %d that is ignored: status %x and %x", n, first,
                 later);
}

static void processes_do_as_the_table_says(void **state)
{
    (void)state;
    for (int n = 1; n <= SIGRTMAX; n++) {
        /* Of the library's own ones nothing can be said. */
        if (n > SIGSYS && n < SIGRTMIN)
            continue;
        check_signal(n, signals_row(n)->rule);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_signal_has_one_row),
        cmocka_unit_test(no_other_is_left_at_its_default),
        cmocka_unit_test(processes_do_as_the_table_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
