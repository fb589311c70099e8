#include "keys.h"
#include "chorad/base/check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *keys_name(char out[KEYS_SIZE], unsigned number)
{
    snprintf(out, KEYS_SIZE, KEYS_PREFIX "%02u", number);
    return out;
}

unsigned keys_number(struct bytes key)
{
    CHECK(key.len == 6 && memcmp(key.data, KEYS_PREFIX, 4) == 0);
    return (unsigned)(key.data[4] - '0') * 10 + (unsigned)(key.data[5] - '0');
}

uint64_t keys_value(struct bytes value)
{
    uint64_t n = 0;

    for (size_t i = 0; i < value.len; i++)
        n = n * 10 + (uint64_t)(value.data[i] - '0');
    return n;
}
