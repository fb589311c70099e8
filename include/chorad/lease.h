/* The lessor: leases, their keys and their expiry. The loop thread only; time
 * is handed in (monotonic nanoseconds).
 *
 * Only the leader's lessor is primary: it lets leases expire. Elsewhere they
 * live for ever until a revoke comes through the log. */
#ifndef CHORAD_LEASE_H
#define CHORAD_LEASE_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/store.h"
#include <stdbool.h>
#include <stdint.h>

struct lessor;

/* The longest TTL that is granted, in seconds (source: etcd's lessor). */
#define LEASE_TTL_MAX INT64_C(9000000000)

/* Reads the lease bucket. Shorter TTLs than min_ttl_s are granted as that. The
 * store must outlive the lessor. */
int lessor_open(struct store *store, int64_t min_ttl_s, struct lessor **out,
                struct errmsg *msg);
void lessor_close(struct lessor *lessor);
/* What it keeps goes to this store from now on. */
void lessor_use_store(struct lessor *lessor, struct store *store);

/* ---- through the log --------------------------------------------------- */

/* ERR_LEASE_NOT_FOUND for id 0, ERR_LEASE_TTL, ERR_LEASE_EXISTS. *granted_s:
 * the TTL granted. */
int lessor_grant(struct lessor *lessor, int64_t id, int64_t ttl_s,
                 uint64_t now_ns, int64_t *granted_s);

/* The lease's keys in byte order, in the arena: what a revoke deletes first.
 * ERR_LEASE_NOT_FOUND. */
int lessor_keys(const struct lessor *lessor, int64_t id, struct arena *arena,
                struct bytes **keys, size_t *n);

/* Visits the lease's keys, in no order, until visit returns other than 0, which
 * is returned. ERR_LEASE_NOT_FOUND. */
int lessor_each_key(const struct lessor *lessor, int64_t id,
                    int (*visit)(void *arg, struct bytes key), void *arg);

/* Forgets the lease and detaches its keys; renewals that wait for it are
 * answered. ERR_LEASE_NOT_FOUND. */
int lessor_revoke(struct lessor *lessor, int64_t id);

/* Remaining seconds as the leader saw them; 0 clears. With `persist` they
 * survive a restart. */
void lessor_checkpoint(struct lessor *lessor, int64_t id, int64_t remaining_s,
                       bool persist, uint64_t now_ns);

bool lessor_has(const struct lessor *lessor, int64_t id);

/* Attaches the key to this lease and detaches it from any other; id 0 only
 * detaches. Attaching to an unknown lease only detaches. */
void lessor_attach(struct lessor *lessor, int64_t id, struct bytes key);

/* ---- the primary's ------------------------------------------------------ */

/* Becomes primary: every lease gets its full (or checkpointed) TTL and
 * `extend_ns` more; where very many would end together they are spread. */
void lessor_promote(struct lessor *lessor, uint64_t now_ns, uint64_t extend_ns);
/* Leases live for ever again; waiting renewals get ERR_NOT_LEADER. */
void lessor_demote(struct lessor *lessor);
bool lessor_is_primary(const struct lessor *lessor);

/* Called with the renewed TTL in seconds and 0, or an error. */
typedef void (*lessor_renew_cb)(void *arg, int err, int64_t ttl_s);

/* Renews, and never shortens; a checkpoint has to be cleared for the others as
 * well. A lease that has expired but is not revoked yet answers only when the
 * revoke is through (ERR_LEASE_NOT_FOUND): the callback may come later.
 * ERR_LEASE_NOT_FOUND, ERR_NOT_LEADER. */
void lessor_renew(struct lessor *lessor, int64_t id, uint64_t now_ns,
                  lessor_renew_cb done, void *arg);
/* Takes back a renewal that waits: its callback is not called. */
void lessor_renew_cancel(struct lessor *lessor, void *arg);

/* At most `max` ids of leases that have expired; each is named again after 3 s
 * if it is still there. */
size_t lessor_expired(struct lessor *lessor, uint64_t now_ns, int64_t *ids,
                      size_t max);
/* When lessor_expired next has something; UINT64_MAX: never as things are. */
uint64_t lessor_next_expiry(const struct lessor *lessor);

/* ---- checkpoints: the primary's ---- */

/* Long leases have what is left of them written down every so often from now
 * on, so that another primary doesn't begin anew. Before the promotion. */
void lessor_enable_checkpoints(struct lessor *lessor);

struct lease_checkpoint {
    int64_t id;
    int64_t remaining_s;
};
/* At most `max` that are due; each once an interval. */
size_t lessor_checkpoints(struct lessor *lessor, uint64_t now_ns,
                          struct lease_checkpoint *out, size_t max);
/* Has one, or is about to get one that lessor_checkpoints has named: a renewal
 * has to clear it first, through the log. */
bool lessor_is_checkpointed(const struct lessor *lessor, int64_t id);

/* ---- looking ------------------------------------------------------------- */

struct lease_info {
    int64_t id;
    int64_t granted_s;
    int64_t remaining_ns; /* INT64_MAX where leases live for ever */
};
/* ERR_LEASE_NOT_FOUND. */
int lessor_info(const struct lessor *lessor, int64_t id, uint64_t now_ns,
                struct lease_info *info);

/* All ids, by remaining time, in the arena. */
void lessor_list(const struct lessor *lessor, struct arena *arena,
                 int64_t **ids, size_t *n);

#endif
