/* A POST for each message: slow, but it needs nothing of the other side. */
#include "chorad/base/log.h"
#include "chorad/base/queue.h"
#include "chorad/raftpb.h"
#include "peers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A receiver may have to work at a large message before it answers. */
#define TIMEOUT_MS 10000
#define ANSWER_MAX ((size_t)4096)

static void on_done(struct exchange *x, int err);

void pipeline_init(struct pipeline *pipeline, struct peer *peer)
{
    pipeline->peer = peer;
    for (int i = 0; i < PIPELINE_WORKERS; i++) {
        pipeline->workers[i].pipeline = pipeline;
        pipeline->workers[i].x = (struct exchange){
            .method = "POST",
            .path = "/raft",
            .content_type = "application/protobuf",
            .answer_max = ANSWER_MAX,
            .timeout_ms = TIMEOUT_MS,
            .done = on_done,
        };
    }
}

/* After the pool, which has ended what the workers did. */
void pipeline_close(struct pipeline *pipeline)
{
    mqueue_close(&pipeline->queue);
    for (int i = 0; i < PIPELINE_WORKERS; i++)
        buf_close(&pipeline->workers[i].body);
}

bool pipeline_push(struct pipeline *pipeline, struct raft_message *message)
{
    const struct peers *peers = pipeline->peer->peers;

    if (pipeline->queue.count >= peers->limits.pipeline_messages) {
        raft_message_close(message);
        return false;
    }
    mqueue_push(&pipeline->queue, message);
    return true;
}

static void post(struct worker *worker)
{
    struct raft_message message;
    size_t size;

    mqueue_pop(&worker->pipeline->queue, &message);
    size = raftpb_message_size(&message);
    worker->body.len = 0;
    (void)raftpb_message_put(buf_reserve(&worker->body, size), &message);
    worker->body.len = size;
    raft_message_close(&message);
    worker->x.body = bytes_of(worker->body.data, size);
    worker->busy = true;
    exchange_start(&worker->pipeline->peer->pool, &worker->x);
}

void pipeline_flush(struct pipeline *pipeline)
{
    for (int i = 0; i < PIPELINE_WORKERS; i++) {
        if (pipeline->queue.count == 0)
            return;
        if (!pipeline->workers[i].busy)
            post(&pipeline->workers[i]);
    }
}

/* ---- answers ------------------------------------------------------------- */

static bool says(struct bytes answer, const char *text)
{
    return memmem(answer.data, answer.len, text, strlen(text)) != NULL;
}

int pipeline_check_answer(struct peers *peers, uint64_t id, unsigned status,
                          struct bytes answer, struct errmsg *msg)
{
    if (status == 204)
        return 0;
    if (status == 412 && says(answer, WIRE_INCOMPATIBLE))
        return err_set(msg, ERR_IO, WIRE_INCOMPATIBLE);
    if (status == 412 && says(answer, WIRE_CLUSTER_MISMATCH))
        return err_set(msg, ERR_IO, WIRE_CLUSTER_MISMATCH);
    /* A message that reached the wrong member is answered 403 as well. */
    if (status == 403 && says(answer, "removed member")) {
        peers_tell_removed(peers, id);
        return err_set(msg, ERR_IO,
                       "the member has been permanently removed from the "
                       "cluster");
    }
    return err_set(msg, ERR_IO, "unexpected http status %u (%.*s)", status,
                   (int)(answer.len < 100 ? answer.len : 100),
                   (const char *)answer.data);
}

static void fail(struct peer *peer, const char *why)
{
    metric_inc(peer->metrics.sent_failures);
    peer_inactive(peer, "write", "pipeline", why);
    peer_unreachable(peer);
}

static void on_done(struct exchange *x, int err)
{
    struct worker *worker = container_of(x, struct worker, x);
    struct peer *peer = worker->pipeline->peer;
    struct errmsg msg;

    worker->busy = false;
    if (peer->gone)
        return;
    if (err < 0) {
        fail(peer, x->why[0] ? x->why : err_text(err));
    } else if (pipeline_check_answer(peer->peers, peer->id, x->status,
                                     x->answer, &msg) < 0) {
        if (peer->gone)
            return;
        fail(peer, msg.text);
    } else {
        peer_active(peer);
        metric_add(peer->metrics.sent_bytes, (double)worker->body.len);
    }
    if (worker->body.cap > OUTLET_BATCH)
        buf_close(&worker->body);
    pipeline_flush(worker->pipeline);
}
