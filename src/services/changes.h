/* The changes as one shard sees them, for the services that follow them there:
 * Watch, and the lines of Lock and Election.
 *
 *   loop --watch_feed--> shard: changes --batch, gap--> followers
 *
 * The shard has seen all changes up to `seen`. Revisions have no gaps, so that
 * it knows when some were left out because it was slow. Everything here
 * happens on the shard's thread. */
#ifndef CHORAD_SERVICES_CHANGES_H
#define CHORAD_SERVICES_CHANGES_H

#include "closed.h"

#include "chorad/rpc.h"

struct changes_follower {
    /* A batch has come. What is older than `from` has been seen before. */
    void (*batch)(struct changes_follower *follower, struct watch_batch *batch,
                  int64_t from);
    /* The changes from `from` on, up to what is seen now, were left out: they
     * are in the store. */
    void (*gap)(struct changes_follower *follower, int64_t from);

    struct changes_follower *next;
    struct changes_follower **prev; /* NULL: doesn't follow */
};

struct changes {
    struct changes *next; /* of the services' list */
    struct node *node;
    struct rpc_shard *rpc;
    struct watch_subscriber subscriber;
    bool subscribed;
    int64_t seen; /* means something while somebody follows */
    struct changes_follower *followers;
};

/* The shard's, made with the first call that asks for it. */
struct changes *changes_of(const struct rpc_call *call);
/* Once the shard's thread is gone and the feed has been stopped. */
void changes_close(struct changes *changes);

/* It is told of all changes, whoever has made them: what it passes on is for
 * those alone who have an access to the key (access.h).
 *
 * From now on; what is in the store already may or may not have been seen. A
 * follower may stop to follow from inside its callbacks. */
void changes_follow(struct changes *changes, struct changes_follower *follower);
void changes_unfollow(struct changes *changes,
                      struct changes_follower *follower);

#endif
