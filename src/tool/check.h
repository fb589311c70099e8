/* chorad check: what its parts share. */
#ifndef CHORAD_TOOL_CHECK_H
#define CHORAD_TOOL_CHECK_H

#include "tool.h"

/* More problems than that are counted, not told. */
#define CHECK_TOLD_MAX 100

struct check {
    const struct options *options;
    bool quiet; /* as JSON at the end */
    struct place place;
    char **problems; /* the first CHECK_TOLD_MAX */
    uint64_t n;
    struct headway headway;

    /* What was found, for the result. */
    uint64_t records;
    uint64_t keys;
    int64_t revision;
    size_t segments;
    uint64_t first_entry;
    uint64_t last_entry;
    uint64_t commit;
    uint64_t applied;
    uint64_t applied_term;
};

/* Something is wrong. */
void check_found(struct check *check, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* check_keys.c: the records of the bucket key against each other, and an index
 * made of them against the records. */
void check_keys(struct check *check);
/* check_buckets.c: what else the store holds. */
void check_buckets(struct check *check);
/* check_log.c: the log, and whether the store fits to it. */
void check_log(struct check *check);

#endif
