/* The walk over buckets and records: each page is checked on its own, and its
 * keys against what the branches above promise. */
#include "source.h"

#include "chorad/base/check.h"
#include <stdlib.h>

/* bbolt's trees have at least two children a branch, so this many levels
 * hold more than any disk. */
#define DEPTH_MAX 48

/* Elements and what they point to, out of a page or an inline bucket. */
struct node {
    uint64_t id; /* of the page it lies on, for messages */
    uint16_t count;
    const uint8_t *data; /* from the page's head on */
    size_t len;
};

struct element {
    struct bytes key;
    struct bytes value; /* of a leaf */
    uint64_t child;     /* of a branch */
    uint32_t flags;
};

/* One tree: the root bucket, or one in it. */
struct walk {
    struct image *image;
    const struct image_visitor *visitor;
    bool is_root;
};

/* Keys have to be >= min and < max; no data: unbounded. */
struct bounds {
    struct bytes min;
    struct bytes max;
};

/* ---- elements ---------------------------------------------------------- */

static int check_count(const struct image *image, const struct node *node)
{
    if (node->count > (node->len - PAGE_HEAD) / ELEMENT)
        return page_damaged(image, node->id, "%u elements don't fit on it",
                            node->count);
    return 0;
}

/* Element i; its key and value lie behind the elements and on the page. */
static int get_element(const struct image *image, const struct node *node,
                       uint16_t i, bool leaf, struct element *out)
{
    size_t at = PAGE_HEAD + (size_t)i * ELEMENT;
    const uint8_t *in = node->data + at;
    const uint8_t *pos = leaf ? in + 4 : in;
    uint64_t begin = at + le_get_u32(pos);
    uint64_t ksize = le_get_u32(pos + 4);
    uint64_t vsize = leaf ? le_get_u32(pos + 8) : 0;

    if (begin < PAGE_HEAD + (size_t)node->count * ELEMENT ||
        begin + ksize + vsize > node->len)
        return page_damaged(image, node->id,
                            "element %u lies outside of the page", i);
    if (ksize == 0)
        return page_damaged(image, node->id, "element %u has no key", i);
    out->flags = leaf ? le_get_u32(in) : 0;
    out->child = leaf ? 0 : le_get_u64(in + 8);
    out->key = bytes_of(node->data + begin, ksize);
    out->value = bytes_of(out->key.data + ksize, vsize);
    return 0;
}

static int check_order(const struct image *image, const struct node *node,
                       uint16_t i, struct bytes key, struct bytes last,
                       const struct bounds *bounds)
{
    if (last.data != NULL && bytes_cmp(last, key) >= 0)
        return page_damaged(image, node->id,
                            "the key of element %u is not "
                            "behind the one before",
                            i);
    if ((bounds->min.data != NULL && bytes_cmp(key, bounds->min) < 0) ||
        (bounds->max.data != NULL && bytes_cmp(key, bounds->max) >= 0))
        return page_damaged(image, node->id,
                            "the key of element %u belongs elsewhere", i);
    return 0;
}

/* ---- trees ------------------------------------------------------------- */

static int visit_bucket(struct walk *walk, const struct node *node,
                        const struct element *element);

static int visit_element(struct walk *walk, const struct node *node, uint16_t i,
                         const struct element *element)
{
    struct image *image = walk->image;

    if (element->flags > LEAF_IS_BUCKET)
        return page_damaged(image, node->id, "element %u has flags %#x", i,
                            element->flags);
    if (walk->is_root) {
        if (element->flags != LEAF_IS_BUCKET)
            return page_damaged(image, node->id,
                                "element %u of the root is no bucket", i);
        return visit_bucket(walk, node, element);
    }
    if (element->flags == LEAF_IS_BUCKET)
        return err_set(image->msg, ERR_UNSUPPORTED,
                       "page %llu: element %u is a bucket inside of a bucket",
                       (unsigned long long)node->id, i);
    return walk->visitor->record(walk->visitor->arg, element->key,
                                 element->value);
}

static int walk_leaf(struct walk *walk, const struct node *node,
                     const struct bounds *bounds)
{
    struct bytes last = {0};
    int err = check_count(walk->image, node);

    for (uint16_t i = 0; i < node->count && err == 0; i++) {
        struct element element = {0};

        err = get_element(walk->image, node, i, true, &element);
        if (err == 0)
            err = check_order(walk->image, node, i, element.key, last, bounds);
        if (err == 0)
            err = visit_element(walk, node, i, &element);
        last = element.key;
    }
    return err;
}

