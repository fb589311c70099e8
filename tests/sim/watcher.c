/* Who watches: on each life one that follows everything from its start on, and
 * some that move from member to member with the revision they have seen. */
#include "watcher.h"
#include "chorad/base/check.h"
#include "chorad/watch.h"
#include "member.h"
#include "node/node.h"
#include "rules.h"
#include <stdlib.h>
#include <string.h>

#define MOVERS 2

struct follower {
    struct watch_subscriber subscriber;
    struct life *life;
    struct mvcc_reader *reader;
    int64_t seen;
};

/* One that moves. */
struct mover {
    struct follower *at;
    int64_t seen;
};

static struct follower *followers[SIM_SLOTS];
static struct mover movers[MOVERS];
static struct mover ended; /* reads what is left when all is over */

/* ---- changes out of the store ------------------------------------------- */

struct reading {
    const struct life *life;
    int64_t *seen;
    int64_t rev;
    struct buf events;
};

static void flush_reading(struct reading *r)
{
    if (r->events.len > 0) {
        SIM_RULE(r->rev == *r->seen + 1 || *r->seen < 0,
                 "%u shows revision %" PRId64 " behind %" PRId64, r->life->slot,
                 r->rev, *r->seen);
        rules_changes(r->life, r->rev, bytes_of(r->events.data, r->events.len));
        *r->seen = r->rev;
    }
    r->events.len = 0;
}

static int on_change(void *arg, const struct mvcc_change *change)
{
    struct reading *r = arg;
    struct buf tombstone = {0};
    struct bytes record = change->record;

    if (change->rev.main != r->rev)
        flush_reading(r);
    r->rev = change->rev.main;
    if (change->tombstone) {
        watch_tombstone_record(&tombstone, change->key, change->rev.main);
        record = bytes_of(tombstone.data, tombstone.len);
    }
    watch_encode_event(&r->events, change->tombstone, record,
                       bytes_of(NULL, 0));
    buf_close(&tombstone);
    return 0;
}

/* Everything behind what it has seen. What is compacted can't be seen. */
static void catch_up(struct follower *f, int64_t *seen)
{
    struct mvcc *mvcc = f->life->node->mvcc;
    int64_t to = mvcc_revision(mvcc);

    while (*seen < to) {
        int64_t next;
        struct reading r = {.life = f->life, .seen = seen};
        int64_t compacted = mvcc_compacted(mvcc);
        /* The compacted revision itself may be gone in part. */
        if (*seen < compacted)
            *seen = compacted;
        if (*seen >= to)
            return;
        int rc =
            mvcc_changes(f->reader, *seen + 1, to, 100, on_change, &r, &next);
        CHECK(rc == 0);
        flush_reading(&r);
        buf_close(&r.events);
        SIM_RULE(*seen == next - 1, "%u shows up to %" PRId64 " of %" PRId64,
                 f->life->slot, *seen, next - 1);
    }
}

/* ---- live --------------------------------------------------------------- */

static void show_batch(const struct life *life, const struct watch_batch *batch,
                       int64_t *seen)
{
    struct buf events = {0};

    for (size_t i = 0; i < batch->n;) {
        int64_t rev = batch->events[i].rev;
        events.len = 0;
        for (; i < batch->n && batch->events[i].rev == rev; i++) {
            struct bytes e = watch_event_bytes(batch, &batch->events[i]);
            buf_append(&events, e.data, e.len);
        }
        if (rev <= *seen)
            continue;
        SIM_RULE(rev == *seen + 1,
                 "%u hands watchers revision %" PRId64 " behind %" PRId64,
                 life->slot, rev, *seen);
        rules_changes(life, rev, bytes_of(events.data, events.len));
        *seen = rev;
    }
    buf_close(&events);
    SIM_RULE(*seen >= batch->last_rev,
             "%u hands watchers a batch up to %" PRId64 " with changes up to "
             "%" PRId64,
             life->slot, batch->last_rev, *seen);
}

static void take_batch(struct follower *f, const struct watch_batch *batch,
                       int64_t *seen)
{
    if (batch->first_rev > *seen + 1 || batch->n == 0)
        catch_up(f, seen);
    else
        show_batch(f->life, batch, seen);
}

static void on_batch(struct watch_subscriber *subscriber,
                     struct watch_batch *batch)
{
    struct follower *f = container_of(subscriber, struct follower, subscriber);

    take_batch(f, batch, &f->seen);
    for (size_t i = 0; i < MOVERS; i++)
        if (movers[i].at == f)
            take_batch(f, batch, &movers[i].seen);
    watch_done(subscriber, batch);
}

void watcher_life_begins(struct life *life)
{
    struct follower *f = mem_zalloc(sizeof(*f));

    f->life = life;
    f->subscriber.notify = on_batch;
    CHECK(mvcc_reader_open(life->node->mvcc, &f->reader) == 0);
    watch_feed_subscribe(life->node->feed, &f->subscriber);
    atomic_store(&f->subscriber.wanted, true);
    f->seen = mvcc_revision(life->node->mvcc);
    followers[life->slot] = f;
}

struct mvcc_reader *watcher_reader(const struct life *life)
{
    return followers[life->slot]->reader;
}

void watcher_life_stops(struct life *life)
{
    struct follower *f = followers[life->slot];

    if (!f || f->life != life)
        return;
    watch_feed_stop(life->node->feed);
    mvcc_reader_close(f->reader);
    watcher_life_ended(life);
}

void watcher_life_ended(const struct life *life)
{
    struct follower *f = followers[life->slot];

    if (!f || f->life != life)
        return;
    followers[life->slot] = NULL;
    for (size_t i = 0; i < MOVERS; i++)
        if (movers[i].at == f)
            movers[i].at = NULL;
}

void watcher_move(void)
{
    struct mover *m = &movers[sim_below(MOVERS)];
    struct life *life = member_random_life();

    if (!life)
        return;
    if (m->seen == 0)
        m->seen = 1;
    m->at = followers[life->slot];
    catch_up(m->at, &m->seen);
}

void watcher_look_back(const struct life *life)
{
    ended.seen = 1;
    catch_up(followers[life->slot], &ended.seen);
}
