#include "visit.h"
#include "chorad/base/check.h"
#include "chorad/base/queue.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A body that isn't wanted is read on for so long that its sender sees the
 * answer instead of a broken connection. */
#define LINGER_MAX ((size_t)1 << 20)

static void on_data(void *arg, struct bytes in);
static void on_ended(void *arg, const char *why);
static void on_written(void *arg);

static const struct conn_events conn_events = {on_data, on_ended, on_written};

/* ---- the ring of visits -------------------------------------------------- */

static void unlink_visit(struct visit *visit)
{
    struct peers *peers = visit->peers;

    if (peers->visits == visit)
        peers->visits = visit->next == visit ? NULL : visit->next;
    visit->prev->next = visit->next;
    visit->next->prev = visit->prev;
}

/* As the one that was used last. */
static void link_visit(struct visit *visit)
{
    struct peers *peers = visit->peers;
    struct visit *first = peers->visits;

    if (!first) {
        peers->visits = visit->prev = visit->next = visit;
        return;
    }
    visit->next = first;
    visit->prev = first->prev;
    first->prev->next = visit;
    first->prev = visit;
}

/* ---- life ---------------------------------------------------------------- */

static void free_visit(void *arg)
{
    struct visit *visit = arg;

    wire_reader_close(&visit->reader);
    buf_close(&visit->path);
    buf_close(&visit->body);
    buf_close(&visit->answer);
    buf_close(&visit->rest);
    free(visit);
}

static void uncount(struct visit *visit)
{
    struct peer *peer =
        visit->visiting ? peers_find_member(visit->peers, visit->sender) : NULL;

    /* It may have been removed and added again meanwhile. */
    if (peer && peer->visiting > 0)
        peer->visiting--;
    visit->visiting = false;
    visit->peers->body_bytes -= visit->counted;
    visit->counted = 0;
}

/* Out of the ring; its memory stays as long as it may be on the stack. */
static void leave(struct visit *visit)
{
    visit->closed = true;
    unlink_visit(visit);
    visit->peers->visit_count--;
    uncount(visit);
    if (visit->download)
        download_cancel(visit->download);
    visit->download = NULL;
    visit_forget_request(visit);
}

static void close_visit(struct visit *visit)
{
    if (visit->closed)
        return;
    leave(visit);
    conn_close(visit->conn, free_visit, visit);
}

static void on_end(struct net_timer *timer)
{
    free_visit(container_of(timer, struct visit, end));
}

struct conn *visit_hand_over(struct visit *visit)
{
    leave(visit);
    visit->end.due = on_end;
    net_timer_set(&visit->peers->net, &visit->end, 0);
    return visit->conn;
}

void visits_close(struct peers *peers)
{
    while (peers->visits)
        close_visit(peers->visits);
}

/* Makes room: one that does nothing, else one that has not come far. */
static bool make_room(struct peers *peers)
{
    struct visit *half = NULL;
    struct visit *visit = peers->visits;

    for (size_t i = 0; i < peers->visit_count; i++, visit = visit->next) {
        if (visit->state == VISIT_LINGERING ||
            (visit->state == VISIT_HEAD && !visit->reader.begun)) {
            close_visit(visit);
            return true;
        }
        if (!half && visit->state == VISIT_HEAD)
            half = visit;
    }
    if (half)
        close_visit(half);
    return half != NULL;
}

void peers_add_connection(struct peers *peers, int fd)
{
    struct conn *conn = conn_new(&peers->net, fd);
    struct visit *visit;

    if (!conn)
        return;
    if (peers->closing ||
        (peers->visit_count >= peers->limits.visits_max && !make_room(peers))) {
        conn_close(conn, NULL, NULL);
        return;
    }
    visit = mem_zalloc(sizeof(*visit));
    visit->peers = peers;
    visit->conn = conn;
    wire_reader_init(&visit->reader, HTTP_REQUEST, NULL, visit);
    link_visit(visit);
    peers->visit_count++;
    visit_begin(visit);
    conn_use(conn, &conn_events, visit);
}

/* ---- a request's life ---------------------------------------------------- */

