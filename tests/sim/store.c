/* The store's interface, of chorad/store.h, without LMDB and its thread: what
 * is queued reaches the database a little later, a whole number of marks at a
 * time, or never, if the member crashes before. */
#include "chorad/store.h"
#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"
#include "chorad/base/file.h"
#include "db.h"
#include "sim.h"
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "data.mdb"

enum op_kind { OP_PUT, OP_DELETE, OP_MARK };

struct op {
    enum op_kind kind;
    enum store_bucket bucket;
    uint64_t seq;
    uint64_t index;
    uint64_t term;
    struct db_record record; /* its memory lives until `flushed` returns */
    struct op *next;
};

struct waiter {
    uint64_t seq;
    void (*done)(void *arg, int err);
    void *arg;
    struct waiter *next;
};

struct job {
    store_step_cb step;
    void (*finished)(void *arg, int err);
    void *arg;
    uint64_t seq; /* starts when that is on disk */
    bool canceled;
    struct job *next;
};

struct store {
    struct store_config config;
    struct life *life;
    char *dir;
    struct db *db;
    struct op *first;
    struct op **last;
    uint64_t seq;
    uint64_t marked_seq;
    uint64_t pending_bytes;
    uint64_t open_index;
    uint64_t open_term;
    uint64_t flushed_seq;
    uint64_t flushed_index;
    bool flush_set;
    bool parked; /* another's file is in the place of ours */
    bool stopped;
    struct waiter *waiters;
    struct job *jobs;
    bool job_set;
};

struct store_reader {
    struct store *store;
    struct db *db;
};

struct store_txn {
    struct db *db;
};

const char *store_bucket_name(enum store_bucket bucket)
{
    static const char *const names[] = {
        "alarm", "auth",  "authRoles", "authUsers",       "cluster",
        "key",   "lease", "members",   "members_removed", "meta"};

    return names[bucket];
}

/* ---- open and close ----------------------------------------------------- */

static uint64_t get_u64(const struct db *db, const char *name)
{
    const struct db_record *r =
        db_find(db, STORE_META, bytes_of(name, strlen(name)));

    return r ? be_get_u64(db_value(r).data) : 0;
}

static void put_u64(struct db *db, const char *name, uint64_t n)
{
    uint8_t value[8];

    be_put_u64(value, n);
    db_put(db, STORE_META, bytes_of(name, strlen(name)), bytes_of(value, 8));
}

static struct db *open_db(const char *dir, struct errmsg *msg)
{
    char *path = mem_printf("%s/" FILE_NAME, dir);
    struct db *db = disk_db(path);

    if (!db && file_make_dirs(dir, msg) == 0) {
        db = disk_make_db(path);
        (void)file_sync_dir(dir, msg);
    }
    free(path);
    return db;
}

int store_open(const struct store_config *config, struct store **out,
               struct errmsg *msg)
{
    struct store *store = mem_zalloc(sizeof(*store));

    store->config = *config;
    store->life = sim.life;
    store->dir = mem_strdup(config->dir);
    store->last = &store->first;
    store->db = open_db(store->dir, msg);
    CHECK(store->db != NULL);
    store->open_index = store->flushed_index =
        get_u64(store->db, "consistent_index");
    store->open_term = get_u64(store->db, "term");
    *out = store;
    return 0;
}

/* ---- flushing ----------------------------------------------------------- */

static void finish_waiters(struct store *store)
{
    struct waiter **at = &store->waiters;

    while (*at) {
        struct waiter *w = *at;
        if (w->seq > store->flushed_seq) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->done(w->arg, 0);
        free(w);
    }
}

static void carry_out(struct store *store, struct op *op)
{
    if (op->kind == OP_PUT)
        db_put(store->db, op->bucket, db_key(&op->record),
               db_value(&op->record));
    else if (op->kind == OP_DELETE)
        db_delete(store->db, op->bucket, db_key(&op->record));
    store->pending_bytes -= op->record.key_len + op->record.value_len;
    if (op->kind != OP_MARK)
        return;
    put_u64(store->db, "consistent_index", op->index);
    put_u64(store->db, "term", op->term);
    store->flushed_index = op->index;
}

static void schedule_jobs(struct store *store);

