/* The order of the checks, the statuses and the texts are etcd's. */
#include "chorad/base/log.h"
#include "visit.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the path ------------------------------------------------------------ */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes what is before the query. Zero bytes and bad escapes stay as they are
 * written: no route has them. */
static void decode_path(struct visit *visit)
{
    const char *p = wire_path(&visit->reader);
    char *out = (char *)buf_reserve(&visit->path, strlen(p) + 1);
    size_t n = 0;

    for (; *p != '\0' && *p != '?'; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;
        if (low < 0 || (high == 0 && low == 0)) {
            out[n++] = *p;
            continue;
        }
        out[n++] = (char)(high * 16 + low);
        p += 2;
    }
    out[n] = '\0';
    visit->path.len = n + 1;
}

static bool path_is(const struct visit *visit, const char *path)
{
    return strcmp((const char *)visit->path.data, path) == 0;
}

/* What is behind the prefix, or NULL. */
static const char *behind(const struct visit *visit, const char *prefix)
{
    const char *path = (const char *)visit->path.data;
    size_t len = strlen(prefix);

    return strncmp(path, prefix, len) == 0 ? path + len : NULL;
}

/* ---- complaints ---------------------------------------------------------- */

#define COMPLAINTS_MAX 10
#define COMPLAINTS_MS 10000

bool visit_may_complain(struct visit *visit)
{
    struct peers *peers = visit->peers;
    uint64_t now = net_now_ms(&peers->net);

    if (peers->complaints == 0 || now - peers->complained_ms >= COMPLAINTS_MS) {
        if (peers->complaints > COMPLAINTS_MAX)
            log_warn("requests on the peer port were refused, more often than "
                     "was logged",
                     LOG_U64("unlogged", peers->complaints - COMPLAINTS_MAX));
        peers->complained_ms = now;
        peers->complaints = 0;
    }
    return peers->complaints++ < COMPLAINTS_MAX;
}

/* ---- who it is from ------------------------------------------------------ */

static bool check_sender(struct visit *visit)
{
    const struct peers *peers = visit->peers;
    const struct wire_reader *r = &visit->reader;
    int rc = wire_check_sender(&peers->self, r);

    if (!wire_parse_id(wire_value(r, WIRE_FROM), &visit->sender))
        visit->sender = RAFT_NONE;
    if (rc == 0)
        return true;
    visit_refuse(visit, 412,
                 rc == ERR_UNSUPPORTED ? WIRE_INCOMPATIBLE
                                       : WIRE_CLUSTER_MISMATCH);
    if (!visit_may_complain(visit))
        return false;
    log_warn(rc == ERR_UNSUPPORTED ? "failed version compatibility check"
                                   : "request cluster ID mismatch",
             LOG_HEX("local-member-id", peers->self.member_id),
             LOG_HEX("local-member-cluster-id", peers->self.cluster_id),
             LOG_STR("local-member-server-version", peers->self.version),
             LOG_STR("remote-peer-server-name", wire_value(r, WIRE_FROM)),
             LOG_STR("remote-peer-server-version", wire_value(r, WIRE_VERSION)),
             LOG_STR("remote-peer-server-minimum-cluster-version",
                     wire_value(r, WIRE_MIN_VERSION)),
             LOG_STR("remote-peer-cluster-id", wire_value(r, WIRE_CLUSTER_ID)),
             LOG_STR("remote-peer-address", conn_remote(visit->conn)));
    return false;
}

static bool check_method(struct visit *visit, const char *method)
{
    if (strcmp(wire_method(&visit->reader), method) == 0)
        return true;
    visit->allow = method;
    visit_refuse(visit, 405, "Method Not Allowed");
    return false;
}

/* ---- the purposes -------------------------------------------------------- */

