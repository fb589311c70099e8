/* CRC-32C: by the processor's instruction where there is one, else by eight
 * tables. */
#include "chorad/base/crc32c.h"

#include "chorad/base/be.h"
#include "crc32c_tables.h"

#define POLY 0x82f63b78U

static uint32_t tables[8][256];

/* Without inversion, as the parts of a longer run are joined. */
typedef uint32_t (*update_cb)(uint32_t crc, const uint8_t *p, size_t len);

uint32_t crc32c_tables(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v = le_get_u64(p) ^ crc;

        crc = tables[7][v & 0xff] ^ tables[6][v >> 8 & 0xff] ^
              tables[5][v >> 16 & 0xff] ^ tables[4][v >> 24 & 0xff] ^
              tables[3][v >> 32 & 0xff] ^ tables[2][v >> 40 & 0xff] ^
              tables[1][v >> 48 & 0xff] ^ tables[0][v >> 56];
    }
    for (; len > 0; p++, len--)
        crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
    return crc;
}

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLY : 0);
        tables[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int k = 1; k < 8; k++) {
            uint32_t crc = tables[k - 1][i];

            tables[k][i] = crc >> 8 ^ tables[0][crc & 0xff];
        }
    }
}

static update_cb update = crc32c_tables;

#if defined(__x86_64__)

/* The instruction takes three cycles but can start each cycle, so three
 * stretches are run abreast and joined: a stretch's CRC is moved over the
 * STRETCH bytes behind it by a table, as that move is linear. */
#define STRETCH ((size_t)1024)

static uint32_t over_stretch[4][256];

static void make_over_stretch(void)
{
    static const uint8_t zeros[STRETCH];
    uint32_t moved[32];

    for (int bit = 0; bit < 32; bit++)
        moved[bit] = crc32c_tables(UINT32_C(1) << bit, zeros, STRETCH);
    for (int k = 0; k < 4; k++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = 0;

            for (int bit = 0; bit < 8; bit++)
                crc ^= i >> bit & 1 ? moved[k * 8 + bit] : 0;
            over_stretch[k][i] = crc;
        }
    }
}

static uint32_t move_over_stretch(uint32_t crc)
{
    return over_stretch[0][crc & 0xff] ^ over_stretch[1][crc >> 8 & 0xff] ^
           over_stretch[2][crc >> 16 & 0xff] ^ over_stretch[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint64_t step(uint64_t crc,
                                                       const uint8_t *p)
{
    return __builtin_ia32_crc32di(crc, le_get_u64(p));
}

__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t crc,
                                                               const uint8_t *p,
                                                               size_t len)
{
    uint64_t a = crc;

    for (; len >= 3 * STRETCH; p += 3 * STRETCH, len -= 3 * STRETCH) {
        uint64_t b = 0;
        uint64_t c = 0;

        for (size_t i = 0; i < STRETCH; i += 8) {
            a = step(a, p + i);
            b = step(b, p + STRETCH + i);
            c = step(c, p + 2 * STRETCH + i);
        }
        b ^= move_over_stretch((uint32_t)a);
        a = c ^ move_over_stretch((uint32_t)b);
    }
    for (; len >= 8; p += 8, len -= 8)
        a = step(a, p);
    crc = (uint32_t)a;
    for (; len > 0; p++, len--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return crc;
}

#endif

/* Before main, so that no call has to ask whether the tables are there. */
__attribute__((constructor)) static void setup(void)
{
    make_tables();
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2")) {
        make_over_stretch();
        update = update_sse42;
    }
#endif
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return len == 0 ? crc : ~update(~crc, data, len);
}
