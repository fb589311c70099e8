/* Readers, and waiting for them before the tail's memory goes away.
 *
 * A reader that enters stores the epoch it sees. The flush thread takes
 * records out of the tail under the lock, begins a new epoch and waits until
 * every reader is outside or has entered since: those found no pointer to
 * what was taken out. Readers never wait for the flush thread. */
#include "internal.h"

#include <stdlib.h>
#include <time.h>

#define WAIT_NS 20000

int mvcc_reader_open(struct mvcc *mvcc, struct mvcc_reader **out)
{
    struct mvcc_reader *reader =
        aligned_alloc(_Alignof(struct mvcc_reader), sizeof(*reader));
    int rv;

    if (reader == NULL)
        return ERR_NOMEM;
    *reader = (struct mvcc_reader){.mvcc = mvcc};
    rv = store_reader_open(mvcc->store, &reader->store);
    if (rv != 0) {
        free(reader);
        return rv;
    }
    pthread_mutex_lock(&mvcc->readers_lock);
    reader->next = mvcc->readers;
    if (reader->next != NULL)
        reader->next->prev = reader;
    mvcc->readers = reader;
    pthread_mutex_unlock(&mvcc->readers_lock);
    *out = reader;
    return 0;
}

void mvcc_reader_close(struct mvcc_reader *reader)
{
    struct mvcc *mvcc = reader->mvcc;

    pthread_mutex_lock(&mvcc->readers_lock);
    if (reader->prev != NULL)
        reader->prev->next = reader->next;
    else
        mvcc->readers = reader->next;
    if (reader->next != NULL)
        reader->next->prev = reader->prev;
    mvcc->closed_ranges += atomic_load(&reader->ranges);
    pthread_mutex_unlock(&mvcc->readers_lock);

    store_reader_close(reader->store);
    free(reader->hits);
    free(reader->entries);
    buf_close(&reader->keys);
    buf_close(&reader->resume);
    free(reader);
}

void readers_wait(struct mvcc *mvcc)
{
    static const struct timespec pause = {.tv_nsec = WAIT_NS};
    uint64_t epoch = atomic_fetch_add(&mvcc->epoch, 1) + 1;

    pthread_mutex_lock(&mvcc->readers_lock);
    for (struct mvcc_reader *r = mvcc->readers; r != NULL; r = r->next) {
        uint64_t in;

        while ((in = atomic_load(&r->epoch)) != 0 && in < epoch)
            nanosleep(&pause, NULL);
    }
    pthread_mutex_unlock(&mvcc->readers_lock);
}

uint64_t readers_ranges(struct mvcc *mvcc)
{
    uint64_t sum;

    pthread_mutex_lock(&mvcc->readers_lock);
    sum = mvcc->closed_ranges;
    for (struct mvcc_reader *r = mvcc->readers; r != NULL; r = r->next)
        sum += atomic_load_explicit(&r->ranges, memory_order_relaxed);
    pthread_mutex_unlock(&mvcc->readers_lock);
    return sum;
}
