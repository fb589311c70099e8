/* Protobuf pieces. */
#include "chorad/base/err.h"
#include "chorad/base/pb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static void test_varint_sizes(void **state)
{
    uint8_t room[10];

    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t v = UINT64_C(1) << bit;

        assert_int_equal(pb_put_varint(room, v) - room, pb_varint_size(v));
        assert_int_equal(pb_put_varint(room, v - 1) - room,
                         pb_varint_size(v - 1));
    }
    assert_int_equal(pb_varint_size(UINT64_MAX), 10);
}

static void test_round_trip(void **state)
{
    uint8_t room[64];
    uint8_t *p = room;
    struct pb_field f;
    struct pb_reader r;
    static const struct bytes hi = {(const uint8_t *)"hi", 2};

    (void)state;
    p = pb_put_u64(p, 1, 0);
    assert_ptr_equal(p, room);
    p = pb_put_u64(p, 1, UINT64_MAX);
    p = pb_put_bytes(p, 2, bytes_of(NULL, 0));
    p = pb_put_bytes(p, 300, hi);
    assert_int_equal(p - room,
                     pb_u64_size(1, UINT64_MAX) + pb_bytes_size(300, hi));
    memcpy(p, "\x19\x01\x02\x03\x04\x05\x06\x07\x08\x25\x01\x00\x00\x80", 14);
    r = (struct pb_reader){room, p + 14};

    assert_int_equal(pb_next(&r, &f), 1);
    assert_true(f.number == 1 && f.wire == PB_VARINT);
    assert_true(f.value == UINT64_MAX);
    assert_int_equal(pb_next(&r, &f), 1);
    assert_true(f.number == 300 && f.wire == PB_LEN);
    assert_int_equal(bytes_cmp(f.bytes, hi), 0);
    assert_int_equal(pb_next(&r, &f), 1);
    assert_true(f.number == 3 && f.wire == PB_FIXED64);
    assert_true(f.value == UINT64_C(0x0807060504030201));
    assert_int_equal(pb_next(&r, &f), 1);
    assert_true(f.number == 4 && f.wire == PB_FIXED32);
    assert_true(f.value == 0x80000001U);
    assert_int_equal(pb_next(&r, &f), 0);
}

static int read_one(const char *data, size_t len)
{
    /* An exact copy on the heap, so that a step over the end is seen. */
    uint8_t *copy = mem_alloc(len);
    struct pb_reader r = {copy, copy + len};
    struct pb_field f;
    int rv;

    memcpy(copy, data, len);
    rv = pb_next(&r, &f);
    free(copy);
    return rv;
}

#define READ(s) read_one((s), sizeof(s) - 1)

static void test_malformed(void **state)
{
    (void)state;
    assert_int_equal(READ("\x08"), ERR_MALFORMED);
    assert_int_equal(READ("\x08\x80"), ERR_MALFORMED);
    assert_int_equal(READ("\x00\x01"), ERR_MALFORMED);
    assert_int_equal(READ("\x12\x02z"), ERR_MALFORMED);
    assert_int_equal(READ("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01z"),
                     ERR_MALFORMED);
    assert_int_equal(READ("\x19\x01\x02\x03\x04\x05\x06\x07"), ERR_MALFORMED);
    assert_int_equal(READ("\x25\x01\x02\x03"), ERR_MALFORMED);
    assert_int_equal(READ("\x0b\x0c"), ERR_MALFORMED);
    assert_int_equal(READ("\x0c"), ERR_MALFORMED);
    assert_int_equal(READ("\x0e\x01"), ERR_MALFORMED);
    assert_int_equal(READ("\x0f\x01"), ERR_MALFORMED);
    /* Eleven bytes, and ten whose value needs 65 bits. */
    assert_int_equal(READ("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
                     ERR_MALFORMED);
    assert_int_equal(READ("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"),
                     ERR_MALFORMED);
    /* Field 2^29. */
    assert_int_equal(READ("\x80\x80\x80\x80\x10\x01"), ERR_MALFORMED);
    assert_int_equal(READ("\xf8\xff\xff\xff\x0f\x01"), 1);
    assert_int_equal(READ("\x12\x00"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varint_sizes),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
