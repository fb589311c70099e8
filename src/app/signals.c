/* The table of signals, and hearing of them. */
#include "signals.h"

#include "chorad/base/check.h"
#include "chorad/base/log.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* The C library's own real-time signals lie before SIGRTMIN, which is no
 * constant. */
#define LIBRARY_FIRST 32
#define LIBRARY_LAST 33
#define REALTIME_FIRST 34
#define REALTIME_LAST (NSIG - 1)

#define CRASH "a crash: the core it leaves is what is wanted"
#define MEANINGLESS "it means nothing to a member"
#define JOBS "the terminal's job control"
#define TIMER "the timers and limits of a process aren't used here"

/* etcd, as a program in Go, serves on for most of these: what is ignored here
 * and ends an etcd is SIGHUP and SIGSTKFLT. */
const struct signal_row signals_table[] = {
    {SIGHUP, SIGHUP, SIGNAL_TOLD,
     "settings aren't read again while the member runs"},
    {SIGINT, SIGINT, SIGNAL_STOP, "Ctrl-C"},
    /* Ctrl-\: whoever sends it wants to see where the process stands. etcd
     * prints its stacks and exits with 2, at once as well. */
    {SIGQUIT, SIGQUIT, SIGNAL_DEFAULT, "ends at once with a core, as asked"},
    {SIGILL, SIGILL, SIGNAL_DEFAULT, CRASH},
    {SIGTRAP, SIGTRAP, SIGNAL_DEFAULT, "a debugger's"},
    {SIGABRT, SIGABRT, SIGNAL_DEFAULT, CRASH},
    {SIGBUS, SIGBUS, SIGNAL_DEFAULT, CRASH},
    {SIGFPE, SIGFPE, SIGNAL_DEFAULT, CRASH},
    {SIGKILL, SIGKILL, SIGNAL_DEFAULT, "can't be changed"},
    {SIGUSR1, SIGUSR1, SIGNAL_TOLD, MEANINGLESS},
    {SIGSEGV, SIGSEGV, SIGNAL_DEFAULT, CRASH},
    {SIGUSR2, SIGUSR2, SIGNAL_TOLD, MEANINGLESS},
    {SIGPIPE, SIGPIPE, SIGNAL_IGNORED, "the write says so with EPIPE"},
    {SIGALRM, SIGALRM, SIGNAL_IGNORED, TIMER},
    {SIGTERM, SIGTERM, SIGNAL_STOP, "what init systems and containers send"},
    {SIGSTKFLT, SIGSTKFLT, SIGNAL_IGNORED, "no kernel sends it"},
    {SIGCHLD, SIGCHLD, SIGNAL_DEFAULT, "ignored by default"},
    {SIGCONT, SIGCONT, SIGNAL_DEFAULT, JOBS},
    {SIGSTOP, SIGSTOP, SIGNAL_DEFAULT, "can't be changed"},
    {SIGTSTP, SIGTSTP, SIGNAL_DEFAULT, JOBS},
    {SIGTTIN, SIGTTIN, SIGNAL_DEFAULT, JOBS},
    {SIGTTOU, SIGTTOU, SIGNAL_DEFAULT, JOBS},
    {SIGURG, SIGURG, SIGNAL_DEFAULT, "ignored by default"},
    {SIGXCPU, SIGXCPU, SIGNAL_IGNORED, TIMER},
    /* So a limit of file size is an error of the disk like any other: the
     * member names the file and ends. */
    {SIGXFSZ, SIGXFSZ, SIGNAL_IGNORED, "the write says so with EFBIG"},
    {SIGVTALRM, SIGVTALRM, SIGNAL_IGNORED, TIMER},
    {SIGPROF, SIGPROF, SIGNAL_IGNORED, TIMER},
    {SIGWINCH, SIGWINCH, SIGNAL_DEFAULT, "ignored by default"},
    {SIGIO, SIGIO, SIGNAL_IGNORED, "readiness is asked for in other ways"},
    {SIGPWR, SIGPWR, SIGNAL_IGNORED,
     "the init system stops us when it is time"},
    {SIGSYS, SIGSYS, SIGNAL_DEFAULT, CRASH},
    {LIBRARY_FIRST, LIBRARY_LAST, SIGNAL_DEFAULT, "the C library's own"},
    {REALTIME_FIRST, REALTIME_LAST, SIGNAL_IGNORED, MEANINGLESS},
};

const size_t signals_rows = sizeof(signals_table) / sizeof(signals_table[0]);

const struct signal_row *signals_row(int signum)
{
    for (size_t i = 0; i < signals_rows; i++)
        if (signals_table[i].first <= signum && signum <= signals_table[i].last)
            return &signals_table[i];
    return NULL;
}

static void end_at_once(int signum)
{
    (void)signum;
    _exit(0);
}

static void set_action(int signum, enum signal_rule rule)
{
    struct sigaction action = {.sa_handler =
                                   rule == SIGNAL_STOP ? end_at_once : SIG_IGN};

    if (rule == SIGNAL_DEFAULT)
        return;
    CHECK(sigaction(signum, &action, NULL) == 0);
}

void signals_begin(void)
{
    for (size_t i = 0; i < signals_rows; i++)
        for (int n = signals_table[i].first; n <= signals_table[i].last; n++)
            set_action(n, signals_table[i].rule);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct signals *signals = handle->data;
    const struct signal_row *row = signals_row(signum);

    if (row->rule == SIGNAL_STOP)
        signals->stop(signals->arg, signum);
    else
        log_warn("ignored a signal", LOG_STR("signal", strsignal(signum)),
                 LOG_STR("reason", row->why));
}

static void listen_to(struct signals *signals, uv_signal_t *handle,
                      uv_loop_t *loop, int signum)
{
    CHECK(uv_signal_init(loop, handle) == 0);
    handle->data = signals;
    CHECK(uv_signal_start(handle, on_signal, signum) == 0);
    uv_unref((uv_handle_t *)handle);
}

void signals_listen(struct signals *signals, uv_loop_t *loop,
                    void (*stop)(void *arg, int signum), void *arg)
{
    size_t n = 0;

    signals->stop = stop;
    signals->arg = arg;
    for (size_t i = 0; i < signals_rows; i++) {
        const struct signal_row *row = &signals_table[i];

        if (row->rule != SIGNAL_STOP && row->rule != SIGNAL_TOLD)
            continue;
        CHECK(n < SIGNALS_HEARD && row->first == row->last);
        listen_to(signals, &signals->handles[n++], loop, row->first);
    }
    CHECK(n == SIGNALS_HEARD);
}

void signals_close(struct signals *signals)
{
    for (size_t i = 0; i < SIGNALS_HEARD; i++)
        uv_close((uv_handle_t *)&signals->handles[i], NULL);
}
