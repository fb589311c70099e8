/* The pages of one bucket after the other, made as their records come.
 *
 *            level 1   [ k0 k3 k6 . . . ]      entries wait for their page
 *            level 0   [ k7=v k8=v . . ]       the leaf that fills
 *
 * A full leaf is written and becomes an entry of level 1, a full branch one of
 * the level above, and so on; so each page stands behind those below it, and
 * nothing has to be known ahead. A pass that only counts does the same without
 * writing. */
#ifndef CHORAD_IMAGE_TREE_H
#define CHORAD_IMAGE_TREE_H

#include "format.h"

#define TREE_ROOM (IMAGE_PAGE_BYTES - PAGE_HEAD)
/* At least three entries fit on a branch, so that this is never reached. */
#define TREE_LEVELS 40

struct tree_entry {
    uint64_t page;
    uint32_t at; /* of the key in `keys` */
    uint32_t len;
};

/* A branch that fills: entries may be two more than fit on a page. */
struct tree_level {
    uint32_t n;
    uint32_t key_bytes;
    struct tree_entry entries[TREE_ROOM / ELEMENT + 2];
    uint8_t keys[IMAGE_PAGE_BYTES + 2 * IMAGE_KEY_MAX];
};

struct tree_leaf {
    uint32_t n;
    uint32_t data_bytes;
    struct {
        uint32_t flags;
        uint32_t ksize;
        uint32_t vsize;
    } elements[TREE_ROOM / ELEMENT];
    uint8_t data[IMAGE_PAGE_BYTES];
};

struct tree {
    image_write_cb write; /* NULL: this pass only counts */
    void *write_arg;
    uint64_t next_page;
    uint32_t last_len; /* the bucket's newest key; 0: it has none */
    uint8_t last_key[IMAGE_KEY_MAX];
    struct tree_leaf leaf;
    struct tree_level *levels[TREE_LEVELS]; /* made when needed */
};

void tree_open(struct tree *tree);
void tree_close(struct tree *tree);
/* Page numbers begin anew; pages go to `write`. */
void tree_restart(struct tree *tree, image_write_cb write, void *arg);

int tree_put(struct tree *tree, struct bytes key, struct bytes value,
             uint32_t flags);
/* Ends the bucket and gives the page of its root. */
int tree_end(struct tree *tree, uint64_t *root);

#endif
