/* What the module's files share: the transport, its members, and the channels
 * of each.
 *
 *   inlet     a stream that we have dialed and receive on
 *   outlet    a stream that the member has dialed and we send on
 *   pipeline  a POST for each message, where there is no stream
 *   upload    a snapshot on its way to the member
 *   pool      connections for the pipeline, probes and calls
 *   visit     a connection that somebody has made to us
 *   download  a snapshot that comes in on a visit
 */
#ifndef CHORAD_PEER_PEERS_H
#define CHORAD_PEER_PEERS_H

#include "chorad/base/metrics.h"
#include "chorad/peer.h"
#include "conn.h"
#include "exchange.h"
#include "frame.h"
#include "net.h"
#include "urls.h"
#include "wire.h"

/* ---- numbers ---------------------------------------------------------------
 * etcd's where it has them. Tests make them smaller. */

struct peers_limits {
    uint64_t read_ms;  /* without a byte on a stream: it is dead */
    uint64_t write_ms; /* without a byte taken: the same */
    uint64_t alive_ms; /* how often an outlet shows that it is alive */
    uint64_t redial_ms;
    uint64_t refused_ms; /* the same where what came was refused */
    uint64_t dial_ms;
    uint64_t probe_ms;
    uint64_t probe_first_ms;
    uint64_t idle_ms;      /* a visit between two requests */
    uint64_t pool_idle_ms; /* shorter, so that we close first */
    uint64_t head_ms;      /* a visit's request head, from its first byte */
    uint64_t linger_ms;
    uint64_t upload_stall_ms;
    uint64_t upload_answer_ms;
    size_t queue_messages; /* that wait for one outlet */
    size_t queue_bytes;
    size_t pipeline_messages;
    size_t visits_max;
    size_t visits_of_one_max; /* requests of one member's at a time */
    size_t downloads_max;
    size_t remotes_max;
};

/* What a batch for one write(2) holds, about. */
#define OUTLET_BATCH ((size_t)1 << 20)
/* Bytes that one outlet writes before others have their turn. */
#define OUTLET_TURN ((size_t)4 << 20)
#define PIPELINE_WORKERS 4

/* ---- messages that wait -------------------------------------------------- */

/* A ring of messages that own what is in them. Zeroed memory is empty. */
struct mqueue {
    struct raft_message *ring;
    size_t cap; /* a power of two */
    size_t first;
    size_t count;
    size_t bytes; /* of payload */
};

/* Takes over what is in the message and zeroes it. */
void mqueue_push(struct mqueue *q, struct raft_message *message);
/* The oldest; the queue must not be empty. */
void mqueue_pop(struct mqueue *q, struct raft_message *message);
void mqueue_clear(struct mqueue *q);
void mqueue_close(struct mqueue *q);

/* ---- channels of a member ------------------------------------------------ */

struct inlet {
    struct peer *peer;
    enum frame_kind kind;
    struct dial *dial;
    struct conn *conn;
    struct wire_reader reader;
    struct frame_reader frames;
    struct buf text; /* the request's head, then the text of a refusal */
    struct net_timer redial;
    size_t picked; /* the URL that it was dialed by */
    bool streaming;
    bool delivered;   /* something that received_all hasn't been told of */
    uint64_t counted; /* of frames.message_bytes */
    uint64_t told_ms; /* of the last line about a failure */
    char told[128];   /* and its text */
};

struct outlet {
    struct peer *peer;
    enum frame_kind kind;
    struct conn *conn;
    struct frame_writer writer;
    struct mqueue queue;
    struct out out; /* being written if `busy` */
    bool busy;
    uint64_t counted; /* of writer.message_bytes */
};

struct pipeline {
    struct peer *peer;
    struct mqueue queue;
    struct worker {
        struct pipeline *pipeline;
        struct exchange x;
        struct buf body;
        bool busy;
    } workers[PIPELINE_WORKERS];
};

struct rtt {
    struct peer *peer;
    struct exchange x;
    struct net_timer timer;
    bool busy;
    bool healthy;
    bool probed;
    uint64_t smoothed_ns;
    uint64_t told_ms;       /* of the last line about its health */
    uint64_t drift_told_ms; /* and about its clock */
};

struct peer_metrics {
    struct metric *active;
    struct metric *disconnected;
    struct metric *sent_bytes;
    struct metric *received_bytes;
    struct metric *sent_failures;
    struct metric *received_failures;
    struct metric_histogram *round_trip;
};

struct peer {
    struct peers *peers;
    struct peer *next;
    struct peer *gone_next;
    uint64_t id;
    /* Not a member as far as we know, but somebody who has talked to us from
     * this cluster: it gets answers by the pipeline. */
    bool remote;
    bool gone;
    bool unreachable; /* to be reported */
    uint64_t active_since_ns;
    size_t visiting; /* its requests that are under way */
    struct urls urls;
    struct pool pool;
    struct inlet inlets[2];   /* by enum frame_kind */
    struct outlet outlets[2]; /* by enum frame_kind */
    struct pipeline pipeline;
    struct rtt rtt;
    struct upload *upload;
    struct peer_metrics metrics;
};

/* ---- what was refused ---------------------------------------------------- */

/* More reasons than there are. */
#define REFUSALS_MAX 64

struct refusal {
    const char *why; /* a literal */
    struct metric *count;
    bool told;
    uint64_t told_ms;  /* when it was last logged */
    uint64_t unlogged; /* how many since */
};

/* ---- the transport ------------------------------------------------------- */

