/* The table of flags and what can be done with one row of it. */
#ifndef CHORAD_CONFIG_FLAGS_H
#define CHORAD_CONFIG_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

#include "chorad/config.h"

/* XX(type, C type of the field). Go's flag package and etcd's pkg/flags give
 * the rules of each. */
#define FLAG_TYPE_MAP(XX)                                                      \
    XX(STR, char *)                                                            \
    XX(BOOL, bool)                                                             \
    XX(INT, int64_t)                                                           \
    XX(I64, int64_t)                                                           \
    XX(UINT, uint64_t)                                                         \
    XX(U64, uint64_t)                                                          \
    XX(U32, uint32_t)                                                          \
    XX(DURATION, int64_t)                                                      \
    XX(URLS, struct url_list)                                                  \
    XX(ORIGINS, struct config_strs) /* URLs or "*" */                          \
    XX(STRS, struct config_strs)    /* in the order given */                   \
    XX(USTRS, struct config_strs)   /* sorted, each once */                    \
    XX(STATE, char *)               /* new, existing */                        \
    XX(FALLBACK, char *)            /* exit, proxy */                          \
    XX(V2DEPR, char *)              /* several stages */                       \
    XX(GATES, struct config_gates)                                             \
    XX(IGNORED, bool) /* accepted, means nothing; no field */

enum flag_type {
#define XX(type, ctype) FLAG_##type,
    FLAG_TYPE_MAP(XX)
#undef XX
};

enum flag_status {
    FLAG_FULL,
    FLAG_NOT_YET,
    FLAG_NO_EFFECT,
    FLAG_SILENT,
};

struct flag {
    const char *name;
    enum flag_type type;
    enum flag_status status;
    size_t offset; /* of the field in struct config */
    const char *def;
    const char *yaml; /* path in the file; "": the name; NULL: not in a file */
};

extern const struct flag flag_table[];
extern const size_t flag_count;

/* NULL when there is none of that name, which need not end in NUL. */
const struct flag *flag_find(const char *name, size_t len);

static inline size_t flag_index(const struct flag *flag)
{
    return (size_t)(flag - flag_table);
}

static inline void *flag_field(const struct flag *flag, struct config *config)
{
    return (char *)config + flag->offset;
}

/* A flag that stands alone, without a value. */
bool flag_is_bool(const struct flag *flag);

/* Sets the field from text; ERR_INVALID with the text of Go's or etcd's
 * parser, the field then unchanged. Doesn't touch config->set. */
int flag_set(const struct flag *flag, struct config *config, const char *text,
             struct errmsg *msg);

/* Frees what the field owns. */
void flag_clear(const struct flag *flag, struct config *config);

/* Whether the field holds the same value in both. */
bool flag_equal(const struct flag *flag, struct config *a, struct config *b);

#endif
