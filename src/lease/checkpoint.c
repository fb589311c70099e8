/* Checkpoints: what is left of long leases, written down now and then. */
#include "lease.h"
#include <stddef.h>

#define NS_PER_S UINT64_C(1000000000)
/* (source: etcd's lessor) */
#define INTERVAL_S 300

void lessor_enable_checkpoints(struct lessor *lessor)
{
    lessor->checkpointing = true;
}

static int64_t left_s(const struct lease *lease)
{
    return lease->remaining_s > 0 ? lease->remaining_s : lease->ttl_s;
}

void checkpoint_schedule(struct lessor *lessor, struct lease *lease,
                         uint64_t now_ns)
{
    if (lessor->checkpointing && left_s(lease) > INTERVAL_S)
        heap_set(&lessor->checkpoints, &lease->checkpoint,
                 now_ns + INTERVAL_S * NS_PER_S);
    else
        heap_remove(&lessor->checkpoints, &lease->checkpoint);
}

/* False: there is nothing to say about it. */
static bool make(const struct lease *lease, uint64_t now_ns,
                 struct lease_checkpoint *out)
{
    uint64_t remaining_s;

    if (lease->expiry_ns <= now_ns)
        return false;
    remaining_s = (lease->expiry_ns - now_ns + NS_PER_S - 1) / NS_PER_S;
    *out = (struct lease_checkpoint){lease->id, (int64_t)remaining_s};
    return out->remaining_s < lease->ttl_s;
}

size_t lessor_checkpoints(struct lessor *lessor, uint64_t now_ns,
                          struct lease_checkpoint *out, size_t max)
{
    struct heap_node *node;
    size_t n = 0;

    while (n < max && (node = heap_min(&lessor->checkpoints)) &&
           node->key <= now_ns) {
        struct lease *lease =
            (struct lease *)(void *)((char *)node -
                                     offsetof(struct lease, checkpoint));

        /* The checkpoint itself, once applied, schedules the next. */
        heap_remove(&lessor->checkpoints, node);
        lease->checkpoint_under_way = make(lease, now_ns, &out[n]);
        n += lease->checkpoint_under_way;
    }
    return n;
}

bool lessor_is_checkpointed(const struct lessor *lessor, int64_t id)
{
    const struct lease *lease = lease_find(lessor, id);

    return lease && (lease->remaining_s > 0 || lease->checkpoint_under_way);
}
