/* Pages and trees of LMDB's file. */
#include "verify.h"

#include "chorad/base/be.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAGIC 0xBEEFC0DEu
#define VERSION 1u
#define TELL_PAGES 1024

void verify_blame(struct verify *v, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    (void)err_set(v->msg, ERR_CORRUPT, "%s: %s", v->path, what);
}

static uint16_t get_u16(const uint8_t *in)
{
    return (uint16_t)(in[0] | in[1] << 8);
}

/* ---- metas ----------------------------------------------------------------
 */

struct lmdb_db verify_read_db(const uint8_t *in)
{
    return (struct lmdb_db){
        .pad = le_get_u32(in),
        .flags = get_u16(in + 4),
        .depth = get_u16(in + 6),
        .branches = le_get_u64(in + 8),
        .leaves = le_get_u64(in + 16),
        .overflows = le_get_u64(in + 24),
        .entries = le_get_u64(in + 32),
        .root = le_get_u64(in + 40),
    };
}

static int read_meta(struct verify *v, uint64_t at, struct lmdb_meta *meta)
{
    const uint8_t *page = v->map + at;
    const uint8_t *in = page + PAGE_HEAD;

    if (v->size < at + PAGE_HEAD + META_BYTES)
        return verify_damaged(v, "cut short: %" PRIu64 " bytes", v->size);
    if ((get_u16(page + 10) & PAGE_META) == 0 || le_get_u32(in) != MAGIC ||
        le_get_u32(in + 4) != VERSION)
        return verify_damaged(v, "byte %" PRIu64 ": not a meta page of LMDB",
                              at);
    meta->map_bytes = le_get_u64(in + 16);
    meta->free = verify_read_db(in + 24);
    meta->main = verify_read_db(in + 24 + DB_BYTES);
    meta->last_page = le_get_u64(in + 24 + 2 * DB_BYTES);
    meta->txn = le_get_u64(in + 24 + 2 * DB_BYTES + 8);
    return 0;
}

/* Transactions write the metas in turn, page 0 the even ones. Otherwise an old
 * state could pass for the newest one. */
static bool are_in_turn(uint64_t first, uint64_t second)
{
    if (first == 0 && second == 0)
        return true; /* a new file */
    return first > second ? first == second + 1 && first % 2 == 0
                          : second == first + 1 && second % 2 == 1;
}

/* The second meta lies a page behind the first one. */
int verify_metas(struct verify *v)
{
    struct lmdb_meta second;
    uint32_t bytes;
    int err = read_meta(v, 0, &v->meta);

    if (err != 0)
        return err;
    bytes = v->meta.free.pad;
    if (bytes < 512 || bytes > 65536 || (bytes & (bytes - 1)) != 0)
        return verify_damaged(v, "pages of %u bytes", bytes);
    v->page_bytes = bytes;
    err = read_meta(v, bytes, &second);
    if (err != 0)
        return err;
    if (second.free.pad != bytes || !are_in_turn(v->meta.txn, second.txn))
        return verify_damaged(v, "the meta pages don't agree");
    if (second.txn > v->meta.txn)
        v->meta = second;
    if (v->meta.last_page < 1 || v->meta.last_page >= v->meta.map_bytes / bytes)
        return verify_damaged(v, "meta: the last page is %" PRIu64,
                              v->meta.last_page);
    return 0;
}

/* ---- pages ----------------------------------------------------------------
 */

int verify_mark(struct verify *v, uint64_t page, const char *what)
{
    uint8_t bit = (uint8_t)(1u << page % 8);

    if (page < 2 || page > v->meta.last_page)
        return verify_damaged(v, "%s: there is no page %" PRIu64, what, page);
    if (v->seen[page / 8] & bit)
        return verify_damaged(v,
                              "page %" PRIu64 ": used twice, or used and "
                              "free",
                              page);
    v->seen[page / 8] |= bit;
    return ++v->done % TELL_PAGES == 0 ? verify_tell(v) : 0;
}

/* Marks the page and gives its bytes, which the file has to have. */
static int open_page(struct verify_tree *t, uint64_t id, const uint8_t **out)
{
    struct verify *v = t->v;
    int err = verify_mark(v, id, t->name);

    if (err != 0)
        return err;
    if ((id + 1) * v->page_bytes > v->size)
        return verify_damaged(v, "cut short: page %" PRIu64 " is missing", id);
    *out = v->map + id * v->page_bytes;
    if (le_get_u64(*out) != id)
        return verify_damaged(v,
                              "page %" PRIu64 ": it calls itself page "
                              "%" PRIu64,
                              id, le_get_u64(*out));
    return 0;
}

