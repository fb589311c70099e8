/* The image reader on what the writer doesn't make, and on damage. */
#include "test_image.h"

#include "chorad/base/check.h"
#include "image/format.h"

#include <stdbool.h>

#define PAGES 12

/* An image made by hand, page by page. */
struct fixture {
    uint32_t page_bytes;
    struct image_info info;
    struct buf image;
    struct listing found;
    struct errmsg msg;
};

static uint8_t *page_at(struct fixture *f, uint64_t id)
{
    return f->image.data + id * f->page_bytes;
}

static void put_metas(struct fixture *f, uint64_t txid0, uint64_t txid1)
{
    uint64_t txids[] = {txid0, txid1};

    for (uint64_t id = 0; id < 2; id++) {
        f->info.txid = txids[id];
        format_put_head(page_at(f, id),
                        &(struct page_head){.id = id, .flags = PAGE_META});
        format_put_meta(page_at(f, id) + PAGE_HEAD, &f->info);
    }
}

static void begin(struct fixture *f, uint32_t page_bytes)
{
    size_t len = (size_t)page_bytes * PAGES;

    *f = (struct fixture){.page_bytes = page_bytes};
    memset(buf_reserve(&f->image, len), 0, len);
    f->image.len = len;
    f->info = (struct image_info){.page_bytes = page_bytes,
                                  .pages = PAGES,
                                  .root = 2,
                                  .free_list = NO_FREE_LIST};
    put_metas(f, 6, 7);
}

static void end(struct fixture *f)
{
    buf_close(&f->image);
    buf_close(&f->found.buf);
}

static int walk(struct fixture *f)
{
    f->found.buf.len = 0;
    f->msg.text[0] = '\0';
    return walk_both(bytes_of(f->image.data, f->image.len), &f->found, &f->msg);
}

static void refused(struct fixture *f, const char *why)
{
    assert_int_equal(walk(f), ERR_CORRUPT);
    if (strstr(f->msg.text, why) == NULL)
        fail_msg("\"%s\" isn't in \"%s\"", why, f->msg.text);
}

struct item {
    const char *key;
    struct bytes value; /* of a leaf */
    uint64_t child;     /* of a branch */
    uint32_t flags;
};

/* A leaf or a branch at `out`; gives its end. */
static uint8_t *put_node(uint8_t *out, uint64_t id, uint16_t flags,
                         const struct item *items, uint16_t n)
{
    uint8_t *element = out + PAGE_HEAD;
    uint8_t *data = element + (size_t)n * ELEMENT;

    format_put_head(out, &(struct page_head){id, flags, n, 0});
    for (uint16_t i = 0; i < n; i++, element += ELEMENT) {
        uint8_t *pos = flags == PAGE_LEAF ? element + 4 : element;
        size_t len = strlen(items[i].key);

        le_put_u32(pos, (uint32_t)(data - element));
        le_put_u32(pos + 4, (uint32_t)len);
        memcpy(data, items[i].key, len);
        data += len;
        if (flags == PAGE_LEAF) {
            le_put_u32(element, items[i].flags);
            le_put_u32(pos + 8, (uint32_t)items[i].value.len);
            memcpy(data, items[i].value.data, items[i].value.len);
            data += items[i].value.len;
        } else {
            le_put_u64(element + 8, items[i].child);
        }
    }
    return data;
}

/* The root bucket on page 2 with one bucket "key", whose root is page 3. */
static void put_root(struct fixture *f)
{
    static uint8_t value[BUCKET_BYTES];
    struct item item = {"key", {value, sizeof(value)}, 0, LEAF_IS_BUCKET};

    le_put_u64(value, 3);
    (void)put_node(page_at(f, 2), 2, PAGE_LEAF, &item, 1);
}

static struct item record(const char *key)
{
    return (struct item){.key = key, .value = bytes_of("value", 5)};
}

/* Two leaves below a branch. */
static void put_tree(struct fixture *f)
{
    struct item branch[] = {{.key = "a", .child = 4}, {.key = "m", .child = 5}};
    struct item left[] = {record("b"), record("c")};
    struct item right[] = {record("m"), record("z")};

    put_root(f);
    (void)put_node(page_at(f, 3), 3, PAGE_BRANCH, branch, 2);
    (void)put_node(page_at(f, 4), 4, PAGE_LEAF, left, 2);
    (void)put_node(page_at(f, 5), 5, PAGE_LEAF, right, 2);
}

/* ---- what others write -------------------------------------------------- */

