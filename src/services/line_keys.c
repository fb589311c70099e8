/* What a line knows of its keys.
 *
 *          few keys                    a change
 *   read -----------------------> known --------> known
 *      \--worker--> back: kept /
 *                   changes --'
 *
 * While a worker reads, changes go on coming: they are kept until it is back.
 */
#include "line.h"

#include "chorad/base/check.h"

#include <stdlib.h>

/* More keys than that would keep the shard's other calls waiting. */
#define FEW_KEYS 4096

/* ---- the keys as they are now, sorted by their creation ---- */

struct key {
    size_t at; /* in the scan's bytes */
    size_t len;
    int64_t rev;
};

struct scan {
    int64_t rev; /* what was read */
    struct key *keys;
    size_t n;
    size_t cap;
    struct buf bytes;
    size_t max;
};

static int visit(void *arg, const struct mvcc_kv *kv)
{
    struct scan *scan = arg;

    if (scan->n == scan->max)
        return 1;
    if (scan->n == scan->cap) {
        scan->cap = scan->cap ? scan->cap * 2 : 16;
        scan->keys = mem_realloc(scan->keys, scan->cap * sizeof(struct key));
    }
    scan->keys[scan->n++] =
        (struct key){scan->bytes.len, kv->key.len, kv->create_rev};
    buf_append(&scan->bytes, kv->key.data, kv->key.len);
    return 0;
}

