/* The one way of the services to what the store holds: a reader is to be had
 * only for an access, and an access only for a caller who may read the range
 * that is asked for.
 *
 *   access_range, access_txn, access_all --err--> the caller may not
 *        \--0--> struct access --> access_reader and the others below
 *
 * closed.h keeps the other ways shut. A handler that takes no access has read
 * nothing but what everybody may know: revisions, members, the health. */
#ifndef CHORAD_SERVICES_ACCESS_H
#define CHORAD_SERVICES_ACCESS_H

#include "service.h"

struct access_door;

/* Zeroed: to nothing. Only the functions below make anything else of it. It is
 * good while the shard is there, on any thread; what it was given for may be
 * over before: access_ended. */
struct access {
    const struct access_door *door;
    uint64_t rev; /* of auth, when it was given; 0: auth was off */
};

/* ---- asking ----
 *
 * 0, ERR_AUTH_TOKEN, ERR_USER_EMPTY, ERR_AUTH_OLD_REVISION,
 * ERR_PERMISSION_DENIED; the access is zeroed by an error. Any thread. */

int access_ask_range(const struct rpc_call *call, struct bytes key,
                     struct bytes end, struct access *access);
int access_ask_txn(const struct rpc_call *call,
                   const Etcdserverpb__TxnRequest *req, struct access *access);

/* To read [key, end), which is as in requests. While auth is off this costs a
 * look at its flag. */
static inline int access_range(const struct rpc_call *call, struct bytes key,
                               struct bytes end, struct access *access)
{
    *access = (struct access){.door = local_of(call)->door};
    return service_auth_on(call) ? access_ask_range(call, key, end, access) : 0;
}

/* To run a transaction of ranges. */
static inline int access_txn(const struct rpc_call *call,
                             const Etcdserverpb__TxnRequest *req,
                             struct access *access)
{
    *access = (struct access){.door = local_of(call)->door};
    return service_auth_on(call) ? access_ask_txn(call, req, access) : 0;
}

/* To everything, which takes root. False: the call has been answered. */
bool access_all(struct rpc_call *call, struct access *access);

/* To see (`write`: to keep alive) the keys of a lease, for whoever was
 * identified when the request came: the loop, which has the leases. */
int access_lease(const struct rpc_call *call, const struct auth_who *who,
                 int64_t id, bool write);

/* Whether what was permitted still is, to be asked once it has been read: 0 or
 * ERR_AUTH_OLD_REVISION. */
int access_ask_again(const struct access *access);
static inline int access_ended(const struct access *access)
{
    return access->rev != 0 ? access_ask_again(access) : 0;
}

/* ---- reading ---- */

/* The shard's own: on its thread only. Serves others after this one, so that
 * who keeps it must ask for each of them. */
struct mvcc_reader *access_reader(const struct access *access);
/* One for another thread, or for longer than the shard's; the caller closes it
 * by mvcc_reader_close. */
int access_open_reader(const struct access *access, struct mvcc_reader **out);

/* With an access to everything; workers, as mvcc.h and store.h say. */
int access_hash(const struct access *access, uint32_t *hash, int64_t *rev);
int access_hash_kv(const struct access *access, int64_t rev,
                   struct mvcc_hash *out);
int access_open_store(const struct access *access, struct store_reader **out);

/* How many keys a range has, without asking: good for choosing who reads it,
 * and not to be told to anybody. -1: it can't be read. The shard's thread. */
int64_t access_weigh(const struct rpc_call *call, struct bytes key,
                     struct bytes end, int64_t rev);

/* ---- a shard's door ---- */

struct access_door *access_door_open(struct services *services);
void access_door_close(struct access_door *door);

#endif
