/* A store in a new directory for one input. */
#ifndef CHORAD_FUZZ_STORE_H
#define CHORAD_FUZZ_STORE_H

#include "chorad/base/check.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/mvcc.h"
#include "chorad/store.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fuzz_store {
    char dir[64];
    struct store_config config;
    struct store *store;
    _Atomic(struct mvcc *) mvcc;
};

static inline void fuzz_flushed(void *arg, uint64_t seq)
{
    struct mvcc *mvcc = atomic_load(&((struct fuzz_store *)arg)->mvcc);

    if (mvcc)
        mvcc_flushed(mvcc, seq);
}

static inline void fuzz_store_open(struct fuzz_store *s)
{
    struct errmsg msg;

    log_set_level(LOG_FATAL);
    if (!s->dir[0]) {
        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        strcpy(s->dir, base);
        strcat(s->dir, "/chorad-fuzz-XXXXXX");
        CHECK(mkdtemp(s->dir) != NULL);
    }
    s->config = (struct store_config){
        .dir = s->dir,
        .map_bytes = UINT64_C(256) << 20,
        .no_sync = true,
        .flushed = fuzz_flushed,
        .arg = s,
    };
    CHECK(store_open(&s->config, &s->store, &msg) == 0);
}

static inline void fuzz_store_remove(struct fuzz_store *s)
{
    CHECK(file_remove_tree(s->dir, NULL) == 0);
}

#endif
