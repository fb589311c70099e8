/* Batches from the loop to those who follow the changes on this shard. All of
 * them come here: whom they may be shown to is for the followers to ask. */
#define SERVICES_ASK_NOBODY
#include "changes.h"
#include "service.h"

#include <stdlib.h>

static void tell_gap(struct changes *changes, int64_t from)
{
    struct changes_follower *next;

    for (struct changes_follower *f = changes->followers; f; f = next) {
        next = f->next;
        f->gap(f, from);
    }
}

static void take(struct changes *changes, struct watch_batch *batch)
{
    struct changes_follower *next;
    int64_t from = changes->seen + 1;

    if (batch->last_rev < from)
        return;
    changes->seen = batch->last_rev;
    if (batch->first_rev > from) {
        tell_gap(changes, from);
        return;
    }
    for (struct changes_follower *f = changes->followers; f; f = next) {
        next = f->next;
        f->batch(f, batch, from);
    }
}

struct batch_task {
    struct rpc_task task;
    struct changes *changes;
    struct watch_batch *batch;
};

static void run_batch(struct rpc_task *task)
{
    struct batch_task *t = container_of(task, struct batch_task, task);
    struct changes *changes = t->changes;

    take(changes, t->batch);
    watch_done(&changes->subscriber, t->batch);
    free(t);
    /* What was left out while this one waited has no batch behind it. */
    if (atomic_exchange(&changes->subscriber.missed, false)) {
        int64_t from = changes->seen + 1;
        changes->seen = mvcc_revision(node_mvcc(changes->node));
        tell_gap(changes, from);
    }
}

/* The loop. */
static void notify(struct watch_subscriber *subscriber,
                   struct watch_batch *batch)
{
    struct changes *changes =
        container_of(subscriber, struct changes, subscriber);
    struct batch_task *t = mem_alloc(sizeof(*t));

    t->task.run = run_batch;
    t->changes = changes;
    t->batch = batch;
    rpc_post(changes->rpc, &t->task);
}

struct changes *changes_of(const struct rpc_call *call)
{
    struct services *services = services_of(call);
    struct service_local *local = local_of(call);
    struct changes *changes = local->changes;

    if (changes)
        return changes;
    changes = mem_zalloc(sizeof(*changes));
    changes->node = services->node;
    changes->rpc = call->shard;
    changes->subscriber.notify = notify;
    local->changes = changes;
    changes->next = atomic_load(&services->changes);
    while (!atomic_compare_exchange_weak(&services->changes, &changes->next,
                                         changes))
        continue;
    return changes;
}

void changes_close(struct changes *changes)
{
    atomic_store(&changes->subscriber.wanted, false);
    free(changes);
}

/* With the first follower the shard begins to take the changes; with the last
 * one it stops. Either the loop sees that the next change is wanted, or its
 * revision is seen here. */
void changes_follow(struct changes *changes, struct changes_follower *follower)
{
    if (!changes->subscribed)
        watch_feed_subscribe(node_watch_feed(changes->node),
                             &changes->subscriber);
    changes->subscribed = true;
    if (!changes->followers) {
        (void)atomic_exchange(&changes->subscriber.wanted, true);
        changes->seen = mvcc_revision(node_mvcc(changes->node));
    }
    follower->next = changes->followers;
    follower->prev = &changes->followers;
    if (follower->next)
        follower->next->prev = &follower->next;
    changes->followers = follower;
}

void changes_unfollow(struct changes *changes,
                      struct changes_follower *follower)
{
    *follower->prev = follower->next;
    if (follower->next)
        follower->next->prev = follower->prev;
    follower->next = NULL;
    follower->prev = NULL;
    if (!changes->followers)
        atomic_store(&changes->subscriber.wanted, false);
}
