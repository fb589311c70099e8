/* Log lines: level, outputs, time and caller. */
#include "chorad/base/log.h"

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "log_file.h"
#include "log_line.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int min_level = LOG_INFO;
static atomic_bool as_json = true;

/* Guards the outputs and keeps lines whole. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_file first_output = {.fd = STDERR_FILENO};
static struct log_file *outputs = &first_output;
static size_t n_outputs = 1;

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info",   [LOG_WARN] = "warn",
    [LOG_ERROR] = "error", [LOG_PANIC] = "panic", [LOG_FATAL] = "fatal",
};
#define N_LEVELS (sizeof(level_names) / sizeof(level_names[0]))

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&min_level, (int)level, memory_order_relaxed);
}

enum log_level log_level(void)
{
    return (enum log_level)atomic_load_explicit(&min_level,
                                                memory_order_relaxed);
}

int log_level_parse(const char *name)
{
    for (size_t i = 0; i < N_LEVELS; i++) {
        if (strcmp(name, level_names[i]) == 0)
            return (int)i;
    }
    return -1;
}

void log_set_json(bool json)
{
    atomic_store_explicit(&as_json, json, memory_order_relaxed);
}

static void close_outputs(struct log_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++)
        log_file_close(&files[i]);
    if (files != &first_output)
        free(files);
}

int log_set_rotated(const char *const *names, size_t n,
                    const struct log_rotation *rotation, size_t *bad)
{
    struct log_file *files = mem_zalloc(n * sizeof(*files));
    struct log_file *old;
    size_t n_old;

    for (size_t i = 0; i < n; i++) {
        int err = log_file_open(&files[i], names[i], rotation);

        if (err < 0) {
            close_outputs(files, i);
            if (bad != NULL)
                *bad = i;
            return err;
        }
    }
    pthread_mutex_lock(&lock);
    old = outputs;
    n_old = n_outputs;
    outputs = files;
    n_outputs = n;
    pthread_mutex_unlock(&lock);
    close_outputs(old, n_old);
    return 0;
}

int log_set_outputs(const char *const *names, size_t n, size_t *bad)
{
    return log_set_rotated(names, n, NULL, bad);
}

/* Local time with six digits; "Z" for UTC, else "+0200". */
static void print_time(char *out, size_t size)
{
    struct timespec now;
    struct tm tm;
    char date[32];
    char zone[8];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &tm) == NULL ||
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0 ||
        strftime(zone, sizeof(zone), "%z", &tm) == 0) {
        out[0] = '\0';
        return;
    }
    (void)snprintf(out, size, "%s.%06ld%s", date, now.tv_nsec / 1000,
                   tm.tm_gmtoff == 0 ? "Z" : zone);
}

/* The last folder and the file's name, as zap's short caller. */
static const char *short_path(const char *file)
{
    int slashes = 0;

    for (const char *p = file + strlen(file); p > file; p--) {
        if (p[-1] == '/' && ++slashes == 2)
            return p;
    }
    return file;
}

/* Once a minute at most, so that it can't feed itself. */
static void tell(const struct log_trouble *trouble)
{
    if (trouble->lost > 0)
        log_warn("log lines could not be written and are lost",
                 LOG_STR("path", trouble->where),
                 LOG_U64("lines", trouble->lost));
    if (trouble->unrotated < 0)
        log_warn("the log file is full, but no new one can be begun",
                 LOG_STR("path", trouble->where),
                 LOG_STR("error", err_text(trouble->unrotated)));
}

static void write_line(const struct log_text *text)
{
    struct log_trouble trouble = {0};

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_outputs; i++)
        log_file_write(&outputs[i], text->data, text->len, &trouble);
    pthread_mutex_unlock(&lock);
    tell(&trouble);
}

void log_write(enum log_level level, const char *file, int line,
               const char *msg, const struct log_field *fields, size_t n)
{
    int saved_errno = errno;
    char ts[64];
    char caller[256];
    struct log_text text;
    struct log_line parts = {
        .level = level,
        .ts = ts,
        .caller = caller,
        .msg = msg,
        .fields = fields,
        .n_fields = n,
    };

    print_time(ts, sizeof(ts));
    (void)snprintf(caller, sizeof(caller), "%s:%d", short_path(file), line);
    log_text_init(&text);
    if (atomic_load_explicit(&as_json, memory_order_relaxed))
        log_json_line(&text, &parts);
    else
        log_console_line(&text, &parts);

    write_line(&text);
    log_text_close(&text);
    errno = saved_errno;
}

_Noreturn void log_fatal_exit(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_outputs; i++)
        (void)fsync(outputs[i].fd);
    /* Other threads still run: handlers of exit() would pull the ground from
     * under them. The lock stays held, so that this line is the last one. */
    _exit(EXIT_FAILURE);
}
