/* What the services share. */
#ifndef CHORAD_SERVICES_SERVICE_H
#define CHORAD_SERVICES_SERVICE_H

#include "closed.h"

#include "chorad/base/err.h"
#include "chorad/base/metrics.h"
#include "chorad/rpc.h"
#include "chorad/services.h"

#include <pthread.h>
#include <stdatomic.h>

/* The types of etcd_server_request_duration_seconds. */
enum service_type {
    SERVICE_RANGE,
    SERVICE_READONLY_TXN,
    SERVICE_PUT,
    SERVICE_DELETE_RANGE,
    SERVICE_TXN,
    SERVICE_COMPACTION,
    SERVICE_LEASE_GRANT,
    SERVICE_LEASE_REVOKE,
    SERVICE_ALARM,
    SERVICE_AUTHENTICATE,
    SERVICE_AUTH_ENABLE,
    SERVICE_AUTH_DISABLE,
    SERVICE_AUTH_STATUS,
    SERVICE_USER_ADD,
    SERVICE_USER_DELETE,
    SERVICE_USER_GET,
    SERVICE_USER_LIST,
    SERVICE_USER_CHANGE_PASSWORD,
    SERVICE_USER_GRANT_ROLE,
    SERVICE_USER_REVOKE_ROLE,
    SERVICE_ROLE_ADD,
    SERVICE_ROLE_DELETE,
    SERVICE_ROLE_GET,
    SERVICE_ROLE_LIST,
    SERVICE_ROLE_GRANT_PERMISSION,
    SERVICE_ROLE_REVOKE_PERMISSION,
    SERVICE_TYPES, /* their number */
};

struct access_door;
struct changes;
struct health_watch;
struct lines;
struct slow_pool;
struct watch_shard;

/* Each in a file of its own; services_all lists them. */
extern const struct rpc_service service_kv;
extern const struct rpc_service service_watch;
extern const struct rpc_service service_lease;
extern const struct rpc_service service_cluster;
extern const struct rpc_service service_maintenance;
extern const struct rpc_service service_auth;
extern const struct rpc_service service_health;
extern const struct rpc_service service_lock;
extern const struct rpc_service service_election;

struct services {
    struct services_config config;
    struct node *node;
    struct mvcc *mvcc;
    struct auth *auth;
    const atomic_bool *auth_on;
    struct slow_pool *slow;
    /* Made with the first value; failed, succeeded. */
    struct metric_histogram *_Atomic took[SERVICE_TYPES][2];
    struct metric_histogram *_Atomic range_took[2];
    struct metric *slow_apply;
    pthread_mutex_t health_lock; /* guards the list and each `posted` */
    struct health_watch *health_watches;
    atomic_bool serving;
    pthread_mutex_t defrag_lock; /* one after the other */
    pthread_mutex_t snapshots_lock;
    pthread_cond_t snapshots_ended;
    unsigned snapshots; /* being made, under the lock */
    struct metric_histogram *snapshot_took;
    /* Both only ever added to. */
    _Atomic(struct changes *) changes;
    _Atomic(struct watch_shard *) watch_shards;
};

/* A shard's own. */
struct service_local {
    struct services *services;
    unsigned index;
    struct access_door *door; /* to the store: access.h */
    /* Made when they are first wanted, NULL before; given back by
     * services_close. */
    struct changes *changes;
    struct watch_shard *watch;
    /* The same, but given back with the shard. */
    struct lines *lines;
};

static inline struct services *services_of(const struct rpc_call *call)
{
    return rpc_ctx(call->shard);
}

static inline struct service_local *local_of(const struct rpc_call *call)
{
    return rpc_local(call->shard);
}

/* Answers bytes that don't decode, as grpc-go does. */
void service_fail_malformed(struct rpc_call *call);
/* The same for a string field that isn't UTF-8. */
void service_fail_utf8(struct rpc_call *call);

/* Unpacks the request into the call's arena; NULL: it has been answered. */
void *service_unpack(struct rpc_call *call,
                     const ProtobufCMessageDescriptor *type);

/* Cluster and member id, term and the current revision. */
struct apply_header service_header(const struct services *services);

