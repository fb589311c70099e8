/* A store made at once, from records that come sorted. */
#include "internal.h"

#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/file.h"
#include <errno.h>
#include <stdlib.h>

/* A transaction's: large ones spare syncs, but LMDB keeps all of it in memory,
 * and what is synced in one go keeps the disk from others. */
#define TXN_BYTES (16 << 20)
/* Live pages can be a little less than full, and defragmented later. */
#define MAP_FACTOR 4

struct store_builder {
    char *dir;
    struct store_env *env;
    MDB_txn *txn;
    MDB_cursor *cursor; /* of `bucket`, in `txn` */
    enum store_bucket bucket;
    uint64_t txn_bytes;
    uint8_t *value; /* a value with its CRC behind it */
    size_t value_cap;
    int failed;
};

static int builder_err(const struct store_builder *b, int rc, const char *what,
                       struct errmsg *msg)
{
    if (rc == EIO && store_env_disk_full(b->env))
        rc = ENOSPC;
    rc = store_err(msg, rc, what);
    return rc != 0 ? err_wrap(msg, rc, "%s", b->dir) : 0;
}

static int begin(struct store_builder *b, struct errmsg *msg)
{
    b->txn_bytes = 0;
    return builder_err(b, mdb_txn_begin(b->env->mdb, NULL, 0, &b->txn),
                       "begin a transaction", msg);
}

/* The transaction is gone, whatever comes. */
static int commit(struct store_builder *b, struct errmsg *msg)
{
    MDB_txn *txn = b->txn;

    b->txn = NULL;
    b->cursor = NULL;
    return builder_err(b, mdb_txn_commit(txn), "commit", msg);
}

static int open_env(struct store_builder *b, uint64_t bytes, struct errmsg *msg)
{
    struct env_config config = {.map_bytes = STORE_MAP_BYTES};
    char *path = mem_printf("%s/" STORE_FILE, b->dir);
    int err;

    if (bytes > config.map_bytes / MAP_FACTOR)
        config.map_bytes = bytes * MAP_FACTOR;
    err = store_env_open(path, &config, &b->env, msg);
    free(path);
    return err;
}

int store_builder_open(const char *dir, uint64_t bytes,
                       struct store_builder **out, struct errmsg *msg)
{
    struct store_builder *b = mem_zalloc(sizeof(*b));
    int err = file_remove_tree(dir, msg);

    b->dir = mem_strdup(dir);
    if (err == 0)
        err = file_make_dirs(dir, msg);
    if (err == 0)
        err = open_env(b, bytes, msg);
    if (err == 0)
        err = begin(b, msg);
    if (err != 0) {
        store_builder_close(b);
        return err;
    }
    *out = b;
    return 0;
}

void store_builder_close(struct store_builder *b)
{
    if (b == NULL)
        return;
    if (b->txn != NULL)
        mdb_txn_abort(b->txn);
    if (b->env != NULL)
        store_env_unref(b->env);
    free(b->value);
    free(b->dir);
    free(b);
}

static bool with_crc(struct store_builder *b, enum store_bucket bucket,
                     struct bytes key, struct bytes value)
{
    size_t need = value.len + STORE_CRC_LEN;

    if (need > b->value_cap) {
        uint8_t *room = mem_try_alloc(need);

        if (room == NULL)
            return false;
        free(b->value);
        b->value = room;
        b->value_cap = need;
    }
    if (value.len > 0)
        memcpy(b->value, value.data, value.len);
    le_put_u32(b->value + value.len, store_record_crc(bucket, key, value));
    return true;
}

static int append(struct store_builder *b, enum store_bucket bucket,
                  struct bytes key, size_t value_len)
{
    MDB_val k = {key.len, (void *)key.data};
    MDB_val v = {value_len + STORE_CRC_LEN, b->value};
    int rc = 0;

    if (b->cursor == NULL || b->bucket != bucket) {
        rc = mdb_cursor_open(b->txn, b->env->dbi[bucket], &b->cursor);
        b->bucket = bucket;
    }
    return rc == 0 ? mdb_cursor_put(b->cursor, &k, &v, MDB_APPEND) : rc;
}

static int put(struct store_builder *b, enum store_bucket bucket,
               struct bytes key, struct bytes value, struct errmsg *msg)
{
    const char *name = store_bucket_name(bucket);
    int rc;

    if (key.len == 0 || key.len > STORE_MAX_KEY)
        return err_set(msg, ERR_UNSUPPORTED,
                       "bucket %s has a key of %zu bytes, the store takes 1 "
                       "to %d",
                       name, key.len, STORE_MAX_KEY);
    if (!with_crc(b, bucket, key, value))
        return err_set(msg, ERR_NOMEM, "bucket %s: no memory for %zu bytes",
                       name, value.len);
    rc = append(b, bucket, key, value.len);
    if (rc == MDB_KEYEXIST)
        return err_set(msg, ERR_INVALID, "bucket %s: records aren't sorted",
                       name);
    if (rc != 0)
        return builder_err(b, rc, name, msg);
    b->txn_bytes += key.len + value.len;
    if (b->txn_bytes < TXN_BYTES)
        return 0;
    rc = commit(b, msg);
    return rc == 0 ? begin(b, msg) : rc;
}

int store_builder_put(struct store_builder *b, enum store_bucket bucket,
                      struct bytes key, struct bytes value, struct errmsg *msg)
{
    CHECK(b->failed == 0 && bucket < STORE_BUCKETS);
    b->failed = put(b, bucket, key, value, msg);
    return b->failed;
}

int store_builder_finish(struct store_builder *b, struct errmsg *msg)
{
    uint64_t in_use;
    int rc;
    int err;

    CHECK(b->failed == 0);
    rc = store_env_in_use(b->env, b->txn, &in_use);
    if (rc == 0)
        rc = store_env_put_high_water(b->env, b->txn, in_use);
    err = rc == 0 ? commit(b, msg) : builder_err(b, rc, "finish", msg);
    if (err == 0)
        err = file_sync_dir(b->dir, msg);
    b->failed = err;
    return err;
}
