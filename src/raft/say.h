/* The core's log lines, formatted only if somebody listens at their level. */
#ifndef RAFT_SAY_H
#define RAFT_SAY_H

#include "chorad/raft.h"
#include <inttypes.h>

struct sayer {
    raft_log_cb log;
    void *arg;
    enum raft_log_level level;
};

static inline bool say_enabled(const struct sayer *sayer,
                               enum raft_log_level level)
{
    return sayer->log && level >= sayer->level;
}

void say_line(const struct sayer *sayer, enum raft_log_level level,
              const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Says why and aborts: for state that must not go on, such as a leader that
 * counts on entries this member has lost. */
_Noreturn void say_fatal(const struct sayer *sayer, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define SAY(sayer, level, ...)                                                 \
    do {                                                                       \
        if (say_enabled((sayer), (level)))                                     \
            say_line((sayer), (level), __VA_ARGS__);                           \
    } while (0)

#endif