static void pages_of_all_sizes(void **state)
{
    (void)state;
    for (uint32_t bytes = 4096; bytes <= 65536; bytes *= 2) {
        struct fixture f;

        begin(&f, bytes);
        put_tree(&f);
        assert_int_equal(walk(&f), 0);
        /* The second meta alone is found as well. */
        memset(page_at(&f, 0), 0x55, 4096);
        assert_int_equal(walk(&f), 0);
        end(&f);
    }
}

static void inline_buckets(void **state)
{
    struct fixture f;
    uint8_t value[256] = {0};
    struct item inside[] = {record("x"), record("y")};
    struct item items[] = {{"in", {value, 0}, 0, LEAF_IS_BUCKET},
                           {"no", {value, 0}, 0, LEAF_IS_BUCKET}};
    struct listing want = {0};

    (void)state;
    begin(&f, 4096);
    items[0].value.len =
        (size_t)(put_node(value + BUCKET_BYTES, 0, PAGE_LEAF, inside, 2) -
                 value);
    items[1].value = bytes_of((uint8_t[32]){[24] = PAGE_LEAF}, 32);
    (void)put_node(page_at(&f, 2), 2, PAGE_LEAF, items, 2);
    assert_int_equal(walk(&f), 0);
    list(&want, true, bytes_of("in", 2), (struct bytes){0});
    list(&want, false, bytes_of("x", 1), bytes_of("value", 5));
    list(&want, false, bytes_of("y", 1), bytes_of("value", 5));
    list(&want, true, bytes_of("no", 2), (struct bytes){0});
    assert_int_equal(f.found.buf.len, want.buf.len);
    assert_memory_equal(f.found.buf.data, want.buf.data, want.buf.len);
    items[1].value.len = 31;
    (void)put_node(page_at(&f, 2), 2, PAGE_LEAF, items, 2);
    refused(&f, "page 2: an inline bucket of 31 bytes");
    items[1].value.len = 15;
    (void)put_node(page_at(&f, 2), 2, PAGE_LEAF, items, 2);
    refused(&f, "page 2: a bucket of 15 bytes");
    buf_close(&want.buf);
    end(&f);
}

static void the_newest_meta_counts(void **state)
{
    struct fixture f;
    struct image_source source;
    struct image_info info;

    (void)state;
    begin(&f, 4096);
    source = (struct image_source){.size = f.image.len, .map = f.image.data};
    assert_int_equal(image_info_read(&source, &info, NULL), 0);
    assert_int_equal(info.txid, 7);
    put_metas(&f, 8, 7);
    assert_int_equal(image_info_read(&source, &info, NULL), 0);
    assert_int_equal(info.txid, 8);
    page_at(&f, 0)[40] ^= 1;
    assert_int_equal(image_info_read(&source, &info, NULL), 0);
    assert_int_equal(info.txid, 7);
    page_at(&f, 1)[40] ^= 1;
    refused(&f, "neither page 0 nor page 1");
    end(&f);
}

static void put_free(struct fixture *f, uint16_t count, const uint64_t *ids,
                     size_t n)
{
    f->info.free_list = 8;
    put_metas(f, 6, 7);
    format_put_head(page_at(f, 8),
                    &(struct page_head){8, PAGE_FREE_LIST, count, 0});
    for (size_t i = 0; i < n; i++)
        le_put_u64(page_at(f, 8) + PAGE_HEAD + i * 8, ids[i]);
}

static void lists_of_free_pages(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 4096);
    put_tree(&f);
    put_free(&f, 2, (uint64_t[]){6, 9}, 2);
    assert_int_equal(walk(&f), 0);
    put_free(&f, UINT16_MAX, (uint64_t[]){3, 6, 7, 9}, 4);
    assert_int_equal(walk(&f), 0);
    put_free(&f, 2, (uint64_t[]){5, 6}, 2);
    refused(&f, "page 5: used twice, or used and free");
    put_free(&f, 2, (uint64_t[]){7, 6}, 2);
    refused(&f, "page 8: entry 1 of the free pages is page 6");
    put_free(&f, 1, (uint64_t[]){PAGES}, 1);
    refused(&f, "page 8: entry 0 of the free pages is page 12");
    put_free(&f, 1, (uint64_t[]){8}, 1);
    refused(&f, "page 8: used and free");
    put_free(&f, 600, (uint64_t[]){6}, 1);
    refused(&f, "page 8: 600 free pages don't fit");
    put_free(&f, UINT16_MAX, (uint64_t[]){UINT64_MAX / 4, 6}, 2);
    refused(&f, "free pages don't fit");
    f.info.free_list = 3;
    put_metas(&f, 6, 7);
    refused(&f, "page 3: no list of free pages: flags 0x1");
    f.info.free_list = PAGES;
    put_metas(&f, 6, 7);
    refused(&f, "meta: the list of free pages is page 12 of 12");
    end(&f);
}

