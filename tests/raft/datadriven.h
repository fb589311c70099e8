/* Reads scenario files: directives with arguments and input, and after a line
 * "----" the output they are expected to have. */
#ifndef TESTS_RAFT_DATADRIVEN_H
#define TESTS_RAFT_DATADRIVEN_H

#include "chorad/base/mem.h"
#include <stdbool.h>

#define ARGS_MAX 32
#define VALUES_MAX 16

/* key, key=value or key=(value,value,...) */
struct arg {
    const char *key;
    const char *values[VALUES_MAX];
    size_t value_count;
};

struct directive {
    const char *file;
    int line;
    const char *command;
    struct arg args[ARGS_MAX];
    size_t arg_count;
    const char *input;    /* trimmed */
    const char *expected; /* each line with its newline */
    struct arena arena;   /* owns all of the above */
};

/* Runs one directive and puts what it says into `out`. */
typedef void (*directive_cb)(void *arg, const struct directive *d,
                             struct buf *out);

/* True if all directives of the file gave what was expected; prints the first
 * that didn't, with both texts, and stops there. */
bool datadriven_run(const char *path, directive_cb run, void *arg);

/* Ends the program with the place: for files this driver doesn't
 * understand. */
_Noreturn void directive_fatal(const struct directive *d, const char *why);

uint64_t directive_number(const struct directive *d, const char *text);
bool directive_bool(const struct directive *d, const char *text);
/* The argument with this key, or NULL. */
const struct arg *directive_arg(const struct directive *d, const char *key);

#endif
