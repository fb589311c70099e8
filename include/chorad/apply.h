/* Applying: what a committed raft entry changes, and how a request reads and
 * is answered. Deterministic: the same entries give the same bytes on every
 * member.
 *
 * Answers are built as encoded response messages straight from stored records,
 * which are encoded already; nothing is decoded to be encoded again. */
#ifndef CHORAD_APPLY_H
#define CHORAD_APPLY_H

#include "chorad/alarm.h"
#include "chorad/auth.h"
#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/cluster.h"
#include "chorad/lease.h"
#include "chorad/mvcc.h"
#include "chorad/raft.h"
#include "rpc.pb-c.h"
#include <stdbool.h>
#include <stdint.h>

/* What goes into a ResponseHeader; zero fields are left out, as proto3 has
 * it. */
struct apply_header {
    uint64_t cluster_id;
    uint64_t member_id;
    int64_t revision;
    uint64_t raft_term;
};

/* Appends the header as field 1 of a response. */
void apply_put_header(struct buf *out, const struct apply_header *header);

/* ---- decoding without copying (pure) ------------------------------------- */

/* The bytes of what is read lie in `data`. ERR_MALFORMED. What these take, and
 * nothing else, may stand in the log as such a request. */
int apply_read_put(struct bytes data, Etcdserverpb__PutRequest *out);
int apply_read_range(struct bytes data, Etcdserverpb__RangeRequest *out);

/* A request of the Auth service: those of its fields that it has. */
struct apply_auth_request {
    struct bytes name; /* of the user or role it is about */
    struct bytes password;
    struct bytes hashed;
    struct bytes role;
    struct bytes token;
    bool no_password;
    bool has_permission;
    struct auth_permission permission;
};
/* `kind`: enum apply_kind, or what a client asks for a token with, which goes
 * into the log as another message. ERR_MALFORMED, or ERR_INVALID for a string
 * that isn't UTF-8. */
#define APPLY_ASKED_TO_AUTHENTICATE 0
int apply_read_auth(uint32_t kind, struct bytes data,
                    struct apply_auth_request *out);

/* ---- checks before anything is proposed or read (pure) ------------------- */

int apply_check_range(const Etcdserverpb__RangeRequest *req);
int apply_check_put(const Etcdserverpb__PutRequest *req);
int apply_check_delete(const Etcdserverpb__DeleteRangeRequest *req);
/* Operations, duplicates and every operation's own check. `arena` is for
 * scratch. */
int apply_check_txn(const Etcdserverpb__TxnRequest *req, uint32_t max_ops,
                    struct arena *arena);

/* No plain write anywhere, nested transactions count as writes. */
bool apply_txn_is_readonly(const Etcdserverpb__TxnRequest *req);
bool apply_txn_is_serializable(const Etcdserverpb__TxnRequest *req);

/* Bytes a request is held to cost against the quota; 0: nothing (source:
 * etcd's quota: 256 a put besides key and value, 64 a lease). */
uint64_t apply_put_cost(const Etcdserverpb__PutRequest *req);
uint64_t apply_txn_cost(const Etcdserverpb__TxnRequest *req);
#define APPLY_LEASE_COST 64

/* ---- what auth permits: any thread, but the loop where there is a lessor --
 *
 * 0 while auth is off; errors as those of auth_may_read. */

int apply_permit_put(struct auth *auth, const struct lessor *lessor,
                     const struct auth_who *who,
                     const Etcdserverpb__PutRequest *req);
int apply_permit_delete(struct auth *auth, const struct auth_who *who,
                        const Etcdserverpb__DeleteRangeRequest *req);
/* All compares, and all operations of both branches. `lessor` may be NULL for
 * a read-only one. */
int apply_permit_txn(struct auth *auth, const struct lessor *lessor,
                     const struct auth_who *who,
                     const Etcdserverpb__TxnRequest *req);
/* All keys of a lease; root passes, and so does a lease that isn't there. */
int apply_permit_lease(struct auth *auth, const struct lessor *lessor,
                       const struct auth_who *who, int64_t id, bool write);

/* ---- reading: any thread, with its own reader -----------------------------
 */

/* Appends an encoded RangeResponse. header.revision is filled in. `arena` holds
 * what has to be sorted. */
int apply_range(struct mvcc_reader *reader,
                const Etcdserverpb__RangeRequest *req,
                struct apply_header header, struct arena *arena,
                struct buf *out);

/* The keys from `req` on, at most `limit`, as the kvs of a RangeResponse
 * without header: a piece of a stream. *rev: in the revision to read at (0: the
 * current one), out the one read at; *sent: how many keys; *count: how many the
 * range has at that revision. *last_key: behind which the next piece begins, in
 * the arena. With is_last none will be asked for. Where the request says what
 * to sort by, the piece is sorted. */
struct apply_chunk {
    int64_t rev;
    int64_t current_rev;
    int64_t limit;
    bool is_last;
    int64_t sent;
    int64_t count;
    struct bytes last_key;
};
int apply_range_chunk(struct mvcc_reader *reader,
                      const Etcdserverpb__RangeRequest *req, struct bytes from,
                      struct arena *arena, struct apply_chunk *chunk,
                      struct buf *out);

