/* Inside of the lessor: leases in a hash table by id, keys in one by name. */
#ifndef CHORAD_LEASE_INTERNAL_H
#define CHORAD_LEASE_INTERNAL_H

#include "chorad/base/heap.h"
#include "chorad/base/metrics.h"
#include "chorad/lease.h"

#define LEASE_FOREVER UINT64_MAX

struct lease_item {
    struct lease_item *hash_next;
    struct lease *lease;
    struct lease_item *next; /* of the lease's keys */
    struct lease_item **prev;
    uint32_t hash;
    uint32_t len;
    uint8_t key[];
};

struct lease_waiter {
    struct lease_waiter *next;
    lessor_renew_cb done;
    void *arg;
};

struct lease {
    struct lease *hash_next;
    int64_t id;
    int64_t ttl_s;
    int64_t remaining_s;         /* 0: not checkpointed */
    bool checkpoint_under_way;   /* handed out, not applied yet */
    uint64_t expiry_ns;          /* LEASE_FOREVER while not primary */
    struct heap_node due;        /* key: when to look at it again */
    struct heap_node checkpoint; /* key: when to write down what is left */
    struct lease_item *items;
    size_t item_count;
    struct lease_waiter *waiters;
};

struct lessor {
    struct store *store;
    int64_t min_ttl_s;
    bool primary;

    struct lease **leases;
    size_t lease_buckets; /* a power of two */
    size_t lease_count;
    struct lease_item **items;
    size_t item_buckets;
    size_t item_count;
    struct heap due;
    bool checkpointing;
    struct heap checkpoints;

    struct metric *granted;
    struct metric *revoked;
    struct metric *renewed;
    struct metric_histogram *ttls;
};

/* table.c */
struct lease *lease_find(const struct lessor *lessor, int64_t id);
void lease_insert(struct lessor *lessor, struct lease *lease);
void lease_take_out(struct lessor *lessor, struct lease *lease);
struct lease_item *item_find(const struct lessor *lessor, struct bytes key);
void item_attach(struct lessor *lessor, struct lease *lease, struct bytes key);
void item_detach(struct lessor *lessor, struct lease_item *item);

/* The next lease in table order; NULL at the end. Start with *bucket = 0 and
 * lease = NULL. */
struct lease *lease_next(const struct lessor *lessor, size_t *bucket,
                         const struct lease *lease);

/* checkpoint.c: the lease has just got a new expiry, or a checkpoint. */
void checkpoint_schedule(struct lessor *lessor, struct lease *lease,
                         uint64_t now_ns);

#endif
