/* What each signal does to a running member: one table, and those that are
 * heard on its loop.
 *
 * By default most signals end a process without a word. A member is part of a
 * cluster: it ends in order, or because it must not go on, and not because of
 * a timer or a stray `kill -USR1`. The offline tools keep the defaults. */
#ifndef CHORAD_APP_SIGNALS_H
#define CHORAD_APP_SIGNALS_H

#include <stddef.h>
#include <uv.h>

enum signal_rule {
    SIGNAL_STOP,    /* the member stops in order */
    SIGNAL_TOLD,    /* ignored, with a line in the log */
    SIGNAL_IGNORED, /* ignored in silence */
    SIGNAL_DEFAULT, /* the kernel's default stays */
};

/* Signals first..last. */
struct signal_row {
    int first;
    int last;
    enum signal_rule rule;
    const char *why; /* for a reader, and for the log's line */
};

/* Every signal that there is, each in one row. */
extern const struct signal_row signals_table[];
extern const size_t signals_rows;

/* The row of a signal, or NULL if there is no such signal. */
const struct signal_row *signals_row(int signum);

/* From the start of the process to signals_listen, and again behind
 * signals_close: what is ignored is, and what stops a member ends the process
 * at once with exit code 0. There is nothing to put in order then, and process
 * 1 of a container wouldn't end by the default. */
void signals_begin(void);

/* As many as have the rules STOP and TOLD. */
enum { SIGNALS_HEARD = 5 };

struct signals {
    uv_signal_t handles[SIGNALS_HEARD];
    void (*stop)(void *arg, int signum);
    void *arg;
};

/* `stop` is called on the loop for each signal that stops a member, however
 * often it comes. The handles don't keep the loop running. */
void signals_listen(struct signals *signals, uv_loop_t *loop,
                    void (*stop)(void *arg, int signum), void *arg);

/* The loop has to run once more behind it. */
void signals_close(struct signals *signals);

#endif