/* ---- damage ------------------------------------------------------------- */

static void damaged_trees_are_refused(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 4096);
    put_tree(&f);
    assert_int_equal(walk(&f), 0);

#define REFUSED(change, why)                                                   \
    do {                                                                       \
        put_tree(&f);                                                          \
        change;                                                                \
        refused(&f, why);                                                      \
    } while (0)
    REFUSED(page_at(&f, 4)[0] = 5, "page 4: it calls itself page 5");
    REFUSED(page_at(&f, 4)[8] = 4, "page 4: neither branch nor leaf");
    REFUSED(page_at(&f, 4)[8] = 3, "page 4: neither branch nor leaf");
    REFUSED(page_at(&f, 4)[12] = 1, "page 5: used twice");
    REFUSED(page_at(&f, 4)[12] = 8, "page 4: 8 pages belong to it, 7 follow");
    REFUSED(page_at(&f, 4)[11] = 1, "page 4: 258 elements don't fit");
    REFUSED(page_at(&f, 3)[10] = 0, "page 3: a branch without children");
    REFUSED(page_at(&f, 4)[10] = 3, "page 4: element 0 lies outside");
    REFUSED(page_at(&f, 4)[16 + 4] = 1, "page 4: element 0 lies outside");
    REFUSED(page_at(&f, 4)[16 + 14] = 1, "page 4: element 0 lies outside");
    REFUSED(page_at(&f, 4)[16 + 8] = 0, "page 4: element 0 has no key");
    REFUSED(page_at(&f, 4)[16] = 2, "page 4: element 0 has flags 0x2");
    REFUSED(page_at(&f, 2)[16] = 0, "page 2: element 0 of the root is no");
    REFUSED(page_at(&f, 3)[40] = 4, "page 4: used twice");
    REFUSED(page_at(&f, 3)[16 + 8] = 3, "page 3: used twice");
    REFUSED(page_at(&f, 3)[16 + 8] = 12, "page 12: no such page: there are 12");
    REFUSED(page_at(&f, 3)[16 + 8] = 1, "page 1: no such page");
    REFUSED(page_at(&f, 4)[48] = 'd', "page 4: the key of element 1 is not");
    REFUSED(page_at(&f, 4)[54] = 'm', "page 4: the key of element 1 belongs");
    REFUSED(page_at(&f, 4)[54] = 'b', "page 4: the key of element 1 is not");
    REFUSED(page_at(&f, 5)[48] = 'l', "page 5: the key of element 0 belongs");
    REFUSED(page_at(&f, 3)[48] = 'm', "page 3: the key of element 1 is not");
    put_tree(&f);
    page_at(&f, 4)[16] = 1;
    assert_int_equal(walk(&f), ERR_UNSUPPORTED);
    assert_string_equal(f.msg.text,
                        "page 4: element 0 is a bucket inside of a bucket");
    end(&f);
}

static void metas_are_checked(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 4096);
    put_tree(&f);
    f.info.root = PAGES;
    put_metas(&f, 6, 7);
    refused(&f, "meta: the root is page 12 of 12");
    f.info.root = 1;
    put_metas(&f, 6, 7);
    refused(&f, "meta: the root is page 1 of 12");
    f.info.root = 2;
    f.info.pages = PAGES + 1;
    put_metas(&f, 6, 7);
    refused(&f, "cut off");
    f.info.pages = UINT64_MAX;
    put_metas(&f, 6, 7);
    refused(&f, "cut off");
    f.info.pages = PAGES;
    f.info.page_bytes = 2048;
    put_metas(&f, 6, 7);
    refused(&f, "neither page 0 nor page 1");
    end(&f);
}

/* A branch that leads deeper and deeper. */
static void deep_trees_end(void **state)
{
    struct listing l = {0};
    struct errmsg msg = {0};
    struct fixture f = {.page_bytes = 4096};
    size_t len = (size_t)70 * 4096;

    (void)state;
    memset(buf_reserve(&f.image, len), 0, len);
    f.image.len = len;
    f.info = (struct image_info){4096, 0, 70, 2, NO_FREE_LIST};
    put_metas(&f, 6, 7);
    put_root(&f);
    for (uint64_t id = 3; id < 69; id++)
        (void)put_node(page_at(&f, id), id, PAGE_BRANCH,
                       &(struct item){.key = "a", .child = id + 1}, 1);
    (void)put_node(page_at(&f, 69), 69, PAGE_LEAF, NULL, 0);
    assert_int_equal(walk_both(bytes_of(f.image.data, len), &l, &msg),
                     ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "the tree is too deep"));
    buf_close(&l.buf);
    end(&f);
}

