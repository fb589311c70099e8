/* What the MVCC tests share: a store and an mvcc in a directory of their
 * own. */
#ifndef CHORAD_TEST_MVCC_H
#define CHORAD_TEST_MVCC_H

#include "chorad/base/clock.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/mvcc.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct kv {
    char dir[64];
    struct store_config store_config;
    struct mvcc_config config;
    struct store *store;
    _Atomic(struct mvcc *) mvcc;
    struct mvcc_reader *reader;
    uint64_t index;
    mvcc_lease_cb on_lease;
    void *on_lease_arg;
};

static inline struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static inline void kv_flushed(void *arg, uint64_t seq)
{
    struct mvcc *mvcc = atomic_load(&((struct kv *)arg)->mvcc);

    if (mvcc != NULL)
        mvcc_flushed(mvcc, seq);
}

static inline int kv_try_open(struct kv *kv, struct errmsg *msg)
{
    struct mvcc *mvcc;
    int rv;

    kv->store_config.dir = kv->dir;
    kv->store_config.flushed = kv_flushed;
    kv->store_config.arg = kv;
    kv->store_config.no_sync = true;
    kv->store_config.map_bytes = UINT64_C(4) << 30;
    assert_int_equal(store_open(&kv->store_config, &kv->store, msg), 0);
    rv = mvcc_open(kv->store, &kv->config, kv->on_lease, kv->on_lease_arg,
                   &mvcc, msg);
    if (rv != 0)
        return rv;
    atomic_store(&kv->mvcc, mvcc);
    return mvcc_reader_open(mvcc, &kv->reader);
}

static inline void kv_open(struct kv *kv)
{
    struct errmsg msg;

    assert_int_equal(kv_try_open(kv, &msg), 0);
}

/* ---- waiting ----------------------------------------------------------- */

struct kv_wait {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
    int err;
};

#define KV_WAIT_INIT                                                           \
    {                                                                          \
        .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER    \
    }

static inline void kv_done(void *arg, int err)
{
    struct kv_wait *wait = arg;

    pthread_mutex_lock(&wait->lock);
    wait->done = true;
    wait->err = err;
    pthread_cond_signal(&wait->wake);
    pthread_mutex_unlock(&wait->lock);
}

static inline int kv_await(struct kv_wait *wait)
{
    pthread_mutex_lock(&wait->lock);
    while (!wait->done)
        pthread_cond_wait(&wait->wake, &wait->lock);
    wait->done = false;
    pthread_mutex_unlock(&wait->lock);
    return wait->err;
}

static inline void kv_flush(struct kv *kv)
{
    struct kv_wait wait = KV_WAIT_INIT;

    store_flush(kv->store, kv_done, &wait);
    assert_int_equal(kv_await(&wait), 0);
}

static inline void kv_mark(struct kv *kv)
{
    store_mark(kv->store, ++kv->index, 1);
}

/* ---- writing ----------------------------------------------------------- */

static inline int64_t kv_put(struct kv *kv, const char *key, const char *value)
{
    int64_t rev;

    mvcc_txn_begin(kv->mvcc);
    mvcc_txn_put(kv->mvcc, text(key), text(value), 0);
    rev = mvcc_txn_end(kv->mvcc);
    kv_mark(kv);
    return rev;
}

static inline int64_t kv_delete(struct kv *kv, const char *key)
{
    int64_t n;

    mvcc_txn_begin(kv->mvcc);
    n = mvcc_txn_delete(kv->mvcc, text(key), text(""));
    mvcc_txn_end(kv->mvcc);
    kv_mark(kv);
    return n;
}

/* Compacts and waits until the records are gone. */
static inline int kv_compact(struct kv *kv, int64_t rev)
{
    struct kv_wait wait = KV_WAIT_INIT;
    int rv = mvcc_compact(kv->mvcc, rev, kv_done, &wait);

    if (rv != 0)
        return rv;
    kv_mark(kv);
    return kv_await(&wait);
}

/* ---- opening and closing ----------------------------------------------- */

static inline void kv_close(struct kv *kv)
{
    struct mvcc *mvcc = kv->mvcc;

    store_stop(kv->store);
    mvcc_reader_close(kv->reader);
    atomic_store(&kv->mvcc, NULL);
    mvcc_close(mvcc);
    store_close(kv->store);
}

static inline void kv_reopen(struct kv *kv)
{
    kv_close(kv);
    kv_open(kv);
}

static inline int kv_setup(void **state)
{
    struct kv *kv = mem_zalloc(sizeof(*kv));

    log_set_level(LOG_ERROR);
    snprintf(kv->dir, sizeof(kv->dir), "/tmp/chorad-mvcc-XXXXXX");
    assert_non_null(mkdtemp(kv->dir));
    kv_open(kv);
    *state = kv;
    return 0;
}

static inline int kv_teardown(void **state)
{
    struct kv *kv = *state;

    kv_close(kv);
    file_remove_tree(kv->dir, NULL);
    free(kv);
    return 0;
}

#define KV_TEST(f) cmocka_unit_test_setup_teardown(f, kv_setup, kv_teardown)

#endif
