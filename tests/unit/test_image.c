/* The image writer, and the reader on what it wrote. */
#include "test_image.h"

#include "chorad/base/be.h"

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

/* Writes, walks and compares; gives the number of pages. */
static uint64_t round_trip(struct listing *l)
{
    struct buf image = make_image(l, 2);
    static struct listing found;
    struct errmsg msg = {0};
    uint64_t pages = image.len / IMAGE_PAGE_BYTES;
    int err;

    found.buf.len = 0;
    err = walk_both(bytes_of(image.data, image.len), &found, &msg);
    if (err != 0)
        fail_msg("%s: %s", err_name(err), msg.text);
    assert_int_equal(found.buf.len, l->buf.len);
    if (l->buf.len > 0)
        assert_memory_equal(found.buf.data, l->buf.data, l->buf.len);
    buf_close(&image);
    buf_close(&l->buf);
    return pages;
}

static void put_number(struct listing *l, uint64_t n, size_t key_len,
                       struct bytes value)
{
    uint8_t key[IMAGE_KEY_MAX] = {0};

    be_put_u64(key, n);
    list(l, false, bytes_of(key, key_len), value);
}

/* The first page as image.h draws it. */
static void an_empty_image_is_as_drawn(void **state)
{
    static const uint8_t drawn[80] = {
        0,    0,    0,    0,    0,    0,    0,    0,    4, 0, 0, 0,
        0,    0,    0,    0,    0xed, 0xda, 0x0c, 0xed, 2, 0, 0, 0,
        0,    0x10, 0,    0,    0,    0,    0,    0,    2, 0, 0, 0,
        0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, 0,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0,
        0,    0,    0,    0,    2,    0,    0,    0,    0, 0, 0, 0,
        0x40, 0x67, 0xaf, 0x04, 0xa0, 0xb1, 0x68, 0xe3};
    struct listing l = {0};
    struct buf image = make_image(&l, 2);

    (void)state;
    assert_int_equal(image.len, 3 * IMAGE_PAGE_BYTES);
    assert_memory_equal(image.data, drawn, sizeof(drawn));
    for (size_t i = sizeof(drawn); i < IMAGE_PAGE_BYTES; i++)
        assert_int_equal(image.data[i], 0);
    buf_close(&image);
    assert_int_equal(round_trip(&l), 3);
}

static void buckets_may_be_empty(void **state)
{
    struct listing l = {0};

    (void)state;
    list(&l, true, text("alarm"), text(""));
    list(&l, true, text("auth"), text(""));
    list(&l, true, text("key"), text(""));
    list(&l, false, text("k"), text("v"));
    list(&l, true, text("meta"), text(""));
    assert_int_equal(round_trip(&l), 2 + 4 + 1);
}

/* Keys and values around the room of one page, and far over it. */
static void values_of_any_size(void **state)
{
    static const size_t sizes[] = {
        0,    1,    100,  4039,  4040,   4041,  4047,  4048,   4049,    4096,
        8135, 8136, 8137, 65536, 100000, 12231, 12232, 262144, 3000001, 5};
    uint8_t *value = malloc(3000001);
    struct listing l = {0};

    (void)state;
    assert_non_null(value);
    for (size_t i = 0; i < 3000001; i++)
        value[i] = (uint8_t)(i * 7 + i / 251);
    list(&l, true, text("key"), text(""));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        put_number(&l, i, 8 + i % 3 * 9, bytes_of(value, sizes[i]));
    list(&l, true, text("long keys"), text(""));
    for (size_t i = 0; i < 100; i++)
        put_number(&l, i, IMAGE_KEY_MAX, bytes_of(value, i * 100));
    round_trip(&l);
    free(value);
}

/* Each number of leaves from one to more than two full branches: the last
 * branches never have a single child. */
static void every_number_of_children(void **state)
{
    uint8_t value[3000] = {0};

    (void)state;
    for (uint64_t n = 1; n < 400; n += n < 90 || n > 330 ? 1 : 13) {
        struct listing l = {0};

        list(&l, true, text("key"), text(""));
        for (uint64_t i = 0; i < n; i++)
            put_number(&l, i, 17, bytes_of(value, sizeof(value)));
        round_trip(&l);
    }
    for (uint64_t n = 1; n < 80; n++) {
        struct listing l = {0};

        list(&l, true, text("key"), text(""));
        for (uint64_t i = 0; i < n; i++)
            put_number(&l, i, IMAGE_KEY_MAX, bytes_of(value, 3000));
        round_trip(&l);
    }
}

static void many_records(void **state)
{
    struct listing l = {0};

    (void)state;
    list(&l, true, text("key"), text(""));
    for (uint64_t i = 0; i < 100000; i++)
        put_number(&l, i * 3, 17, text("some value of a usual length"));
    /* 66 of 61 bytes on a leaf, 123 of 33 on a branch. */
    assert_int_equal(round_trip(&l), 2 + 1 + 1516 + 13 + 1);
}

