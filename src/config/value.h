/* Single values as Go's strconv and flag packages read them, and lists of
 * strings. Pure. */
#ifndef CHORAD_CONFIG_VALUE_H
#define CHORAD_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chorad/config.h"

/* As strconv.ParseUint(text, 0, bits) and ParseInt: base prefixes 0x, 0o, 0b
 * and 0, underscores between digits. ERR_INVALID for what is no number,
 * ERR_TOOBIG for what doesn't fit. */
int value_uint(const char *text, unsigned bits, uint64_t *out);
int value_int(const char *text, int64_t *out);

/* As strconv.ParseBool. */
int value_bool(const char *text, bool *out);

/* Replaces the string. */
void value_str(char **field, const char *text);

/* Cuts at each comma, empty pieces included. */
void strs_split(struct config_strs *strs, const char *text);
/* Appends a copy of `len` bytes. */
void strs_add(struct config_strs *strs, const char *text, size_t len);
/* Sorts by bytes and drops what is there twice. */
void strs_unique(struct config_strs *strs);
bool strs_equal(const struct config_strs *a, const struct config_strs *b);
bool strs_has(const struct config_strs *strs, const char *text);
void strs_close(struct config_strs *strs);

#endif