/* Up to the mark with that number; in one transaction. */
static void flush_to(struct store *store, uint64_t seq)
{
    struct op *done = store->first;
    struct op **last = &store->first;

    if (store->parked || store->flushed_seq >= seq)
        return;
    while (*last && (*last)->seq <= seq) {
        carry_out(store, *last);
        last = &(*last)->next;
    }
    struct op *rest = *last;
    *last = NULL;
    store->first = rest;
    if (!rest)
        store->last = &store->first;
    store->flushed_seq = seq;
    if (store->config.flushed)
        store->config.flushed(store->config.arg, seq);
    while (done) {
        struct op *next = done->next;
        free(done->record.key);
        free(done);
        done = next;
    }
    finish_waiters(store);
    schedule_jobs(store);
}

static void on_flush(void *arg)
{
    struct store *store = arg;

    sim.threaded = true;
    store->flush_set = false;
    flush_to(store, store->marked_seq);
}

static void schedule_flush(struct store *store, uint64_t max_ns)
{
    if (store->stopped)
        return;
    if (store->flush_set && max_ns >= 10 * SIM_MS)
        return;
    store->flush_set = true;
    sim_at(sim_between(SIM_MS / 10, max_ns), store->life, on_flush, store);
}

void store_stop(struct store *store)
{
    if (store->stopped)
        return;
    store->stopped = true;
    flush_to(store, store->marked_seq);
    for (struct job *job = store->jobs; job; job = job->next)
        if (!job->canceled && job->finished)
            job->finished(job->arg, ERR_STOPPED);
    store->jobs = NULL;
}

/* Its memory stays: events may be under way that look at it. */
void store_close(struct store *store)
{
    store_stop(store);
}

/* ---- queueing ----------------------------------------------------------- */

static struct op *queue(struct store *store, enum op_kind kind)
{
    struct op *op = mem_zalloc(sizeof(*op));

    op->kind = kind;
    op->seq = ++store->seq;
    *store->last = op;
    store->last = &op->next;
    return op;
}

const uint8_t *store_putv(struct store *store, enum store_bucket bucket,
                          struct bytes key, const struct bytes *pieces,
                          size_t n)
{
    struct op *op = queue(store, OP_PUT);
    size_t len = 0;

    for (size_t i = 0; i < n; i++)
        len += pieces[i].len;
    op->bucket = bucket;
    op->record = (struct db_record){mem_alloc(key.len + len + 1),
                                    (uint32_t)key.len, (uint32_t)len};
    uint8_t *at = op->record.key;
    memcpy(at, key.data, key.len);
    at += key.len;
    for (size_t i = 0; i < n; i++) {
        if (pieces[i].len > 0)
            memcpy(at, pieces[i].data, pieces[i].len);
        at += pieces[i].len;
    }
    store->pending_bytes += key.len + len;
    return op->record.key + key.len;
}

const uint8_t *store_put(struct store *store, enum store_bucket bucket,
                         struct bytes key, struct bytes value)
{
    return store_putv(store, bucket, key, &value, 1);
}

void store_delete(struct store *store, enum store_bucket bucket,
                  struct bytes key)
{
    struct op *op = queue(store, OP_DELETE);

    op->bucket = bucket;
    op->record =
        (struct db_record){mem_alloc(key.len + 1), (uint32_t)key.len, 0};
    memcpy(op->record.key, key.data, key.len);
    store->pending_bytes += key.len;
}

void store_mark(struct store *store, uint64_t index, uint64_t term)
{
    struct op *op = queue(store, OP_MARK);

    op->index = index;
    op->term = term;
    store->marked_seq = op->seq;
    schedule_flush(store, 200 * SIM_MS);
}

uint64_t store_seq(const struct store *store)
{
    return store->seq;
}

void store_consistent_index(const struct store *store, uint64_t *index,
                            uint64_t *term)
{
    *index = store->open_index;
    *term = store->open_term;
}

uint64_t store_flushed_index(const struct store *store)
{
    return store->flushed_index;
}

uint64_t store_pending_bytes(const struct store *store)
{
    return store->pending_bytes;
}

