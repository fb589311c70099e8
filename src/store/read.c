/* Readers: a read transaction each, reset and renewed, on the generation of
 * the file that was current when it was made. */
#include "internal.h"

#include "chorad/base/check.h"
#include <sched.h>
#include <stdlib.h>

/*
 *            begin                end
 *   IDLE ------------> ACTIVE ------------> IDLE
 *    |                   |
 *    | swap              | swap
 *    v                   v         end: lets go of the old file
 *   TAKEN --> IDLE     STALE --------------> IDLE
 *
 * TAKEN lasts only while the swap closes the reader's transaction. */
enum reader_state { READER_IDLE, READER_ACTIVE, READER_STALE, READER_TAKEN };

struct store_reader {
    _Alignas(64) atomic_int state;
    struct store *store;
    struct store_env *env; /* NULL: none attached */
    MDB_txn *txn;          /* reset while idle */
    MDB_cursor *cursors[STORE_BUCKETS];
    struct store_reader *next;
    struct store_reader **link;
};

static bool move(struct store_reader *reader, int from, int to)
{
    return atomic_compare_exchange_strong_explicit(
        &reader->state, &from, to, memory_order_acq_rel, memory_order_acquire);
}

static void detach(struct store_reader *reader)
{
    if (reader->env == NULL)
        return;
    for (int i = 0; i < STORE_BUCKETS; i++) {
        if (reader->cursors[i] != NULL)
            mdb_cursor_close(reader->cursors[i]);
        reader->cursors[i] = NULL;
    }
    mdb_txn_abort(reader->txn);
    store_env_unref(reader->env);
    reader->txn = NULL;
    reader->env = NULL;
}

/* A transaction on the current generation, begun. */
static int attach(struct store_reader *reader)
{
    struct store *store = reader->store;
    struct store_env *env;
    int rc;

    pthread_mutex_lock(&store->readers_lock);
    env = store->env;
    atomic_fetch_add(&env->refs, 1);
    rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &reader->txn);
    if (rc == 0)
        reader->env = env;
    pthread_mutex_unlock(&store->readers_lock);
    if (rc == 0)
        return 0;
    reader->txn = NULL;
    store_env_unref(env);
    return store_err(NULL, rc, "read the store");
}

int store_reader_open(struct store *store, struct store_reader **out)
{
    struct store_reader *reader =
        aligned_alloc(_Alignof(struct store_reader), sizeof(*reader));
    int err;

    if (reader == NULL)
        return ERR_NOMEM;
    *reader = (struct store_reader){.store = store};
    atomic_init(&reader->state, READER_IDLE);
    pthread_mutex_lock(&store->readers_lock);
    reader->next = store->readers;
    reader->link = &store->readers;
    if (reader->next != NULL)
        reader->next->link = &reader->next;
    store->readers = reader;
    pthread_mutex_unlock(&store->readers_lock);
    /* Takes the slot in LMDB's table now, so that a full table shows here. */
    err = store_read_begin(reader);
    if (err != 0) {
        store_reader_close(reader);
        return err;
    }
    store_read_end(reader);
    *out = reader;
    return 0;
}

void store_reader_close(struct store_reader *reader)
{
    struct store *store = reader->store;

    pthread_mutex_lock(&store->readers_lock);
    *reader->link = reader->next;
    if (reader->next != NULL)
        reader->next->link = reader->link;
    pthread_mutex_unlock(&store->readers_lock);
    CHECK(atomic_load(&reader->state) == READER_IDLE);
    detach(reader);
    free(reader);
}

int store_read_begin(struct store_reader *reader)
{
    int err;

    while (!move(reader, READER_IDLE, READER_ACTIVE)) {
        CHECK(atomic_load(&reader->state) != READER_ACTIVE);
        sched_yield();
    }
    if (reader->txn != NULL)
        err = store_err(NULL, mdb_txn_renew(reader->txn), "read the store");
    else
        err = attach(reader);
    if (err != 0) {
        /* A transaction that couldn't be renewed is as good as reset. */
        if (!move(reader, READER_ACTIVE, READER_IDLE)) {
            detach(reader);
            atomic_store(&reader->state, READER_IDLE);
        }
    }
    return err;
}

void store_read_end(struct store_reader *reader)
{
    mdb_txn_reset(reader->txn);
    if (move(reader, READER_ACTIVE, READER_IDLE))
        return;
    CHECK(atomic_load(&reader->state) == READER_STALE);
    detach(reader);
    atomic_store_explicit(&reader->state, READER_IDLE, memory_order_release);
}

