/* Recipes: what locks and elections are made of. A claim to a name is a key
 *
 *     <name> "/" <lease in hex, "-" before a negative one>
 *
 * that lives as long as its lease. Of all keys that begin with "<name>/", the
 * one that was created first holds the lock, or leads. Pure: no clock, no I/O.
 */
#ifndef CHORAD_RECIPE_H
#define CHORAD_RECIPE_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "rpc.pb-c.h"
#include <stdbool.h>
#include <stdint.h>

/* ---- keys and transactions, made in the arena --------------------------- */

/* [*prefix, *end) are the claims to the name. */
void recipe_range(struct arena *arena, struct bytes name, struct bytes *prefix,
                  struct bytes *end);
struct bytes recipe_key(struct arena *arena, struct bytes prefix,
                        int64_t lease);

/* The bytes that the transactions name are borrowed.
 *
 * Puts the key unless it is there; else reads it. */
Etcdserverpb__TxnRequest *recipe_claim(struct arena *arena, struct bytes key,
                                       struct bytes value, int64_t lease);
/* Puts, or deletes, the key as long as it is the one created at `rev`. */
Etcdserverpb__TxnRequest *recipe_change(struct arena *arena, struct bytes key,
                                        int64_t rev, struct bytes value,
                                        int64_t lease);
Etcdserverpb__TxnRequest *recipe_release(struct arena *arena, struct bytes key,
                                         int64_t rev);

/* What recipe_claim came to. */
struct recipe_claimed {
    Etcdserverpb__ResponseHeader *header;
    bool created;       /* by this transaction */
    int64_t rev;        /* when the key was created */
    struct bytes value; /* its value, unless it was created */
};
/* From the answer to it; ERR_MALFORMED. */
int recipe_read_claim(struct arena *arena, struct bytes answer,
                      struct recipe_claimed *claimed);

/* Whether the comparison of a transaction held, from the answer to it. */
bool recipe_held(struct bytes answer);

/* ---- the line ----------------------------------------------------------- */

/* Embedded in whoever waits for a place to become the first; a list that is
 * the owner's to keep. */
struct recipe_waiter {
    struct recipe_waiter *next;
    struct recipe_waiter **prev;
};

/* A key in the line. */
struct recipe_place {
    struct recipe_place *next; /* created later */
    struct recipe_place *prev;
    struct recipe_place *hash_next;
    struct recipe_waiter *waiters;
    int64_t rev; /* of its creation */
    uint32_t hash;
    uint32_t key_len;
    uint8_t key[];
};

/* Keys in the order of their creation. `seed` is to be chosen at random, all
 * else zeroed. */
struct recipe_line {
    struct recipe_place *first;
    struct recipe_place *last;
    struct recipe_place **buckets;
    size_t n_buckets; /* a power of two */
    size_t n;
    uint32_t seed;
};

/* The key must not be in the line. Cheap for what was created last. */
struct recipe_place *recipe_line_add(struct recipe_line *line, struct bytes key,
                                     int64_t rev);
struct recipe_place *recipe_line_find(const struct recipe_line *line,
                                      struct bytes key);
/* Frees the place. */
void recipe_line_remove(struct recipe_line *line, struct recipe_place *place);
/* Removes all; the line can be used again. */
void recipe_line_clear(struct recipe_line *line);

#endif