/* A transaction of ranges only, all at one revision; appends an encoded
 * TxnResponse. */
int apply_txn_read(struct mvcc *mvcc, struct mvcc_reader *reader,
                   const Etcdserverpb__TxnRequest *req,
                   struct apply_header header, struct arena *arena,
                   struct buf *out);

/* ---- proposing --------------------------------------------------------------
 */

/* Kinds of proposals: field numbers of InternalRaftRequest
 * (proto/raft_internal.proto). */
enum apply_kind {
    APPLY_PUT = 4,
    APPLY_DELETE_RANGE = 5,
    APPLY_TXN = 6,
    APPLY_COMPACTION = 7,
    APPLY_LEASE_GRANT = 8,
    APPLY_LEASE_REVOKE = 9,
    APPLY_ALARM = 10,
    APPLY_LEASE_CHECKPOINT = 11,
    APPLY_AUTH_ENABLE = 1000,
    APPLY_AUTH_DISABLE = 1011,
    APPLY_AUTHENTICATE = 1012,
    APPLY_AUTH_STATUS = 1013,
    APPLY_USER_ADD = 1100,
    APPLY_USER_DELETE = 1101,
    APPLY_USER_GET = 1102,
    APPLY_USER_CHANGE_PASSWORD = 1103,
    APPLY_USER_GRANT_ROLE = 1104,
    APPLY_USER_REVOKE_ROLE = 1105,
    APPLY_USER_LIST = 1106,
    APPLY_ROLE_LIST = 1107,
    APPLY_ROLE_ADD = 1200,
    APPLY_ROLE_DELETE = 1201,
    APPLY_ROLE_GET = 1202,
    APPLY_ROLE_GRANT_PERMISSION = 1203,
    APPLY_ROLE_REVOKE_PERMISSION = 1204,
    APPLY_CLUSTER_VERSION = 1300,
    APPLY_MEMBER_ATTR = 1301,
    APPLY_DOWNGRADE_INFO = 1302,
    APPLY_DOWNGRADE_TEST = 9900, /* of etcd's own tests: changes nothing */
};

/* May another member have this normal entry put into the log? ERR_MALFORMED,
 * ERR_NAME_TOO_LONG, ERR_NOT_CAPABLE: apply_entry would end every member with
 * it, now and at each start. Empty entries pass, and so do requests of etcd's
 * old API and of kinds that aren't known here, which change nothing. What is
 * decoded lies in `scratch`, which is the caller's to reset. The loop
 * thread. */
int apply_check_entry(const struct raft_entry *entry, struct arena *scratch);

/* What a request is marked with: its id, and while auth is on who it comes
 * from, as of which revision of auth. */
struct apply_stamp {
    uint64_t id;
    struct bytes user;
    uint64_t auth_rev;
};

/* An InternalRaftRequest around the request as it was received: header with
 * the stamp, then the bytes. The caller owns the one reference. */
struct shared *apply_wrap(const struct apply_stamp *stamp, enum apply_kind kind,
                          struct bytes request);
/* How long that would be. */
size_t apply_wrapped_size(const struct apply_stamp *stamp, enum apply_kind kind,
                          size_t len);

/* ---- applying: the loop thread ---- */

struct apply;

struct apply_config {
    struct store *store;
    struct mvcc *mvcc;
    struct lessor *lessor;
    struct cluster *cluster;
    struct alarms *alarms;
    struct auth *auth;
    uint64_t cluster_id;
    uint64_t member_id;
    uint64_t quota_bytes; /* 0: none */
    /* What is left of leases is kept even in a cluster before 3.6. */
    bool checkpoint_persist;
    /* A revision was made; the changes are valid during the call. */
    void (*changed)(void *arg, int64_t rev, const struct mvcc_change *changes,
                    size_t n);
    void *arg;
};

struct apply *apply_new(const struct apply_config *config);
void apply_free(struct apply *apply);

/* The term that answers carry from now on. */
void apply_set_term(struct apply *apply, uint64_t term);

/* What one entry came to. */
struct apply_result {
    uint64_t request_id; /* 0: nobody can be waiting */
    int err;
    /* The encoded response; the caller's to close. Empty unless wanted. */
    struct buf body;
    /* Applied, but the store is over its quota: raise NOSPACE. */
    bool over_quota;
    /* A physical compaction: the answer waits for `compacted`. */
    bool deferred;
    /* The cluster's version, or what the members say of themselves. */
    bool membership;
};

/* The id of the request inside a normal entry; 0 if there is none or it
 * doesn't decode. */
uint64_t apply_request_id(const struct raft_entry *entry);

/* Applies one normal entry and marks the store. With `wanted` an answer is
 * built. `compacted`, if not NULL, is called on another thread once the
 * records of a physical compaction are gone. A damaged entry is fatal to the
 * member: ERR_CORRUPT. */
int apply_entry(struct apply *apply, const struct raft_entry *entry,
                uint64_t now_ns, bool wanted,
                void (*compacted)(void *arg, int err), void *arg,
                struct apply_result *result);

#endif
