/* One member: its channels, whether it can be reached. */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "peers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Remotes need fewer connections: there is but the pipeline. */
#define REMOTE_LANES_MAX PIPELINE_WORKERS

/* ---- can it be reached? -------------------------------------------------- */

void peer_active(struct peer *peer)
{
    if (peer->active_since_ns != 0)
        return;
    peer->active_since_ns = clock_mono_ns();
    metric_add(peer->metrics.active, 1);
    log_info("peer became active", LOG_HEX("peer-id", peer->id));
}

void peer_inactive(struct peer *peer, const char *action, const char *channel,
                   const char *why)
{
    char text[256];

    if (peer->active_since_ns == 0)
        return;
    peer->active_since_ns = 0;
    metric_add(peer->metrics.active, -1);
    metric_inc(peer->metrics.disconnected);
    (void)snprintf(text, sizeof(text), "failed to %s %llx on %s (%s)", action,
                   (unsigned long long)peer->id, channel, why);
    log_warn("peer became inactive (message send to peer failed)",
             LOG_HEX("peer-id", peer->id), LOG_STR("error", text));
}

void peer_unreachable(struct peer *peer)
{
    peer->unreachable = true;
    peers_flush_soon(peer->peers);
}

/* ---- life ---------------------------------------------------------------- */

static struct peer *new_peer(struct peers *peers, uint64_t id, bool remote)
{
    struct peer *peer = mem_zalloc(sizeof(*peer));

    peer->peers = peers;
    peer->id = id;
    peer->remote = remote;
    metrics_of_peer(&peer->metrics, peers->self.member_id,
                    remote ? RAFT_NONE : id);
    pool_init(&peer->pool, &peers->net, &peers->self, &peer->urls,
              peers->limits.dial_ms, peers->limits.pool_idle_ms);
    if (remote)
        peer->pool.lanes_max = REMOTE_LANES_MAX;
    pipeline_init(&peer->pipeline, peer);
    outlet_init(&peer->outlets[FRAME_MSGAPP], peer, FRAME_MSGAPP);
    outlet_init(&peer->outlets[FRAME_MESSAGE], peer, FRAME_MESSAGE);
    peer->next = peers->list;
    peers->list = peer;
    return peer;
}

void peer_close(struct peer *peer, int err)
{
    struct peers *peers = peer->peers;
    struct peer **at = &peers->list;

    while (*at != peer)
        at = &(*at)->next;
    /* `next` stays: somebody may be walking along the list. */
    *at = peer->next;
    peer->gone = true;
    peer->gone_next = peers->gone;
    peers->gone = peer;
    if (peer->active_since_ns != 0)
        metric_add(peer->metrics.active, -1);
    peer->active_since_ns = 0;
    for (int kind = FRAME_MSGAPP; kind <= FRAME_MESSAGE; kind++) {
        if (!peer->remote)
            inlet_close(&peer->inlets[kind]);
        outlet_close(&peer->outlets[kind]);
    }
    if (!peer->remote)
        rtt_close(&peer->rtt);
    if (peer->upload)
        upload_cancel(peer->upload);
    pool_close(&peer->pool, err);
    pipeline_close(&peer->pipeline);
    if (!peers->closing)
        peers_flush_soon(peers);
}

void peer_free(struct peer *peer)
{
    if (!peer->remote) {
        inlet_free(&peer->inlets[FRAME_MSGAPP]);
        inlet_free(&peer->inlets[FRAME_MESSAGE]);
    }
    peer_urls_close(&peer->urls);
    free(peer);
}

/* ---- members ------------------------------------------------------------- */

struct peer *peers_find(const struct peers *peers, uint64_t id)
{
    struct peer *peer = peers->list;

    while (peer && peer->id != id)
        peer = peer->next;
    return peer;
}

struct peer *peers_find_member(const struct peers *peers, uint64_t id)
{
    struct peer *peer = peers_find(peers, id);

    return peer && !peer->remote ? peer : NULL;
}

static bool same_urls(const struct urls *urls, const char *const *list)
{
    size_t n = 0;

    while (list[n])
        n++;
    if (n != urls->count)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(urls->list[i].text, list[i]) != 0)
            return false;
    }
    return true;
}

void peers_add(struct peers *peers, uint64_t id, const char *const *urls)
{
    struct peer *peer = peers_find(peers, id);
    size_t n = 0;

    while (urls[n])
        n++;
    if (id == peers->self.member_id || peers->closing)
        return;
    if (peer && !peer->remote) {
        if (same_urls(&peer->urls, urls))
            return;
        peer_urls_close(&peer->urls);
        peer_urls_init(&peer->urls, urls);
        pool_forget(&peer->pool);
        log_info("updated remote peer", LOG_HEX("updated-remote-peer-id", id),
                 LOG_STRS("updated-remote-peer-urls", urls, n));
        return;
    }
    if (peer)
        peer_close(peer, ERR_CANCELED);
    peer = new_peer(peers, id, false);
    peer_urls_init(&peer->urls, urls);
    inlet_open(&peer->inlets[FRAME_MSGAPP], peer, FRAME_MSGAPP);
    inlet_open(&peer->inlets[FRAME_MESSAGE], peer, FRAME_MESSAGE);
    rtt_open(&peer->rtt, peer);
    log_info("added remote peer", LOG_HEX("remote-peer-id", id),
             LOG_STRS("remote-peer-urls", urls, n));
}

void peers_remove(struct peers *peers, uint64_t id)
{
    struct peer *peer = peers_find_member(peers, id);

    if (!peer)
        return;
    /* What was said to it before it was removed should reach it. */
    outlet_flush(&peer->outlets[FRAME_MSGAPP]);
    outlet_flush(&peer->outlets[FRAME_MESSAGE]);
    peer_close(peer, ERR_NOTFOUND);
    log_info("removed remote peer", LOG_HEX("removed-remote-peer-id", id));
}

uint64_t peers_active_since(const struct peers *peers, uint64_t id)
{
    const struct peer *peer = peers_find_member(peers, id);

    return peer ? peer->active_since_ns : 0;
}

/* ---- those who aren't members -------------------------------------------- */

void peers_note_remote(struct peers *peers, uint64_t id, const char *urls)
{
    struct peer *oldest = NULL;
    struct peer *peer;
    size_t remotes = 0;

    if (id == RAFT_NONE || id == peers->self.member_id || urls[0] == '\0' ||
        peers_find(peers, id) ||
        peers->config.is_removed(peers->config.arg, id))
        return;
    for (struct peer *at = peers->list; at; at = at->next) {
        if (!at->remote)
            continue;
        remotes++;
        oldest = at;
    }
    if (oldest && remotes >= peers->limits.remotes_max)
        peer_close(oldest, ERR_CANCELED);
    peer = new_peer(peers, id, true);
    peer_urls_init_text(&peer->urls, urls);
    log_info("added new remote peer", LOG_HEX("remote-peer-id", id),
             LOG_STR("remote-peer-urls", urls));
}
