#include "say.h"
#include "chorad/base/check.h"
#include <stdarg.h>
#include <stdio.h>

/* Longest line; more is cut. */
#define LINE_MAX_LEN 4096

void say_line(const struct sayer *sayer, enum raft_log_level level,
              const char *fmt, ...)
{
    char line[LINE_MAX_LEN];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    sayer->log(sayer->arg, level, line);
}

void say_fatal(const struct sayer *sayer, const char *fmt, ...)
{
    char line[LINE_MAX_LEN];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (sayer->log)
        sayer->log(sayer->arg, RAFT_LOG_FATAL, line);
    check_failed(line, __FILE__, __LINE__);
}
