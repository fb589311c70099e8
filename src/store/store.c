/* Opening and closing the store, and what the loop queues. */
#include "internal.h"

#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_INTERVAL_NS 100000000u
#define DEFAULT_FLUSH_OPS 10000

int store_lock(const char *dir, int *fd, struct errmsg *msg)
{
    char *path = mem_printf("%s/lock", dir);
    int err = 0;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) {
        err = err_errno(msg, errno, "%s", path);
    } else if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK
                  ? err_set(msg, ERR_BUSY, "%s: another process holds it", path)
                  : err_errno(msg, errno, "%s", path);
        close(*fd);
    }
    free(path);
    return err;
}

/* What a defragmentation that was cut off has left. */
static int remove_leftovers(const struct store *store, struct errmsg *msg)
{
    static const char *const names[] = {
        STORE_FILE_TMP,
        STORE_FILE_TMP STORE_LOCK_SUFFIX,
    };
    int err = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && err == 0; i++) {
        char *path = mem_printf("%s/%s", store->dir, names[i]);

        err = file_remove_tree(path, msg);
        free(path);
    }
    return err;
}

static int get_u64(const struct store_env *env, MDB_txn *txn, const char *name,
                   uint64_t *n)
{
    MDB_val k = {strlen(name), (void *)name};
    MDB_val v;
    struct bytes value;
    int rc = mdb_get(txn, env->dbi[STORE_META], &k, &v);

    *n = 0;
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return rc;
    if (!store_record_check(STORE_META, bytes_of(name, strlen(name)),
                            bytes_of(v.mv_data, v.mv_size), &value) ||
        value.len != 8)
        return MDB_CORRUPTED;
    *n = be_get_u64(value.data);
    return 0;
}

static int load(struct store *store, struct errmsg *msg)
{
    struct store_env *env = store->env;
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);

    if (rc != 0)
        return store_err(msg, rc, store->dir);
    rc = get_u64(env, txn, "consistent_index", &store->open_index);
    if (rc == 0)
        rc = get_u64(env, txn, "term", &store->open_term);
    if (rc == 0)
        rc = store_env_in_use(env, txn, &store->in_use);
    if (rc == 0)
        rc = store_env_get_high_water(env, txn, &store->high_water);
    if (rc == 0 && store->high_water < store->in_use) {
        store->high_water = store->in_use;
        rc = store_env_put_high_water(env, txn, store->high_water);
    }
    if (rc != 0)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    store->file = store_env_file_size(env);
    store->page_size = env->page_size;
    atomic_init(&store->flushed_index, store->open_index);
    return store_err(msg, rc, store->dir);
}

static int open_file(struct store *store, struct errmsg *msg)
{
    char *path = mem_printf("%s/" STORE_FILE, store->dir);
    bool is_new = !file_exists(path);
    struct store_verify pages = {.records = false};
    int err = is_new ? 0 : store_verify(store->dir, &pages, msg);

    if (err == 0)
        err = store_env_open(path, &store->env_config, &store->env, msg);
    free(path);
    if (err != 0)
        return err;
    if (is_new && !store->config.no_sync)
        err = file_sync_dir(store->dir, msg);
    if (err == 0)
        err = load(store, msg);
    if (err != 0)
        store_env_unref(store->env);
    return err;
}