/* They were found in the order of the keys. */
static int by_creation(const void *a, const void *b)
{
    const struct key *x = a;
    const struct key *y = b;

    if (x->rev != y->rev)
        return x->rev < y->rev ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* 1: there are more than `max`. */
static int run_scan(struct scan *scan, const struct line *line,
                    struct mvcc_reader *reader)
{
    struct mvcc_range range = {.want = MVCC_KEYS};
    struct mvcc_range_result result;
    int rc;

    watch_link_range(&line->link, &range.key, &range.end);
    do {
        scan->n = 0;
        scan->bytes.len = 0;
        rc = mvcc_range(reader, &range, visit, scan, &result);
    } while (rc == ERR_COMPACTED); /* while it ran: now there is a newer one */
    scan->rev = result.rev;
    if (rc == 0 && scan->n > 1)
        qsort(scan->keys, scan->n, sizeof(struct key), by_creation);
    return rc;
}

static void take_scan(struct line *line, const struct scan *scan)
{
    for (size_t i = 0; i < scan->n; i++)
        (void)recipe_line_add(
            &line->keys,
            bytes_of(scan->bytes.data + scan->keys[i].at, scan->keys[i].len),
            scan->keys[i].rev);
    line->scanned_rev = scan->rev;
    line->first_changed = true;
}

static void close_scan(struct scan *scan)
{
    free(scan->keys);
    buf_close(&scan->bytes);
}

/* ---- many keys: a worker reads ---- */

struct line_job {
    struct line *line;
    struct rpc_call *held; /* keeps the shard until this is back */
    struct scan scan;
    int err;
    bool again; /* changes were left out meanwhile */
    struct watch_batch **kept;
    size_t n_kept;
    size_t cap_kept;
    struct node_task there;
    struct node_work work;
    struct rpc_task back;
};

static void run_work(struct node_work *work)
{
    struct line_job *job = container_of(work, struct line_job, work);
    struct line *line = job->line;
    struct mvcc_reader *reader;

    job->err = access_open_reader(&line->lines->access, &reader);
    if (job->err != 0)
        return;
    job->err = run_scan(&job->scan, line, reader);
    mvcc_reader_close(reader);
}

static void work_done(struct node_work *work)
{
    struct line_job *job = container_of(work, struct line_job, work);

    rpc_post(job->line->lines->changes->rpc, &job->back);
}

static void run_there(struct node_task *task)
{
    struct line_job *job = container_of(task, struct line_job, there);

    node_work(job->line->lines->changes->node, &job->work);
}

static void drop_kept(struct line_job *job)
{
    for (size_t i = 0; i < job->n_kept; i++)
        watch_batch_unref(job->kept[i]);
    job->n_kept = 0;
}

static void run_job(struct line_job *job)
{
    job->again = false;
    drop_kept(job);
    node_run(job->line->lines->changes->node, &job->there);
}

static bool in_range(const struct line *line, struct bytes key)
{
    struct bytes prefix;
    struct bytes end;

    watch_link_range(&line->link, &prefix, &end);
    return bytes_cmp(key, prefix) >= 0 && bytes_cmp(key, end) < 0;
}

static void take_kept(struct line *line, const struct line_job *job)
{
    for (size_t i = 0; i < job->n_kept; i++) {
        const struct watch_batch *batch = job->kept[i];
        for (size_t k = 0; k < batch->n; k++)
            if (in_range(line, watch_event_key(batch, &batch->events[k])))
                line_take_event(line, batch, &batch->events[k]);
    }
}

static void job_back(struct rpc_task *task)
{
    struct line_job *job = container_of(task, struct line_job, back);
    struct line *line = job->line;
    struct rpc_call *held = job->held;

    if (job->again && line->guests > 0) {
        run_job(job);
        return;
    }
    line->job = NULL;
    if (job->err == 0) {
        take_scan(line, &job->scan);
        take_kept(line, job);
    } else {
        line_fail(line, job->err);
    }
    drop_kept(job);
    free(job->kept);
    close_scan(&job->scan);
    free(job);
    line_settle(line);
    rpc_release(held);
}

static struct rpc_call *some_call(const struct line *line)
{
    struct recipe_waiter *link =
        line->pending ? line->pending : line->onlookers;

    CHECK(link != NULL); /* without a guest there is no line */
    return line_guest_of(link)->call;
}

static void start_job(struct line *line)
{
    struct line_job *job = mem_zalloc(sizeof(*job));

    job->line = line;
    job->held = some_call(line);
    job->scan.max = SIZE_MAX;
    job->there.run = run_there;
    job->work.run = run_work;
    job->work.done = work_done;
    job->back.run = job_back;
    line->job = job;
    rpc_hold(job->held);
    run_job(job);
}

void line_keep_batch(struct line *line, struct watch_batch *batch)
{
    struct line_job *job = line->job;

    if (job->n_kept > 0 && job->kept[job->n_kept - 1] == batch)
        return;
    if (job->n_kept == job->cap_kept) {
        job->cap_kept = job->cap_kept ? job->cap_kept * 2 : 16;
        job->kept = mem_realloc(job->kept,
                                job->cap_kept * sizeof(struct watch_batch *));
    }
    job->kept[job->n_kept++] = watch_batch_ref(batch);
}

void line_read(struct line *line)
{
    struct scan scan = {.max = FEW_KEYS};
    int rc;

    if (line->job) {
        line->job->again = true;
        return;
    }
    line_forget(line);
    rc = run_scan(&scan, line, access_reader(&line->lines->access));
    if (rc == 0)
        take_scan(line, &scan);
    else if (rc == 1)
        start_job(line);
    else
        line_fail(line, rc);
    close_scan(&scan);
}

/* ---- changes ---- */

static void take_put(struct line *line, const struct watch_batch *batch,
                     const struct watch_event *event)
{
    struct bytes key = watch_event_key(batch, event);
    struct bytes record = watch_event_record(watch_event_bytes(batch, event));
    struct recipe_place *place = recipe_line_find(&line->keys, key);
    struct mvcc_fields fields;

    if (mvcc_decode(record, &fields) < 0)
        return; /* the store would not have taken it */
    if (!place)
        place = recipe_line_add(&line->keys, key, fields.create_rev);
    if (place == line->keys.first)
        line_tell_event(line, batch, event);
}

static void take_tombstone(struct line *line, struct bytes key)
{
    struct recipe_place *place = recipe_line_find(&line->keys, key);

    if (place)
        line_remove(line, place);
}

void line_take_event(struct line *line, const struct watch_batch *batch,
                     const struct watch_event *event)
{
    if (event->rev <= line->scanned_rev)
        return;
    line->busy = true;
    if (event->tombstone)
        take_tombstone(line, watch_event_key(batch, event));
    else
        take_put(line, batch, event);
    line->busy = false;
}
