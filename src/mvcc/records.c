#include "records.h"

#include "chorad/base/check.h"

#include <pthread.h>
#include <stdlib.h>

/* Batches go round: the thread fills while the caller empties. */
#define BATCHES 4
#define BATCH_HEADS 2048

struct batch {
    struct record_head heads[BATCH_HEADS];
    size_t n;
};

struct records {
    struct store_reader *reader;
    struct errmsg *msg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    /* Counts of batches; guarded by the lock. */
    unsigned filled;
    unsigned taken;
    bool holds; /* the caller looks at batch `taken` */
    bool closing;
    bool ended;
    int err;
    struct mvcc_rev last; /* the thread's: the newest revision read */
    struct batch batches[BATCHES];
};

static int damaged(struct records *r, const struct rev_key *at,
                   const char *what)
{
    return err_set(r->msg, ERR_CORRUPT, "bucket key, revision {%lld %lld}: %s",
                   (long long)at->rev.main, (long long)at->rev.sub, what);
}

/* What the bytes must be like, whoever wrote them. */
static int check(struct records *r, struct bytes key, struct bytes record,
                 struct rev_key *at, struct mvcc_fields *fields)
{
    if (rev_decode(key, at) != 0) {
        at->rev = r->last;
        return damaged(r, at, "the record after it has no revision for a key");
    }
    if (at->rev.sub > UINT32_MAX)
        return damaged(r, at, "its second part is too large");
    if (at->rev.main < r->last.main ||
        (at->rev.main == r->last.main && at->rev.sub <= r->last.sub))
        return damaged(r, at, "it appears twice");
    if (mvcc_decode(record, fields) != 0)
        return damaged(r, at, "the record is not a KeyValue");
    /* `etcdutl snapshot restore --bump-revision` writes an empty record. */
    if (record.len > 0 && !at->tombstone && fields->mod_rev != at->rev.main)
        return damaged(r, at, "the record is of another revision");
    if (fields->version < 0 || fields->key.len > INT32_MAX)
        return damaged(r, at, "the record has numbers that can't be");
    return 0;
}

/* Hands over the batch that is full and waits for a free one. False: the
 * caller has had enough. */
static bool hand_over(struct records *r)
{
    bool go_on;

    CHECK(pthread_mutex_lock(&r->lock) == 0);
    r->filled++;
    CHECK(pthread_cond_signal(&r->moved) == 0);
    while (r->filled - r->taken == BATCHES && !r->closing)
        CHECK(pthread_cond_wait(&r->moved, &r->lock) == 0);
    go_on = !r->closing;
    r->batches[r->filled % BATCHES].n = 0;
    CHECK(pthread_mutex_unlock(&r->lock) == 0);
    return go_on;
}

static int visit(void *arg, struct bytes key, struct bytes record)
{
    struct records *r = arg;
    struct batch *batch = &r->batches[r->filled % BATCHES];
    struct record_head *head = &batch->heads[batch->n];
    struct mvcc_fields fields = {0};
    int rv = check(r, key, record, &head->at, &fields);

    if (rv != 0)
        return rv;
    r->last = head->at.rev;
    head->key = fields.key;
    head->create_rev = fields.create_rev;
    head->version = fields.version;
    head->lease = fields.lease;
    if (++batch->n == BATCH_HEADS && !hand_over(r))
        return ERR_CANCELED;
    return 0;
}

static void *read_all(void *arg)
{
    struct records *r = arg;
    int rv;

    r->msg->text[0] = '\0';
    rv = store_scan(r->reader, STORE_KEY, bytes_of("", 0), visit, r);
    if (rv != 0 && r->msg->text[0] == '\0')
        err_set(r->msg, rv, "bucket key, after revision {%lld %lld}: %s",
                (long long)r->last.main, (long long)r->last.sub, err_text(rv));
    CHECK(pthread_mutex_lock(&r->lock) == 0);
    r->err = rv;
    r->ended = true;
    if (r->batches[r->filled % BATCHES].n > 0 && !r->closing)
        r->filled++;
    CHECK(pthread_cond_signal(&r->moved) == 0);
    CHECK(pthread_mutex_unlock(&r->lock) == 0);
    return NULL;
}

struct records *records_open(struct store_reader *reader, struct errmsg *msg)
{
    struct records *r = mem_zalloc(sizeof(*r));

    r->reader = reader;
    r->msg = msg;
    r->last = (struct mvcc_rev){-1, -1};
    CHECK(pthread_mutex_init(&r->lock, NULL) == 0);
    CHECK(pthread_cond_init(&r->moved, NULL) == 0);
    CHECK(pthread_create(&r->thread, NULL, read_all, r) == 0);
    return r;
}

int records_next(struct records *r, const struct record_head **heads, size_t *n)
{
    int rv = 0;

    *n = 0;
    CHECK(pthread_mutex_lock(&r->lock) == 0);
    if (r->holds)
        r->taken++;
    CHECK(pthread_cond_signal(&r->moved) == 0);
    while (r->filled == r->taken && !r->ended)
        CHECK(pthread_cond_wait(&r->moved, &r->lock) == 0);
    r->holds = r->filled != r->taken;
    if (r->holds) {
        *heads = r->batches[r->taken % BATCHES].heads;
        *n = r->batches[r->taken % BATCHES].n;
    } else {
        rv = r->err;
    }
    CHECK(pthread_mutex_unlock(&r->lock) == 0);
    return rv;
}

void records_close(struct records *r)
{
    CHECK(pthread_mutex_lock(&r->lock) == 0);
    r->closing = true;
    CHECK(pthread_cond_signal(&r->moved) == 0);
    CHECK(pthread_mutex_unlock(&r->lock) == 0);
    CHECK(pthread_join(r->thread, NULL) == 0);
    CHECK(pthread_cond_destroy(&r->moved) == 0);
    CHECK(pthread_mutex_destroy(&r->lock) == 0);
    free(r);
}
