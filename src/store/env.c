/* One generation of the LMDB file: opening it, its size, its errors. */
#include "internal.h"

#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MAX_READERS 512
#define META_PAGES 2
/* With less than that a disk is full for our purposes. */
#define FULL_BYTES (256 << 10)
/* LMDB's page header, and what a record in a page costs besides its bytes. */
#define PAGE_HEADER 16
#define NODE_HEADER 8
#define NODE_POINTER 2

static const char high_water_key[] = "chorad.high_water";

int store_err(struct errmsg *msg, int mdb_rc, const char *what)
{
    int err;

    switch (mdb_rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        err = ERR_NOTFOUND;
        break;
    case MDB_MAP_FULL:
        err = ERR_NOSPC;
        break;
    case MDB_BAD_VALSIZE:
        err = ERR_INVALID;
        break;
    case MDB_READERS_FULL:
        err = ERR_BUSY;
        break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_BAD_TXN:
        err = ERR_CORRUPT;
        break;
    default:
        if (mdb_rc > 0)
            return err_errno(msg, mdb_rc, "%s", what);
        err = ERR_IO;
        break;
    }
    return err_set(msg, err, "%s: %s", what, mdb_strerror(mdb_rc));
}

static uint64_t file_length(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A file that was cut short would raise SIGBUS behind its end, so it is made as
 * long as its header says. That alone doesn't mean damage: free pages at the
 * end may never have been written. */
static int extend(struct store_env *env, const char *path, uint64_t length,
                  struct errmsg *msg)
{
    MDB_envinfo info;
    MDB_stat stat;
    uint64_t needed;
    int rc = mdb_env_info(env->mdb, &info);

    if (rc == 0)
        rc = mdb_env_stat(env->mdb, &stat);
    if (rc != 0)
        return store_err(msg, rc, path);
    env->page_size = stat.ms_psize;
    needed = (info.me_last_pgno + 1) * (uint64_t)stat.ms_psize;
    if (length == 0 || length >= needed)
        return 0;
    if (needed > info.me_mapsize)
        return err_set(msg, ERR_CORRUPT, "%s: its header is damaged", path);
    if (truncate(path, (off_t)needed) != 0)
        return err_errno(msg, errno, "%s", path);
    return 0;
}

/* Live pages that lie behind the end the file had: damage for certain. Of
 * smaller losses LMDB and the CRCs tell when they are read. */
static int check_length(uint64_t length, uint64_t in_use, const char *path,
                        struct errmsg *msg)
{
    if (length >= in_use)
        return 0;
    return err_set(msg, ERR_CORRUPT,
                   "%s: cut short: %llu bytes, at least %llu are in use", path,
                   (unsigned long long)length, (unsigned long long)in_use);
}

static int add_pages(MDB_txn *txn, MDB_dbi dbi, uint64_t *pages)
{
    MDB_stat stat;
    int rc = mdb_stat(txn, dbi, &stat);

    if (rc == 0)
        *pages +=
            stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    return rc;
}

/* Opens what is there, and makes what isn't. *in_use: the bytes of what was
 * there; buckets that are made now may lie behind the end of the file. */
static int open_or_make(struct store_env *env, MDB_txn *txn, uint64_t *in_use)
{
    bool missing[STORE_BUCKETS] = {false};
    uint64_t pages = META_PAGES;
    int rc = mdb_dbi_open(txn, NULL, 0, &env->main);

    if (rc == 0)
        rc = add_pages(txn, env->main, &pages);
    for (int i = 0; i < STORE_BUCKETS && rc == 0; i++) {
        rc = mdb_dbi_open(txn, store_bucket_name(i), 0, &env->dbi[i]);
        missing[i] = rc == MDB_NOTFOUND;
        rc = missing[i] ? 0 : rc;
        if (rc == 0 && !missing[i])
            rc = add_pages(txn, env->dbi[i], &pages);
    }
    *in_use = pages * env->page_size;
    for (int i = 0; i < STORE_BUCKETS && rc == 0; i++)
        if (missing[i])
            rc = mdb_dbi_open(txn, store_bucket_name(i), MDB_CREATE,
                              &env->dbi[i]);
    return rc;
}

static int open_buckets(struct store_env *env, const char *path,
                        uint64_t length, struct errmsg *msg)
{
    MDB_txn *txn;
    uint64_t in_use;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);

    if (rc != 0)
        return store_err(msg, rc, path);
    rc = store_err(msg, open_or_make(env, txn, &in_use), path);
    if (rc == 0 && length != 0)
        rc = check_length(length, in_use, path, msg);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    return store_err(msg, rc, path);
}

_Noreturn static void on_assert(MDB_env *mdb, const char *text)
{
    (void)mdb;
    check_failed(text, "liblmdb", 0);
}