struct store_env *store_swap_env(struct store *store, struct store_env *env)
{
    struct store_env *old;

    pthread_mutex_lock(&store->readers_lock);
    old = store->env;
    store->env = env;
    for (struct store_reader *r = store->readers; r != NULL; r = r->next) {
        for (;;) {
            if (move(r, READER_IDLE, READER_TAKEN)) {
                detach(r);
                atomic_store(&r->state, READER_IDLE);
                break;
            }
            if (move(r, READER_ACTIVE, READER_STALE) ||
                atomic_load(&r->state) == READER_STALE)
                break;
        }
    }
    pthread_mutex_unlock(&store->readers_lock);
    return old;
}

unsigned store_readers_active(struct store *store)
{
    unsigned n = 0;

    pthread_mutex_lock(&store->readers_lock);
    for (struct store_reader *r = store->readers; r != NULL; r = r->next) {
        int state = atomic_load(&r->state);

        n += state == READER_ACTIVE || state == READER_STALE;
    }
    pthread_mutex_unlock(&store->readers_lock);
    return n;
}

void store_on_corrupt(struct store *store,
                      void (*corrupt)(void *arg, enum store_bucket bucket,
                                      struct bytes key),
                      void *arg)
{
    pthread_mutex_lock(&store->readers_lock);
    store->corrupt = corrupt;
    store->corrupt_arg = arg;
    pthread_mutex_unlock(&store->readers_lock);
}

void store_report_corrupt(struct store *store, enum store_bucket bucket,
                          struct bytes key)
{
    void (*corrupt)(void *, enum store_bucket, struct bytes);
    void *arg;

    pthread_mutex_lock(&store->readers_lock);
    corrupt = store->corrupt;
    arg = store->corrupt_arg;
    pthread_mutex_unlock(&store->readers_lock);
    if (corrupt != NULL)
        corrupt(arg, bucket, key);
}

int store_get(struct store_reader *reader, enum store_bucket bucket,
              struct bytes key, struct bytes *value)
{
    MDB_val k = {key.len, (void *)key.data};
    MDB_val v;
    int rc;

    CHECK(bucket < STORE_BUCKETS);
    /* LMDB can't have it, and refuses to look for it. */
    if (key.len == 0 || key.len > STORE_MAX_KEY)
        return ERR_NOTFOUND;
    rc = mdb_get(reader->txn, reader->env->dbi[bucket], &k, &v);
    if (rc != 0)
        return store_err(NULL, rc, "read the store");
    if (store_record_check(bucket, key, bytes_of(v.mv_data, v.mv_size), value))
        return 0;
    store_report_corrupt(reader->store, bucket, key);
    return ERR_CORRUPT;
}

static int get_cursor(struct store_reader *reader, enum store_bucket bucket,
                      MDB_cursor **out)
{
    MDB_cursor **cursor = &reader->cursors[bucket];
    int rc;

    if (*cursor == NULL)
        rc = mdb_cursor_open(reader->txn, reader->env->dbi[bucket], cursor);
    else
        rc = mdb_cursor_renew(reader->txn, *cursor);
    *out = *cursor;
    return rc;
}

int store_scan(struct store_reader *reader, enum store_bucket bucket,
               struct bytes from,
               int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg)
{
    MDB_val k = {from.len, (void *)from.data};
    MDB_val v;
    MDB_cursor *cursor;
    int rc;

    CHECK(bucket < STORE_BUCKETS);
    rc = get_cursor(reader, bucket, &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &k, &v,
                            from.len == 0 ? MDB_FIRST : MDB_SET_RANGE);
    while (rc == 0) {
        struct bytes key = bytes_of(k.mv_data, k.mv_size);
        struct bytes value;
        int result;

        if (!store_record_check(bucket, key, bytes_of(v.mv_data, v.mv_size),
                                &value)) {
            store_report_corrupt(reader->store, bucket, key);
            return ERR_CORRUPT;
        }
        result = visit(arg, key, value);
        if (result != 0)
            return result;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? 0 : store_err(NULL, rc, "read the store");
}

uint64_t store_count(struct store_reader *reader, enum store_bucket bucket)
{
    MDB_stat stat;

    CHECK(bucket < STORE_BUCKETS);
    CHECK(mdb_stat(reader->txn, reader->env->dbi[bucket], &stat) == 0);
    return stat.ms_entries;
}
