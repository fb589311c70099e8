/* Walks over JSON text and says what is wrong with it in the words of Go's
 * encoding/json, which etcd's users know. Pure; private to config. */
#ifndef CHORAD_CONFIG_JSON_SCAN_H
#define CHORAD_CONFIG_JSON_SCAN_H

#include "chorad/base/err.h"
#include <stddef.h>

enum json_kind {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/* A value as it stands in the text, borrowed from it: strings with their
 * quotes and escapes. */
struct json_value {
    enum json_kind kind;
    const char *text;
    size_t len;
};

/* A pair of the outermost object, the key without its quotes. */
typedef void (*json_pair_cb)(void *arg, const char *key, size_t len,
                             const struct json_value *value);

/* The kind of the outermost value, whose pairs, if it is an object, are handed
 * out in their order; or ERR_INVALID, perhaps after some of them. */
int json_scan(const char *text, json_pair_cb pair, void *arg,
              enum json_kind *kind, struct errmsg *msg);

#endif
