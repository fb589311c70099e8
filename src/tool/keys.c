/* A set of keys, open addressing. A seed of its own for each run: what two
 * keys have in common in one, they don't in another. */
#include "tool.h"

#include "chorad/base/clock.h"
#include <stdlib.h>

#define FIRST_CAP 4096

void keys_open(struct keys *keys)
{
    *keys = (struct keys){.cap = FIRST_CAP, .seed = random_u64()};
    keys->slots = mem_zalloc(FIRST_CAP * sizeof(keys->slots[0]));
}

void keys_close(struct keys *keys)
{
    free(keys->slots);
    *keys = (struct keys){0};
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

/* Two FNV-like hashes side by side. */
static void hash_key(const struct keys *keys, struct bytes key, uint64_t out[2])
{
    uint64_t a = keys->seed;
    uint64_t b = ~keys->seed;

    for (size_t i = 0; i < key.len; i++) {
        a = (a ^ key.data[i]) * UINT64_C(0x100000001b3);
        b = (b + key.data[i]) * UINT64_C(0x9e3779b97f4a7c15);
    }
    out[0] = mix(a + key.len) | 1; /* 0 marks what is free */
    out[1] = mix(b ^ a);
}

static struct key_state *slot_of(struct keys *keys, const uint64_t hash[2])
{
    size_t at = hash[0] >> 1 & (keys->cap - 1);

    while (keys->slots[at].hash[0] != 0 &&
           (keys->slots[at].hash[0] != hash[0] ||
            keys->slots[at].hash[1] != hash[1]))
        at = (at + 1) & (keys->cap - 1);
    return &keys->slots[at];
}

static void grow(struct keys *keys)
{
    struct key_state *old = keys->slots;
    size_t n = keys->cap;

    keys->cap *= 2;
    keys->slots = mem_zalloc(keys->cap * sizeof(keys->slots[0]));
    for (size_t i = 0; i < n; i++)
        if (old[i].hash[0] != 0)
            *slot_of(keys, old[i].hash) = old[i];
    free(old);
}

struct key_state *keys_at(struct keys *keys, struct bytes key)
{
    uint64_t hash[2];
    struct key_state *state;

    if (keys->len >= keys->cap / 4 * 3)
        grow(keys);
    hash_key(keys, key, hash);
    state = slot_of(keys, hash);
    if (state->hash[0] == 0) {
        state->hash[0] = hash[0];
        state->hash[1] = hash[1];
        keys->len++;
    }
    return state;
}
