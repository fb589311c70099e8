/* The growing text of one log line. */
#include "log_line.h"

#include "chorad/base/mem.h"

#include <stdlib.h>
#include <string.h>

void log_text_init(struct log_text *text)
{
    text->data = text->room;
    text->len = 0;
    text->cap = sizeof(text->room);
}

void log_text_close(struct log_text *text)
{
    if (text->data != text->room)
        free(text->data);
}

static void grow(struct log_text *text, size_t need)
{
    size_t cap = text->cap * 2 > need ? text->cap * 2 : need;

    if (text->data == text->room) {
        text->data = mem_alloc(cap);
        memcpy(text->data, text->room, text->len);
    } else {
        text->data = mem_realloc(text->data, cap);
    }
    text->cap = cap;
}

void log_text_put(struct log_text *text, const char *data, size_t len)
{
    if (len == 0)
        return;
    if (len > text->cap - text->len)
        grow(text, text->len + len);
    memcpy(text->data + text->len, data, len);
    text->len += len;
}

void log_text_puts(struct log_text *text, const char *s)
{
    log_text_put(text, s, strlen(s));
}