static int walk_page(struct walk *walk, uint64_t id,
                     const struct bounds *bounds, unsigned depth);

static int walk_branch(struct walk *walk, const struct node *node,
                       const struct bounds *bounds, unsigned depth)
{
    struct image *image = walk->image;
    struct element next = {0};
    int err = check_count(image, node);

    if (err == 0 && node->count == 0)
        return page_damaged(image, node->id, "a branch without children");
    if (err == 0)
        err = get_element(image, node, 0, false, &next);
    if (err == 0)
        err = check_order(image, node, 0, next.key, (struct bytes){0}, bounds);
    for (uint16_t i = 0; i < node->count && err == 0; i++) {
        struct element element = next;
        struct bounds below = {element.key, bounds->max};

        if (i + 1u < node->count) {
            uint16_t j = (uint16_t)(i + 1);

            err = get_element(image, node, j, false, &next);
            if (err == 0)
                err =
                    check_order(image, node, j, next.key, element.key, bounds);
            below.max = next.key;
        }
        if (err == 0)
            err = walk_page(walk, element.child, &below, depth + 1);
    }
    return err;
}

static int walk_page(struct walk *walk, uint64_t id,
                     const struct bounds *bounds, unsigned depth)
{
    struct page page;
    int err;

    if (depth > DEPTH_MAX)
        return page_damaged(walk->image, id, "the tree is too deep");
    err = page_open(walk->image, id, &page);
    if (err == 0) {
        struct node node = {id, page.head.count, page.data, page.len};

        if (page.head.flags == PAGE_LEAF)
            err = walk_leaf(walk, &node, bounds);
        else if (page.head.flags == PAGE_BRANCH)
            err = walk_branch(walk, &node, bounds, depth);
        else
            err = page_damaged(walk->image, id,
                               "neither branch nor leaf: flags %#x",
                               page.head.flags);
    }
    page_close(&page);
    return err;
}

/* ---- buckets ----------------------------------------------------------- */

static int walk_inline(struct walk *walk, const struct node *node,
                       struct bytes value)
{
    const struct bounds all = {0};
    struct page_head head;
    struct node inside = {node->id, 0, value.data + BUCKET_BYTES,
                          value.len - BUCKET_BYTES};

    if (inside.len < PAGE_HEAD)
        return page_damaged(walk->image, node->id,
                            "an inline bucket of %zu bytes", value.len);
    head = format_get_head(inside.data);
    if (head.flags != PAGE_LEAF || head.overflow != 0)
        return page_damaged(walk->image, node->id,
                            "an inline bucket with flags %#x and overflow %u",
                            head.flags, head.overflow);
    inside.count = head.count;
    return walk_leaf(walk, &inside, &all);
}

static int visit_bucket(struct walk *walk, const struct node *node,
                        const struct element *element)
{
    const struct bounds all = {0};
    struct walk below = {walk->image, walk->visitor, false};
    uint64_t root;
    int err = 0;

    if (element->value.len < BUCKET_BYTES)
        return page_damaged(walk->image, node->id, "a bucket of %zu bytes",
                            element->value.len);
    if (walk->visitor->bucket != NULL)
        err = walk->visitor->bucket(walk->visitor->arg, element->key);
    if (err != 0)
        return err == IMAGE_SKIP ? 0 : err;
    root = le_get_u64(element->value.data);
    return root == 0 ? walk_inline(&below, node, element->value)
                     : walk_page(&below, root, &all, 0);
}

int image_walk(const struct image_source *source,
               const struct image_visitor *visitor, struct errmsg *msg)
{
    const struct bounds all = {0};
    struct image image = {.source = source, .msg = msg};
    struct walk walk = {&image, visitor, true};
    int err = image_info_read(source, &image.info, msg);
    size_t seen_bytes;

    if (err != 0)
        return err;
    seen_bytes = (size_t)(image.info.pages / 8) + 1;
    image.seen = mem_try_alloc(seen_bytes);
    if (image.seen == NULL)
        return err_set(msg, ERR_NOMEM, "no memory for %zu bytes", seen_bytes);
    memset(image.seen, 0, seen_bytes);
    err = free_list_read(&image);
    if (err == 0)
        err = walk_page(&walk, image.info.root, &all, 0);
    free(image.seen);
    return err;
}