static void random_buckets(void **state)
{
    uint64_t seed = clock_mono_ns();
    struct prng prng = {seed};
    uint8_t value[20000];
    char name[32];

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    memset(value, 0xa5, sizeof(value));
    for (int round = 0; round < 60; round++) {
        struct listing l = {0};
        uint64_t buckets = prng_below(&prng, 12);

        for (uint64_t b = 0; b < buckets; b++) {
            uint64_t n = 0;
            uint64_t count = prng_below(&prng, 3) * prng_below(&prng, 500);
            uint64_t longest = 1 + prng_below(&prng, sizeof(value) - 1);

            int len =
                snprintf(name, sizeof(name), "b%02llu", (unsigned long long)b);
            list(&l, true, bytes_of(name, (size_t)len), text(""));
            for (uint64_t i = 0; i < count; i++) {
                n += 1 + prng_below(&prng, 1000);
                put_number(&l, n, 8 + prng_below(&prng, IMAGE_KEY_MAX - 8),
                           bytes_of(value, prng_below(&prng, longest)));
            }
        }
        round_trip(&l);
    }
}

static void what_is_out_of_order_is_refused(void **state)
{
    struct image_writer *w = image_writer_open();
    uint8_t long_key[IMAGE_KEY_MAX + 1] = {1};

    (void)state;
    assert_int_equal(image_writer_put(w, text("a"), text("")), ERR_INVALID);
    assert_int_equal(image_writer_bucket(w, text("b")), 0);
    assert_int_equal(image_writer_bucket(w, text("a")), ERR_INVALID);
    assert_int_equal(image_writer_bucket(w, text("b")), ERR_INVALID);
    assert_int_equal(image_writer_bucket(w, text("")), ERR_INVALID);
    assert_int_equal(image_writer_put(w, text(""), text("")), ERR_INVALID);
    assert_int_equal(image_writer_put(w, text("k"), text("")), 0);
    assert_int_equal(image_writer_put(w, text("k"), text("")), ERR_INVALID);
    assert_int_equal(image_writer_put(w, text("j"), text("")), ERR_INVALID);
    assert_int_equal(
        image_writer_put(w, bytes_of(long_key, sizeof(long_key)), text("")),
        ERR_TOOBIG);
    /* The order begins anew with each bucket. */
    assert_int_equal(image_writer_bucket(w, text("c")), 0);
    assert_int_equal(image_writer_put(w, text("a"), text("")), 0);
    image_writer_close(w);
}

static void passes_that_differ_are_noticed(void **state)
{
    struct image_writer *w = image_writer_open();
    uint8_t value[5000] = {0};
    struct buf out = {0};

    (void)state;
    assert_int_equal(image_writer_bucket(w, text("b")), 0);
    assert_int_equal(image_writer_plan(w, 2, append, &out), 0);
    assert_int_equal(image_writer_bucket(w, text("b")), 0);
    assert_int_equal(
        image_writer_put(w, text("k"), bytes_of(value, sizeof(value))), 0);
    assert_int_equal(image_writer_finish(w), ERR_INVALID);
    image_writer_close(w);
    buf_close(&out);
}

static int fail_later(void *arg, struct bytes bytes)
{
    int *left = arg;

    (void)bytes;
    return (*left)-- > 0 ? 0 : ERR_NOSPC;
}

/* Whichever write fails, its error comes back and the writer can be closed. */
static void errors_of_the_callback_come_back(void **state)
{
    struct listing l = {0};
    uint8_t value[9000] = {0};

    (void)state;
    list(&l, true, text("key"), text(""));
    for (uint64_t i = 0; i < 300; i++)
        put_number(&l, i, 17, bytes_of(value, i % 50 == 0 ? 9000 : 3000));
    for (int n = 0;; n++) {
        struct image_writer *w = image_writer_open();
        int left = n;
        int err = feed(w, &l);

        assert_int_equal(err, 0);
        err = image_writer_plan(w, 2, fail_later, &left);
        if (err == 0)
            err = feed(w, &l);
        if (err == 0)
            err = image_writer_finish(w);
        image_writer_close(w);
        if (err == 0)
            break;
        assert_int_equal(err, ERR_NOSPC);
    }
    buf_close(&l.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_image_is_as_drawn),
        cmocka_unit_test(buckets_may_be_empty),
        cmocka_unit_test(values_of_any_size),
        cmocka_unit_test(every_number_of_children),
        cmocka_unit_test(many_records),
        cmocka_unit_test(random_buckets),
        cmocka_unit_test(what_is_out_of_order_is_refused),
        cmocka_unit_test(passes_that_differ_are_noticed),
        cmocka_unit_test(errors_of_the_callback_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
