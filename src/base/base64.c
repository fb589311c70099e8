#include "chorad/base/base64.h"

static const uint8_t digits[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

void base64_encode(struct buf *out, enum base64_form form, struct bytes in)
{
    const uint8_t *digit = digits[form];
    uint8_t *at = buf_reserve(out, (in.len + 2) / 3 * 4);
    uint8_t *begin = at;

    for (size_t i = 0; i < in.len; i += 3) {
        size_t left = in.len - i;
        uint32_t group = (uint32_t)in.data[i] << 16;

        if (left > 1)
            group |= (uint32_t)in.data[i + 1] << 8;
        if (left > 2)
            group |= in.data[i + 2];
        *at++ = digit[group >> 18];
        *at++ = digit[group >> 12 & 63];
        if (left > 1)
            *at++ = digit[group >> 6 & 63];
        else if (form == BASE64_PADDED)
            *at++ = '=';
        if (left > 2)
            *at++ = digit[group & 63];
        else if (form == BASE64_PADDED)
            *at++ = '=';
    }
    out->len += (size_t)(at - begin);
}

/* -1 for what is no digit. */
static int digit_value(enum base64_form form, uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == digits[form][62])
        return 62;
    return c == digits[form][63] ? 63 : -1;
}

static struct bytes skip_breaks(struct bytes in)
{
    while (in.len > 0 && (in.data[0] == '\n' || in.data[0] == '\r')) {
        in.data++;
        in.len--;
    }
    return in;
}

static struct bytes skip(struct bytes in)
{
    return skip_breaks(bytes_of(in.data + 1, in.len - 1));
}

/* What may follow a group that is cut off behind `have` digits. */
static bool ends_well(enum base64_form form, struct bytes in, unsigned have)
{
    if (form == BASE64_URL)
        return in.len == 0 && have != 1;
    if (have == 0)
        return in.len == 0;
    if (have < 2)
        return false;
    for (; have < 4; have++) {
        if (in.len == 0 || in.data[0] != '=')
            return false;
        in = skip(in);
    }
    return in.len == 0;
}

int base64_decode(struct buf *out, enum base64_form form, struct bytes in)
{
    uint8_t *at = buf_reserve(out, in.len / 4 * 3 + 3);
    uint8_t *begin = at;
    uint32_t group = 0;
    unsigned have = 0;
    int value;

    in = skip_breaks(in);
    while (in.len > 0 && (value = digit_value(form, in.data[0])) >= 0) {
        group = group << 6 | (uint32_t)value;
        in = skip(in);
        if (++have < 4)
            continue;
        *at++ = (uint8_t)(group >> 16);
        *at++ = (uint8_t)(group >> 8);
        *at++ = (uint8_t)group;
        have = 0;
    }
    if (!ends_well(form, in, have))
        return ERR_MALFORMED;
    if (have > 1)
        *at++ = (uint8_t)(group >> (have == 2 ? 4 : 10));
    if (have == 3)
        *at++ = (uint8_t)(group >> 2);
    out->len += (size_t)(at - begin);
    return 0;
}