static int on_head(void *arg)
{
    struct visit *visit = arg;

    visit->state = VISIT_BODY;
    visit_judge(visit);
    if (visit->refused)
        return wire_has_body(&visit->reader) ? ERR_CANCELED : 0;
    /* Who speaks HTTP/1.0 would take it for the answer. */
    if (wire_value(&visit->reader, WIRE_EXPECT)[0] != '\0' &&
        visit->reader.parser.http_minor > 0 && wire_has_body(&visit->reader)) {
        static char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        uv_buf_t piece = uv_buf_init(go_on, sizeof(go_on) - 1);
        (void)conn_write(visit->conn, &piece, 1);
    }
    return 0;
}

static int on_body(void *arg, struct bytes part)
{
    struct visit *visit = arg;
    const char *text;

    if (visit->refused)
        return 0;
    if (visit->download) {
        unsigned status = download_take(visit->download, part, &text);
        if (status != 0)
            visit_refuse(visit, status, text);
    } else if (part.len > visit->body_max - visit->body.len) {
        visit_refuse(visit, 413, "request body too large");
    } else if (visit->peers->body_bytes + part.len > visit->bodies_max) {
        visit_refuse(visit, 503, "too much is being received");
    } else {
        visit->counted += part.len;
        visit->peers->body_bytes += part.len;
        buf_append(&visit->body, part.data, part.len);
    }
    return visit->refused ? ERR_CANCELED : 0;
}

static int on_whole(void *arg)
{
    (void)arg;
    return 0;
}

static const struct wire_events wire_events = {on_head, on_body, on_whole};

void visit_begin(struct visit *visit)
{
    visit->state = VISIT_HEAD;
    visit->purpose = VISIT_ROUTE;
    visit->path.len = 0;
    visit->body.len = 0;
    uncount(visit);
    if (visit->body.cap > VISIT_BODY_MAX)
        buf_close(&visit->body);
    visit->refused = 0;
    visit->sender = RAFT_NONE;
    visit->outlet = NULL;
    visit->route = NULL;
    visit->reader.events = &wire_events;
    wire_next(&visit->reader);
    conn_limit(visit->conn, visit->peers->limits.idle_ms,
               visit->peers->limits.write_ms);
}

void visit_refuse(struct visit *visit, unsigned status, const char *text)
{
    visit->refused = status;
    visit->refused_text = text;
}

static void cancel_download(struct visit *visit)
{
    if (visit->download)
        download_cancel(visit->download);
    visit->download = NULL;
}

static void answer_refused(struct visit *visit)
{
    struct buf body = {0};

    cancel_download(visit);
    /* Its sender looks for this one in JSON. */
    if (visit->refused == 403) {
        buf_printf(&body, "{\"message\":\"%s\"}", visit->refused_text);
        visit_answer(visit, 403, "application/json",
                     bytes_of(body.data, body.len));
    } else {
        buf_printf(&body, "%s\n", visit->refused_text);
        visit_answer(visit, visit->refused, "text/plain; charset=utf-8",
                     bytes_of(body.data, body.len));
    }
    buf_close(&body);
}

/* ---- answers ------------------------------------------------------------- */

static void drive(struct visit *visit);

/* The answer is out: the next request, or the end. */
static void answered(struct visit *visit)
{
    struct peers *peers = visit->peers;

    buf_close(&visit->answer);
    if (visit->keep_alive) {
        visit_begin(visit);
    } else {
        visit->state = VISIT_LINGERING;
        conn_finish(visit->conn);
        conn_limit(visit->conn, peers->limits.linger_ms, 0);
    }
    conn_pause(visit->conn, false);
}

/* What is in `answer`. */
static void send_answer(struct visit *visit)
{
    uv_buf_t piece =
        uv_buf_init((char *)visit->answer.data, (unsigned)visit->answer.len);
    int rc = conn_is_writing(visit->conn) ? UV_EBUSY
                                          : conn_write(visit->conn, &piece, 1);

    if (rc < 0)
        close_visit(visit);
    else if (rc == 0)
        answered(visit);
    if (!visit->driving)
        drive(visit);
}

/* It can't be read: there is no telling where the next one would begin. */
static void answer_fault(struct visit *visit)
{
    cancel_download(visit);
    visit->keep_alive = false;
    visit->state = VISIT_ANSWERING;
    wire_put_fault(&visit->answer, visit->reader.fault);
    send_answer(visit);
}

