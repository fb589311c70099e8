/* Defragmentation: a compact copy takes the file's place. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A compaction just asked for is over in a moment most often, and the copy is
 * the smaller for it; a long one isn't waited for. */
#define JOBS_WAIT_NS 1000000000u

struct defrag {
    struct store *store;
    char *path; /* data.mdb */
    char *path_tmp;
    char *path_lock;
    char *path_tmp_lock;
    struct store_env *env; /* the new one */
    uint64_t in_use;
};

int store_claim_file(struct store *store, bool wait, struct errmsg *msg)
{
    int err = 0;

    pthread_mutex_lock(&store->lock);
    while (wait && store->defragging)
        pthread_cond_wait(&store->parked, &store->lock);
    if (store->defragging)
        err = err_set(msg, ERR_BUSY, "a defragmentation is under way");
    else if (store->stopping)
        err = err_set(msg, ERR_STOPPED, "the store is being closed");
    else
        store->defragging = true;
    pthread_mutex_unlock(&store->lock);
    return err;
}

void store_release_file(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->defragging = false;
    pthread_cond_broadcast(&store->parked);
    pthread_mutex_unlock(&store->lock);
}

static void await_jobs(struct store *store)
{
    uint64_t until = clock_mono_ns() + JOBS_WAIT_NS;
    struct timespec ts = {
        .tv_sec = (time_t)(until / 1000000000u),
        .tv_nsec = (long)(until % 1000000000u),
    };

    pthread_mutex_lock(&store->lock);
    while (store->jobs != NULL && store->failed == 0) {
        if (pthread_cond_timedwait(&store->parked, &store->lock, &ts) != 0)
            break;
    }
    pthread_mutex_unlock(&store->lock);
}

/* With the flush thread parked that is what the copy will hold. */
static uint64_t in_use(struct store *store)
{
    uint64_t bytes;

    pthread_mutex_lock(&store->size_lock);
    bytes = store->in_use;
    pthread_mutex_unlock(&store->size_lock);
    return bytes;
}

static int copy(struct defrag *d, struct errmsg *msg)
{
    int err = file_remove_tree(d->path_tmp_lock, msg);

    if (err == 0)
        err = file_remove_tree(d->path_tmp, msg);
    if (err == 0)
        err = store_copy(d->store, d->path_tmp, in_use(d->store), msg);
    return err;
}

static int count_entries(const struct store_env *env, size_t *counts)
{
    MDB_txn *txn;
    MDB_stat stat;
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return rc;
    for (int i = 0; i < STORE_BUCKETS && rc == 0; i++) {
        rc = mdb_stat(txn, env->dbi[i], &stat);
        counts[i] = stat.ms_entries;
    }
    mdb_txn_abort(txn);
    return rc;
}

/* The copy has to hold as many records as the file it replaces. */
static int compare(const struct defrag *d, struct errmsg *msg)
{
    size_t before[STORE_BUCKETS];
    size_t after[STORE_BUCKETS];
    int rc = count_entries(d->store->env, before);

    if (rc == 0)
        rc = count_entries(d->env, after);
    if (rc != 0)
        return store_err(msg, rc, d->path_tmp);
    for (int i = 0; i < STORE_BUCKETS; i++) {
        if (before[i] != after[i])
            return err_set(msg, ERR_CORRUPT,
                           "%s: bucket %s has %zu records, %zu were copied",
                           d->path_tmp, store_bucket_name(i), before[i],
                           after[i]);
    }
    return 0;
}

static int reset_high_water(struct defrag *d, struct errmsg *msg)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(d->env->mdb, NULL, 0, &txn);

    if (rc != 0)
        return store_err(msg, rc, d->path_tmp);
    rc = store_env_in_use(d->env, txn, &d->in_use);
    if (rc == 0)
        rc = store_env_put_high_water(d->env, txn, d->in_use);
    if (rc != 0)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    return store_err(msg, rc, d->path_tmp);
}

/* From the rename on, the new file is the store. Should the directory not
 * sync, a power failure may bring the old one back, without what is flushed
 * from now on: that is a failure of the disk like any other. */