struct peers {
    struct net net;
    struct peers_config config;
    struct peers_limits limits;
    struct wire_identity self;
    char *snap_dir;
    struct peer *list;    /* members and remotes */
    struct peer *gone;    /* freed when none of them is on the stack */
    struct visit *visits; /* a ring; the one used longest ago is first */
    size_t visit_count;
    uint64_t complained_ms; /* since when visitors are complained about */
    unsigned complaints;    /* and how often */
    struct refusal refusals[REFUSALS_MAX];
    size_t refusal_count;
    size_t body_bytes; /* that visits have received and not yet given on */
    size_t download_count;
    struct upload *uploads;
    struct call *calls;
    struct net_timer alive; /* of the outlets */
    uv_prepare_t before_poll;
    uv_idle_t soon;
    bool flush_due;
    bool closing;
    bool told_removed;
    void (*closed)(void *arg);
    void *closed_arg;
    uv_buf_t pieces[OUT_BUFS_MAX];
};

/* Something waits to be written or reported before the loop polls again. */
void peers_flush_soon(struct peers *peers);

/* NULL if there is none of that id. */
struct peer *peers_find(const struct peers *peers, uint64_t id);

/* NULL if there is none, or only a remote. */
struct peer *peers_find_member(const struct peers *peers, uint64_t id);

/* A message that came from member `sender`, or from somebody who says so: gives
 * it to the node unless it can't be right. NULL, or why it was refused, which
 * has been noted; the connection is the caller's to close. */
const char *peers_receive(struct peers *peers, uint64_t sender,
                          const struct raft_message *message);
/* Why it can't be from that sender; NULL: it can. */
const char *peers_wrong_sender(const struct peers *peers, uint64_t sender,
                               const struct raft_message *message);

/* ---- refuse.c ------------------------------------------------------------ */

/* Counts a refusal, and logs it unless one of that reason was logged just now.
 * `why` is a literal of a fixed set, the message NULL for bytes that are
 * none. */
void peers_refused(struct peers *peers, const char *why, uint64_t sender,
                   const struct raft_message *message, const char *detail);

/* The sender of a request wasn't known: remembers how to answer it. */
void peers_note_remote(struct peers *peers, uint64_t id, const char *urls);
/* A peer says that we have been removed. */
void peers_tell_removed(struct peers *peers, uint64_t by);

/* ---- member.c ------------------------------------------------------------ */

void peer_active(struct peer *peer);
/* What failed: "dial", "read"; on what: "stream MsgApp v2"; why. */
void peer_inactive(struct peer *peer, const char *action, const char *channel,
                   const char *why);
/* Sending to it has failed: reported with the next flush. */
void peer_unreachable(struct peer *peer);
/* Closes its channels; freed with the next flush. */
void peer_close(struct peer *peer, int err);
void peer_free(struct peer *peer);

/* ---- inlet.c ------------------------------------------------------------- */

const char *frame_kind_name(enum frame_kind kind);
void inlet_open(struct inlet *inlet, struct peer *peer, enum frame_kind kind);
/* Its memory may be on the stack still; freed by inlet_free. */
void inlet_close(struct inlet *inlet);
void inlet_free(struct inlet *inlet);

/* ---- outlet.c ------------------------------------------------------------ */

void outlet_init(struct outlet *outlet, struct peer *peer,
                 enum frame_kind kind);
void outlet_close(struct outlet *outlet);
static inline bool outlet_is_up(const struct outlet *outlet)
{
    return outlet->conn != NULL;
}
/* Sends on this connection from now on, in place of the one before. */
void outlet_attach(struct outlet *outlet, struct conn *conn);
/* False, and the message closed, if too much waits already. */
bool outlet_push(struct outlet *outlet, struct raft_message *message);
void outlet_flush(struct outlet *outlet);
/* Nothing has been sent for a while. */
void outlet_show_alive(struct outlet *outlet);

/* ---- pipeline.c ---------------------------------------------------------- */

void pipeline_init(struct pipeline *pipeline, struct peer *peer);
void pipeline_close(struct pipeline *pipeline);
bool pipeline_push(struct pipeline *pipeline, struct raft_message *message);
void pipeline_flush(struct pipeline *pipeline);
/* A POST of Raft's has been answered: 0 or ERR_IO with a text; tells the node
 * if the answer is that we have been removed. */
int pipeline_check_answer(struct peers *peers, uint64_t id, unsigned status,
                          struct bytes answer, struct errmsg *msg);

/* ---- rtt.c --------------------------------------------------------------- */

void rtt_open(struct rtt *rtt, struct peer *peer);
void rtt_close(struct rtt *rtt);
/* The JSON of /raft/probing. */
void rtt_put_health(struct buf *out, uint64_t wall_ns);
/* The time in it; false if it isn't one. Pure. */
bool rtt_parse_health(struct bytes json, uint64_t *wall_ns);

/* ---- upload.c ------------------------------------------------------------ */

/* Ends it from the loop, with snapshot_sent(false); ends all of them, untold.
 */
void upload_cancel(struct upload *upload);
void uploads_close(struct peers *peers);

/* ---- visit.c ------------------------------------------------------------- */

void visits_close(struct peers *peers);

/* ---- call.c -------------------------------------------------------------- */

void calls_close(struct peers *peers);

/* ---- metrics.c ----------------------------------------------------------- */

/* Ids of members; RAFT_NONE for all others together. */
void metrics_of_peer(struct peer_metrics *m, uint64_t local, uint64_t id);

struct snapshot_metrics {
    struct metric *inflight;
    struct metric *success;
    struct metric *failures;
    struct metric_histogram *seconds;
};
void metrics_of_sending(struct snapshot_metrics *m, uint64_t to);
void metrics_of_receiving(struct snapshot_metrics *m, uint64_t from);

#endif
