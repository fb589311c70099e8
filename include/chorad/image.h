/* Database images: the bbolt files in which etcd keeps its data and hands it
 * out as a snapshot. A codec without I/O of its own: the writer gives its
 * bytes to a callback in one sequential pass, the reader takes them from
 * memory or through a callback.
 *
 * An image (bbolt format version 2, little endian) is a row of pages. Pages 0
 * and 1 are metas, the valid one with the larger txid counts. An empty image
 * with 4096-byte pages, as the writer makes it with txid 2:
 *
 *   0000  00 00 00 00 00 00 00 00  page id          0
 *   0008  04 00 00 00 00 00 00 00  flags 4 (meta), count 0, overflow 0
 *   0010  ed da 0c ed 02 00 00 00  magic 0xED0CDAED, version 2
 *   0018  00 10 00 00 00 00 00 00  page size 4096, flags 0
 *   0020  02 00 00 00 00 00 00 00  root bucket: its page
 *   0028  00 00 00 00 00 00 00 00               its sequence
 *   0030  ff ff ff ff ff ff ff ff  page of the list of free pages, or none
 *   0038  03 00 00 00 00 00 00 00  high water: pages there are
 *   0040  02 00 00 00 00 00 00 00  txid
 *   0048  40 67 af 04 a0 b1 68 e3  FNV-1a-64 of the 56 bytes from 0010 on
 *
 * Page header, 16 bytes:
 *
 *   id u64 | flags u16 | count u16 | overflow u32   (pages that belong to it)
 *
 * flags: 1 branch, 2 leaf, 4 meta, 16 free list. Behind a leaf's header:
 * `count` elements, then their keys and values; pos counts from the element:
 *
 *   flags u32 (1: the value is a bucket) | pos u32 | ksize u32 | vsize u32
 *
 * A branch's elements; the key is the smallest one below the child:
 *
 *   pos u32 | ksize u32 | child's page id u64
 *
 * A bucket's value is {root page u64, sequence u64}; root 0 means that a leaf
 * page follows right there ("inline"). Buckets lie in the root bucket under
 * their names. A list of free pages: `count` page ids, or count 0xffff and
 * the real count before them. */
#ifndef CHORAD_IMAGE_H
#define CHORAD_IMAGE_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include <stdbool.h>
#include <stdint.h>

#define IMAGE_PAGE_BYTES 4096u
/* Longer keys aren't written; LMDB's limit is 511. */
#define IMAGE_KEY_MAX 1000u

/* ---- writing ---------------------------------------------------------- */

/* The same buckets and records are given twice, in the order of their bytes:
 * the first pass counts pages, the second one writes. Pages come out as they
 * fill, a branch behind the last of its children, so that memory is a page or
 * two per level of the tree whatever the size.
 *
 *   open  { bucket { put } }  plan  { bucket { put } }  finish  close */
struct image_writer;

/* Takes the image's next bytes, which are lent for the time of the call.
 * What it returns other than 0 ends the pass and is returned by the call
 * that wrote. */
typedef int (*image_write_cb)(void *arg, struct bytes bytes);

/* Begins the first pass. */
struct image_writer *image_writer_open(void);
void image_writer_close(struct image_writer *writer);

/* Begins a bucket, which may stay empty. ERR_INVALID: not behind the one
 * before; ERR_TOOBIG: a name over IMAGE_KEY_MAX. The name is copied. */
int image_writer_bucket(struct image_writer *writer, struct bytes name);

/* A record of that bucket; key and value are lent for the time of the call.
 * ERR_INVALID: an empty key, or not behind the one before. ERR_TOOBIG: a key
 * over IMAGE_KEY_MAX or a value over 2 GiB. */
int image_writer_put(struct image_writer *writer, struct bytes key,
                     struct bytes value);

/* Ends the first pass and begins the second one by writing the meta pages.
 * `txid` is at least 1; an even one lets bbolt's next commit leave the newest
 * meta alone. */
int image_writer_plan(struct image_writer *writer, uint64_t txid,
                      image_write_cb write, void *arg);

/* Bytes of the whole image; after the first pass. */
uint64_t image_writer_size(const struct image_writer *writer);

/* Ends the second pass: everything is written. ERR_INVALID: it wasn't the
 * same as the first one. */
int image_writer_finish(struct image_writer *writer);

/* ---- reading ---------------------------------------------------------- */

/* Where an image's bytes come from. */
struct image_source {
    uint64_t size;
    /* All of it; or NULL, and `read_at` fills exactly `len` bytes, 0 or an
     * error. */
    const uint8_t *map;
    int (*read_at)(void *arg, uint64_t offset, void *data, size_t len);
    void *arg;
};

struct image_info {
    uint32_t page_bytes;
    uint64_t txid;
    uint64_t pages;     /* high water; a file may be longer */
    uint64_t root;      /* page of the root bucket */
    uint64_t free_list; /* its page, or UINT64_MAX */
};

/* Finds the newest valid meta page. Page sizes from 4 to 64 KiB. ERR_CORRUPT:
 * none of the two is valid, or the file is shorter than they say; ERR_IO or
 * what read_at returned. */
int image_info_read(const struct image_source *source, struct image_info *info,
                    struct errmsg *msg);

#define IMAGE_SKIP 1

/* What a walk calls; bytes are lent for the time of the call. What they return
 * other than 0 ends the walk and is returned. */
struct image_visitor {
    /* A bucket begins; its records follow, unless IMAGE_SKIP is returned: then
     * its pages aren't even looked at. Optional. */
    int (*bucket)(void *arg, struct bytes name);
    int (*record)(void *arg, struct bytes key, struct bytes value);
    void *arg;
};

/* Visits all buckets and records in the order of their bytes. Every page is
 * checked before anything in it is used: its place, kind and number, each
 * element's bounds, the order of keys within what the pages above promise,
 * and that no page is there twice or free as well. ERR_CORRUPT names page
 * and reason; ERR_UNSUPPORTED for a bucket inside of a bucket, which etcd
 * doesn't make; ERR_NOMEM for a page too large for memory. Takes a bit per
 * page, and one page per level of the tree where there is no map. */
int image_walk(const struct image_source *source,
               const struct image_visitor *visitor, struct errmsg *msg);

#endif
