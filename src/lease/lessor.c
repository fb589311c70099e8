#include "chorad/base/be.h"
#include "chorad/base/pb.h"
#include "lease.h"
#include <stdlib.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

/* leasepb.Lease (proto/lease.proto). */
enum { LEASE_ID = 1, LEASE_TTL = 2, LEASE_REMAINING_TTL = 3 };

static void persist(struct lessor *lessor, const struct lease *lease)
{
    uint8_t key[8];
    uint8_t value[3 * 11];
    uint8_t *end = value;

    be_put_u64(key, (uint64_t)lease->id);
    end = pb_put_u64(end, LEASE_ID, (uint64_t)lease->id);
    end = pb_put_u64(end, LEASE_TTL, (uint64_t)lease->ttl_s);
    end = pb_put_u64(end, LEASE_REMAINING_TTL, (uint64_t)lease->remaining_s);
    store_put(lessor->store, STORE_LEASE, bytes_of(key, sizeof(key)),
              bytes_of(value, (size_t)(end - value)));
}

static struct lease *new_lease(int64_t id, int64_t ttl_s)
{
    struct lease *lease = mem_zalloc(sizeof(*lease));

    lease->id = id;
    lease->ttl_s = ttl_s;
    lease->expiry_ns = LEASE_FOREVER;
    heap_node_init(&lease->due);
    heap_node_init(&lease->checkpoint);
    return lease;
}

/* Called while opening for each record of the lease bucket. */
static int load_lease(void *arg, struct bytes key, struct bytes value)
{
    struct lessor *lessor = arg;
    struct pb_reader r = {value.data, value.data + value.len};
    struct pb_field field;
    int64_t numbers[4] = {0};
    int rc;

    if (key.len != 8)
        return ERR_CORRUPT;
    while ((rc = pb_next(&r, &field)) > 0)
        if (field.wire == PB_VARINT && field.number <= LEASE_REMAINING_TTL)
            numbers[field.number] = (int64_t)field.value;
    if (rc < 0)
        return ERR_CORRUPT;

    int64_t ttl_s = numbers[LEASE_TTL];
    if (ttl_s < lessor->min_ttl_s)
        ttl_s = lessor->min_ttl_s;
    struct lease *lease = new_lease((int64_t)be_get_u64(key.data), ttl_s);
    lease->remaining_s = numbers[LEASE_REMAINING_TTL];
    lease_insert(lessor, lease);
    return 0;
}

static void register_metrics(struct lessor *lessor)
{
    lessor->granted =
        metric_counter("etcd_debugging_lease_granted_total",
                       "The total number of granted leases.", NULL, 0);
    lessor->revoked =
        metric_counter("etcd_debugging_lease_revoked_total",
                       "The total number of revoked leases.", NULL, 0);
    lessor->renewed = metric_counter(
        "etcd_debugging_lease_renewed_total",
        "The number of renewed leases seen by the leader.", NULL, 0);
    lessor->ttls = metric_histogram_exp("etcd_debugging_lease_ttl_total",
                                        "Bucketed histogram of lease TTLs.", 1,
                                        2, 24, NULL, 0);
}

int lessor_open(struct store *store, int64_t min_ttl_s, struct lessor **out,
                struct errmsg *msg)
{
    struct lessor *lessor = mem_zalloc(sizeof(*lessor));
    int rc;

    lessor->store = store;
    lessor->min_ttl_s = min_ttl_s;
    register_metrics(lessor);
    rc = store_load(store, STORE_LEASE, load_lease, lessor);
    if (rc < 0) {
        lessor_close(lessor);
        return err_set(msg, rc, "reading the lease bucket: %s", err_text(rc));
    }
    *out = lessor;
    return 0;
}

static void free_lease(struct lessor *lessor, struct lease *lease)
{
    while (lease->items)
        item_detach(lessor, lease->items);
    while (lease->waiters) {
        struct lease_waiter *waiter = lease->waiters;
        lease->waiters = waiter->next;
        free(waiter);
    }
    heap_remove(&lessor->due, &lease->due);
    heap_remove(&lessor->checkpoints, &lease->checkpoint);
    free(lease);
}

