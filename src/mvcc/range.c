/* Ranges: which revisions from the index under the lock, their records from
 * the tail or the store without it. */
#include "internal.h"
#include "record.h"

#include <stdlib.h>
#include <string.h>

/* Keys looked at under one hold of the lock: those that are visited, and
 * those that are only counted. */
#define CHUNK_HITS 256
#define CHUNK_COUNT 2048
#define CHUNK_KEY_BYTES 1048576

bool range_bounds(struct bytes end_asked, struct bytes *end)
{
    if (end_asked.len == 0)
        return false;
    if (end_asked.len == 1 && end_asked.data[0] == 0)
        *end = bytes_of(NULL, 0);
    else
        *end = end_asked;
    return true;
}

/* The record is neither here nor there: taken by a compaction meanwhile, or
 * lost. */
static int missing(const struct mvcc *mvcc, int64_t rev)
{
    return atomic_load(&mvcc->compacted) > rev ? ERR_COMPACTED : ERR_CORRUPT;
}

static struct bytes from_tail(const struct mvcc *mvcc,
                              const struct item_rev *rev)
{
    const struct tail_entry *entry =
        tail_find(&mvcc->tail, rev->main, rev->sub);

    return entry != NULL ? entry->record : bytes_of(NULL, 0);
}

/* Inside store_read_begin and _end. */
static int from_store(struct mvcc_reader *reader, int64_t main, uint32_t sub,
                      int64_t rev, struct bytes *record)
{
    uint8_t space[REV_KEY_MAX];
    struct rev_key key = {.rev = {main, sub}};
    int rv =
        store_get(reader->store, STORE_KEY, rev_encode(key, space), record);

    return rv == ERR_NOTFOUND ? missing(reader->mvcc, rev) : rv;
}

/* ---- one key --------------------------------------------------------- */

static int visit_one(struct mvcc_reader *reader, const struct mvcc_range *range,
                     int64_t rev, const struct item_rev *found,
                     struct bytes record, mvcc_visit_cb visit, void *arg)
{
    struct mvcc_kv kv = {.key = range->key,
                         .create_rev = found->created,
                         .mod_rev = found->main,
                         .version = found->version,
                         .record = record};
    int rv;

    if (range->want == MVCC_KEYS || record.data != NULL)
        return visit(arg, &kv);
    rv = store_read_begin(reader->store);
    if (rv != 0)
        return rv;
    rv = from_store(reader, found->main, found->sub, rev, &kv.record);
    if (rv == 0)
        rv = visit(arg, &kv);
    store_read_end(reader->store);
    return rv;
}

static int range_one(struct mvcc_reader *reader, const struct mvcc_range *range,
                     int64_t rev, mvcc_visit_cb visit, void *arg,
                     int64_t *count)
{
    struct mvcc *mvcc = reader->mvcc;
    struct bytes record = bytes_of(NULL, 0);
    struct item_rev found;
    const struct item *item;
    bool live;
    int rv = 0;

    reader_enter(reader);
    pthread_rwlock_rdlock(&mvcc->lock);
    if (rev < atomic_load(&mvcc->compacted)) {
        pthread_rwlock_unlock(&mvcc->lock);
        reader_exit(reader);
        return ERR_COMPACTED;
    }
    item = index_find(&mvcc->index, range->key);
    live = item != NULL && item_live_at(item, rev, &found);
    if (live && range->want == MVCC_RECORDS)
        record = from_tail(mvcc, &found);
    pthread_rwlock_unlock(&mvcc->lock);

    if (live && range->want != MVCC_COUNT)
        rv = visit_one(reader, range, rev, &found, record, visit, arg);
    reader_exit(reader);
    *count = live;
    return rv;
}

/* ---- many keys ------------------------------------------------------- */

/* A range on its way, chunk after chunk. */
struct walk {
    struct mvcc_reader *reader;
    struct bytes key;
    struct bytes end;
    int64_t rev;
    int64_t left; /* how many may still be visited */
    int64_t count;
    enum mvcc_want want;
    bool resumed;
    bool done;
    size_t n_hits;
};

static void add_hit(struct walk *walk, const struct item *item,
                    const struct item_rev *rev)
{
    struct mvcc_reader *reader = walk->reader;
    struct hit *hit = &reader->hits[walk->n_hits++];

    *hit = (struct hit){.main = rev->main,
                        .sub = rev->sub,
                        .created = rev->created,
                        .version = rev->version,
                        .key_at = reader->keys.len,
                        .key_len = item->key_len};
    buf_append(&reader->keys, item->key, item->key_len);
    if (walk->want == MVCC_RECORDS)
        hit->record = from_tail(reader->mvcc, rev);
    walk->left--;
}