static void judge_post(struct visit *visit, enum visit_purpose purpose)
{
    struct peers *peers = visit->peers;
    struct peer *peer;

    visit->purpose = purpose;
    if (!check_method(visit, "POST") || !check_sender(visit))
        return;
    peers_note_remote(peers, visit->sender,
                      wire_value(&visit->reader, WIRE_PEER_URLS));
    peer = peers_find_member(peers, visit->sender);
    visit->body_max = VISIT_MESSAGE_MAX;
    visit->bodies_max = peer ? VISIT_BODIES_MAX : VISIT_STRANGERS_MAX;
    if (peer && peer->visiting >= peers->limits.visits_of_one_max) {
        visit_refuse(visit, 503, "too many requests of one member");
        return;
    }
    if (peer) {
        peer->visiting++;
        visit->visiting = true;
    }
    if (purpose == VISIT_MESSAGE)
        return;
    if (peers->download_count >= peers->limits.downloads_max) {
        visit_refuse(visit, 503, "too many snapshots are being received");
        return;
    }
    visit->download =
        download_start(peers, visit->sender, &visit_download_events, visit);
}

static void judge_stream(struct visit *visit)
{
    struct peers *peers = visit->peers;
    const char *msgapp = behind(visit, "/raft/stream/msgapp/");
    const char *message = behind(visit, "/raft/stream/message/");
    uint64_t from;
    uint64_t to;
    struct peer *peer;

    visit->purpose = VISIT_STREAM;
    if (!check_method(visit, "GET") || !check_sender(visit))
        return;
    if (wire_has_body(&visit->reader)) {
        visit_refuse(visit, 400, "a stream is asked for without a body");
        return;
    }
    if (!msgapp && !message) {
        visit_refuse(visit, 404, "invalid path");
        return;
    }
    if (!wire_parse_id(msgapp ? msgapp : message, &from)) {
        visit_refuse(visit, 404, "invalid from");
        return;
    }
    if (peers->config.is_removed(peers->config.arg, from)) {
        if (visit_may_complain(visit))
            log_warn("rejected stream from remote peer because it was removed",
                     LOG_HEX("remote-peer-id-from", from));
        visit_refuse(visit, 410, "removed member");
        return;
    }
    peer = peers_find_member(peers, from);
    if (!peer) {
        /* Perhaps a member that we haven't heard of yet. */
        peers_note_remote(peers, from,
                          wire_value(&visit->reader, WIRE_PEER_URLS));
        visit_refuse(visit, 404, "error sender not found");
        return;
    }
    if (!wire_parse_id(wire_value(&visit->reader, WIRE_RAFT_TO), &to) ||
        to != peers->self.member_id) {
        visit_refuse(visit, 412, "to field mismatch");
        return;
    }
    visit->sender = from;
    visit->outlet = &peer->outlets[msgapp ? FRAME_MSGAPP : FRAME_MESSAGE];
}

/* An exact path, or the longest prefix that ends with '/'. */
static const struct peers_route *find_route(const struct visit *visit)
{
    const struct peers_route *best = NULL;
    size_t best_len = 0;

    for (const struct peers_route *r = visit->peers->config.routes;
         r && r->path; r++) {
        size_t len = strlen(r->path);
        if (path_is(visit, r->path))
            return r;
        if (r->path[len - 1] == '/' && behind(visit, r->path) &&
            len > best_len) {
            best = r;
            best_len = len;
        }
    }
    return best;
}

void visit_judge(struct visit *visit)
{
    decode_path(visit);
    visit->body_max = VISIT_BODY_MAX;
    visit->bodies_max = VISIT_BODIES_MAX;
    if (path_is(visit, "/raft"))
        judge_post(visit, VISIT_MESSAGE);
    else if (path_is(visit, "/raft/snapshot"))
        judge_post(visit, VISIT_SNAPSHOT);
    else if (behind(visit, "/raft/stream/"))
        judge_stream(visit);
    else if (path_is(visit, "/raft/probing"))
        visit->purpose = VISIT_PROBING;
    else
        visit->route = find_route(visit);
    if (visit->purpose == VISIT_ROUTE && !visit->route)
        visit_refuse(visit, 404, "404 page not found");
}
