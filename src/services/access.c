/* The one way to what the store holds: asked at the door, and inside. It is
 * what closed.h is about. */
#define SERVICES_ASK_NOBODY
#include "access.h"

#include "chorad/base/check.h"

#include <stdlib.h>

struct access_door {
    struct services *services;
    struct mvcc_reader *reader; /* the shard's */
};

struct access_door *access_door_open(struct services *services)
{
    struct access_door *door = mem_zalloc(sizeof(*door));

    door->services = services;
    /* Fails only when more readers are opened than LMDB has been made for. */
    CHECK(mvcc_reader_open(services->mvcc, &door->reader) == 0);
    return door;
}

void access_door_close(struct access_door *door)
{
    mvcc_reader_close(door->reader);
    free(door);
}

/* ---- asking ---- */

/* Who is nobody has no revision to be asked about again, and isn't let in. */
static int end_asking(struct access *access, const struct auth_who *who,
                      int err)
{
    if (err != 0)
        *access = (struct access){0};
    else
        access->rev = who->rev;
    return err;
}

int access_ask_range(const struct rpc_call *call, struct bytes key,
                     struct bytes end, struct access *access)
{
    struct auth_who who;
    int err = service_identify(call, &who);

    if (err == 0)
        err = auth_may_read(services_of(call)->auth, &who, key, end);
    return end_asking(access, &who, err);
}

int access_ask_txn(const struct rpc_call *call,
                   const Etcdserverpb__TxnRequest *req, struct access *access)
{
    struct auth_who who;
    int err = service_identify(call, &who);

    if (err == 0)
        err = apply_permit_txn(services_of(call)->auth, NULL, &who, req);
    return end_asking(access, &who, err);
}

bool access_all(struct rpc_call *call, struct access *access)
{
    bool may = service_require_root(call);

    *access = (struct access){.door = may ? local_of(call)->door : NULL};
    return may;
}

int access_lease(const struct rpc_call *call, const struct auth_who *who,
                 int64_t id, bool write)
{
    struct services *services = services_of(call);

    return apply_permit_lease(services->auth, node_lessor(services->node), who,
                              id, write);
}

int access_ask_again(const struct access *access)
{
    return access->rev != auth_revision(access->door->services->auth)
               ? ERR_AUTH_OLD_REVISION
               : 0;
}

/* ---- reading ---- */

/* Whoever forgets to ask finds out here, with the first call. */
static const struct access_door *opened(const struct access *access)
{
    CHECK(access->door != NULL);
    return access->door;
}

struct mvcc_reader *access_reader(const struct access *access)
{
    return opened(access)->reader;
}

int access_open_reader(const struct access *access, struct mvcc_reader **out)
{
    return mvcc_reader_open(opened(access)->services->mvcc, out);
}

int access_hash(const struct access *access, uint32_t *hash, int64_t *rev)
{
    return mvcc_hash(opened(access)->services->mvcc, hash, rev);
}

int access_hash_kv(const struct access *access, int64_t rev,
                   struct mvcc_hash *out)
{
    return mvcc_hash_kv(opened(access)->services->mvcc, rev, out);
}

int access_open_store(const struct access *access, struct store_reader **out)
{
    return store_reader_open(node_store(opened(access)->services->node), out);
}

int64_t access_weigh(const struct rpc_call *call, struct bytes key,
                     struct bytes end, int64_t rev)
{
    struct mvcc_range range = {
        .key = key, .end = end, .rev = rev, .want = MVCC_COUNT};
    struct mvcc_range_result result;

    return mvcc_range(local_of(call)->door->reader, &range, NULL, NULL,
                      &result) == 0
               ? result.count
               : -1;
}
