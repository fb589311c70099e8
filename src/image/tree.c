/* A bucket's pages: leaves as they fill, branches behind them. */
#include "tree.h"

#include "chorad/base/check.h"
#include <stdlib.h>

#define VALUE_MAX ((size_t)INT32_MAX - 1)

void tree_open(struct tree *t)
{
    *t = (struct tree){.next_page = FIRST_DATA_PAGE};
}

void tree_close(struct tree *t)
{
    for (size_t i = 0; i < TREE_LEVELS; i++)
        free(t->levels[i]);
}

void tree_restart(struct tree *t, image_write_cb write, void *arg)
{
    t->write = write;
    t->write_arg = arg;
    t->next_page = FIRST_DATA_PAGE;
}

static int write_out(struct tree *t, const void *data, size_t len)
{
    return t->write(t->write_arg, bytes_of(data, len));
}

/* ---- branches ---------------------------------------------------------- */

static const uint8_t *entry_key(const struct tree_level *level, uint32_t i)
{
    return level->keys + level->entries[i].at;
}

static int write_branch(struct tree *t, uint64_t id,
                        const struct tree_level *level, uint32_t n)
{
    uint8_t page[IMAGE_PAGE_BYTES];
    uint8_t *element = page + PAGE_HEAD;
    uint8_t *key = element + (size_t)n * ELEMENT;
    struct page_head head = {
        .id = id, .flags = PAGE_BRANCH, .count = (uint16_t)n};

    format_put_head(page, &head);
    for (uint32_t i = 0; i < n; i++, element += ELEMENT) {
        const struct tree_entry *entry = &level->entries[i];

        le_put_u32(element, (uint32_t)(key - element));
        le_put_u32(element + 4, entry->len);
        le_put_u64(element + 8, entry->page);
        memcpy(key, entry_key(level, i), entry->len);
        key += entry->len;
    }
    memset(key, 0, (size_t)(page + sizeof(page) - key));
    return write_out(t, page, sizeof(page));
}

static void append_entry(struct tree_level *level, struct bytes key,
                         uint64_t page)
{
    level->entries[level->n++] =
        (struct tree_entry){page, level->key_bytes, (uint32_t)key.len};
    memcpy(level->keys + level->key_bytes, key.data, key.len);
    level->key_bytes += (uint32_t)key.len;
}

/* How many of the entries fit on a page. */
static uint32_t count_fitting(const struct tree_level *level)
{
    size_t bytes = (size_t)level->n * ELEMENT + level->key_bytes;
    uint32_t n = level->n;

    while (bytes > TREE_ROOM)
        bytes -= ELEMENT + level->entries[--n].len;
    return n;
}

static void drop_entries(struct tree_level *level, uint32_t n)
{
    uint32_t gone = n < level->n ? level->entries[n].at : level->key_bytes;

    level->n -= n;
    level->key_bytes -= gone;
    memmove(level->entries, level->entries + n,
            level->n * sizeof(level->entries[0]));
    memmove(level->keys, level->keys + gone, level->key_bytes);
    for (uint32_t i = 0; i < level->n; i++)
        level->entries[i].at -= gone;
}

static int add_child(struct tree *t, unsigned depth, struct bytes key,
                     uint64_t page);

/* Makes a branch of the first `n` entries. */
static int end_branch(struct tree *t, unsigned depth, uint32_t n)
{
    struct tree_level *level = t->levels[depth];
    uint64_t id = t->next_page++;
    int err = 0;

    if (t->write != NULL)
        err = write_branch(t, id, level, n);
    if (err == 0)
        err =
            add_child(t, depth + 1,
                      bytes_of(entry_key(level, 0), level->entries[0].len), id);
    drop_entries(level, n);
    return err;
}

/* A branch is written only when two entries are left behind it: bbolt can't
 * live with one that has a single child. */
static int add_child(struct tree *t, unsigned depth, struct bytes key,
                     uint64_t page)
{
    struct tree_level *level;
    uint32_t fitting;

    CHECK(depth < TREE_LEVELS);
    if (t->levels[depth] == NULL)
        t->levels[depth] = mem_zalloc(sizeof(*level));
    level = t->levels[depth];
    append_entry(level, key, page);
    fitting = count_fitting(level);
    return level->n - fitting < 2 ? 0 : end_branch(t, depth, fitting);
}

/* ---- leaves ------------------------------------------------------------ */

static int write_leaf(struct tree *t, uint64_t id)
{
    const struct tree_leaf *leaf = &t->leaf;
    uint8_t page[IMAGE_PAGE_BYTES];
    uint8_t *element = page + PAGE_HEAD;
    uint8_t *data = element + (size_t)leaf->n * ELEMENT;
    uint8_t *end = data + leaf->data_bytes;
    struct page_head head = {
        .id = id, .flags = PAGE_LEAF, .count = (uint16_t)leaf->n};

    format_put_head(page, &head);
    memcpy(data, leaf->data, leaf->data_bytes);
    for (uint32_t i = 0; i < leaf->n; i++, element += ELEMENT) {
        le_put_u32(element, leaf->elements[i].flags);
        le_put_u32(element + 4, (uint32_t)(data - element));
        le_put_u32(element + 8, leaf->elements[i].ksize);
        le_put_u32(element + 12, leaf->elements[i].vsize);
        data += leaf->elements[i].ksize + leaf->elements[i].vsize;
    }
    memset(end, 0, (size_t)(page + sizeof(page) - end));
    return write_out(t, page, sizeof(page));
}

