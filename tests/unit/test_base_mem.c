/* Allocation, arena, buffer and shared bytes. */
#include "chorad/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct bytes str(const char *s)
{
    return bytes_of(s, strlen(s));
}

static void test_bytes_cmp(void **state)
{
    (void)state;
    assert_true(bytes_cmp(str("a"), str("b")) < 0);
    assert_true(bytes_cmp(str("b"), str("a")) > 0);
    assert_true(bytes_cmp(str("a"), str("ab")) < 0);
    assert_true(bytes_cmp(str("ab"), str("a")) > 0);
    assert_true(bytes_cmp(str("\xff"), str("a")) > 0);
    assert_int_equal(bytes_cmp(str("ab"), str("ab")), 0);
    assert_int_equal(bytes_cmp(bytes_of(NULL, 0), str("")), 0);
    assert_true(bytes_cmp(bytes_of(NULL, 0), str("a")) < 0);
}

static void test_alloc(void **state)
{
    uint8_t *zeros = mem_zalloc(64);
    char *copy = mem_strdup("copy");
    char *text = mem_printf("%d-%s", 5, "x");
    void *none = mem_alloc(0);

    (void)state;
    for (int i = 0; i < 64; i++)
        assert_int_equal(zeros[i], 0);
    assert_string_equal(copy, "copy");
    assert_string_equal(text, "5-x");
    assert_non_null(none);
    copy = mem_realloc(copy, 1000);
    assert_string_equal(copy, "copy");
    free(zeros);
    free(copy);
    free(text);
    free(none);
}

static void test_try_alloc_refuses(void **state)
{
    /* Not a constant, lest the compiler warn of the impossible size. */
    volatile size_t huge = SIZE_MAX / 2;
    void *ptr = mem_try_alloc(16);

    (void)state;
    assert_non_null(ptr);
    free(ptr);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&         \
    !defined(__clang__)
    assert_null(mem_try_alloc(huge));
#else
    (void)huge;
#endif
}

/* Each allocation is filled with its own byte; all must still hold it at the
 * end. */
static void test_arena_keeps_all_apart(void **state)
{
    enum { N = 500 };
    static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 3000, 70000, 40};
    struct arena arena = {0};
    uint8_t *ptrs[N];

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            size_t size = sizes[i % 9];

            ptrs[i] = arena_alloc(&arena, size);
            assert_int_equal((uintptr_t)ptrs[i] % 16, 0);
            memset(ptrs[i], i & 0xff, size);
        }
        for (int i = 0; i < N; i++) {
            for (size_t k = 0; k < sizes[i % 9]; k++)
                assert_int_equal(ptrs[i][k], i & 0xff);
        }
        arena_reset(&arena);
    }
    arena_close(&arena);
}

static void test_arena_zalloc_after_reset(void **state)
{
    struct arena arena = {0};
    uint8_t *ptr;

    (void)state;
    memset(arena_alloc(&arena, 1000), 0xff, 1000);
    arena_reset(&arena);
    ptr = arena_zalloc(&arena, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(ptr[i], 0);
    arena_close(&arena);
}

static void test_arena_dup(void **state)
{
    struct arena arena = {0};

    (void)state;
    assert_memory_equal(arena_dup(&arena, "hello", 6), "hello", 6);
    assert_non_null(arena_dup(&arena, NULL, 0));
    arena_close(&arena);
    arena_reset(&arena);
    arena_close(&arena);
}

static void test_buf(void **state)
{
    struct buf buf = {0};

    (void)state;
    buf_append(&buf, NULL, 0);
    for (int i = 0; i < 1000; i++)
        buf_printf(&buf, "%04d", i);
    assert_int_equal(buf.len, 4000);
    assert_memory_equal(buf.data + 4 * 777, "0777", 4);
    buf_append(&buf, "tail", 4);
    memcpy(buf_reserve(&buf, 100000), "end", 3);
    assert_true(buf.cap >= buf.len + 100000);
    buf.len += 3;
    assert_memory_equal(buf.data + 4000, "tailend", 7);
    buf_close(&buf);
    assert_int_equal(buf.len, 0);
}

/* As many bytes as there is room for: the NUL behind them needs one more. */
static void test_buf_printf_fills_room(void **state)
{
    (void)state;
    for (int len = 60; len < 70; len++) {
        struct buf buf = {0};

        buf_printf(&buf, "%0*d", len, 7);
        assert_int_equal(buf.len, len);
        assert_int_equal(buf.data[len - 1], '7');
        buf_close(&buf);
    }
}

static void test_buf_printf_long(void **state)
{
    struct buf buf = {0};

    (void)state;
    buf_printf(&buf, "%063d", 1);
    buf_printf(&buf, "%0500d", 2);
    assert_int_equal(buf.len, 563);
    assert_int_equal(buf.data[62], '1');
    assert_int_equal(buf.data[562], '2');
    buf_close(&buf);
}

static void *ref_and_unref(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < 10000; i++)
        shared_unref(shared_ref(s));
    shared_unref(s);
    return NULL;
}

static void test_shared(void **state)
{
    struct shared *s = shared_new(5);
    pthread_t threads[4];

    (void)state;
    assert_int_equal(s->len, 5);
    memcpy(s->data, "share", 5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, ref_and_unref, shared_ref(s)), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&s->refs), 1);
    assert_memory_equal(s->data, "share", 5);
    shared_unref(s);
    shared_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_cmp),
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_try_alloc_refuses),
        cmocka_unit_test(test_arena_keeps_all_apart),
        cmocka_unit_test(test_arena_zalloc_after_reset),
        cmocka_unit_test(test_arena_dup),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_buf_printf_fills_room),
        cmocka_unit_test(test_buf_printf_long),
        cmocka_unit_test(test_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