void lessor_close(struct lessor *lessor)
{
    if (!lessor)
        return;
    for (size_t i = 0; i < lessor->lease_buckets; i++) {
        while (lessor->leases[i]) {
            struct lease *lease = lessor->leases[i];
            lessor->leases[i] = lease->hash_next;
            free_lease(lessor, lease);
        }
    }
    heap_close(&lessor->due);
    heap_close(&lessor->checkpoints);
    free(lessor->leases);
    free(lessor->items);
    free(lessor);
}

void lessor_use_store(struct lessor *lessor, struct store *store)
{
    lessor->store = store;
}

/* From now on the lease has its TTL (or what was left of it) to live. What the
 * store and the log have of it may be more than is ever granted, which would
 * run over. */
static void refresh(struct lessor *lessor, struct lease *lease, uint64_t now_ns,
                    uint64_t extend_ns)
{
    int64_t left_s = lease->remaining_s > 0 ? lease->remaining_s : lease->ttl_s;

    if (left_s > LEASE_TTL_MAX)
        left_s = LEASE_TTL_MAX;

    lease->expiry_ns = now_ns + extend_ns + (uint64_t)left_s * NS_PER_S;
    heap_set(&lessor->due, &lease->due, lease->expiry_ns);
    checkpoint_schedule(lessor, lease, now_ns);
}

int lessor_grant(struct lessor *lessor, int64_t id, int64_t ttl_s,
                 uint64_t now_ns, int64_t *granted_s)
{
    if (id == 0)
        return ERR_LEASE_NOT_FOUND;
    if (ttl_s > LEASE_TTL_MAX)
        return ERR_LEASE_TTL;
    if (lease_find(lessor, id))
        return ERR_LEASE_EXISTS;
    if (ttl_s < lessor->min_ttl_s)
        ttl_s = lessor->min_ttl_s;

    struct lease *lease = new_lease(id, ttl_s);
    lease_insert(lessor, lease);
    persist(lessor, lease);
    if (lessor->primary)
        refresh(lessor, lease, now_ns, 0);
    metric_observe(lessor->ttls, (double)ttl_s);
    metric_inc(lessor->granted);
    *granted_s = ttl_s;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    return bytes_cmp(*(const struct bytes *)a, *(const struct bytes *)b);
}

int lessor_keys(const struct lessor *lessor, int64_t id, struct arena *arena,
                struct bytes **keys, size_t *n)
{
    const struct lease *lease = lease_find(lessor, id);
    size_t at = 0;

    if (!lease)
        return ERR_LEASE_NOT_FOUND;
    *n = lease->item_count;
    *keys = arena_alloc(arena, (*n + 1) * sizeof(struct bytes));
    for (const struct lease_item *i = lease->items; i; i = i->next)
        (*keys)[at++] = bytes_of(arena_dup(arena, i->key, i->len), i->len);
    qsort(*keys, *n, sizeof(struct bytes), compare_keys);
    return 0;
}

int lessor_each_key(const struct lessor *lessor, int64_t id,
                    int (*visit)(void *arg, struct bytes key), void *arg)
{
    const struct lease *lease = lease_find(lessor, id);
    int rc = 0;

    if (!lease)
        return ERR_LEASE_NOT_FOUND;
    for (const struct lease_item *i = lease->items; i && rc == 0; i = i->next)
        rc = visit(arg, bytes_of(i->key, i->len));
    return rc;
}

static void answer_waiters(struct lease *lease, int err)
{
    while (lease->waiters) {
        struct lease_waiter *waiter = lease->waiters;
        lease->waiters = waiter->next;
        waiter->done(waiter->arg, err, 0);
        free(waiter);
    }
}