void store_flush(struct store *store, void (*done)(void *arg, int err),
                 void *arg)
{
    struct waiter *w;

    if (store->flushed_seq >= store->seq) {
        done(arg, 0);
        return;
    }
    w = mem_alloc(sizeof(*w));
    *w = (struct waiter){store->seq, done, arg, store->waiters};
    store->waiters = w;
    schedule_flush(store, 5 * SIM_MS);
}

int store_flush_wait(struct store *store)
{
    while (!store->stopped && !store->parked &&
           store->flushed_seq < store->marked_seq) {
        if (!task_current()) {
            flush_to(store, store->marked_seq);
            break;
        }
        schedule_flush(store, 5 * SIM_MS);
        task_sleep(SIM_MS);
    }
    return 0;
}

/* ---- jobs --------------------------------------------------------------- */

static void on_job(void *arg)
{
    struct store *store = arg;
    struct job *job = store->jobs;
    struct store_txn txn = {store->db};
    int64_t pause_ns;

    sim.threaded = true;
    store->job_set = false;
    if (!job || store->stopped || store->parked)
        return;
    pause_ns = job->step(job->arg, &txn);
    if (pause_ns >= 0) {
        store->job_set = true;
        sim_at((uint64_t)pause_ns + sim_below(SIM_MS), store->life, on_job,
               store);
        return;
    }
    store->jobs = job->next;
    if (job->finished)
        job->finished(job->arg, 0);
    free(job);
    schedule_jobs(store);
}

static void schedule_jobs(struct store *store)
{
    if (store->job_set || !store->jobs || store->stopped ||
        store->jobs->seq > store->flushed_seq)
        return;
    store->job_set = true;
    sim_at(sim_below(2 * SIM_MS), store->life, on_job, store);
}

void store_job(struct store *store, store_step_cb step,
               void (*finished)(void *arg, int err), void *arg)
{
    struct job *job = mem_zalloc(sizeof(*job));
    struct job **at = &store->jobs;

    *job = (struct job){step, finished, arg, store->seq, false, NULL};
    while (*at)
        at = &(*at)->next;
    *at = job;
    schedule_jobs(store);
}

int store_txn_scan(
    struct store_txn *txn, enum store_bucket bucket, struct bytes from,
    int (*visit)(void *arg, struct bytes key, struct bytes value), void *arg)
{
    struct db_bucket *b = &txn->db->buckets[bucket];
    size_t at = from.len > 0 ? db_seek(b, from) : 0;

    while (at < b->count) {
        int rc = visit(arg, db_key(&b->records[at]), db_value(&b->records[at]));
        if (rc == 1)
            db_remove_at(b, at);
        else if (rc == 0)
            at++;
        else
            break;
    }
    return 0;
}

int store_txn_put(struct store_txn *txn, enum store_bucket bucket,
                  struct bytes key, struct bytes value)
{
    db_put(txn->db, bucket, key, value);
    return 0;
}

/* ---- reading ------------------------------------------------------------ */

int store_reader_open(struct store *store, struct store_reader **out)
{
    *out = mem_zalloc(sizeof(**out));
    (*out)->store = store;
    return 0;
}

void store_reader_close(struct store_reader *reader)
{
    free(reader);
}

/* Nothing else runs within a read. */
int store_read_begin(struct store_reader *reader)
{
    reader->db = reader->store->db;
    return 0;
}

void store_read_end(struct store_reader *reader)
{
    reader->db = NULL;
}

int store_get(struct store_reader *reader, enum store_bucket bucket,
              struct bytes key, struct bytes *value)
{
    const struct db_record *r = db_find(reader->db, bucket, key);

    if (!r)
        return ERR_NOTFOUND;
    *value = db_value(r);
    return 0;
}

static int scan(const struct db *db, enum store_bucket bucket,
                struct bytes from,
                int (*visit)(void *arg, struct bytes key, struct bytes value),
                void *arg)
{
    const struct db_bucket *b = &db->buckets[bucket];
    int rc = 0;

    for (size_t i = from.len > 0 ? db_seek(b, from) : 0;
         i < b->count && rc == 0; i++)
        rc = visit(arg, db_key(&b->records[i]), db_value(&b->records[i]));
    return rc;
}

int store_scan(struct store_reader *reader, enum store_bucket bucket,
               struct bytes from,
               int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg)
{
    return scan(reader->db, bucket, from, visit, arg);
}

