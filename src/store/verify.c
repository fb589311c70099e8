/* The store's file, looked at without LMDB, which trusts what it finds there:
 * first that every page is what it should be, then the records' CRCs. */
#include "verify.h"

#include "chorad/base/be.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- records --------------------------------------------------------------
 */

int verify_tell(struct verify *v)
{
    const struct store_verify *c = v->config;

    return c->progress != NULL
               ? c->progress(c->arg, v->done, v->meta.last_page + 1)
               : 0;
}

/* A revision is named as such. */
static char *key_text(enum store_bucket bucket, struct bytes key)
{
    struct buf out = {0};

    if (bucket == STORE_KEY && key.len >= 17)
        buf_printf(&out, "revision {%" PRIu64 " %" PRIu64 "}",
                   be_get_u64(key.data), be_get_u64(key.data + 9));
    else
        for (size_t i = 0; i < key.len && i < 40; i++)
            buf_printf(&out,
                       key.data[i] > ' ' && key.data[i] < 0x7f ? "%c"
                                                               : "\\x%02x",
                       key.data[i]);
    buf_append(&out, "", 1);
    return (char *)out.data;
}

/* Damaged records don't keep others from being looked at. */
static int check_record(struct verify_tree *t, uint64_t page, struct bytes key,
                        struct bytes data)
{
    struct verify *v = t->v;
    struct bytes value;
    char *text;

    if (!v->config->records || store_record_check(t->bucket, key, data, &value))
        return 0;
    text = key_text(t->bucket, key);
    verify_blame(v,
                 "bucket %s, %s (page %" PRIu64 "): the record "
                 "doesn't match its checksum",
                 t->name, text, page);
    free(text);
    return v->config->damaged != NULL
               ? v->config->damaged(v->config->arg, v->msg->text)
               : ERR_CORRUPT;
}

static int visit_record(struct verify_tree *t, uint64_t page, struct bytes key,
                        struct bytes data, uint16_t flags)
{
    if (flags & NODE_DATABASE)
        return verify_damaged(t->v,
                              "page %" PRIu64 ": a database inside of "
                              "bucket %s",
                              page, t->name);
    return check_record(t, page, key, data);
}

/* ---- the directory of buckets ---------------------------------------------
 */

static enum store_bucket bucket_of(struct bytes name)
{
    int b = 0;

    while (b < STORE_BUCKETS &&
           bytes_cmp(name, bytes_of(store_bucket_name(b),
                                    strlen(store_bucket_name(b)))) != 0)
        b++;
    return (enum store_bucket)b;
}

/* Records beside the buckets are the store's own, see env.c. */
static int visit_main(struct verify_tree *t, uint64_t page, struct bytes key,
                      struct bytes data, uint16_t flags)
{
    struct verify_tree bucket = {.v = t->v, .node = visit_record};
    struct lmdb_db db;

    if ((flags & NODE_DATABASE) == 0)
        return 0;
    bucket.bucket = bucket_of(key);
    if (data.len != DB_BYTES || bucket.bucket == STORE_BUCKETS)
        return verify_damaged(t->v, "page %" PRIu64 ": a bucket that isn't one",
                              page);
    bucket.name = store_bucket_name(bucket.bucket);
    db = verify_read_db(data.data);
    if (db.flags != 0)
        return verify_damaged(t->v, "bucket %s has flags %#x", bucket.name,
                              db.flags);
    return verify_tree(&bucket, &db);
}

/* ---- free pages -----------------------------------------------------------
 */

static int visit_free(struct verify_tree *t, uint64_t page, struct bytes key,
                      struct bytes data, uint16_t flags)
{
    struct verify *v = t->v;
    uint64_t count = data.len >= 8 ? le_get_u64(data.data) : UINT64_MAX;
    uint64_t last = UINT64_MAX;

    if (flags & NODE_DATABASE || key.len != 8 || data.len % 8 != 0 ||
        count > data.len / 8 - 1 || le_get_u64(key.data) > v->meta.txn)
        return verify_damaged(v, "page %" PRIu64 ": not a list of free pages",
                              page);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t free_page = le_get_u64(data.data + 8 + i * 8);
        int err;

        if (free_page >= last)
            return verify_damaged(v,
                                  "page %" PRIu64 ": the free pages aren't "
                                  "in order",
                                  page);
        last = free_page;
        err = verify_mark(v, free_page, "free pages");
        if (err != 0)
            return err;
    }
    return 0;
}

/* ---- the file -------------------------------------------------------------
 */

/* Buckets and free pages may be there, then the pages of none of them twice. */
static int verify_all(struct verify *v)
{
    struct verify_tree main = {
        .v = v, .name = "buckets", .bucket = STORE_BUCKETS, .node = visit_main};
    struct verify_tree free_pages = {.v = v,
                                     .name = "free pages",
                                     .bucket = STORE_BUCKETS,
                                     .numbers = true,
                                     .node = visit_free};
    uint64_t bytes;
    int err = verify_metas(v);

    if (err != 0)
        return err;
    bytes = v->meta.last_page / 8 + 1;
    v->seen = mem_try_alloc((size_t)bytes);
    if (v->seen == NULL)
        return err_set(v->msg, ERR_NOMEM, "%s: no memory for %" PRIu64 " bytes",
                       v->path, bytes);
    memset(v->seen, 0, (size_t)bytes);
    err = verify_tree(&main, &v->meta.main);
    if (err == 0)
        err = verify_tree(&free_pages, &v->meta.free);
    free(v->seen);
    return err == 0 ? verify_tell(v) : err;
}

static int verify_fd(struct verify *v, int fd)
{
    struct stat st;
    void *map;
    int err;

    if (fstat(fd, &st) != 0)
        return err_errno(v->msg, errno, "%s", v->path);
    v->size = (uint64_t)st.st_size;
    if (v->size == 0)
        return 0; /* as a crash leaves it that comes right after its making */
    map = mmap(NULL, (size_t)v->size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return err_errno(v->msg, errno, "%s: mmap", v->path);
    v->map = map;
    err = verify_all(v);
    (void)munmap(map, (size_t)v->size);
    return err;
}

int store_verify(const char *dir, const struct store_verify *config,
                 struct errmsg *msg)
{
    struct errmsg unread;
    char *path = mem_printf("%s/" STORE_FILE, dir);
    struct verify v = {
        .config = config,
        .msg = msg != NULL ? msg : &unread,
        .path = path,
    };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int err;

    if (fd < 0) {
        err = err_errno(v.msg, errno, "%s", path);
    } else {
        err = verify_fd(&v, fd);
        (void)close(fd);
    }
    free(path);
    return err;
}
