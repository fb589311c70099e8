#include "value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z')
        return c - 'A' + 10;
    return 99;
}

/* Takes the prefix off and says the base. */
static int base_of(const char **text)
{
    const char *at = *text;
    int base = 8;

    if (at[0] != '0' || at[1] == '\0')
        return 10;
    switch (at[1]) {
    case 'x':
    case 'X':
        base = 16;
        break;
    case 'b':
    case 'B':
        base = 2;
        break;
    case 'o':
    case 'O':
        break;
    default:
        /* A leading zero counts as the digit that an underscore may
         * follow. */
        *text = at + 1;
        return 8;
    }
    *text = at + 2;
    return base;
}

int value_uint(const char *text, unsigned bits, uint64_t *out)
{
    uint64_t max = bits >= 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    const char *at = text;
    int base = base_of(&at);
    /* An underscore has to stand between digits; a base prefix counts as
     * one. */
    bool after_digit = at != text;
    bool digits = at == text + 1;
    bool overflow = false;
    uint64_t n = 0;

    for (; *at != '\0'; at++) {
        uint64_t digit = (uint64_t)digit_of(*at);

        if (*at == '_' && after_digit) {
            after_digit = false;
            continue;
        }
        if (digit >= (uint64_t)base)
            return ERR_INVALID;
        after_digit = true;
        digits = true;
        if (n > (max - digit) / (uint64_t)base)
            overflow = true;
        else
            n = n * (uint64_t)base + digit;
    }
    if (!digits || !after_digit)
        return ERR_INVALID;
    if (overflow)
        return ERR_TOOBIG;
    *out = n;
    return 0;
}

int value_int(const char *text, int64_t *out)
{
    bool negative = text[0] == '-';
    uint64_t n;
    int err;

    if (text[0] == '-' || text[0] == '+')
        text++;
    err = value_uint(text, 64, &n);
    if (err != 0)
        return err;
    if (n > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return ERR_TOOBIG;
    *out = negative ? (int64_t)(0 - n) : (int64_t)n;
    return 0;
}

int value_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcmp(text, yes[i]) == 0) {
            *out = true;
            return 0;
        }
        if (strcmp(text, no[i]) == 0) {
            *out = false;
            return 0;
        }
    }
    return ERR_INVALID;
}

void value_str(char **field, const char *text)
{
    char *copy = mem_strdup(text);

    free(*field);
    *field = copy;
}

void strs_add(struct config_strs *strs, const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);

    memcpy(copy, text, len);
    copy[len] = '\0';
    strs->items =
        mem_realloc(strs->items, (strs->n + 1) * sizeof(strs->items[0]));
    strs->items[strs->n++] = copy;
}

void strs_split(struct config_strs *strs, const char *text)
{
    for (;;) {
        size_t len = strcspn(text, ",");

        strs_add(strs, text, len);
        if (text[len] == '\0')
            return;
        text += len + 1;
    }
}

static int compare_strs(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void strs_unique(struct config_strs *strs)
{
    size_t kept = 0;

    if (strs->n == 0)
        return;
    qsort(strs->items, strs->n, sizeof(strs->items[0]), compare_strs);
    for (size_t i = 1; i < strs->n; i++) {
        if (strcmp(strs->items[i], strs->items[kept]) == 0)
            free(strs->items[i]);
        else
            strs->items[++kept] = strs->items[i];
    }
    strs->n = kept + 1;
}

bool strs_equal(const struct config_strs *a, const struct config_strs *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    }
    return true;
}

bool strs_has(const struct config_strs *strs, const char *text)
{
    for (size_t i = 0; i < strs->n; i++) {
        if (strcmp(strs->items[i], text) == 0)
            return true;
    }
    return false;
}

void strs_close(struct config_strs *strs)
{
    for (size_t i = 0; i < strs->n; i++)
        free(strs->items[i]);
    free(strs->items);
    *strs = (struct config_strs){0};
}
