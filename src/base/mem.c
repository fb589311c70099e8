/* Allocation that can't fail, and borrowed bytes. */
#include "chorad/base/mem.h"

#include "chorad/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int bytes_cmp(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

/* The line is short enough for the logger's stack buffer: nothing allocates
 * from here on. */
static _Noreturn void out_of_memory(size_t size)
{
    const struct log_field fields[] = {LOG_U64("bytes", size)};

    log_write(LOG_PANIC, __FILE__, __LINE__, "out of memory", fields, 1);
    abort();
}

/* malloc(0) may be NULL elsewhere than in glibc. */
static size_t at_least_one(size_t size)
{
    return size == 0 ? 1 : size;
}

void *mem_alloc(size_t size)
{
    void *ptr = malloc(at_least_one(size));

    if (ptr == NULL)
        out_of_memory(size);
    return ptr;
}

void *mem_zalloc(size_t size)
{
    void *ptr = calloc(1, at_least_one(size));

    if (ptr == NULL)
        out_of_memory(size);
    return ptr;
}

void *mem_realloc(void *ptr, size_t size)
{
    void *moved = realloc(ptr, at_least_one(size));

    if (moved == NULL)
        out_of_memory(size);
    return moved;
}

char *mem_strdup(const char *s)
{
    size_t size = strlen(s) + 1;

    return memcpy(mem_alloc(size), s, size);
}

char *mem_printf(const char *fmt, ...)
{
    va_list args;
    char *text;
    int n;

    va_start(args, fmt);
    n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        out_of_memory(0);
    return text;
}

void *mem_try_alloc(size_t size)
{
    return malloc(at_least_one(size));
}
