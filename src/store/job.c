/* Background work: one step in one write transaction. */
#include "internal.h"

#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include <stdlib.h>

enum visited { VISIT_KEEP, VISIT_DELETE, VISIT_STOP };

static bool is_disk_error(int err)
{
    return err == ERR_NOSPC || err == ERR_IO;
}

int store_job_step(struct store *store, struct store_job *job,
                   int64_t *pause_ns, bool *disk_failed, struct errmsg *msg)
{
    struct store_txn txn = {.store = store, .msg = msg};
    int err;
    int rc = mdb_txn_begin(store->env->mdb, NULL, 0, &txn.mdb);

    if (rc == 0) {
        *pause_ns = job->step(job->arg, &txn);
        err = txn.err;
        if (err != 0)
            mdb_txn_abort(txn.mdb);
        else
            err = store_commit(store, txn.mdb, store->flushed.pages, msg);
    } else {
        err = store_err(msg, rc, "begin a transaction");
    }
    *disk_failed = is_disk_error(err);
    return err;
}

/* The step can't commit after this. */
static int txn_fail(struct store_txn *txn, int err)
{
    if (txn->err == 0)
        txn->err = err;
    return err;
}

static int visit_one(struct store_txn *txn, enum store_bucket bucket,
                     MDB_cursor *cursor, MDB_val k, MDB_val v,
                     int (*visit)(void *arg, struct bytes key,
                                  struct bytes value),
                     void *arg, bool *stop)
{
    struct bytes key = bytes_of(k.mv_data, k.mv_size);
    struct bytes value;

    if (!store_record_check(bucket, key, bytes_of(v.mv_data, v.mv_size),
                            &value)) {
        store_report_corrupt(txn->store, bucket, key);
        return err_set(txn->msg, ERR_CORRUPT,
                       "a record of bucket %s fails its CRC",
                       store_bucket_name(bucket));
    }
    switch (visit(arg, key, value)) {
    case VISIT_KEEP:
        return 0;
    case VISIT_DELETE:
        return store_err(txn->msg, mdb_cursor_del(cursor, 0),
                         "delete from the store");
    default:
        *stop = true;
        return 0;
    }
}

int store_txn_scan(
    struct store_txn *txn, enum store_bucket bucket, struct bytes from,
    int (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    MDB_val k = {from.len, (void *)from.data};
    MDB_val v;
    MDB_cursor *cursor;
    bool stop = false;
    int err = 0;
    int rc = mdb_cursor_open(txn->mdb, txn->store->env->dbi[bucket], &cursor);

    if (rc != 0)
        return txn_fail(txn, store_err(txn->msg, rc, "read the store"));
    rc = mdb_cursor_get(cursor, &k, &v,
                        from.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    while (rc == 0) {
        err = visit_one(txn, bucket, cursor, k, v, visit, arg, &stop);
        if (err != 0 || stop)
            break;
        /* Behind a deleted record this is the one that took its place. */
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        err = store_err(txn->msg, rc, "read the store");
    mdb_cursor_close(cursor);
    return err != 0 ? txn_fail(txn, err) : 0;
}

int store_txn_put(struct store_txn *txn, enum store_bucket bucket,
                  struct bytes key, struct bytes value)
{
    MDB_val k = {key.len, (void *)key.data};
    MDB_val v = {value.len + STORE_CRC_LEN, NULL};
    int rc =
        mdb_put(txn->mdb, txn->store->env->dbi[bucket], &k, &v, MDB_RESERVE);

    if (rc != 0)
        return txn_fail(txn, store_err(txn->msg, rc, "write to the store"));
    if (value.len > 0)
        memcpy(v.mv_data, value.data, value.len);
    le_put_u32((uint8_t *)v.mv_data + value.len,
               store_record_crc(bucket, key, value));
    return 0;
}
