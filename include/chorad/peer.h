/* The peers: Raft's messages to and from the other members, in etcd's rafthttp
 * protocol, and the requests that members make of each other on the same port.
 *
 *   GET  /raft/stream/message/<id>  endless: u64 BE length, raftpb.Message
 *   GET  /raft/stream/msgapp/<id>   endless: msgappv2, see peer/stream codec
 *   POST /raft                      one raftpb.Message where no stream is up
 *   POST /raft/snapshot             u64 BE length, MsgSnap, a database image
 *   GET  /raft/probing              round trip times
 *   everything else                 struct peers_route
 *
 * Each member dials the streams that it receives on. Queues are bounded: what
 * doesn't fit is dropped and reported as unreachable, Raft sends again.
 *
 * The loop thread only, but for peer_fetch. What the node gives is called by
 * the loop, never from inside a function of this header, with two exceptions:
 * peers_call_cancel, and calls that end because peers_remove or peers_close
 * take away whom they wait for. All functions may be called from inside of
 * these callbacks.
 *
 * Source: reference/peer.md,
 * behaviour of etcd's rafthttp. */
#ifndef CHORAD_PEER_H
#define CHORAD_PEER_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/raft.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct peers;
struct peers_request;

/* ---- what other members ask, besides Raft -------------------------------- */

/* A request on a path of struct peers_route; lent until it is answered. */
struct peers_query {
    const char *method;        /* "GET" */
    const char *path;          /* decoded, without the query */
    const char *authorization; /* the header, or "" */
    const char *cluster_id;    /* X-Etcd-Cluster-ID, or "" */
    struct bytes body;
};

/* Answers exactly once, at once or later, by peers_answer. `arg` is the
 * configuration's. */
typedef void (*peers_route_cb)(void *arg, struct peers_request *request,
                               const struct peers_query *query);

struct peers_route {
    /* "/leases"; one that ends with '/' is a prefix. The longest counts. */
    const char *path;
    peers_route_cb handle;
};

/* Copies what it is given. The request stays valid until it is answered, even
 * when whoever asked is gone, or the transport is. Every answer carries
 * X-Etcd-Cluster-ID. */
void peers_answer(struct peers_request *request, unsigned status,
                  const char *content_type, struct bytes body);

/* ---- the transport ------------------------------------------------------- */

struct peers_config {
    uv_loop_t *loop;
    uint64_t member_id;
    uint64_t cluster_id;
    const char *const *peer_urls; /* own, advertised; ended by NULL */
    /* "3.7.1" and the oldest version it talks to, "3.0.0". */
    const char *version;
    const char *min_cluster_version;
    uint64_t heartbeat_ms;
    uint64_t election_ms;
    /* A stream without a byte, or one that takes none, for so long is dead;
     * 0: 5000. */
    uint64_t read_timeout_ms;
    uint64_t write_timeout_ms;
    /* Where images that come in are kept, as tmp*, durable before they are told
     * of. Leftovers are removed at open. */
    const char *snap_dir;
    const struct peers_route *routes; /* ended by a NULL path; outlive peers */

    /* A message of a member of the cluster; the callee may keep what is in it
     * by taking its own references. NULL, or why no member sends it: a word of
     * a fixed set, which is counted and logged; the connection is closed. */
    const char *(*received)(void *arg, const struct raft_message *message);
    /* After the messages that came with one read: carry out what Raft asks
     * for now. */
    void (*received_all)(void *arg);
    /* A SNAP message whose image is still to come: as `received`, but nothing
     * is taken yet. Optional. */
    const char *(*snapshot_announced)(void *arg,
                                      const struct raft_message *message);
    /* The same with its image at `path`, a file that is the callee's from now
     * on. Its sender waits for the answer to `request`: 204, or an error with
     * its text, by peers_answer. */
    void (*snapshot_received)(void *arg, struct peers_request *request,
                              const struct raft_message *message,
                              const char *path);
    /* Raft's reports: raft_report_unreachable, raft_report_snapshot. Several
     * messages that one turn has lost are one report. */
    void (*unreachable)(void *arg, uint64_t id);
    void (*snapshot_sent)(void *arg, uint64_t id, bool ok);
    /* The id was a member once. */
    bool (*is_removed)(void *arg, uint64_t id);
    /* A peer says that this member has been removed for good. Once. */
    void (*removed)(void *arg);
    void *arg;
};

