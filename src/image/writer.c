/* The writer's two passes: buckets, records, metas. The pages of a bucket are
 * made by tree.c. */
#include "tree.h"

#include "chorad/base/check.h"
#include <stdlib.h>

struct root_entry {
    struct root_entry *next;
    uint64_t page;
    size_t len;
    uint8_t name[];
};

struct image_writer {
    struct tree tree;
    /* Buckets of the pass, for the root bucket at its end. */
    struct root_entry *first;
    struct root_entry *last;
    bool planned;
    struct image_info plan;
};

struct image_writer *image_writer_open(void)
{
    struct image_writer *w = mem_zalloc(sizeof(*w));

    tree_open(&w->tree);
    return w;
}

static void forget_buckets(struct image_writer *w)
{
    while (w->first != NULL) {
        struct root_entry *entry = w->first;

        w->first = entry->next;
        free(entry);
    }
    w->last = NULL;
}

void image_writer_close(struct image_writer *w)
{
    if (w == NULL)
        return;
    forget_buckets(w);
    tree_close(&w->tree);
    free(w);
}

static int end_bucket(struct image_writer *w)
{
    return w->last != NULL ? tree_end(&w->tree, &w->last->page) : 0;
}

int image_writer_bucket(struct image_writer *w, struct bytes name)
{
    struct root_entry *entry;
    int err;

    if (name.len > IMAGE_KEY_MAX)
        return ERR_TOOBIG;
    if (name.len == 0 ||
        (w->last != NULL &&
         bytes_cmp(bytes_of(w->last->name, w->last->len), name) >= 0))
        return ERR_INVALID;
    err = end_bucket(w);
    if (err != 0)
        return err;
    entry = mem_alloc(sizeof(*entry) + name.len);
    *entry = (struct root_entry){.len = name.len};
    memcpy(entry->name, name.data, name.len);
    if (w->last != NULL)
        w->last->next = entry;
    else
        w->first = entry;
    w->last = entry;
    return 0;
}

int image_writer_put(struct image_writer *w, struct bytes key,
                     struct bytes value)
{
    if (w->last == NULL)
        return ERR_INVALID;
    return tree_put(&w->tree, key, value, 0);
}

/* Writes the last bucket's rest and the root bucket, whose page it gives. */
static int end_pass(struct image_writer *w, uint64_t *root)
{
    int err = end_bucket(w);

    for (struct root_entry *e = w->first; e != NULL && err == 0; e = e->next) {
        uint8_t value[BUCKET_BYTES];

        le_put_u64(value, e->page);
        le_put_u64(value + 8, 0);
        err = tree_put(&w->tree, bytes_of(e->name, e->len),
                       bytes_of(value, sizeof(value)), LEAF_IS_BUCKET);
    }
    forget_buckets(w);
    return err != 0 ? err : tree_end(&w->tree, root);
}

static int write_meta(struct image_writer *w, uint64_t id, uint64_t txid)
{
    uint8_t page[IMAGE_PAGE_BYTES] = {0};
    struct image_info meta = w->plan;

    meta.txid = txid;
    format_put_head(page, &(struct page_head){.id = id, .flags = PAGE_META});
    format_put_meta(page + PAGE_HEAD, &meta);
    return w->tree.write(w->tree.write_arg, bytes_of(page, sizeof(page)));
}

int image_writer_plan(struct image_writer *w, uint64_t txid,
                      image_write_cb write, void *arg)
{
    int err;

    CHECK(!w->planned && txid > 0);
    err = end_pass(w, &w->plan.root);
    if (err != 0)
        return err;
    w->planned = true;
    w->plan.page_bytes = IMAGE_PAGE_BYTES;
    w->plan.pages = w->tree.next_page;
    w->plan.free_list = NO_FREE_LIST;
    tree_restart(&w->tree, write, arg);
    err = write_meta(w, 0, txid);
    return err != 0 ? err : write_meta(w, 1, txid - 1);
}

uint64_t image_writer_size(const struct image_writer *w)
{
    return w->plan.pages * IMAGE_PAGE_BYTES;
}

int image_writer_finish(struct image_writer *w)
{
    uint64_t root = 0;
    int err;

    CHECK(w->planned);
    err = end_pass(w, &root);
    if (err != 0)
        return err;
    return root == w->plan.root && w->tree.next_page == w->plan.pages
               ? 0
               : ERR_INVALID;
}