static int configure(MDB_env *mdb, const struct env_config *config)
{
    int rc = mdb_env_set_mapsize(mdb, config->map_bytes);

    if (rc == 0)
        rc = mdb_env_set_maxdbs(mdb, STORE_BUCKETS);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(mdb, MAX_READERS);
    if (rc == 0)
        rc = mdb_env_set_assert(mdb, on_assert);
    return rc;
}

int store_env_open(const char *path, const struct env_config *config,
                   struct store_env **out, struct errmsg *msg)
{
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS;
    struct store_env *env = mem_zalloc(sizeof(*env));
    uint64_t length = file_length(path);
    int rc = mdb_env_create(&env->mdb);
    int err;

    if (rc != 0) {
        free(env);
        return store_err(msg, rc, path);
    }
    atomic_init(&env->refs, 1);
    CHECK(sem_init(&env->unused, 0, 0) == 0);
    if (config->no_sync)
        flags |= MDB_NOSYNC;
    rc = configure(env->mdb, config);
    if (rc == 0)
        rc = mdb_env_open(env->mdb, path, flags, 0600);
    err = store_err(msg, rc, path);
    if (err == 0)
        err = extend(env, path, length, msg);
    if (err == 0)
        err = open_buckets(env, path, length, msg);
    if (err == 0) {
        *out = env;
        return 0;
    }
    /* A file that is refused stays as it was found. */
    if (length != 0 && file_length(path) > length)
        (void)!truncate(path, (off_t)length);
    store_env_unref(env);
    return err;
}

void store_env_unref(struct store_env *env)
{
    if (atomic_fetch_sub(&env->refs, 1) != 1)
        return;
    if (env->retired)
        CHECK(sem_post(&env->unused) == 0);
    else
        store_env_close(env);
}

void store_env_close(struct store_env *env)
{
    mdb_env_close(env->mdb);
    CHECK(sem_destroy(&env->unused) == 0);
    free(env);
}

int store_env_in_use(const struct store_env *env, MDB_txn *txn, uint64_t *bytes)
{
    uint64_t pages = META_PAGES;
    int rc = add_pages(txn, env->main, &pages);

    for (int i = 0; i < STORE_BUCKETS && rc == 0; i++)
        rc = add_pages(txn, env->dbi[i], &pages);
    *bytes = pages * env->page_size;
    return rc;
}

int store_env_get_high_water(const struct store_env *env, MDB_txn *txn,
                             uint64_t *bytes)
{
    MDB_val key = {sizeof(high_water_key) - 1, (void *)high_water_key};
    MDB_val value;
    int rc = mdb_get(txn, env->main, &key, &value);

    *bytes = 0;
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return rc;
    if (value.mv_size != 8 + STORE_CRC_LEN ||
        crc32c(0, value.mv_data, 8) !=
            le_get_u32((const uint8_t *)value.mv_data + 8))
        return MDB_CORRUPTED;
    *bytes = le_get_u64(value.mv_data);
    return 0;
}

int store_env_put_high_water(const struct store_env *env, MDB_txn *txn,
                             uint64_t bytes)
{
    uint8_t record[8 + STORE_CRC_LEN];
    MDB_val key = {sizeof(high_water_key) - 1, (void *)high_water_key};
    MDB_val value = {sizeof(record), record};

    le_put_u64(record, bytes);
    le_put_u32(record + 8, crc32c(0, record, 8));
    return mdb_put(txn, env->main, &key, &value, 0);
}

uint64_t store_env_file_size(const struct store_env *env)
{
    struct stat st;
    int fd;

    CHECK(mdb_env_get_fd(env->mdb, &fd) == 0);
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

bool store_env_disk_full(const struct store_env *env)
{
    struct statvfs fs;
    int fd;

    CHECK(mdb_env_get_fd(env->mdb, &fd) == 0);
    return fstatvfs(fd, &fs) == 0 &&
           (uint64_t)fs.f_bavail * fs.f_frsize < FULL_BYTES;
}

uint64_t store_env_estimate(unsigned page_size, size_t key_len,
                            size_t value_len)
{
    size_t node = NODE_HEADER + key_len + value_len + STORE_CRC_LEN;
    size_t node_max = (page_size - PAGE_HEADER) / 2 - NODE_POINTER;
    size_t overflow = 0;

    if (node > node_max) {
        overflow = PAGE_HEADER + value_len + STORE_CRC_LEN + page_size - 1;
        overflow -= overflow % page_size;
        node = NODE_HEADER + key_len + sizeof(uint64_t);
    }
    return overflow + ((node + 1) & ~(size_t)1) + NODE_POINTER;
}