/* A message that was given to the node has been found out later: counts and
 * logs it as one that `received` refuses. `detail` says more, or "". */
void peers_note_refusal(struct peers *peers, const struct raft_message *message,
                        const char *why, const char *detail);

/* SIGPIPE must be ignored by the process. */
struct peers *peers_open(const struct peers_config *config);

/* What has been sent is written once more, then all connections are let go:
 * requests of peers under way are dropped, calls end with ERR_STOPPED, nothing
 * else is told any more. `closed` is called on the loop when all is freed. */
void peers_close(struct peers *peers, void (*closed)(void *arg), void *arg);

/* Serves a connected, non-blocking socket of the peer port; takes it over. */
void peers_add_connection(struct peers *peers, int fd);

/* ---- members ------------------------------------------------------------- */

/* URLs ended by NULL, copied. Adding one that is there changes its URLs. */
void peers_add(struct peers *peers, uint64_t id, const char *const *urls);
void peers_remove(struct peers *peers, uint64_t id);

/* Since when (monotonic ns) the member has been reachable without a break; 0:
 * it isn't. */
uint64_t peers_active_since(const struct peers *peers, uint64_t id);

/* ---- Raft ---------------------------------------------------------------- */

/* Sends Raft's messages, each to the member it names, in order; takes over
 * what is in them and zeroes them. They are written before the loop polls
 * again, all of one turn at once; a node that sends from its own uv_prepare_t
 * saves a turn by opening the transport before it starts that. SNAP goes by
 * peers_send_snapshot. */
void peers_send(struct peers *peers, struct raft_message *messages,
                size_t count);

/* Sends the SNAP message and behind it what can be read from `fd` (a pipe or
 * a file, taken over) up to its end; snapshot_sent follows. The writer of the
 * pipe is held back by the peer's pace and gets EPIPE when sending has failed.
 * An image that broke off must not look whole: `*complete` is looked at when
 * the end is reached and lives until snapshot_sent or the end of peers_close;
 * NULL where there is no doubt. One at a time to a member. */
void peers_send_snapshot(struct peers *peers, struct raft_message *message,
                         int fd, const atomic_bool *complete);

/* ---- requests to other members ------------------------------------------- */

struct peers_call {
    /* Set by the caller, lent until `done`. */
    uint64_t to;     /* a member; or 0, and `url` */
    const char *url; /* "http://host:port" */
    const char *method;
    const char *path;
    const char *content_type;  /* NULL: none */
    const char *authorization; /* NULL: none */
    struct bytes body;
    size_t answer_max; /* longer answers are ERR_TOOBIG */
    uint64_t timeout_ms;
    /* err: 0 with a status and a body, ERR_DEADLINE, ERR_IO, ERR_NOTFOUND (no
     * such member), ERR_CANCELED, ERR_STOPPED. `body` is lent. */
    void (*done)(struct peers_call *call, int err, unsigned status,
                 struct bytes body);
    void *arg;

    void *inner; /* the transport's own */
};

/* `done` comes later, never from inside; a member's URLs are tried in turn
 * within the time. */
void peers_call(struct peers *peers, struct peers_call *call);
/* `done` is called with ERR_CANCELED, from inside. */
void peers_call_cancel(struct peers *peers, struct peers_call *call);

/* GET of a path at a start, before there is a loop: blocks. `request` goes with
 * it, as JSON, unless it is empty. 0 with a status,
 * the answer's X-Etcd-Cluster-ID (0: none) and a body that the caller closes;
 * ERR_IO, ERR_DEADLINE, ERR_TOOBIG with a text. */
int peer_fetch(const char *url, const char *path, struct bytes request,
               uint64_t timeout_ms, size_t answer_max, unsigned *status,
               uint64_t *cluster_id, struct buf *body, struct errmsg *msg);

#endif
