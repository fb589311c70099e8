/* CRC-32C: the vectors of RFC 3720 B.4, and every path against a bit-wise
 * one. */
#include "base/crc32c_tables.h"
#include "chorad/base/clock.h"
#include "chorad/base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static uint32_t bitwise(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

static void test_rfc_vectors(void **state)
{
    uint8_t data[32];

    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(data, 0, sizeof(data));
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = i;
    assert_int_equal(crc32c(0, data, sizeof(data)), 0x46dd794e);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    assert_int_equal(crc32c(77, NULL, 0), 77);
}

static uint8_t data[20000];

static void fill(struct prng *prng)
{
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)prng_next(prng);
}

static void test_all_lengths_and_alignments(void **state)
{
    struct prng prng = {3};

    (void)state;
    fill(&prng);
    for (size_t len = 0; len < 300; len++) {
        const uint8_t *at = data + len % 9;

        assert_int_equal(crc32c(5, at, len), bitwise(5, at, len));
        assert_int_equal(~crc32c_tables(~5U, at, len), bitwise(5, at, len));
    }
    for (int i = 0; i < 200; i++) {
        size_t at = prng_below(&prng, 16);
        size_t len = prng_below(&prng, sizeof(data) - at);
        uint32_t crc = (uint32_t)prng_next(&prng);

        assert_int_equal(crc32c(crc, data + at, len),
                         bitwise(crc, data + at, len));
    }
}

static void test_continues(void **state)
{
    struct prng prng = {4};
    uint32_t whole;

    (void)state;
    fill(&prng);
    whole = crc32c(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut += 617)
        assert_int_equal(
            crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut),
            whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_vectors),
        cmocka_unit_test(test_all_lengths_and_alignments),
        cmocka_unit_test(test_continues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
