/* LMDB's file as bytes (version 0.9, 64 bit, little endian), for verify*.c.
 *
 *   page, 16 bytes   number u64 | pad u16 | flags u16 | lower u16 | upper u16
 *                    (an overflow page has its count of pages, u32, for the
 *                    last two); then `lower`-16 / 2 offsets of nodes, u16
 *   node, 8 bytes    lo u16 | hi u16 | flags u16 | key bytes u16; key, data
 *                    a leaf's: lo, hi are the data's length; flag 1: the data
 *                    is the number of an overflow page; flag 2: a database
 *                    a branch's: lo, hi, flags are a page number; the first
 *                    key is empty and counts as less than all
 *   database, 48     pad u32 | flags u16 | depth u16 | branch, leaf, overflow
 *                    pages, entries, root: u64 each; root ~0: it is empty
 *   meta, at 16      0xBEEFC0DE u32 | version 1 u32 | address u64 | map u64 |
 *                    database of free pages (its pad: the page size) |
 *                    main database | last page u64 | transaction u64
 *
 * Pages 0 and 1 are metas, that of the newer transaction counts. The list of
 * free pages: by transaction, {count u64, page numbers u64 descending}. */
#ifndef CHORAD_STORE_VERIFY_H
#define CHORAD_STORE_VERIFY_H

#include "internal.h"

#define PAGE_HEAD 16u
#define NODE_HEAD 8u
#define DB_BYTES 48u
#define META_BYTES (24u + 2 * DB_BYTES + 16u)
#define NO_ROOT UINT64_MAX
#define DEPTH_MAX 32

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum { NODE_BIG = 1, NODE_DATABASE = 2 };

struct lmdb_db {
    uint32_t pad;
    uint16_t flags;
    uint16_t depth;
    uint64_t branches;
    uint64_t leaves;
    uint64_t overflows;
    uint64_t entries;
    uint64_t root;
};

struct lmdb_meta {
    uint64_t map_bytes;
    struct lmdb_db free;
    struct lmdb_db main;
    uint64_t last_page;
    uint64_t txn;
};

struct verify {
    const uint8_t *map;
    uint64_t size; /* of the file */
    uint32_t page_bytes;
    struct lmdb_meta meta;
    uint8_t *seen; /* a bit per page */
    const struct store_verify *config;
    uint64_t done; /* pages */
    struct errmsg *msg;
    const char *path;
};

/* One tree, and what its pages come to. */
struct verify_tree {
    struct verify *v;
    const char *name;
    enum store_bucket bucket; /* STORE_BUCKETS: none of ours */
    struct lmdb_db is;
    bool numbers;   /* keys are u64 in this machine's order */
    uint16_t depth; /* as its record says */
    /* What a leaf's node is to be looked at for; 0 or an error. */
    int (*node)(struct verify_tree *tree, uint64_t page, struct bytes key,
                struct bytes data, uint16_t flags);
};

/* Sets the message to "<path>: <what>". */
void verify_blame(struct verify *v, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* The same, as an error. A macro, for the analyzer to see that it is one. */
#define verify_damaged(v, ...) (verify_blame((v), __VA_ARGS__), ERR_CORRUPT)

/* How far it is; what the callback returned. */
int verify_tell(struct verify *v);

/* verify_page.c: the metas; the tree's pages, every one in its place and
 * nowhere else, in order, as many as its record says. */
int verify_metas(struct verify *v);
struct lmdb_db verify_read_db(const uint8_t *in);
int verify_tree(struct verify_tree *tree, const struct lmdb_db *db);
/* Notes that the page is in use, or free. */
int verify_mark(struct verify *v, uint64_t page, const char *what);

#endif