static void init_locks(struct store *store)
{
    pthread_condattr_t attr;

    CHECK(pthread_mutex_init(&store->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&store->size_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&store->readers_lock, NULL) == 0);
    CHECK(pthread_condattr_init(&attr) == 0);
    CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&store->wake, &attr) == 0);
    CHECK(pthread_cond_init(&store->parked, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

static struct store *new_store(const struct store_config *config)
{
    struct store *store = mem_zalloc(sizeof(*store));

    store->config = *config;
    store->dir = mem_strdup(config->dir);
    store->config.dir = store->dir;
    if (config->flush_interval_ns == 0)
        store->config.flush_interval_ns = DEFAULT_INTERVAL_NS;
    if (config->flush_ops == 0)
        store->config.flush_ops = DEFAULT_FLUSH_OPS;
    store->env_config.map_bytes =
        config->map_bytes != 0 ? config->map_bytes : STORE_MAP_BYTES;
    store->env_config.no_sync = config->no_sync;
    store->jobs_tail = &store->jobs;
    store->state = FLUSH_RUNS;
    init_locks(store);
    store_ops_init(&store->ops);
    store->published_place = store->ops.tail;
    return store;
}

static void free_store(struct store *store)
{
    store_ops_close(&store->ops);
    pthread_cond_destroy(&store->parked);
    pthread_cond_destroy(&store->wake);
    pthread_mutex_destroy(&store->readers_lock);
    pthread_mutex_destroy(&store->size_lock);
    pthread_mutex_destroy(&store->lock);
    free(store->dir);
    free(store);
}

int store_open(const struct store_config *config, struct store **out,
               struct errmsg *msg)
{
    struct store *store = new_store(config);
    int err = file_make_dirs(store->dir, msg);

    if (err != 0)
        goto err_after_new;
    err = store_lock(store->dir, &store->lock_fd, msg);
    if (err != 0)
        goto err_after_new;
    err = remove_leftovers(store, msg);
    if (err != 0)
        goto err_after_lock;
    err = open_file(store, msg);
    if (err != 0)
        goto err_after_lock;
    store_metrics_open(store);
    err = pthread_create(&store->thread, NULL, store_flush_main, store);
    if (err != 0) {
        err = err_errno(msg, err, "start the flush thread");
        goto err_after_env;
    }
    *out = store;
    return 0;

err_after_env:
    store_metrics_close(store);
    store_env_unref(store->env);
err_after_lock:
    close(store->lock_fd);
err_after_new:
    free_store(store);
    return err;
}

void store_stop(struct store *store)
{
    if (store->stopped)
        return;
    store_flush_stop(store);
    CHECK(pthread_join(store->thread, NULL) == 0);
    store->stopped = true;
}

void store_close(struct store *store)
{
    store_stop(store);
    CHECK(store->readers == NULL);
    store_retired_join(store, true);
    store_metrics_close(store);
    store_env_unref(store->env);
    close(store->lock_fd);
    free_store(store);
}

/* ---- queueing ----------------------------------------------------------- */

static struct op *append(struct store *store, enum op_kind kind,
                         enum store_bucket bucket, struct bytes key,
                         size_t value_len)
{
    struct ops *ops = &store->ops;
    uint64_t pages = kind == OP_PUT ? store_env_estimate(store->page_size,
                                                         key.len, value_len)
                                    : 0;
    struct op *op =
        store_ops_append(ops, kind, bucket, key.len, value_len, pages);

    memcpy(op->data, key.data, key.len);
    store_publish_counts(store);
    return op;
}

const uint8_t *store_put(struct store *store, enum store_bucket bucket,
                         struct bytes key, struct bytes value)
{
    return store_putv(store, bucket, key, &value, 1);
}

const uint8_t *store_putv(struct store *store, enum store_bucket bucket,
                          struct bytes key, const struct bytes *pieces,
                          size_t n)
{
    size_t len = 0;
    struct op *op;
    uint8_t *at;

    for (size_t i = 0; i < n; i++)
        len += pieces[i].len;
    op = append(store, OP_PUT, bucket, key, len);
    at = op->data + key.len;
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].len > 0)
            memcpy(at, pieces[i].data, pieces[i].len);
        at += pieces[i].len;
    }
    return op->data + key.len;
}

void store_delete(struct store *store, enum store_bucket bucket,
                  struct bytes key)
{
    (void)append(store, OP_DELETE, bucket, key, 0);
}

uint64_t store_seq(const struct store *store)
{
    return store->ops.count.seq;
}

/* ---- numbers --------------------------------------------------------------
 */

void store_consistent_index(const struct store *store, uint64_t *index,
                            uint64_t *term)
{
    *index = store->open_index;
    *term = store->open_term;
}

uint64_t store_flushed_index(const struct store *store)
{
    return atomic_load(&store->flushed_index);
}

uint64_t store_pending_bytes(const struct store *store)
{
    /* In this order the difference can't be negative. */
    uint64_t flushed = atomic_load(&store->flushed_bytes);

    return atomic_load(&store->queued_bytes) - flushed;
}

struct store_size store_size(const struct store *store)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&store->size_lock;
    struct store_size size;
    uint64_t high_water;

    pthread_mutex_lock(lock);
    size.in_use = store->in_use - store->flushed_pages;
    size.file = store->file;
    high_water = store->high_water;
    pthread_mutex_unlock(lock);
    size.in_use +=
        atomic_load_explicit(&store->queued_pages, memory_order_relaxed);
    size.total = size.in_use > high_water ? size.in_use : high_water;
    return size;
}