int lessor_revoke(struct lessor *lessor, int64_t id)
{
    struct lease *lease = lease_find(lessor, id);
    uint8_t key[8];

    if (!lease)
        return ERR_LEASE_NOT_FOUND;
    lease_take_out(lessor, lease);
    be_put_u64(key, (uint64_t)id);
    store_delete(lessor->store, STORE_LEASE, bytes_of(key, sizeof(key)));
    answer_waiters(lease, ERR_LEASE_NOT_FOUND);
    free_lease(lessor, lease);
    metric_inc(lessor->revoked);
    return 0;
}

void lessor_checkpoint(struct lessor *lessor, int64_t id, int64_t remaining_s,
                       bool persistent, uint64_t now_ns)
{
    struct lease *lease = lease_find(lessor, id);

    if (!lease)
        return;
    lease->remaining_s = remaining_s;
    lease->checkpoint_under_way = false;
    if (persistent)
        persist(lessor, lease);
    if (lessor->primary)
        checkpoint_schedule(lessor, lease, now_ns);
}

bool lessor_has(const struct lessor *lessor, int64_t id)
{
    return lease_find(lessor, id) != NULL;
}

void lessor_attach(struct lessor *lessor, int64_t id, struct bytes key)
{
    struct lease_item *item = item_find(lessor, key);
    struct lease *lease = id != 0 ? lease_find(lessor, id) : NULL;

    if (item && item->lease == lease)
        return;
    if (item)
        item_detach(lessor, item);
    if (lease)
        item_attach(lessor, lease, key);
}

/* Leases that would end in the same second are spread over later ones, so that
 * at most a rate of revokes a second falls due (source: etcd's lessor, which
 * takes three quarters of its 1000 revokes/s). */
#define REVOKES_PER_S 750