/* Who says to Raft what can't be doesn't go on on that connection. */
static bool is_refusal(const struct visit *visit, unsigned status)
{
    return status >= 400 && (visit->purpose == VISIT_MESSAGE ||
                             visit->purpose == VISIT_SNAPSHOT);
}

void visit_answer(struct visit *visit, unsigned status,
                  const char *content_type, struct bytes body)
{
    struct wire_answer answer = {
        .status = status,
        .content_type = content_type,
        .allow = visit->refused == 405 ? visit->allow : NULL,
        .body = body,
        /* Without it etcd takes us for its version 2.0, which had no streams,
         * and doesn't look at the rest. */
        .with_version = visit->purpose == VISIT_STREAM,
        .head_only = strcmp(wire_method(&visit->reader), "HEAD") == 0,
    };

    /* What is left of a request that isn't whole can't be told from the next
     * one. */
    visit->keep_alive = visit->reader.whole && visit->reader.keep_alive &&
                        !is_refusal(visit, status);
    visit->state = VISIT_ANSWERING;
    answer.keep_alive = visit->keep_alive;
    wire_put_answer(&visit->answer, &visit->peers->self, &answer);
    send_answer(visit);
}

static void on_written(void *arg)
{
    struct visit *visit = arg;

    /* Or was it "100 Continue"? */
    if (visit->state != VISIT_ANSWERING)
        return;
    answered(visit);
    drive(visit);
}

/* ---- reading ------------------------------------------------------------- */

/* One request's bytes; returns how many. */
static size_t read_request(struct visit *visit, struct bytes in)
{
    uint64_t now = net_now_ms(&visit->peers->net);
    bool begins = !visit->reader.begun;
    size_t used = 0;
    int rc = wire_read(&visit->reader, in, &used);

    if (visit->closed)
        return in.len;
    if (begins) {
        visit->begun_ms = now;
        unlink_visit(visit);
        link_visit(visit);
    }
    if (visit->refused && (rc < 0 || visit->reader.whole)) {
        answer_refused(visit);
    } else if (rc < 0) {
        answer_fault(visit);
    } else if (visit->reader.whole) {
        visit->state = VISIT_WAITING;
        /* Nobody is waited for while we work. */
        conn_limit(visit->conn, 0, visit->peers->limits.write_ms);
        visit_act(visit);
        if (!visit->closed && visit->refused)
            answer_refused(visit);
    } else if (visit->state == VISIT_HEAD &&
               now - visit->begun_ms > visit->peers->limits.head_ms) {
        close_visit(visit);
    }
    return used;
}

static bool wants_bytes(const struct visit *visit)
{
    return !visit->closed &&
           (visit->state == VISIT_HEAD || visit->state == VISIT_BODY);
}

static void linger(struct visit *visit, size_t len)
{
    visit->lingered += len;
    if (visit->lingered > LINGER_MAX)
        close_visit(visit);
}

/* Goes on with what came behind the request before. */
static void drive(struct visit *visit)
{
    size_t done = 0;

    visit->driving = true;
    while (wants_bytes(visit) && done < visit->rest.len)
        done += read_request(
            visit, bytes_of(visit->rest.data + done, visit->rest.len - done));
    visit->driving = false;
    if (visit->closed)
        return;
    visit->rest.len -= done;
    if (visit->state == VISIT_LINGERING) {
        size_t unwanted = visit->rest.len;
        visit->rest.len = 0;
        linger(visit, unwanted);
    } else if (visit->rest.len > 0) {
        memmove(visit->rest.data, visit->rest.data + done, visit->rest.len);
    } else {
        buf_close(&visit->rest);
    }
}

static void on_data(void *arg, struct bytes in)
{
    struct visit *visit = arg;
    size_t done = 0;

    if (visit->state == VISIT_LINGERING) {
        linger(visit, in.len);
        return;
    }
    visit->driving = true;
    while (wants_bytes(visit) && visit->rest.len == 0 && done < in.len)
        done += read_request(visit, bytes_of(in.data + done, in.len - done));
    visit->driving = false;
    if (!visit->closed && done < in.len) {
        buf_append(&visit->rest, in.data + done, in.len - done);
        /* There is nothing to be done with more until this is answered. */
        if (visit->state != VISIT_LINGERING)
            conn_pause(visit->conn, true);
    }
    drive(visit);
}

static void on_ended(void *arg, const char *why)
{
    (void)why;
    close_visit(arg);
}
