/* A file that a defragmentation has replaced lives until its last reader is
 * done with it. Then its blocks are given back, on a thread of its own: whoever
 * comes last may be a thread that others wait for. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/base/thread.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct retiree {
    struct retiree *next;
    struct store *store;
    struct store_env *env;
    pthread_t thread;
    atomic_bool done;
};

static void give_back(const struct retiree *r)
{
    int mdb_fd;
    int fd;

    CHECK(mdb_env_get_fd(r->env->mdb, &mdb_fd) == 0);
    /* LMDB closes its own; the blocks go with the last one. */
    fd = fcntl(mdb_fd, F_DUPFD_CLOEXEC, 0);
    store_env_close(r->env);
    if (fd < 0)
        return;
    file_dissolve(fd, &r->store->stop_retiring);
    close(fd);
}

static void *retire(void *arg)
{
    struct retiree *r = arg;

    (void)pthread_setname_np(pthread_self(), "retire");
    thread_stand_back();
    while (sem_wait(&r->env->unused) != 0)
        CHECK(errno == EINTR);
    give_back(r);
    atomic_store(&r->done, true);
    return NULL;
}

void store_retire(struct store *store, struct store_env *env)
{
    struct retiree *r = mem_zalloc(sizeof(*r));

    store_retired_join(store, false);
    r->store = store;
    r->env = env;
    env->retired = true;
    if (pthread_create(&r->thread, NULL, retire, r) != 0) {
        log_warn("no thread to give the old file's blocks back",
                 LOG_STR("path", store->dir));
        env->retired = false;
        free(r);
    } else {
        r->next = store->retirees;
        store->retirees = r;
    }
    store_env_unref(env);
}

void store_retired_join(struct store *store, bool all)
{
    struct retiree **at = &store->retirees;

    if (all)
        atomic_store(&store->stop_retiring, true);
    while (*at != NULL) {
        struct retiree *r = *at;

        if (!all && !atomic_load(&r->done)) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        CHECK(pthread_join(r->thread, NULL) == 0);
        free(r);
    }
}
