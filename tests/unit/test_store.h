/* What the store's tests share: a store in a directory of its own. */
#ifndef CHORAD_TEST_STORE_H
#define CHORAD_TEST_STORE_H

#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/store.h"
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

struct fixture {
    char dir[64];
    struct store_config config;
    struct store *store;
    struct store_reader *reader;
    uint64_t index;
    _Atomic uint64_t flushed_seq;
    atomic_int batches;
    atomic_int failed;
    atomic_int corrupt;
};

static inline void on_flushed(void *arg, uint64_t seq)
{
    struct fixture *f = arg;

    atomic_store(&f->flushed_seq, seq);
    atomic_fetch_add(&f->batches, 1);
}

static inline void on_failed(void *arg, int err, const struct errmsg *msg)
{
    struct fixture *f = arg;

    assert_true(msg->text[0] != '\0');
    atomic_store(&f->failed, err);
}

static inline void on_corrupt(void *arg, enum store_bucket bucket,
                              struct bytes key)
{
    struct fixture *f = arg;

    (void)bucket;
    (void)key;
    atomic_fetch_add(&f->corrupt, 1);
}

static inline void open_store(struct fixture *f)
{
    struct errmsg msg = {{0}};
    int err = store_open(&f->config, &f->store, &msg);

    if (err != 0)
        fail_msg("store_open: %s", msg.text);
    store_on_corrupt(f->store, on_corrupt, f);
    assert_int_equal(store_reader_open(f->store, &f->reader), 0);
}

static inline void close_store(struct fixture *f)
{
    if (f->store == NULL)
        return;
    store_reader_close(f->reader);
    store_close(f->store);
    f->store = NULL;
}

static inline void reopen_store(struct fixture *f)
{
    close_store(f);
    open_store(f);
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    log_set_level(LOG_FATAL);
    strcpy(f->dir, "/tmp/test_store.XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return -1;
    f->config = (struct store_config){
        .dir = f->dir,
        .map_bytes = (uint64_t)1 << 30,
        .flushed = on_flushed,
        .failed = on_failed,
        .arg = f,
    };
    open_store(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    file_remove_tree(f->dir, NULL);
    free(f);
    return 0;
}

static inline struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static inline void put_text(struct fixture *f, enum store_bucket bucket,
                            const char *key, const char *value)
{
    store_put(f->store, bucket, text(key), text(value));
}

static inline void mark(struct fixture *f)
{
    f->index++;
    store_mark(f->store, f->index, 1);
}

struct result {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    int err;
};

#define RESULT_INIT                                                            \
    {                                                                          \
        .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER    \
    }

static inline void set_result(void *arg, int err)
{
    struct result *r = arg;

    pthread_mutex_lock(&r->lock);
    r->done = true;
    r->err = err;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

static inline bool is_done(struct result *r)
{
    bool done;

    pthread_mutex_lock(&r->lock);
    done = r->done;
    pthread_mutex_unlock(&r->lock);
    return done;
}

static inline int await(struct result *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->done)
        pthread_cond_wait(&r->cond, &r->lock);
    pthread_mutex_unlock(&r->lock);
    return r->err;
}

static inline int flush(struct fixture *f)
{
    struct result r = RESULT_INIT;

    store_flush(f->store, set_result, &r);
    return await(&r);
}

static inline void mark_flush(struct fixture *f)
{
    mark(f);
    assert_int_equal(flush(f), 0);
}

/* The value as disk has it now, in memory of its own with a NUL behind. */
static inline char *get_text(struct fixture *f, enum store_bucket bucket,
                             const char *key, int *err)
{
    struct bytes value = {0};
    char *copy = NULL;

    assert_int_equal(store_read_begin(f->reader), 0);
    *err = store_get(f->reader, bucket, text(key), &value);
    if (*err == 0) {
        copy = calloc(1, value.len + 1);
        assert_non_null(copy);
        memcpy(copy, value.data, value.len);
    }
    store_read_end(f->reader);
    return copy;
}

static inline void assert_value(struct fixture *f, enum store_bucket bucket,
                                const char *key, const char *value)
{
    int err;
    char *got = get_text(f, bucket, key, &err);

    assert_int_equal(err, 0);
    assert_string_equal(got, value);
    free(got);
}

static inline void assert_missing(struct fixture *f, enum store_bucket bucket,
                                  const char *key)
{
    int err;
    char *got = get_text(f, bucket, key, &err);

    free(got);
    assert_int_equal(err, ERR_NOTFOUND);
}

static inline void sleep_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&ts, NULL);
}

/* Rewrites the file's bytes while the store is closed. */
static inline void patch_file(struct fixture *f, const char *find,
                              const char *put)
{
    char path[128];
    struct buf buf = {0};
    uint8_t *at;
    int n = 0;

    snprintf(path, sizeof(path), "%s/data.mdb", f->dir);
    assert_int_equal(file_read(path, SIZE_MAX, &buf, NULL), 0);
    at = buf.data;
    while ((at = memmem(at, buf.len - (size_t)(at - buf.data), find,
                        strlen(find))) != NULL) {
        memcpy(at, text(put).data, text(put).len);
        n++;
    }
    assert_true(n > 0);
    assert_int_equal(file_write_atomic(path, buf.data, buf.len, 0600, NULL), 0);
    buf_close(&buf);
}

#endif
