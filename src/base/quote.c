#include "chorad/base/quote.h"
#include "chorad/base/mem.h"
#include <string.h>

char *quote_text(const char *text)
{
    static const char named[] = "abtnvfr";
    static const char codes[] = "\a\b\t\n\v\f\r";
    struct buf buf = {0};

    buf_append(&buf, "\"", 1);
    for (; *text != '\0'; text++) {
        const char *code = strchr(codes, *text);

        if (*text == '"' || *text == '\\')
            buf_printf(&buf, "\\%c", *text);
        else if (code != NULL)
            buf_printf(&buf, "\\%c", named[code - codes]);
        else if ((unsigned char)*text < ' ' || *text == 0x7f)
            buf_printf(&buf, "\\x%02x", (unsigned)(unsigned char)*text);
        else
            buf_append(&buf, text, 1);
    }
    buf_append(&buf, "\"", 2); /* with its NUL */
    return (char *)buf.data;
}