int store_load(struct store *store, enum store_bucket bucket,
               int (*visit)(void *arg, struct bytes key, struct bytes value),
               void *arg)
{
    return scan(store->db, bucket, bytes_of(NULL, 0), visit, arg);
}

void store_on_corrupt(struct store *store,
                      void (*corrupt)(void *arg, enum store_bucket bucket,
                                      struct bytes key),
                      void *arg)
{
    (void)store;
    (void)corrupt;
    (void)arg;
}

uint64_t store_count(struct store_reader *reader, enum store_bucket bucket)
{
    return reader->db->buckets[bucket].count;
}

struct store_size store_size(const struct store *store)
{
    return (struct store_size){.total = store->pending_bytes};
}

int store_defrag(struct store *store, struct errmsg *msg)
{
    (void)msg;
    return store_flush_wait(store);
}

struct hashing {
    enum store_bucket bucket;
    uint32_t crc;
};

static int hash_record(void *arg, struct bytes key, struct bytes value)
{
    struct hashing *h = arg;
    const char *k = (const char *)key.data;

    if (h->bucket == STORE_META &&
        ((key.len == 16 && memcmp(k, "consistent_index", 16) == 0) ||
         (key.len == 4 && memcmp(k, "term", 4) == 0) ||
         (key.len == 14 && memcmp(k, "storageVersion", 14) == 0)))
        return 0;
    h->crc = crc32c(h->crc, key.data, key.len);
    h->crc = crc32c(h->crc, value.data, value.len);
    return 0;
}

int store_hash(struct store *store, uint32_t *hash)
{
    struct hashing h = {0};

    (void)store_flush_wait(store);
    for (int i = 0; i < STORE_BUCKETS; i++) {
        h.bucket = (enum store_bucket)i;
        const char *name = store_bucket_name(h.bucket);
        h.crc = crc32c(h.crc, name, strlen(name));
        (void)scan(store->db, h.bucket, bytes_of(NULL, 0), hash_record, &h);
    }
    *hash = h.crc;
    return 0;
}

int store_verify(const char *dir, const struct store_verify *config,
                 struct errmsg *msg)
{
    (void)dir;
    (void)config;
    (void)msg;
    return 0;
}

int store_lock(const char *dir, int *fd, struct errmsg *msg)
{
    (void)dir;
    (void)msg;
    *fd = -1;
    return 0;
}

/* ---- another store in this one's place ---------------------------------- */

int store_replace(struct store *store, struct store *with, struct errmsg *msg)
{
    char *from = mem_printf("%s/" FILE_NAME, with->dir);
    char *to = mem_printf("%s/" FILE_NAME, store->dir);

    (void)msg;
    (void)store_flush_wait(store);
    store->parked = true;
    while (store->jobs) {
        struct job *job = store->jobs;
        store->jobs = job->next;
        if (job->finished)
            job->finished(job->arg, ERR_CANCELED);
        free(job);
    }
    disk_rename_db(from, to);
    free(from);
    free(to);
    return 0;
}

void store_replaced(struct store *store, struct store *with)
{
    struct db *old = store->db;

    store->db = with->db;
    with->db = old;
    store->open_index = store->flushed_index = with->open_index;
    store->open_term = with->open_term;
    store->parked = false;
    schedule_flush(store, 5 * SIM_MS);
}

/* ---- a store made at once ----------------------------------------------- */

struct store_builder {
    struct db *db;
};

int store_builder_open(const char *dir, uint64_t bytes,
                       struct store_builder **out, struct errmsg *msg)
{
    (void)bytes;
    int rc = file_remove_tree(dir, msg);

    if (rc < 0)
        return rc;
    *out = mem_zalloc(sizeof(**out));
    (*out)->db = open_db(dir, msg);
    return (*out)->db ? 0 : ERR_IO;
}

int store_builder_put(struct store_builder *builder, enum store_bucket bucket,
                      struct bytes key, struct bytes value, struct errmsg *msg)
{
    (void)msg;
    db_put(builder->db, bucket, key, value);
    return 0;
}

int store_builder_finish(struct store_builder *builder, struct errmsg *msg)
{
    (void)builder;
    (void)msg;
    return 0;
}

void store_builder_close(struct store_builder *builder)
{
    free(builder);
}