/* An overflow page with all that belong to it; there may be more than the
 * value needs, where it has become shorter. */
static int open_overflow(struct verify_tree *t, uint64_t id, uint32_t len,
                         struct bytes *data)
{
    struct verify *v = t->v;
    uint64_t needed = (PAGE_HEAD - 1 + (uint64_t)len) / v->page_bytes + 1;
    const uint8_t *page;
    uint32_t pages;
    int err = open_page(t, id, &page);

    if (err != 0)
        return err;
    pages = le_get_u32(page + 12);
    if (get_u16(page + 10) != PAGE_OVERFLOW || pages < needed ||
        pages > v->meta.last_page - id + 1)
        return verify_damaged(v,
                              "page %" PRIu64 ": no overflow page of "
                              "%" PRIu64,
                              id, needed);
    for (uint32_t i = 1; i < pages; i++) {
        err = verify_mark(v, id + i, t->name);
        if (err != 0)
            return err;
    }
    if ((id + needed) * v->page_bytes > v->size)
        return verify_damaged(v, "cut short: page %" PRIu64 " is missing",
                              id + needed - 1);
    t->is.overflows += pages;
    *data = bytes_of(page + PAGE_HEAD, len);
    return 0;
}

/* ---- trees ----------------------------------------------------------------
 */

/* Keys have to be >= min and < max; no data: unbounded. */
struct bounds {
    struct bytes min;
    struct bytes max;
};

struct node {
    uint32_t size; /* lo and hi */
    uint16_t flags;
    struct bytes key;
    const uint8_t *data;
    size_t room; /* bytes there are from `data` to the page's end */
};

/* Node i, whose head and key lie within the page. */
static int get_node(const struct verify_tree *t, uint64_t id,
                    const uint8_t *page, unsigned i, struct node *node)
{
    uint32_t bytes = t->v->page_bytes;
    uint32_t at = get_u16(page + PAGE_HEAD + (size_t)i * 2);
    uint32_t klen;

    if (at < get_u16(page + 14) || at + NODE_HEAD > bytes)
        return verify_damaged(t->v, "page %" PRIu64 ": node %u lies outside",
                              id, i);
    klen = get_u16(page + at + 6);
    if (at + NODE_HEAD + klen > bytes)
        return verify_damaged(t->v, "page %" PRIu64 ": node %u lies outside",
                              id, i);
    node->size = le_get_u32(page + at);
    node->flags = get_u16(page + at + 4);
    node->key = bytes_of(page + at + NODE_HEAD, klen);
    node->data = node->key.data + klen;
    node->room = bytes - at - NODE_HEAD - klen;
    return 0;
}

static int compare(const struct verify_tree *t, struct bytes a, struct bytes b)
{
    if (t->numbers && a.len == 8 && b.len == 8) {
        uint64_t x = le_get_u64(a.data);
        uint64_t y = le_get_u64(b.data);

        return x < y ? -1 : x > y;
    }
    return bytes_cmp(a, b);
}

static int check_key(const struct verify_tree *t, uint64_t id, unsigned i,
                     struct bytes key, struct bytes last,
                     const struct bounds *bounds)
{
    bool out_of_order = last.data != NULL && compare(t, last, key) >= 0;
    bool elsewhere =
        (bounds->min.data != NULL && compare(t, key, bounds->min) < 0) ||
        (bounds->max.data != NULL && compare(t, key, bounds->max) >= 0);

    if (key.len == 0 || key.len > STORE_MAX_KEY)
        return verify_damaged(t->v,
                              "page %" PRIu64 ": node %u has a key of "
                              "%zu bytes",
                              id, i, key.len);
    if (out_of_order || elsewhere)
        return verify_damaged(t->v,
                              "page %" PRIu64 ": the key of node %u is "
                              "out of order",
                              id, i);
    return 0;
}

