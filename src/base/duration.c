/* Go's texts for durations. */
#include "chorad/base/duration.h"

#include "chorad/base/err.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NS_US UINT64_C(1000)
#define NS_MS UINT64_C(1000000)
#define NS_S UINT64_C(1000000000)
#define NS_M (60 * NS_S)
#define NS_H (60 * NS_M)

/* "12.345" for n/scale, without zeros at the end. */
static char *put_number(char *p, uint64_t n, uint64_t scale)
{
    uint64_t rest = n % scale;

    p += sprintf(p, "%llu", (unsigned long long)(n / scale));
    if (rest == 0)
        return p;
    *p++ = '.';
    while (rest > 0) {
        scale /= 10;
        *p++ = (char)('0' + rest / scale);
        rest %= scale;
    }
    return p;
}

static char *put_small(char *p, uint64_t n)
{
    if (n >= NS_MS)
        return stpcpy(put_number(p, n, NS_MS), "ms");
    if (n >= NS_US)
        return stpcpy(put_number(p, n, NS_US), "\xc2\xb5s");
    if (n > 0)
        return stpcpy(put_number(p, n, 1), "ns");
    return stpcpy(p, "0s");
}

size_t duration_format(char out[DURATION_TEXT_SIZE], int64_t ns)
{
    uint64_t n = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    char *p = out;

    if (ns < 0)
        *p++ = '-';
    if (n < NS_S)
        return (size_t)(put_small(p, n) - out);
    if (n >= NS_H)
        p += sprintf(p, "%lluh", (unsigned long long)(n / NS_H));
    if (n >= NS_M)
        p += sprintf(p, "%llum", (unsigned long long)(n % NS_H / NS_M));
    p = stpcpy(put_number(p, n % NS_M, NS_S), "s");
    return (size_t)(p - out);
}

static const struct unit {
    const char *name;
    uint64_t ns;
} units[] = {
    {"ns", 1},
    {"us", NS_US},
    {"\xc2\xb5s", NS_US}, /* U+00B5, the micro sign */
    {"\xce\xbcs", NS_US}, /* U+03BC, the Greek letter */
    {"ms", NS_MS},
    {"s", NS_S},
    {"m", NS_M},
    {"h", NS_H},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *get_unit(const char *p, uint64_t *ns)
{
    size_t len = 0;

    while (p[len] != '\0' && p[len] != '.' && !is_digit(p[len]))
        len++;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strlen(units[i].name) == len &&
            memcmp(units[i].name, p, len) == 0) {
            *ns = units[i].ns;
            return p + len;
        }
    }
    return NULL;
}

/* The digits after the point, as value/scale; those too small to count are
 * skipped. */
static const char *get_fraction(const char *p, uint64_t *value, double *scale)
{
    for (; is_digit(*p); p++) {
        if (*value > (INT64_MAX - 9) / 10)
            continue;
        *value = *value * 10 + (uint64_t)(*p - '0');
        *scale *= 10;
    }
    return p;
}

/* One number with its unit, in ns, at most 2^63; NULL if it isn't one. */
static const char *get_term(const char *p, uint64_t *out)
{
    const uint64_t limit = UINT64_C(1) << 63;
    const char *digits = p;
    uint64_t whole = 0;
    uint64_t part = 0;
    uint64_t unit = 1;
    double scale = 1;
    bool any;

    for (; is_digit(*p); p++) {
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, *p - '0', &whole) || whole > limit)
            return NULL;
    }
    any = p != digits;
    if (*p == '.') {
        digits = ++p;
        p = get_fraction(p, &part, &scale);
        any = any || p != digits;
    }
    if (!any)
        return NULL;
    p = get_unit(p, &unit);
    if (p == NULL || whole > limit / unit)
        return NULL;
    *out = whole * unit + (uint64_t)((double)part * ((double)unit / scale));
    return *out > limit ? NULL : p;
}

int duration_parse(const char *text, int64_t *ns)
{
    const char *p = text;
    bool negative = *p == '-';
    uint64_t sum = 0;

    if (*p == '-' || *p == '+')
        p++;
    if (strcmp(p, "0") == 0) {
        *ns = 0;
        return 0;
    }
    if (*p == '\0')
        return ERR_INVALID;
    while (*p != '\0') {
        uint64_t term = 0;

        p = get_term(p, &term);
        if (p == NULL)
            return ERR_INVALID;
        sum += term;
        if (sum > UINT64_C(1) << 63)
            return ERR_INVALID;
    }
    if (sum > (uint64_t)INT64_MAX && !negative)
        return ERR_INVALID;
    *ns = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return 0;
}
