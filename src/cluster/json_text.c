/* A JSON string as Go's encoder writes it: etcd compares and hashes nothing of
 * it, but its tools find the same bytes. */
#include "member.h"

/* The length of the UTF-8 sequence, 0 if it is none. */
static size_t rune_len(const uint8_t *s, uint32_t *rune)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80             ? 1
               : (s[0] & 0xE0) == 0xC0 ? 2
               : (s[0] & 0xF0) == 0xE0 ? 3
               : (s[0] & 0xF8) == 0xF0 ? 4
                                       : 0;

    *rune = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        /* The NUL at the end isn't a continuation. */
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        *rune = *rune << 6 | (s[i] & 0x3Fu);
    }
    if (n > 1 && (*rune < least[n] || *rune > 0x10FFFF ||
                  (*rune >= 0xD800 && *rune <= 0xDFFF)))
        return 0;
    return n;
}

static char short_escape(uint32_t rune)
{
    switch (rune) {
    case '"':
    case '\\':
        return (char)rune;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return '\0';
    }
}

static bool needs_escape(uint32_t rune)
{
    return rune < 0x20 || rune == '<' || rune == '>' || rune == '&' ||
           rune == 0x2028 || rune == 0x2029;
}

void json_append_string(struct buf *out, const char *text)
{
    const uint8_t *s = (const uint8_t *)text;

    buf_append(out, "\"", 1);
    while (*s) {
        uint32_t rune;
        size_t n = rune_len(s, &rune);
        char c = n == 1 ? short_escape(rune) : '\0';

        if (n == 0)
            buf_printf(out, "\\ufffd");
        else if (c != '\0')
            buf_printf(out, "\\%c", c);
        else if (needs_escape(rune))
            buf_printf(out, "\\u%04x", rune);
        else
            buf_append(out, s, n);
        s += n > 0 ? n : 1;
    }
    buf_append(out, "\"", 1);
}