static int compare_expiry(const void *a, const void *b)
{
    const struct lease *x = *(struct lease *const *)a;
    const struct lease *y = *(struct lease *const *)b;

    if (x->expiry_ns != y->expiry_ns)
        return x->expiry_ns < y->expiry_ns ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void spread(struct lessor *lessor, uint64_t now_ns)
{
    struct lease **all =
        mem_alloc(lessor->lease_count * sizeof(struct lease *));
    size_t bucket = 0;
    size_t n = 0;
    uint64_t window = now_ns;
    uint64_t in_window = 0;
    uint64_t delay_s = 0;

    for (struct lease *l = lease_next(lessor, &bucket, NULL); l;
         l = lease_next(lessor, &bucket, l))
        all[n++] = l;
    qsort(all, n, sizeof(struct lease *), compare_expiry);
    for (size_t i = 0; i < n; i++) {
        if (all[i]->expiry_ns + delay_s * NS_PER_S >= window + NS_PER_S) {
            window = all[i]->expiry_ns + delay_s * NS_PER_S;
            in_window = 0;
        }
        if (in_window == REVOKES_PER_S) {
            delay_s++;
            window += NS_PER_S;
            in_window = 0;
        }
        in_window++;
        all[i]->expiry_ns += delay_s * NS_PER_S;
        heap_set(&lessor->due, &all[i]->due, all[i]->expiry_ns);
    }
    free(all);
}

void lessor_promote(struct lessor *lessor, uint64_t now_ns, uint64_t extend_ns)
{
    size_t bucket = 0;

    lessor->primary = true;
    for (struct lease *l = lease_next(lessor, &bucket, NULL); l;
         l = lease_next(lessor, &bucket, l))
        refresh(lessor, l, now_ns, extend_ns);
    if (lessor->lease_count > REVOKES_PER_S)
        spread(lessor, now_ns);
}

void lessor_demote(struct lessor *lessor)
{
    size_t bucket = 0;

    lessor->primary = false;
    for (struct lease *l = lease_next(lessor, &bucket, NULL); l;
         l = lease_next(lessor, &bucket, l)) {
        l->expiry_ns = LEASE_FOREVER;
        l->checkpoint_under_way = false;
        heap_remove(&lessor->due, &l->due);
        heap_remove(&lessor->checkpoints, &l->checkpoint);
        answer_waiters(l, ERR_NOT_LEADER);
    }
}

bool lessor_is_primary(const struct lessor *lessor)
{
    return lessor->primary;
}

void lessor_renew(struct lessor *lessor, int64_t id, uint64_t now_ns,
                  lessor_renew_cb done, void *arg)
{
    struct lease *lease = lease_find(lessor, id);

    if (!lessor->primary) {
        done(arg, ERR_NOT_LEADER, 0);
        return;
    }
    if (!lease) {
        done(arg, ERR_LEASE_NOT_FOUND, 0);
        return;
    }
    if (lease->expiry_ns <= now_ns) {
        struct lease_waiter *waiter = mem_alloc(sizeof(*waiter));
        *waiter = (struct lease_waiter){lease->waiters, done, arg};
        lease->waiters = waiter;
        return;
    }
    lease->remaining_s = 0;
    /* What the promotion has added stands: the leader before this one may not
     * know yet, and have renewed it after us. */
    uint64_t before_ns = lease->expiry_ns;
    refresh(lessor, lease, now_ns, 0);
    if (lease->expiry_ns < before_ns) {
        lease->expiry_ns = before_ns;
        heap_set(&lessor->due, &lease->due, before_ns);
    }
    metric_inc(lessor->renewed);
    done(arg, 0, lease->ttl_s);
}

void lessor_renew_cancel(struct lessor *lessor, void *arg)
{
    size_t bucket = 0;

    for (struct lease *l = lease_next(lessor, &bucket, NULL); l;
         l = lease_next(lessor, &bucket, l)) {
        struct lease_waiter **at = &l->waiters;
        while (*at) {
            struct lease_waiter *waiter = *at;
            if (waiter->arg != arg) {
                at = &waiter->next;
                continue;
            }
            *at = waiter->next;
            free(waiter);
        }
    }
}

#define REVOKE_RETRY_NS (3 * NS_PER_S)

size_t lessor_expired(struct lessor *lessor, uint64_t now_ns, int64_t *ids,
                      size_t max)
{
    struct heap_node *node;
    size_t n = 0;

    if (!lessor->primary)
        return 0;
    while (n < max && (node = heap_min(&lessor->due)) && node->key <= now_ns) {
        struct lease *lease =
            (struct lease *)(void *)((char *)node -
                                     offsetof(struct lease, due));
        ids[n++] = lease->id;
        heap_set(&lessor->due, node, now_ns + REVOKE_RETRY_NS);
    }
    return n;
}

uint64_t lessor_next_expiry(const struct lessor *lessor)
{
    struct heap_node *node = heap_min(&lessor->due);

    return lessor->primary && node ? node->key : UINT64_MAX;
}

int lessor_info(const struct lessor *lessor, int64_t id, uint64_t now_ns,
                struct lease_info *info)
{
    const struct lease *lease = lease_find(lessor, id);

    if (!lease)
        return ERR_LEASE_NOT_FOUND;
    info->id = id;
    info->granted_s = lease->ttl_s;
    info->remaining_ns = lease->expiry_ns == LEASE_FOREVER
                             ? INT64_MAX
                             : (int64_t)(lease->expiry_ns - now_ns);
    return 0;
}

void lessor_list(const struct lessor *lessor, struct arena *arena,
                 int64_t **ids, size_t *n)
{
    struct lease **all =
        arena_alloc(arena, (lessor->lease_count + 1) * sizeof(struct lease *));
    size_t bucket = 0;

    *n = 0;
    for (struct lease *l = lease_next(lessor, &bucket, NULL); l;
         l = lease_next(lessor, &bucket, l))
        all[(*n)++] = l;
    qsort(all, *n, sizeof(struct lease *), compare_expiry);
    *ids = arena_alloc(arena, (*n + 1) * sizeof(int64_t));
    for (size_t i = 0; i < *n; i++)
        (*ids)[i] = all[i]->id;
}
