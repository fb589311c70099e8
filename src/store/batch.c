/* Operations -> one LMDB transaction. */
#include "internal.h"

#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include <errno.h>

/* What a transaction holds at most, the last atomic unit excepted, which
 * isn't cut. LMDB keeps as much memory for good as the largest one needed. */
#define BATCH_OPS 10000
#define BATCH_BYTES (16 << 20)

struct batch {
    const struct store_env *env;
    MDB_txn *txn;
    MDB_cursor *cursors[STORE_BUCKETS]; /* closed by the transaction's end */
};

static int get_cursor(struct batch *b, enum store_bucket bucket,
                      MDB_cursor **out)
{
    int rc = 0;

    if (b->cursors[bucket] == NULL)
        rc = mdb_cursor_open(b->txn, b->env->dbi[bucket], &b->cursors[bucket]);
    *out = b->cursors[bucket];
    return rc;
}

static int put(struct batch *b, enum store_bucket bucket, struct bytes key,
               uint8_t *value, size_t value_len)
{
    MDB_val k = {key.len, (void *)key.data};
    MDB_val v = {value_len + STORE_CRC_LEN, value};
    MDB_cursor *cursor;
    int rc = get_cursor(b, bucket, &cursor);

    if (rc != 0)
        return rc;
    le_put_u32(value + value_len,
               store_record_crc(bucket, key, bytes_of(value, value_len)));
    /* Revisions come in order: appending needs no search and leaves full
     * pages behind. */
    if (bucket == STORE_KEY) {
        rc = mdb_cursor_put(cursor, &k, &v, MDB_APPEND);
        if (rc != MDB_KEYEXIST)
            return rc;
    }
    return mdb_cursor_put(cursor, &k, &v, 0);
}

static int delete (struct batch *b, enum store_bucket bucket, struct bytes key)
{
    MDB_val k = {key.len, (void *)key.data};
    MDB_cursor *cursor;
    int rc = get_cursor(b, bucket, &cursor);

    if (rc == 0)
        rc = mdb_cursor_get(cursor, &k, NULL, MDB_SET);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc == 0)
        rc = mdb_cursor_del(cursor, 0);
    return rc;
}

static int apply(struct batch *b, struct op *op)
{
    struct bytes key = bytes_of(op->data, op->key_len);

    if (op->kind == OP_DELETE)
        return delete (b, op->bucket, key);
    return put(b, op->bucket, key, op->data + op->key_len, op->value_len);
}

static int put_u64(struct batch *b, const char *name, uint64_t n)
{
    uint8_t value[8 + STORE_CRC_LEN];

    be_put_u64(value, n);
    return put(b, STORE_META, bytes_of(name, strlen(name)), value, 8);
}

static int run(struct batch *b, const struct ops_count *from,
               const struct ops_place *end, struct ops_place *place,
               struct op_mark *mark)
{
    int rc = 0;

    while (place->block != end->block || place->at != end->at) {
        struct op *op = store_ops_next(place);

        if (op->kind != OP_MARK) {
            rc = apply(b, op);
            if (rc != 0)
                return rc;
            continue;
        }
        *mark = *(struct op_mark *)(void *)op;
        if (mark->count.seq - from->seq >= BATCH_OPS ||
            mark->count.bytes - from->bytes >= BATCH_BYTES)
            break;
    }
    rc = put_u64(b, "consistent_index", mark->index);
    if (rc == 0)
        rc = put_u64(b, "term", mark->term);
    return rc;
}

int store_batch_run(struct store *store, const struct ops_place *end,
                    struct ops_place *place, struct op_mark *mark,
                    struct errmsg *msg)
{
    struct batch b = {.env = store->env};
    int rc = mdb_txn_begin(b.env->mdb, NULL, 0, &b.txn);

    if (rc != 0)
        return store_err(msg, rc, "begin a transaction");
    rc = run(&b, &store->flushed, end, place, mark);
    if (rc != 0) {
        mdb_txn_abort(b.txn);
        return store_err(msg, rc, "write to the store");
    }
    return store_commit(store, b.txn, mark->count.pages, msg);
}

int store_commit(struct store *store, MDB_txn *txn, uint64_t flushed_pages,
                 struct errmsg *msg)
{
    uint64_t in_use;
    uint64_t file;
    uint64_t start;
    double took;
    bool higher;
    int rc = store_env_in_use(store->env, txn, &in_use);

    /* Only this thread raises it, so it can be read without the lock. */
    higher = rc == 0 && in_use > store->high_water;
    if (higher)
        rc = store_env_put_high_water(store->env, txn, in_use);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return store_err(msg, rc, "write to the store");
    }
    start = clock_mono_ns();
    rc = mdb_txn_commit(txn);
    if (rc == EIO && store_env_disk_full(store->env))
        rc = ENOSPC;
    if (rc != 0)
        return store_err(msg, rc, "commit to the store");
    took = (double)(clock_mono_ns() - start) / 1e9;
    metric_observe(store->metrics.commit, took);
    metric_observe(store->metrics.commit_write, took);
    file = store_env_file_size(store->env);
    pthread_mutex_lock(&store->size_lock);
    store->in_use = in_use;
    if (higher)
        store->high_water = in_use;
    store->file = file;
    store->flushed_pages = flushed_pages;
    pthread_mutex_unlock(&store->size_lock);
    return 0;
}
