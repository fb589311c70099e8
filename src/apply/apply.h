/* Inside of apply: what the operations share. */
#ifndef CHORAD_APPLY_INTERNAL_H
#define CHORAD_APPLY_INTERNAL_H

#include "chorad/apply.h"
#include "chorad/base/metrics.h"
#include "chorad/base/pb.h"
#include "raft_internal.pb-c.h"
#include "view.h"

struct apply {
    struct apply_config config;
    struct apply_header header; /* revision 0 */
    struct arena arena;         /* of the entry being applied */
    uint64_t now_ns;
    struct metric *slow;
};

/* What applying one request needs besides the request. */
struct apply_context {
    struct apply *apply;
    uint64_t index; /* of the entry */
    bool wanted;
    bool auth_on;        /* as the entry found it */
    struct auth_who who; /* read only then */
    void (*compacted)(void *arg, int err);
    void *arg;
    struct apply_result *result;
};

/* ---- wrap.c ----------------------------------------------------------------
 */

/* Where a request may be one of the old API. */
#define APPLY_REQUEST_V2 2

/* The one request inside, and its encoded bytes, or APPLY_REQUEST_V2; number 0:
 * there is none. ERR_MALFORMED. */
int apply_find_request(const struct raft_entry *entry, struct pb_field *found);
/* Who the request comes from, by its stamp. */
void apply_find_who(const struct raft_entry *entry, struct auth_who *who);

/* ---- kinds.c ---------------------------------------------------------------
 */

struct kind;

/* NULL: it isn't known here. */
struct kind *kind_of(uint32_t number);
uint32_t kind_number(const struct kind *kind);
bool kind_is_auth(const struct kind *kind);
/* The request, in the arena; NULL for bytes that no client's request can
 * be. */
void *kind_unpack(const struct kind *kind, struct arena *arena,
                  struct bytes data);
void kind_observe(struct apply *apply, struct kind *kind, uint64_t index,
                  uint64_t took_ns, bool success);

/* ---- kv.c ------------------------------------------------------------------
 */

/* The lease is there, and the key where ignore_value or ignore_lease need one.
 * `prev`, if not NULL, gets the previous record (empty if none is needed or
 * there), in the arena. lessor NULL: nothing is ever put. */
int put_check(const struct lessor *lessor, const struct view *view,
              const Etcdserverpb__PutRequest *req, struct arena *arena,
              struct bytes *prev);

/* Inside a transaction; append the content of their responses. */
int put_execute(struct apply *apply, const struct view *view,
                const Etcdserverpb__PutRequest *req,
                const struct apply_header *header, struct arena *arena,
                struct buf *out);
int delete_execute(struct apply *apply, const struct view *view,
                   const Etcdserverpb__DeleteRangeRequest *req,
                   const struct apply_header *header, struct buf *out);

/* Ends the transaction and tells the watchers; returns the revision. */
int64_t apply_commit(struct apply *apply);

/* One operation each: fill context->result. */
int apply_put_request(struct apply_context *ctx,
                      const Etcdserverpb__PutRequest *req);
int apply_delete_request(struct apply_context *ctx,
                         const Etcdserverpb__DeleteRangeRequest *req);
int apply_txn_request(struct apply_context *ctx,
                      const Etcdserverpb__TxnRequest *req);
int apply_compaction(struct apply_context *ctx,
                     const Etcdserverpb__CompactionRequest *req);

/* ---- auth.c ---- */

/* Only root may, whatever else is the case. */
bool apply_needs_root(uint32_t kind);
/* Nothing is changed: done only for who waits. */
bool apply_only_looks(uint32_t kind);
int apply_auth(struct apply_context *ctx, uint32_t kind,
               const struct apply_auth_request *req);

/* ---- lease.c, alarm.c, membership.c ---- */

int apply_lease_grant(struct apply_context *ctx,
                      const Etcdserverpb__LeaseGrantRequest *req);
int apply_lease_revoke(struct apply_context *ctx,
                       const Etcdserverpb__LeaseRevokeRequest *req);
int apply_lease_checkpoint(struct apply_context *ctx,
                           const Etcdserverpb__LeaseCheckpointRequest *req);
int apply_alarm(struct apply_context *ctx,
                const Etcdserverpb__AlarmRequest *req);
/* ERR_NOT_CAPABLE: the cluster is newer than this server, which can't go on. */
int apply_cluster_version(struct apply *apply,
                          const Membershippb__ClusterVersionSetRequest *req);
void apply_member_attributes(
    struct apply *apply, const Membershippb__ClusterMemberAttrSetRequest *req);
/* A request of the old API, from a log that etcd before 3.6 wrote. */
int apply_v2(struct apply *apply, const struct raft_entry *entry);
void apply_downgrade_info(struct apply *apply,
                          const Membershippb__DowngradeInfoSetRequest *req);

/* The header with the current revision. */
struct apply_header apply_header_now(const struct apply *apply);

/* Room for that many more bytes under the quota. */
bool apply_within_quota(const struct apply *apply, uint64_t cost);

#endif
