#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/raftpb.h"
#include "visit.h"
#include <stdlib.h>
#include <string.h>

/* ---- a message ----------------------------------------------------------- */

static void answer_text(struct visit *visit, unsigned status, const char *text)
{
    visit_answer(visit, status, "text/plain; charset=utf-8",
                 bytes_of(text, strlen(text)));
}

static void answer_empty(struct visit *visit)
{
    visit_answer(visit, 204, NULL, bytes_of(NULL, 0));
}

static void deliver(struct visit *visit, struct raft_message *m)
{
    struct peers *peers = visit->peers;
    const struct peer *peer = peers_find(peers, m->from);
    uint64_t sender = visit->sender != RAFT_NONE ? visit->sender : m->from;
    const char *why;

    if (peers->config.is_removed(peers->config.arg, m->from)) {
        if (visit_may_complain(visit))
            log_warn("rejected Raft message from removed member",
                     LOG_HEX("removed-member-id", m->from));
        visit_refuse(visit, 403, VISIT_FROM_REMOVED);
        return;
    }
    if (m->to != peers->self.member_id) {
        if (visit_may_complain(visit))
            log_warn("rejected Raft message to mismatch member",
                     LOG_HEX("mismatch-member-id", m->to));
        /* To etcd a 403 says that it has been removed, and it ends. */
        answer_text(visit, 500, "error processing raft message\n");
        return;
    }
    if (peer)
        metric_add(peer->metrics.received_bytes, (double)visit->body.len);
    frame_adopt(m->entries, m->entry_count, NULL);
    why = peers_receive(peers, sender, m);
    if (!peers->closing)
        peers->config.received_all(peers->config.arg);
    if (visit->closed)
        return;
    if (why != NULL)
        answer_text(visit, 400, "no member sends such a message\n");
    else
        answer_empty(visit);
}

static void act_message(struct visit *visit)
{
    struct raft_message m;
    int rc =
        raftpb_message_get(&m, bytes_of(visit->body.data, visit->body.len));

    if (rc == ERR_UNSUPPORTED) {
        /* A type of a version to come: nothing that we know how to use. */
        answer_empty(visit);
        return;
    }
    if (rc < 0) {
        peers_refused(visit->peers, "no-message", visit->sender, NULL,
                      conn_remote(visit->conn));
        answer_text(visit, 400, "error unmarshalling raft message\n");
        return;
    }
    deliver(visit, &m);
    raft_message_close(&m);
}

/* ---- a snapshot ---------------------------------------------------------- */

static void on_hold(void *arg, bool hold)
{
    struct visit *visit = arg;

    conn_pause(visit->conn, hold);
}

struct peers_request {
    struct visit *visit; /* NULL: nobody waits for the answer any more */
};

static struct peers_request *new_request(struct visit *visit)
{
    struct peers_request *request = mem_alloc(sizeof(*request));

    request->visit = visit;
    visit->request = request;
    return request;
}

static void on_saved(void *arg, int err, const char *why,
                     const struct raft_message *message, const char *path)
{
    struct visit *visit = arg;
    struct peers *peers = visit->peers;

    visit->download = NULL;
    if (err < 0) {
        struct buf text = {0};
        buf_printf(&text, "failed to save KV snapshot (%s)\n", why);
        visit_answer(visit, 500, "text/plain; charset=utf-8",
                     bytes_of(text.data, text.len));
        buf_close(&text);
        return;
    }
    peers->config.snapshot_received(peers->config.arg, new_request(visit),
                                    message, path);
}

const struct download_events visit_download_events = {on_hold, on_saved};

static void act_snapshot(struct visit *visit)
{
    const char *text;
    unsigned status = download_finish(visit->download, &text);

    if (status != 0) {
        download_cancel(visit->download);
        visit->download = NULL;
        visit_refuse(visit, status, text);
    }
}

/* ---- the others ---------------------------------------------------------- */

static void act_stream(struct visit *visit)
{
    struct outlet *outlet = visit->outlet;

    outlet_attach(outlet, visit_hand_over(visit));
}

static void act_probing(struct visit *visit)
{
    struct buf json = {0};

    rtt_put_health(&json, clock_wall_ns());
    visit_answer(visit, 200, "text/plain; charset=utf-8",
                 bytes_of(json.data, json.len));
    buf_close(&json);
}

static void act_route(struct visit *visit)
{
    struct peers *peers = visit->peers;
    struct peers_query query = {
        .method = wire_method(&visit->reader),
        .path = (const char *)visit->path.data,
        .authorization = wire_value(&visit->reader, WIRE_AUTHORIZATION),
        .cluster_id = wire_value(&visit->reader, WIRE_CLUSTER_ID),
        .body = bytes_of(visit->body.data, visit->body.len),
    };

    visit->route->handle(peers->config.arg, new_request(visit), &query);
}

void peers_answer(struct peers_request *request, unsigned status,
                  const char *content_type, struct bytes body)
{
    struct visit *visit = request->visit;

    free(request);
    if (!visit)
        return;
    visit->request = NULL;
    visit_answer(visit, status, content_type, body);
}

void visit_forget_request(struct visit *visit)
{
    if (visit->request)
        visit->request->visit = NULL;
    visit->request = NULL;
}

void visit_act(struct visit *visit)
{
    switch (visit->purpose) {
    case VISIT_MESSAGE:
        act_message(visit);
        break;
    case VISIT_SNAPSHOT:
        act_snapshot(visit);
        break;
    case VISIT_STREAM:
        act_stream(visit);
        break;
    case VISIT_PROBING:
        act_probing(visit);
        break;
    case VISIT_ROUTE:
        act_route(visit);
        break;
    }
}
