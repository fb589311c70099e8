/* Durations as Go's time package writes and reads them: "1h2m3.5s". */
#ifndef CHORAD_BASE_DURATION_H
#define CHORAD_BASE_DURATION_H

#include <stddef.h>
#include <stdint.h>

/* Room for the longest text, "-2562047h47m16.854775808s", and its end. */
#define DURATION_TEXT_SIZE 32

/* As Go's time.Duration.String: "0s", "1.5µs", "100ms", "1m0s".
 * NUL-terminated; returns the length. */
size_t duration_format(char out[DURATION_TEXT_SIZE], int64_t ns);

/* As Go's time.ParseDuration: an optional sign, then numbers with a unit of
 * ns, us, µs, ms, s, m or h, or "0" alone. ERR_INVALID for anything else and
 * for what doesn't fit; *ns is then left alone. */
int duration_parse(const char *text, int64_t *ns);

#endif