/* Goes on in the index, with the lock held, until there is enough. */
static void collect(struct walk *walk)
{
    struct mvcc_reader *reader = walk->reader;
    const struct item *item = NULL;
    struct index_cursor cursor;

    walk->n_hits = 0;
    reader->keys.len = 0;
    index_seek(&reader->mvcc->index, walk->key, walk->resumed, walk->end,
               &cursor);
    for (size_t n = 0; n < CHUNK_COUNT && walk->n_hits < CHUNK_HITS &&
                       reader->keys.len < CHUNK_KEY_BYTES;
         n++) {
        struct item_rev rev;
        const struct item *next = index_next(&cursor);

        if (next == NULL) {
            walk->done = true;
            return;
        }
        item = next;
        if (!item_live_at(item, walk->rev, &rev))
            continue;
        walk->count++;
        if (walk->left > 0)
            add_hit(walk, item, &rev);
    }
    reader->resume.len = 0;
    buf_append(&reader->resume, item->key, item->key_len);
    walk->key = bytes_of(reader->resume.data, reader->resume.len);
    walk->resumed = true;
}

static int visit_hits(struct walk *walk, mvcc_visit_cb visit, void *arg)
{
    struct mvcc_reader *reader = walk->reader;
    bool reading = false;
    int rv = 0;

    for (size_t i = 0; i < walk->n_hits && rv == 0; i++) {
        const struct hit *hit = &reader->hits[i];
        struct mvcc_kv kv = {
            .key = bytes_of(reader->keys.data + hit->key_at, hit->key_len),
            .create_rev = hit->created,
            .mod_rev = hit->main,
            .version = hit->version,
            .record = hit->record};

        if (walk->want == MVCC_RECORDS && kv.record.data == NULL) {
            if (!reading)
                rv = store_read_begin(reader->store);
            reading = reading || rv == 0;
            if (rv == 0)
                rv = from_store(reader, hit->main, hit->sub, walk->rev,
                                &kv.record);
        }
        if (rv == 0)
            rv = visit(arg, &kv);
    }
    if (reading)
        store_read_end(reader->store);
    return rv;
}

static int walk_chunk(struct walk *walk, mvcc_visit_cb visit, void *arg)
{
    struct mvcc_reader *reader = walk->reader;
    struct mvcc *mvcc = reader->mvcc;
    int rv;

    reader_enter(reader);
    pthread_rwlock_rdlock(&mvcc->lock);
    if (walk->rev < atomic_load(&mvcc->compacted)) {
        pthread_rwlock_unlock(&mvcc->lock);
        reader_exit(reader);
        return ERR_COMPACTED;
    }
    collect(walk);
    pthread_rwlock_unlock(&mvcc->lock);
    rv = visit_hits(walk, visit, arg);
    reader_exit(reader);
    return rv;
}

int range_at(struct mvcc_reader *reader, const struct mvcc_range *range,
             int64_t rev, mvcc_visit_cb visit, void *arg, int64_t *count)
{
    struct walk walk = {.reader = reader,
                        .key = range->key,
                        .rev = rev,
                        .left = range->limit > 0 ? range->limit : INT64_MAX,
                        .want = range->want};
    int rv = 0;

    *count = 0;
    if (!range_bounds(range->end, &walk.end))
        return range_one(reader, range, rev, visit, arg, count);
    if (walk.want == MVCC_COUNT)
        walk.left = 0;
    if (reader->hits == NULL)
        reader->hits = mem_alloc(CHUNK_HITS * sizeof(*reader->hits));
    while (rv == 0 && !walk.done)
        rv = walk_chunk(&walk, visit, arg);
    *count = walk.count;
    return rv;
}

/* True: the current revision that was asked for has been overtaken by a swap,
 * and nothing of it was visited. */
static bool overtaken(const struct mvcc_reader *reader,
                      const struct mvcc_range *range, int64_t rev, int rv,
                      bool visited)
{
    return rv == ERR_COMPACTED && range->rev <= 0 && !visited &&
           mvcc_revision(reader->mvcc) > rev;
}

struct counting {
    mvcc_visit_cb visit;
    void *arg;
    bool any;
};

static int visit_counting(void *arg, const struct mvcc_kv *kv)
{
    struct counting *c = arg;

    c->any = true;
    return c->visit(c->arg, kv);
}

int mvcc_range(struct mvcc_reader *reader, const struct mvcc_range *range,
               mvcc_visit_cb visit, void *arg, struct mvcc_range_result *result)
{
    struct counting counting = {visit, arg, false};
    int64_t rev;
    int rv;

    atomic_fetch_add_explicit(&reader->ranges, 1, memory_order_relaxed);
    do {
        int64_t current = mvcc_revision(reader->mvcc);

        rev = range->rev <= 0 ? current : range->rev;
        result->rev = current;
        result->count = 0;
        if (rev > current)
            return ERR_FUTURE_REV;
        rv = range_at(reader, range, rev, visit_counting, &counting,
                      &result->count);
    } while (overtaken(reader, range, rev, rv, counting.any));
    return rv;
}
