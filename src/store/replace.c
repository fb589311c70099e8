/* Another store in this one's place: its file is renamed over this one's, then
 * its generation becomes the current one. */
#include "internal.h"

#include "chorad/base/file.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static char *file_of(const struct store *store, const char *suffix)
{
    return mem_printf("%s/" STORE_FILE "%s", store->dir, suffix);
}

static int move_file(struct store *store, struct store *with,
                     struct errmsg *msg)
{
    char *from = file_of(with, "");
    char *to = file_of(store, "");
    int err = 0;

    if (rename(from, to) != 0)
        err = err_errno(msg, errno, "rename %s", from);
    free(from);
    free(to);
    return err == 0 ? file_sync_dir(store->dir, msg) : err;
}

/* For tools that look at the running store; LMDB itself has it open. */
static void move_lock(const struct store *store, const struct store *with)
{
    char *from = file_of(with, STORE_LOCK_SUFFIX);
    char *to = file_of(store, STORE_LOCK_SUFFIX);

    (void)rename(from, to);
    free(from);
    free(to);
}

int store_replace(struct store *store, struct store *with, struct errmsg *msg)
{
    int err = store_claim_file(store, true, msg);

    if (err != 0)
        return err;
    err = store_flush_wait(store);
    if (err == 0)
        err = store_park(store);
    if (err != 0) {
        err_set(msg, err, "the store has failed");
        store_release_file(store);
        return err;
    }
    store_cancel_jobs(store);
    err = move_file(store, with, msg);
    if (err == 0) {
        move_lock(store, with);
        return 0;
    }
    store_unpark(store);
    store_release_file(store);
    return err;
}

void store_replaced(struct store *store, struct store *with)
{
    with->env = store_swap_env(store, with->env);
    pthread_mutex_lock(&store->size_lock);
    store->in_use = with->in_use;
    store->high_water = with->high_water;
    store->file = with->file;
    store->flushed_pages = store->ops.count.pages;
    pthread_mutex_unlock(&store->size_lock);
    atomic_store(&store->flushed_index, with->open_index);
    store->open_index = with->open_index;
    store->open_term = with->open_term;
    store_unpark(store);
    store_release_file(store);
}