static int end_leaf(struct tree *t)
{
    struct tree_leaf *leaf = &t->leaf;
    uint64_t id;
    int err = 0;

    if (leaf->n == 0)
        return 0;
    id = t->next_page++;
    if (t->write != NULL)
        err = write_leaf(t, id);
    if (err == 0)
        err =
            add_child(t, 0, bytes_of(leaf->data, leaf->elements[0].ksize), id);
    leaf->n = 0;
    leaf->data_bytes = 0;
    return err;
}

static void append_record(struct tree_leaf *leaf, struct bytes key,
                          struct bytes value, uint32_t flags, bool counts)
{
    uint8_t *data = leaf->data + leaf->data_bytes;

    leaf->elements[leaf->n].flags = flags;
    leaf->elements[leaf->n].ksize = (uint32_t)key.len;
    leaf->elements[leaf->n].vsize = (uint32_t)value.len;
    /* A pass that counts needs no more than the leaf's first key. */
    if (!counts || leaf->n == 0)
        memcpy(data, key.data, key.len);
    if (!counts && value.len > 0)
        memcpy(data + key.len, value.data, value.len);
    leaf->n++;
    leaf->data_bytes += (uint32_t)(key.len + value.len);
}

static int write_large(struct tree *t, uint64_t id, uint32_t overflow,
                       struct bytes key, struct bytes value, uint32_t flags)
{
    static const uint8_t zeros[IMAGE_PAGE_BYTES];
    uint8_t head[PAGE_HEAD + ELEMENT + IMAGE_KEY_MAX];
    uint8_t *element = head + PAGE_HEAD;
    size_t head_len = PAGE_HEAD + ELEMENT + key.len;
    size_t rest = (head_len + value.len) % IMAGE_PAGE_BYTES;
    int err;

    format_put_head(head, &(struct page_head){.id = id,
                                              .flags = PAGE_LEAF,
                                              .count = 1,
                                              .overflow = overflow});
    le_put_u32(element, flags);
    le_put_u32(element + 4, ELEMENT);
    le_put_u32(element + 8, (uint32_t)key.len);
    le_put_u32(element + 12, (uint32_t)value.len);
    memcpy(element + ELEMENT, key.data, key.len);
    err = write_out(t, head, head_len);
    if (err == 0)
        err = write_out(t, value.data, value.len);
    if (err == 0 && rest > 0)
        err = write_out(t, zeros, IMAGE_PAGE_BYTES - rest);
    return err;
}

/* A record that needs more than a page has a leaf of its own. */
static int put_large(struct tree *t, struct bytes key, struct bytes value,
                     uint32_t flags)
{
    size_t bytes = PAGE_HEAD + ELEMENT + key.len + value.len;
    uint32_t overflow = (uint32_t)((bytes - 1) / IMAGE_PAGE_BYTES);
    uint64_t id = t->next_page;
    int err = 0;

    t->next_page += 1 + (uint64_t)overflow;
    if (t->write != NULL)
        err = write_large(t, id, overflow, key, value, flags);
    return err != 0 ? err : add_child(t, 0, key, id);
}

static int check(struct tree *t, struct bytes key, struct bytes value)
{
    if (key.len > IMAGE_KEY_MAX || value.len > VALUE_MAX)
        return ERR_TOOBIG;
    if (key.len == 0 ||
        (t->last_len > 0 &&
         bytes_cmp(bytes_of(t->last_key, t->last_len), key) >= 0))
        return ERR_INVALID;
    memcpy(t->last_key, key.data, key.len);
    t->last_len = (uint32_t)key.len;
    return 0;
}

int tree_put(struct tree *t, struct bytes key, struct bytes value,
             uint32_t flags)
{
    struct tree_leaf *leaf = &t->leaf;
    size_t used = (size_t)leaf->n * ELEMENT + leaf->data_bytes;
    size_t size = ELEMENT + key.len + value.len;
    int err = check(t, key, value);

    if (err == 0 && used + size > TREE_ROOM)
        err = end_leaf(t);
    if (err != 0)
        return err;
    if (size > TREE_ROOM)
        return put_large(t, key, value, flags);
    append_record(leaf, key, value, flags, t->write == NULL);
    return 0;
}

/* ---- the end of a bucket ------------------------------------------------ */

static int end_empty(struct tree *t, uint64_t *root)
{
    *root = t->next_page++;
    return t->write != NULL ? write_leaf(t, *root) : 0;
}

/* What is left on the level, on one page or two. */
static int end_level(struct tree *t, unsigned depth)
{
    struct tree_level *level = t->levels[depth];
    uint32_t fitting = count_fitting(level);
    int err = 0;

    if (fitting < level->n)
        err = end_branch(t, depth, level->n - 2);
    return err != 0 ? err : end_branch(t, depth, level->n);
}

int tree_end(struct tree *t, uint64_t *root)
{
    int err = end_leaf(t);

    if (t->last_len == 0)
        return err != 0 ? err : end_empty(t, root);
    t->last_len = 0;
    for (unsigned depth = 0; err == 0; depth++) {
        struct tree_level *level = t->levels[depth];

        /* Only a root has no other beside it. */
        if (level->n == 1) {
            *root = level->entries[0].page;
            drop_entries(level, 1);
            return 0;
        }
        err = end_level(t, depth);
    }
    return err;
}
