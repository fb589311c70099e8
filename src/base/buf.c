/* The growable buffer. */
#include "chorad/base/mem.h"

#include "chorad/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAP_MIN ((size_t)64)

uint8_t *buf_reserve(struct buf *buf, size_t extra)
{
    size_t need;
    size_t cap;

    if (extra <= buf->cap - buf->len && buf->data != NULL)
        return buf->data + buf->len;
    CHECK(extra <= SIZE_MAX / 2 - buf->len);
    need = buf->len + extra;
    cap = buf->cap * 2 > CAP_MIN ? buf->cap * 2 : CAP_MIN;
    if (cap < need)
        cap = need;
    buf->data = mem_realloc(buf->data, cap);
    buf->cap = cap;
    return buf->data + buf->len;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return;
    memcpy(buf_reserve(buf, len), data, len);
    buf->len += len;
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list args;
    uint8_t *at = buf_reserve(buf, CAP_MIN);
    size_t room = buf->cap - buf->len;
    int n;

    va_start(args, fmt);
    n = vsnprintf((char *)at, room, fmt, args);
    va_end(args);
    CHECK(n >= 0);
    if ((size_t)n >= room) {
        at = buf_reserve(buf, (size_t)n + 1);
        va_start(args, fmt);
        (void)vsnprintf((char *)at, (size_t)n + 1, fmt, args);
        va_end(args);
    }
    buf->len += (size_t)n;
}

void buf_close(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}
