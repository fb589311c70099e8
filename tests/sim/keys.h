/* Keys and values as clients write them: "key-05", a number as text. */
#ifndef SIM_KEYS_H
#define SIM_KEYS_H

#include "chorad/base/mem.h"

#define KEYS_PREFIX "key-"
#define KEYS_SIZE 16

/* Into the buffer, which is returned. */
const char *keys_name(char out[KEYS_SIZE], unsigned number);
unsigned keys_number(struct bytes key);
uint64_t keys_value(struct bytes value);

#endif