static int visit_leaf_node(struct verify_tree *t, uint64_t id, unsigned i,
                           const struct node *node)
{
    struct bytes data = {node->data, node->size};
    size_t here = node->flags & NODE_BIG ? 8 : node->size;

    if (node->flags > NODE_DATABASE || here > node->room)
        return verify_damaged(t->v,
                              "page %" PRIu64 ": the value of node %u "
                              "lies outside",
                              id, i);
    if (node->flags & NODE_BIG) {
        int err = open_overflow(t, le_get_u64(node->data), node->size, &data);

        if (err != 0)
            return err;
    }
    t->is.entries++;
    return t->node(t, id, node->key, data, node->flags);
}

static int walk_leaf(struct verify_tree *t, uint64_t id, const uint8_t *page,
                     unsigned count, const struct bounds *bounds)
{
    struct bytes last = {0};
    int err = 0;

    t->is.leaves++;
    for (unsigned i = 0; i < count && err == 0; i++) {
        struct node node;

        err = get_node(t, id, page, i, &node);
        if (err == 0)
            err = check_key(t, id, i, node.key, last, bounds);
        if (err == 0)
            err = visit_leaf_node(t, id, i, &node);
        last = node.key;
    }
    return err;
}

static int walk_page(struct verify_tree *t, uint64_t id,
                     const struct bounds *bounds, unsigned depth);

static uint64_t child_of(const struct node *node)
{
    return node->size | (uint64_t)node->flags << 32;
}

static int walk_branch(struct verify_tree *t, uint64_t id, const uint8_t *page,
                       unsigned count, const struct bounds *bounds,
                       unsigned depth)
{
    struct node next;
    struct bytes last = {0};
    int err = get_node(t, id, page, 0, &next);

    t->is.branches++;
    for (unsigned i = 0; i < count && err == 0; i++) {
        struct node node = next;
        struct bounds below = {i == 0 ? bounds->min : node.key, bounds->max};

        if (i + 1 < count) {
            err = get_node(t, id, page, i + 1, &next);
            if (err == 0)
                err = check_key(t, id, i + 1, next.key, last, bounds);
            last = next.key;
            below.max = next.key;
        }
        if (err == 0)
            err = walk_page(t, child_of(&node), &below, depth + 1);
    }
    return err;
}

static int walk_page(struct verify_tree *t, uint64_t id,
                     const struct bounds *bounds, unsigned depth)
{
    const uint8_t *page;
    unsigned flags;
    unsigned lower;
    unsigned upper;
    int err;

    if (depth > t->depth || depth > DEPTH_MAX)
        return verify_damaged(t->v,
                              "page %" PRIu64 ": the tree is deeper than "
                              "it is meant to be",
                              id);
    err = open_page(t, id, &page);
    if (err != 0)
        return err;
    flags = get_u16(page + 10);
    lower = get_u16(page + 12);
    upper = get_u16(page + 14);
    if (lower < PAGE_HEAD + 2 || lower % 2 != 0 || lower > upper ||
        upper > t->v->page_bytes)
        return verify_damaged(t->v, "page %" PRIu64 ": its head is damaged",
                              id);
    /* All leaves are at one depth. */
    if (flags == PAGE_LEAF && depth == t->depth)
        return walk_leaf(t, id, page, (lower - PAGE_HEAD) / 2, bounds);
    if (flags == PAGE_BRANCH && depth < t->depth)
        return walk_branch(t, id, page, (lower - PAGE_HEAD) / 2, bounds, depth);
    return verify_damaged(t->v, "page %" PRIu64 ": flags %#x at depth %u of %u",
                          id, flags, depth, t->depth);
}

int verify_tree(struct verify_tree *t, const struct lmdb_db *db)
{
    const struct bounds all = {{0}, {0}};
    int err = 0;

    t->is = (struct lmdb_db){0};
    t->depth = db->depth;
    if (db->root != NO_ROOT)
        err = walk_page(t, db->root, &all, 1);
    if (err != 0)
        return err;
    if (t->is.branches != db->branches || t->is.leaves != db->leaves ||
        t->is.overflows != db->overflows || t->is.entries != db->entries ||
        (db->root == NO_ROOT && db->depth != 0))
        return verify_damaged(t->v,
                              "%s: there are %" PRIu64 " records in "
                              "%" PRIu64 " pages, the file says "
                              "%" PRIu64 " in %" PRIu64,
                              t->name, t->is.entries,
                              t->is.branches + t->is.leaves + t->is.overflows,
                              db->entries,
                              db->branches + db->leaves + db->overflows);
    return 0;
}
