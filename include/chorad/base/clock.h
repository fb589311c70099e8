/* Time and randomness, for the edges only: pure modules are handed both. */
#ifndef CHORAD_BASE_CLOCK_H
#define CHORAD_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Monotonic nanoseconds. */
uint64_t clock_mono_ns(void);
/* Wall clock, nanoseconds since 1970. */
uint64_t clock_wall_ns(void);

/* Fills with bytes from the kernel; aborts if it can't. */
void random_bytes(void *out, size_t len);
uint64_t random_u64(void);

/* A small seeded generator (splitmix64) for what must be replayable. */
struct prng {
    uint64_t state;
};
uint64_t prng_next(struct prng *prng);
/* Uniform in [0, n), n > 0. */
uint64_t prng_below(struct prng *prng, uint64_t n);

#endif
