/* The seeded generator: splitmix64 (Steele, Lea, Flood, OOPSLA 2014). */
#include "chorad/base/clock.h"

#include "chorad/base/check.h"

uint64_t prng_next(struct prng *prng)
{
    uint64_t z = prng->state += 0x9e3779b97f4a7c15U;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

uint64_t prng_below(struct prng *prng, uint64_t n)
{
    uint64_t rest;
    uint64_t v;

    CHECK(n > 0);
    /* 2^64 mod n numbers are thrown away, so that each rest is as likely. */
    rest = (0 - n) % n;
    do {
        v = prng_next(prng);
    } while (v < rest);
    return v % n;
}
