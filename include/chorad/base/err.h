/* Errors: one table of codes, and a text that gains context on its way up.
 *
 * Every function that can fail returns 0 or a negative `enum chorad_err`.
 * Codes that a client can see carry etcd's gRPC status code and message; the
 * rpc module reads them from this table and nowhere else. */
#ifndef CHORAD_BASE_ERR_H
#define CHORAD_BASE_ERR_H

/* XX(name, value, gRPC status code, message).
 * The texts of -100 and below are etcd's (api/v3rpc/rpctypes): clients
 * branch on them, so they are part of the protocol. */
#define CHORAD_ERR_MAP(XX)                                                     \
    XX(NOMEM, -1, 8, "out of memory")                                          \
    XX(IO, -2, 13, "input/output error")                                       \
    XX(NOSPC, -3, 13, "no space left on device")                               \
    XX(CORRUPT, -4, 15, "data is damaged")                                     \
    XX(INVALID, -5, 3, "invalid argument")                                     \
    XX(NOTFOUND, -6, 5, "not found")                                           \
    XX(EXISTS, -7, 6, "already exists")                                        \
    XX(BUSY, -8, 14, "in use")                                                 \
    XX(AGAIN, -9, 14, "not ready")                                             \
    XX(TOOBIG, -10, 8, "too large")                                            \
    XX(MALFORMED, -11, 13, "grpc: failed to unmarshal the received message")   \
    XX(UNSUPPORTED, -12, 12, "not supported")                                  \
    XX(CANCELED, -13, 1, "context canceled")                                   \
    XX(DEADLINE, -14, 4, "context deadline exceeded")                          \
    XX(EMPTY_KEY, -100, 3, "etcdserver: key is not provided")                  \
    XX(KEY_NOT_FOUND, -101, 3, "etcdserver: key not found")                    \
    XX(VALUE_PROVIDED, -102, 3, "etcdserver: value is provided")               \
    XX(LEASE_PROVIDED, -103, 3, "etcdserver: lease is provided")               \
    XX(TOO_MANY_OPS, -104, 3,                                                  \
       "etcdserver: too many operations in txn request")                       \
    XX(DUPLICATE_KEY, -105, 3,                                                 \
       "etcdserver: duplicate key given in txn request")                       \
    XX(BAD_CLIENT_VERSION, -106, 3, "etcdserver: invalid client api version")  \
    XX(BAD_SORT, -107, 3, "etcdserver: invalid sort option")                   \
    XX(BAD_URLS, -108, 3, "etcdserver: given member URLs are invalid")         \
    XX(REQUEST_TOO_LARGE, -109, 3, "etcdserver: request is too large")         \
    XX(COMPACTED, -110, 11,                                                    \
       "etcdserver: mvcc: required revision has been compacted")               \
    XX(FUTURE_REV, -111, 11,                                                   \
       "etcdserver: mvcc: required revision is a future revision")             \
    XX(NO_SPACE, -112, 8, "etcdserver: mvcc: database space exceeded")         \
    XX(LEASE_NOT_FOUND, -120, 5, "etcdserver: requested lease not found")      \
    XX(LEASE_EXISTS, -121, 9, "etcdserver: lease already exists")              \
    XX(LEASE_TTL, -122, 11, "etcdserver: too large lease TTL")                 \
    XX(MEMBER_NOT_FOUND, -130, 5, "etcdserver: member not found")              \
    XX(MEMBER_EXISTS, -131, 9, "etcdserver: member ID already exist")          \
    XX(PEER_URL_EXISTS, -132, 9, "etcdserver: Peer URLs already exists")       \
    XX(NOT_LEARNER, -133, 9, "etcdserver: can only promote a learner member")  \
    XX(LEARNER_NOT_READY, -134, 9,                                             \
       "etcdserver: can only promote a learner member which is in sync with "  \
       "leader")                                                               \
    XX(TOO_MANY_LEARNERS, -135, 9,                                             \
       "etcdserver: too many learner members in cluster")                      \
    XX(NOT_ENOUGH_STARTED, -136, 2,                                            \
       "etcdserver: re-configuration failed due to not enough started "        \
       "members")                                                              \
    XX(CLUSTER_ID_MISMATCH, -137, 9, "etcdserver: cluster ID mismatch")        \
    XX(NO_LEADER, -140, 14, "etcdserver: no leader")                           \
    XX(NOT_LEADER, -141, 9, "etcdserver: not leader")                          \
    XX(LEADER_CHANGED, -142, 14, "etcdserver: leader changed")                 \
    XX(STOPPED, -143, 14, "etcdserver: server stopped")                        \
    XX(TIMEOUT, -144, 14, "etcdserver: request timed out")                     \
    XX(TIMEOUT_LEADER_FAIL, -145, 14,                                          \
       "etcdserver: request timed out, possibly due to previous leader "       \
       "failure")                                                              \
    XX(TIMEOUT_CONN_LOST, -146, 14,                                            \
       "etcdserver: request timed out, possibly due to connection lost")       \
    XX(TOO_MANY_REQUESTS, -147, 2, "etcdserver: too many requests")            \
    XX(CORRUPT_CLUSTER, -148, 15, "etcdserver: corrupt cluster")               \
    XX(UNHEALTHY, -149, 14, "etcdserver: unhealthy cluster")                   \
    XX(NOT_CAPABLE, -150, 9, "etcdserver: not capable")                        \
    XX(LEARNER, -151, 9, "etcdserver: rpc not supported for learner")          \
    XX(BAD_TRANSFEREE, -152, 9, "etcdserver: bad leader transferee")           \
    XX(TIMEOUT_TRANSFER, -153, 2,                                              \
       "etcdserver: request timed out, leader transfer took too long")         \
    XX(TIMEOUT_APPLIED, -154, 14,                                              \
       "etcdserver: request timed out, waiting for the applied index took "    \
       "too "                                                                  \
       "long")                                                                 \
    XX(NO_CLUSTER_VERSION, -155, 9,                                            \
       "etcdserver: cluster version not found during downgrade")               \
    XX(DOWNGRADE_FORMAT, -156, 3,                                              \
       "etcdserver: wrong downgrade target version format")                    \
    XX(DOWNGRADE_TARGET, -157, 3,                                              \
       "etcdserver: invalid downgrade target version")                         \
    XX(DOWNGRADE_RUNNING, -158, 9,                                             \
       "etcdserver: cluster has a downgrade job in progress")                  \
    XX(NO_DOWNGRADE, -159, 9, "etcdserver: no inflight downgrade job")         \
    XX(STREAM_SORT, -160, 12,                                                  \
       "RangeStream does not support custom sort orders")                      \
    XX(STREAM_FILTER, -161, 12,                                                \
       "RangeStream does not support revision filters")                        \
    XX(WATCH_CANCELED, -162, 1, "etcdserver: watch canceled")                  \
    XX(UNKNOWN_METHOD, -163, 2, "etcdserver: unknown method")                  \
    XX(NOT_PRIMARY, -164, 2, "not a primary lessor")                           \
    XX(SESSION_EXPIRED, -170, 2, "mutex: session is expired")                  \
    XX(ELECTION_NO_LEADER, -171, 2, "election: no leader")                     \
    XX(ELECTION_NOT_LEADER, -172, 2, "election: not leader")                   \
    XX(LEADER_MISSING, -173, 2, "\"leader\" field must be provided")           \
    XX(ROOT_USER_MISSING, -200, 9, "etcdserver: root user does not exist")     \
    XX(ROOT_ROLE_MISSING, -201, 9,                                             \
       "etcdserver: root user does not have root role")                        \
    XX(USER_EXISTS, -202, 9, "etcdserver: user name already exists")           \
    XX(USER_EMPTY, -203, 3, "etcdserver: user name is empty")                  \
    XX(USER_NOT_FOUND, -204, 9, "etcdserver: user name not found")             \
    XX(ROLE_EXISTS, -205, 9, "etcdserver: role name already exists")           \
    XX(ROLE_NOT_FOUND, -206, 9, "etcdserver: role name not found")             \
    XX(ROLE_EMPTY, -207, 3, "etcdserver: role name is empty")                  \
    XX(AUTH_FAILED, -208, 3,                                                   \
       "etcdserver: authentication failed, invalid user ID or password")       \
    XX(PERMISSION_NOT_GIVEN, -209, 3, "etcdserver: permission not given")      \
    XX(PERMISSION_DENIED, -210, 7, "etcdserver: permission denied")            \
    XX(ROLE_NOT_GRANTED, -211, 9,                                              \
       "etcdserver: role is not granted to the user")                          \
    XX(PERMISSION_NOT_GRANTED, -212, 9,                                        \
       "etcdserver: permission is not granted to the role")                    \
    XX(AUTH_NOT_ENABLED, -213, 9, "etcdserver: authentication is not enabled") \
    XX(AUTH_TOKEN, -214, 16, "etcdserver: invalid auth token")                 \
    XX(AUTH_MGMT, -215, 3, "etcdserver: invalid auth management")              \
    XX(AUTH_OLD_REVISION, -216, 3,                                             \
       "etcdserver: revision of auth store is old")                            \
    XX(NO_PASSWORD_USER, -217, 2,                                              \
       "auth: authentication failed, password was given for no password user") \
    XX(VERIFY_ONLY, -218, 2,                                                   \
       "auth: token signing attempted with verify-only key")                   \
    XX(PASSWORD_TOO_LONG, -219, 2, "bcrypt: password length exceeds 72 bytes") \
    XX(PASSWORD_ZERO, -220, 3, "chorad: a password can't contain a zero byte") \
    XX(NAME_TOO_LONG, -221, 3,                                                 \
       "chorad: the name of a user or role is longer than 511 bytes")

enum chorad_err {
#define XX(name, value, grpc, text) ERR_##name = (value),
    CHORAD_ERR_MAP(XX)
#undef XX
};

/* A text for people. `struct errmsg` is the caller's memory; every function
 * below takes NULL for "nobody will read it". */
struct errmsg {
    char text[512];
};

/* The message of the table; never NULL. */
const char *err_text(int err);

/* The table's name, "ERR_IO"; never NULL. */
const char *err_name(int err);

/* The gRPC status code a client is answered with; 2 (Unknown) for a number
 * that is not in the table. 0 for 0. */
int err_grpc_status(int err);

/* Sets the text and returns `err`. */
int err_set(struct errmsg *msg, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<context>: " before the text that is there and returns `err`. */
int err_wrap(struct errmsg *msg, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Translates errno to the table (ENOSPC, EDQUOT -> NOSPC, ENOMEM -> NOMEM,
 * ENOENT -> NOTFOUND, EEXIST -> EXISTS, EAGAIN/EBUSY -> BUSY, else IO) and
 * sets "<context>: <strerror>". */
int err_errno(struct errmsg *msg, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
