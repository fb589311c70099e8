/* Shortest decimal texts of doubles. */
#include "float_text.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 0.d1d2d3... * 10^point */
struct decimal {
    char digits[18];
    int len;
    int point;
};

/* With `up` the last digit is one more than rounding makes it. */
static bool try_digits(struct decimal *d, double v, int digits, bool up)
{
    char text[32];
    char *end;

    (void)snprintf(text, sizeof(text), "%.*e", digits - 1, v);
    end = strchr(text, 'e');
    if (up && end[-1] != '9')
        end[-1]++;
    d->len = 0;
    for (const char *p = text; p < end; p++) {
        if (*p != '.')
            d->digits[d->len++] = *p;
    }
    d->point = (int)strtol(end + 1, NULL, 10) + 1;
    return strtod(text, NULL) == v;
}

/* `v` is positive and finite. 15 digits always survive the way through a
 * normal double, so fewer need not be tried: they show as zeros at the end.
 * A denormal has fewer bits and gives no such promise. Below a power of two
 * doubles lie closer than above it: rounding may then miss on the near side
 * where the next text on the far side hits. */
static void shortest(struct decimal *d, double v)
{
    int digits = v < DBL_MIN ? 1 : DBL_DIG;

    while (!try_digits(d, v, digits, false) &&
           !try_digits(d, v, digits, true) && digits < DBL_DECIMAL_DIG)
        digits++;
    while (d->len > 1 && d->digits[d->len - 1] == '0')
        d->len--;
}

static char *put_fraction(char *p, const struct decimal *d, int from)
{
    if (from >= d->len)
        return p;
    *p++ = '.';
    memcpy(p, d->digits + from, (size_t)(d->len - from));
    return p + d->len - from;
}

static char *put_plain(char *p, const struct decimal *d)
{
    if (d->point <= 0) {
        *p++ = '0';
        *p++ = '.';
        memset(p, '0', (size_t)-d->point);
        p += -d->point;
        memcpy(p, d->digits, (size_t)d->len);
        return p + d->len;
    }
    for (int i = 0; i < d->point; i++)
        *p++ = i < d->len ? d->digits[i] : '0';
    return put_fraction(p, d, d->point);
}

static char *put_exponent(char *p, const struct decimal *d)
{
    int exponent = d->point - 1;

    *p++ = d->digits[0];
    p = put_fraction(p, d, 1);
    return p + sprintf(p, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

static size_t put_text(char *out, double v, bool may_exponent)
{
    struct decimal d;
    char *p = out;

    if (isnan(v))
        return (size_t)sprintf(out, "NaN");
    if (isinf(v))
        return (size_t)sprintf(out, v > 0 ? "+Inf" : "-Inf");
    if (signbit(v))
        *p++ = '-';
    v = fabs(v);
    if (v < 1e6 && v == (double)(int)v)
        return (size_t)(p - out) + (size_t)sprintf(p, "%d", (int)v);
    shortest(&d, v);
    /* The bounds strconv uses when it chooses the precision itself; metrics
     * show them as 1e+06 and 6e-05. */
    if (may_exponent && (d.point - 1 < -4 || d.point - 1 >= 6))
        p = put_exponent(p, &d);
    else
        p = put_plain(p, &d);
    *p = '\0';
    return (size_t)(p - out);
}

size_t float_text_g(char out[FLOAT_TEXT_SIZE], double v)
{
    return put_text(out, v, true);
}

size_t float_text_f(char out[FLOAT_TEXT_SIZE], double v)
{
    return put_text(out, v, false);
}