static int swap(struct defrag *d, struct errmsg *msg)
{
    struct store *store = d->store;
    uint64_t file = store_env_file_size(d->env);
    struct store_env *old;
    int err;

    if (rename(d->path_tmp, d->path) != 0)
        return err_errno(msg, errno, "rename %s", d->path_tmp);
    err = file_sync_dir(store->dir, msg);
    /* For tools that look at the running store; LMDB itself has it open. */
    (void)rename(d->path_tmp_lock, d->path_lock);
    old = store_swap_env(store, d->env);
    d->env = NULL;
    if (err == 0)
        store_retire(store, old);
    else
        store_env_unref(old);
    pthread_mutex_lock(&store->size_lock);
    store->in_use = d->in_use;
    store->high_water = d->in_use;
    store->file = file;
    pthread_mutex_unlock(&store->size_lock);
    if (err != 0)
        store_fail(store, err, msg);
    return err;
}

/* The copy may have come far. */
static void give_up(const struct defrag *d)
{
    int fd = open(d->path_tmp, O_WRONLY | O_CLOEXEC);

    (void)file_remove_tree(d->path_tmp, NULL);
    (void)file_remove_tree(d->path_tmp_lock, NULL);
    if (fd < 0)
        return;
    file_dissolve(fd, NULL);
    close(fd);
}

static int run(struct defrag *d, struct errmsg *msg)
{
    int err = store_park(d->store);

    if (err != 0)
        return err_set(msg, err, "the store has failed");
    err = copy(d, msg);
    if (err == 0)
        err = store_env_open(d->path_tmp, &d->store->env_config, &d->env, msg);
    if (err == 0)
        err = compare(d, msg);
    if (err == 0)
        err = reset_high_water(d, msg);
    if (err == 0)
        err = swap(d, msg);
    if (d->env != NULL)
        store_env_unref(d->env);
    if (err != 0)
        give_up(d);
    store_unpark(d->store);
    return err;
}

static int run_with_paths(struct store *store, struct errmsg *msg)
{
    struct defrag d = {
        .store = store,
        .path = mem_printf("%s/" STORE_FILE, store->dir),
        .path_tmp = mem_printf("%s/" STORE_FILE_TMP, store->dir),
        .path_lock = mem_printf("%s/" STORE_FILE STORE_LOCK_SUFFIX, store->dir),
        .path_tmp_lock =
            mem_printf("%s/" STORE_FILE_TMP STORE_LOCK_SUFFIX, store->dir),
    };
    int err = run(&d, msg);

    free(d.path);
    free(d.path_tmp);
    free(d.path_lock);
    free(d.path_tmp_lock);
    return err;
}

static void log_end(const struct store *store, int err,
                    const struct errmsg *msg, const struct store_size *before,
                    uint64_t took_ns)
{
    struct store_size after = store_size(store);

    if (err != 0) {
        log_error("failed to defragment", LOG_STR("path", store->dir),
                  LOG_STR("error", msg->text));
        return;
    }
    log_info("finished defragmenting directory", LOG_STR("path", store->dir),
             LOG_I64("current-db-size-bytes-diff",
                     (int64_t)after.total - (int64_t)before->total),
             LOG_U64("current-db-size-bytes", after.total),
             LOG_U64("current-db-size-in-use-bytes", after.in_use),
             LOG_NS("took", took_ns));
}

int store_defrag(struct store *store, struct errmsg *msg)
{
    struct errmsg own;
    struct store_size before;
    uint64_t began;
    int err;

    if (msg == NULL)
        msg = &own;
    err = store_claim_file(store, false, msg);
    if (err != 0)
        return err;
    metric_set(store->metrics.defrag_inflight, 1);
    began = clock_mono_ns();
    err = store_flush_wait(store);
    if (err != 0)
        (void)err_set(msg, err, "the store has failed");
    await_jobs(store);
    before = store_size(store);
    log_info("defragmenting", LOG_STR("path", store->dir),
             LOG_U64("current-db-size-bytes", before.total),
             LOG_U64("current-db-size-in-use-bytes", before.in_use));
    if (err == 0)
        err = run_with_paths(store, msg);
    log_end(store, err, msg, &before, clock_mono_ns() - began);
    metric_observe(store->metrics.defrag,
                   (double)(clock_mono_ns() - began) / 1e9);
    metric_set(store->metrics.defrag_inflight, 0);
    store_release_file(store);
    return err;
}
