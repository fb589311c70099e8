/* Structured log lines: JSON {"level","ts","caller","msg",fields...} or
 * console text, to stderr or files. Any thread may log. */
#ifndef CHORAD_BASE_LOG_H
#define CHORAD_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
    LOG_PANIC,
    LOG_FATAL,
};

enum log_field_type {
    LOG_FIELD_STR,
    LOG_FIELD_BYTES, /* a string with a length, need not be UTF-8 */
    LOG_FIELD_I64,
    LOG_FIELD_U64,
    LOG_FIELD_F64,
    LOG_FIELD_BOOL,
    LOG_FIELD_DURATION, /* nanoseconds, printed as Go does: "1.5ms" */
    LOG_FIELD_HEX,      /* an id: lower hex in quotes */
    LOG_FIELD_STRS,     /* a list of strings: ["a","b"] */
};

struct log_field {
    const char *key;
    enum log_field_type type;
    union {
        const char *str;
        const char *const *strs;
        int64_t i64;
        uint64_t u64;
        double f64;
    } v;
    size_t len;
};

#define LOG_STR(k, s) ((struct log_field){(k), LOG_FIELD_STR, {.str = (s)}, 0})
#define LOG_BYTES(k, s, n)                                                     \
    ((struct log_field){(k), LOG_FIELD_BYTES, {.str = (const char *)(s)}, (n)})
#define LOG_I64(k, n) ((struct log_field){(k), LOG_FIELD_I64, {.i64 = (n)}, 0})
#define LOG_U64(k, n) ((struct log_field){(k), LOG_FIELD_U64, {.u64 = (n)}, 0})
#define LOG_F64(k, n) ((struct log_field){(k), LOG_FIELD_F64, {.f64 = (n)}, 0})
#define LOG_BOOL(k, b)                                                         \
    ((struct log_field){(k), LOG_FIELD_BOOL, {.u64 = (b)}, 0})
#define LOG_NS(k, ns)                                                          \
    ((struct log_field){(k), LOG_FIELD_DURATION, {.i64 = (int64_t)(ns)}, 0})
#define LOG_HEX(k, id)                                                         \
    ((struct log_field){(k), LOG_FIELD_HEX, {.u64 = (id)}, 0})

#define LOG_STRS(k, s, n)                                                      \
    ((struct log_field){(k), LOG_FIELD_STRS, {.strs = (s)}, (n)})

/* The level below which lines are dropped. */
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "debug", "info", "warn", "error", "panic", "fatal"; -1 if unknown. */
int log_level_parse(const char *name);
void log_set_json(bool json);

/* When a file of the log is full, and what becomes of full ones. */
struct log_rotation {
    uint64_t max_bytes;    /* of a file; more than 0 */
    uint64_t max_age_days; /* 0: a full file stays for good */
    uint64_t max_backups;  /* 0: all full files stay */
    bool local_time;       /* in their names, rather than UTC */
    bool compress;         /* with gzip, and by a thread of its own */
};

/* Sends lines to these outputs: "stderr", "stdout", "default" (stderr) or
 * file paths, opened for append. 0 or an error with the path's index in
 * *bad. Before the first call: stderr. */
int log_set_outputs(const char *const *outputs, size_t n, size_t *bad);

/* The same with a file that is rotated; streams aren't. A file that is full
 * becomes "name-2006-01-02T15-04-05.000.log", by the time it was closed, and
 * what is too old or too much is removed. A directory that can't be written to
 * lets the file grow, which is said in it once a minute. */
int log_set_rotated(const char *const *outputs, size_t n,
                    const struct log_rotation *rotation, size_t *bad);

/* Writes the line whatever the level; one write(2) per output. */
void log_write(enum log_level level, const char *file, int line,
               const char *msg, const struct log_field *fields, size_t n);

#define LOG_AT(level, msg, ...)                                                \
    do {                                                                       \
        if ((level) >= log_level()) {                                          \
            const struct log_field fields_[] = {{0},                           \
                                                __VA_ARGS__ __VA_OPT__(, )};   \
            log_write((level), __FILE__, __LINE__, (msg), fields_ + 1,         \
                      sizeof(fields_) / sizeof(fields_[0]) - 1);               \
        }                                                                      \
    } while (0)

#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_warn(...) LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)

/* Logs at level fatal and ends the process with exit code 1. */
_Noreturn void log_fatal_exit(void);
#define log_fatal(...)                                                         \
    do {                                                                       \
        LOG_AT(LOG_FATAL, __VA_ARGS__);                                        \
        log_fatal_exit();                                                      \
    } while (0)

#endif