/* The same for an answer made with protobuf-c. */
Etcdserverpb__ResponseHeader service_pb_header(const struct services *services);

/* Answers with what is in the shard's scratch buffer: copied if it is short,
 * handed over if it isn't. Returns how many bytes. */
size_t service_reply_scratch(struct rpc_call *call, struct buf *scratch);

/* ---- identity.c: who a call comes from, and what they may -----------------
 */

static inline bool service_auth_on(const struct rpc_call *call)
{
    return atomic_load_explicit(services_of(call)->auth_on,
                                memory_order_relaxed);
}

/* The one place where it is decided: by the token, else by the certificate.
 * rev 0: nobody, or auth is off. ERR_AUTH_TOKEN. Any thread. */
int service_identify(const struct rpc_call *call, struct auth_who *who);

/* Somebody, root. False: it has been answered. */
bool service_require_user(struct rpc_call *call);
bool service_require_root(struct rpc_call *call);

/* ---- service_metrics.c ----------------------------------------------------
 */

void service_observe(struct services *services, enum service_type type,
                     bool success, uint64_t took_ns);
void service_observe_range(struct services *services, bool success,
                           uint64_t took_ns);

/* Logs a unary call that took longer than it should; to be called before the
 * answer. `request` is NULL for what didn't go through the log. */
void service_log_slow(struct rpc_call *call, uint64_t took_ns,
                      const struct node_request *request, size_t reply_bytes);
/* Logs and counts a read that took longer than it should. */
void service_log_slow_read(struct rpc_call *call, const char *prefix,
                           uint64_t took_ns, size_t reply_bytes, int err);

/* ---- propose.c: through the log -------------------------------------------
 */

/* One request of a call on its way through the log; in the call's arena. The
 * first four are the caller's to set. */
struct service_proposal {
    struct rpc_call *call;
    enum service_type type;
    uint64_t start_ns; /* what the request's duration is counted from */
    /* On the shard; `request` has the error or the answer, whose body is
     * `done`'s to take or close. */
    void (*done)(struct service_proposal *proposal);
    struct node_request request;
    uint64_t took_ns; /* set when `done` is called */
    struct rpc_task back;
};

/* Checks the size and proposes; the payload lives as long as the call. `done`
 * may come before this returns. */
void service_proposal_start(struct service_proposal *proposal,
                            enum apply_kind kind, struct bytes payload);

/* Proposes the payload and answers the call with what comes of it. */
void service_propose(struct rpc_call *call, enum service_type type,
                     enum apply_kind kind, struct bytes payload);

bool service_has_room(const struct rpc_call *call, uint64_t cost);
/* Where there is none: raises the alarm, if it isn't up yet. Whoever is told
 * that there is no room can rely on it. `call` and `done` are the caller's to
 * set. */
void service_raise_full(struct service_proposal *proposal);
/* There is room for that cost. False: the call is answered, once the alarm is
 * up. */
bool service_within_quota(struct rpc_call *call, uint64_t cost);

/* An id for a lease that nobody has had: positive (lease.c). */
int64_t service_lease_id(const struct rpc_call *call);

/* ---- trip.c: to the loop and back ------------------------------------------
 */

/* A unary call's way to the loop, from there to a worker where it needs one,
 * and back to its shard. In the call's arena, which is the stops' own while
 * they run. */
struct service_trip {
    struct rpc_call *call;
    /* On the loop; optional. An error skips the worker, SERVICE_LATER: the trip
     * goes on with service_trip_go_on. */
    int (*loop)(struct service_trip *trip);
    /* On a worker thread, after `loop`; optional. */
    int (*worker)(struct service_trip *trip);
    struct buf body; /* the answer */
    void *state;

    int err;
    struct node_barrier barrier;
    struct node_task there;
    struct node_work work;
    struct rpc_task back;
};

/* Zeroed, for the caller to fill in. */
struct service_trip *service_trip_new(struct rpc_call *call);
/* With `linearizable` a read barrier comes first. */
void service_trip_start(struct service_trip *trip, bool linearizable);

#define SERVICE_LATER 1
/* On the loop, maybe from inside of `loop`: what it has begun has come to
 * `err`. */
void service_trip_go_on(struct service_trip *trip, int err);

#endif
