/* The codec: UTF-8, nesting, and messages in an arena. */
#include "chorad/base/pb.h"
#include "chorad/codec.h"
#include "rpc.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool utf8(const char *s)
{
    return codec_utf8_valid(bytes_of(s, strlen(s)));
}

static void utf8_is_judged_as_unicode_has_it(void **state)
{
    (void)state;
    assert_true(utf8(""));
    assert_true(utf8("plain"));
    assert_true(utf8("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
    assert_true(utf8("\xf4\x8f\xbf\xbf"));
    assert_false(utf8("\x80"));
    assert_false(utf8("\xc3"));
    assert_false(utf8("\xc0\xaf"));         /* overlong */
    assert_false(utf8("\xe0\x80\xaf"));     /* overlong */
    assert_false(utf8("\xed\xa0\x80"));     /* a surrogate */
    assert_false(utf8("\xf4\x90\x80\x80")); /* beyond the last */
    assert_false(utf8("\xff"));
}

/* A TxnRequest that holds another one, and so on. */
static struct buf nested(int levels)
{
    struct buf txn = {0};

    for (int i = 1; i < levels; i++) {
        struct buf op = {0};
        struct buf outer = {0};
        uint8_t *at = buf_reserve(&op, txn.len + 16);
        at = pb_put_len(at, 4, txn.len);
        op.len = (size_t)(at - op.data);
        buf_append(&op, txn.data, txn.len);
        at = buf_reserve(&outer, op.len + 16);
        at = pb_put_len(at, i % 2 ? 2 : 3, op.len);
        outer.len = (size_t)(at - outer.data);
        buf_append(&outer, op.data, op.len);
        buf_close(&op);
        buf_close(&txn);
        txn = outer;
    }
    return txn;
}

static void nesting_is_counted_and_bounded(void **state)
{
    static const int levels[] = {1, 2, 3, 100, CODEC_TXN_DEPTH_MAX - 1};

    (void)state;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        struct buf txn = nested(levels[i]);
        assert_int_equal(codec_txn_depth(bytes_of(txn.data, txn.len)),
                         levels[i]);
        buf_close(&txn);
    }
    struct buf deep = nested(CODEC_TXN_DEPTH_MAX);
    assert_int_equal(codec_txn_depth(bytes_of(deep.data, deep.len)),
                     ERR_TOO_MANY_OPS);
    buf_close(&deep);
}

static void the_deepest_that_passes_can_be_unpacked(void **state)
{
    struct arena arena = {0};
    struct buf txn = nested(CODEC_TXN_DEPTH_MAX - 1);

    (void)state;
    assert_non_null(codec_unpack(&etcdserverpb__txn_request__descriptor, &arena,
                                 bytes_of(txn.data, txn.len)));
    arena_close(&arena);
    buf_close(&txn);
}

static void broken_nesting_is_malformed(void **state)
{
    static const uint8_t cut[] = {0x12, 0x05, 0x22};

    (void)state;
    assert_int_equal(codec_txn_depth(bytes_of(cut, sizeof(cut))),
                     ERR_MALFORMED);
}

static void a_message_survives_the_way_there_and_back(void **state)
{
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    struct arena arena = {0};
    struct buf out = {0};
    Etcdserverpb__PutRequest *back;

    (void)state;
    put.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    put.lease = -7;
    put.prev_kv = true;
    codec_pack(&out, &put.base);
    back = (void *)codec_unpack(&etcdserverpb__put_request__descriptor, &arena,
                                bytes_of(out.data, out.len));
    assert_non_null(back);
    assert_int_equal(back->key.len, 3);
    assert_memory_equal(back->key.data, "key", 3);
    assert_int_equal(back->lease, -7);
    assert_true(back->prev_kv);
    assert_null(codec_unpack(&etcdserverpb__put_request__descriptor, &arena,
                             bytes_of(out.data, out.len - 1)));
    arena_close(&arena);
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_judged_as_unicode_has_it),
        cmocka_unit_test(nesting_is_counted_and_bounded),
        cmocka_unit_test(the_deepest_that_passes_can_be_unpacked),
        cmocka_unit_test(broken_nesting_is_malformed),
        cmocka_unit_test(a_message_survives_the_way_there_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
