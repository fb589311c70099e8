/* What the fields of a request may be (RFC 9113, 8.2 and 8.3), as far as etcd's
 * server insists: names in lower case, pseudo fields first and once, no control
 * characters. What else the values mean is for who reads them. */
#include "internal.h"

#include <string.h>

static bool equals(struct bytes b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

static bool is_token(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_name(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!is_token(name.data[i]))
            return false;
    return name.len > 0;
}

static bool is_value(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++) {
        uint8_t c = value.data[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static unsigned pseudo_of(struct bytes name)
{
    if (equals(name, ":method"))
        return FIELD_METHOD;
    if (equals(name, ":scheme"))
        return FIELD_SCHEME;
    if (equals(name, ":authority"))
        return FIELD_AUTHORITY;
    return equals(name, ":path") ? FIELD_PATH : 0;
}

bool field_check(unsigned *seen, struct bytes name, struct bytes value)
{
    unsigned pseudo;

    if (!is_value(value))
        return false;
    if (name.len == 0 || name.data[0] != ':') {
        *seen |= FIELD_REGULAR;
        /* Those speak of the connection, which HTTP/2 has its own words for. */
        return is_name(name) && !equals(name, "connection") &&
               (!equals(name, "te") || equals(value, "trailers"));
    }
    pseudo = pseudo_of(name);
    if (pseudo == 0 || (*seen & (pseudo | FIELD_REGULAR)) != 0)
        return false;
    if (pseudo == FIELD_PATH && value.len == 0)
        return false;
    *seen |= pseudo;
    return true;
}

bool field_is_whole(unsigned seen)
{
    unsigned wanted = FIELD_METHOD | FIELD_SCHEME | FIELD_PATH;

    return (seen & wanted) == wanted;
}