static struct buf sample(struct listing *l)
{
    uint8_t value[9000] = {1};

    list(l, true, bytes_of("alarm", 5), (struct bytes){0});
    list(l, true, bytes_of("key", 3), (struct bytes){0});
    for (uint64_t i = 0; i < 600; i++) {
        uint8_t key[17] = {0};

        be_put_u64(key, i);
        list(l, false, bytes_of(key, sizeof(key)),
             bytes_of(value, i % 100 == 7 ? sizeof(value) : i % 300));
    }
    return make_image(l, 2);
}

static void every_cut_is_noticed(void **state)
{
    struct listing l = {0};
    struct buf image = sample(&l);

    (void)state;
    for (size_t len = 0; len < image.len; len += len < 9000 ? 1 : 977) {
        /* Memory of its own, so that a sanitizer sees what lies behind. */
        uint8_t *cut = malloc(len + 1);
        struct listing found = {0};
        struct errmsg msg = {0};

        assert_non_null(cut);
        memcpy(cut, image.data, len);
        assert_int_equal(walk_both(bytes_of(cut, len), &found, &msg),
                         ERR_CORRUPT);
        assert_true(msg.text[0] != '\0');
        free(cut);
        buf_close(&found.buf);
    }
    buf_close(&image);
    buf_close(&l.buf);
}

/* Each flip is refused with page and reason, or leaves the structure whole:
 * then the walk brings as many bytes as before, unless it lay in a key or
 * value, which have no checksum here. */
static void flipped_bits_are_noticed_or_harmless(void **state)
{
    struct listing l = {0};
    struct buf image = sample(&l);
    struct prng prng = {clock_mono_ns()};
    struct listing found = {0};
    int refusals = 0;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)prng.state);
    for (int i = 0; i < 3000; i++) {
        uint64_t bit = prng_below(&prng, image.len * 8);
        struct errmsg msg = {0};
        int err;

        found.buf.len = 0;
        /* Half of them where a page's head and elements are. */
        if (i % 2 == 0)
            bit -= bit % (IMAGE_PAGE_BYTES * 8) - bit % 3200;
        image.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        err = walk_both(bytes_of(image.data, image.len), &found, &msg);
        image.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (err == 0) {
            /* bbolt has no checksum behind its metas, so a length may lie
             * within bounds; nothing is read twice, though. */
            assert_true(found.buf.len <= l.buf.len + IMAGE_PAGE_BYTES);
        } else {
            assert_true(err == ERR_CORRUPT || err == ERR_UNSUPPORTED);
            assert_true(msg.text[0] != '\0');
            refusals++;
        }
    }
    assert_true(refusals > 100);
    buf_close(&found.buf);
    buf_close(&image);
    buf_close(&l.buf);
}

static int fail_at(void *arg, uint64_t offset, void *data, size_t len)
{
    const struct image_source *source = arg;

    if (offset / 4096 == source->size)
        return ERR_IO;
    memcpy(data, source->map + offset, len);
    return 0;
}

static int nothing(void *arg, struct bytes key, struct bytes value)
{
    (void)arg;
    (void)key;
    (void)value;
    return 0;
}

static void errors_of_the_source_come_back(void **state)
{
    struct listing l = {0};
    struct buf image = sample(&l);
    struct image_visitor v = {.record = nothing};

    (void)state;
    for (uint64_t page = 0; page <= 4; page++) {
        struct image_source broken = {.size = page, .map = image.data};
        struct image_source source = {
            .size = image.len, .read_at = fail_at, .arg = &broken};
        struct errmsg msg = {0};

        assert_int_equal(image_walk(&source, &v, &msg), ERR_IO);
        assert_true(msg.text[0] != '\0');
    }
    buf_close(&image);
    buf_close(&l.buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_all_sizes),
        cmocka_unit_test(inline_buckets),
        cmocka_unit_test(the_newest_meta_counts),
        cmocka_unit_test(lists_of_free_pages),
        cmocka_unit_test(damaged_trees_are_refused),
        cmocka_unit_test(metas_are_checked),
        cmocka_unit_test(deep_trees_end),
        cmocka_unit_test(every_cut_is_noticed),
        cmocka_unit_test(flipped_bits_are_noticed_or_harmless),
        cmocka_unit_test(errors_of_the_source_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
