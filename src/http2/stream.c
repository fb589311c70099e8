/* Streams: their fields, their room, their life. */
#include "internal.h"

#include "chorad/base/check.h"

#include <stdlib.h>
#include <string.h>

/* Fields of a request together, as RFC 9113 counts them. */
#define HEADER_BYTES_MAX ((uint32_t)64 * 1024)
/* Streams of a connection whose client has yet to do something: more, and the
 * one that has been idle for longest goes. */
#define UNSETTLED_MAX 4096
/* Room that a connection has for messages under way. One that is longer gets
 * it when there is no other. */
#define ROOM_BYTES ((size_t)16 * 1024 * 1024)

/* ---- life ------------------------------------------------------------ */

static void link_unsettled(struct http2_stream *s)
{
    struct http2_session *session = s->session;

    s->unsettled = true;
    s->since_ns = shard_now_ns(http2_shard(s));
    s->prev = session->newest;
    s->next = NULL;
    if (s->prev != NULL)
        s->prev->next = s;
    else
        session->oldest = s;
    session->newest = s;
    session->unsettled_n++;
}

void stream_settled(struct http2_stream *s)
{
    struct http2_session *session = s->session;

    if (!s->unsettled)
        return;
    s->unsettled = false;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        session->oldest = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    else
        session->newest = s->prev;
    session->unsettled_n--;
}

void stream_touch(struct http2_stream *s)
{
    if (!s->unsettled || s->session->newest == s) {
        s->since_ns = shard_now_ns(http2_shard(s));
        return;
    }
    stream_settled(s);
    link_unsettled(s);
}

struct http2_stream *stream_new(struct http2_session *session, int32_t id)
{
    struct http2_stream *s = mem_zalloc(sizeof(*s));

    s->session = session;
    s->id = id;
    s->fields_tail = &s->fields;
    s->tail = &s->head;
    s->next_all = session->all;
    s->prev_all = &session->all;
    if (s->next_all != NULL)
        s->next_all->prev_all = &s->next_all;
    session->all = s;
    session->streams_n++;
    if (session->unsettled_n >= UNSETTLED_MAX)
        http2_reset(session->oldest, NGHTTP2_ENHANCE_YOUR_CALM);
    link_unsettled(s);
    return s;
}

void stream_close(struct http2_stream *s, bool clean)
{
    stream_settled(s);
    http2_expect(s, 0);
    if (s->announced)
        s->session->config->handler->on_closed(s, clean);
    body_close(s);
    *s->prev_all = s->next_all;
    if (s->next_all != NULL)
        s->next_all->prev_all = s->prev_all;
    s->session->streams_n--;
    arena_close(&s->arena);
    free(s);
}

/* ---- the request ----------------------------------------------------- */

bool stream_add_field(struct http2_stream *s, struct bytes name,
                      struct bytes value)
{
    struct http2_field *field;

    s->header_bytes += (uint32_t)(name.len + value.len) + 32;
    if (s->header_bytes > HEADER_BYTES_MAX)
        return false;
    field = arena_alloc(&s->arena, sizeof(*field));
    field->name = bytes_of(arena_dup(&s->arena, name.data, name.len), name.len);
    field->value =
        bytes_of(arena_dup(&s->arena, value.data, value.len), value.len);
    field->next = NULL;
    *s->fields_tail = field;
    s->fields_tail = (struct http2_field **)(uintptr_t)&field->next;
    return true;
}

static void consume(struct http2_stream *s)
{
    if (s->held || s->waiting || s->unconsumed == 0)
        return;
    (void)nghttp2_session_consume_stream(s->session->ng, s->id, s->unconsumed);
    s->unconsumed = 0;
    connection_want_output(s->session->connection);
}

void stream_data(struct http2_stream *s, struct bytes data)
{
    stream_touch(s);
    s->unconsumed += data.len;
    if (!s->reset)
        s->session->config->handler->on_data(s, data);
    if (!s->remote_ended && s->unconsumed >= HTTP2_STREAM_WINDOW / 4)
        consume(s);
}

void stream_end(struct http2_stream *s)
{
    if (s->remote_ended)
        return;
    s->remote_ended = true;
    if (!s->reset)
        s->session->config->handler->on_end(s);
}

/* ---- room ------------------------------------------------------------ */

static void give_room(struct http2_stream *s)
{
    struct http2_session *session = s->session;

    session->room_taken += s->expected;
    if (s->expected > HTTP2_STREAM_WINDOW)
        (void)nghttp2_session_set_local_window_size(
            session->ng, NGHTTP2_FLAG_NONE, s->id,
            (int32_t)(s->expected < INT32_MAX / 2 ? s->expected
                                                  : INT32_MAX / 2));
    consume(s);
    connection_want_output(session->connection);
}

static bool has_room(const struct http2_session *session, size_t len)
{
    return session->room_taken == 0 || session->room_taken + len <= ROOM_BYTES;
}

static void serve_waiting(struct http2_session *session)
{
    while (session->waiting != NULL &&
           has_room(session, session->waiting->expected)) {
        struct http2_stream *s = session->waiting;

        session->waiting = s->next_waiting;
        if (session->waiting == NULL)
            session->waiting_tail = &session->waiting;
        s->waiting = false;
        give_room(s);
    }
}

static void unlink_waiting(struct http2_stream *s)
{
    struct http2_session *session = s->session;
    struct http2_stream **at = &session->waiting;

    while (*at != s)
        at = &(*at)->next_waiting;
    *at = s->next_waiting;
    if (*at == NULL)
        session->waiting_tail = at;
    s->waiting = false;
}

void http2_expect(struct http2_stream *s, size_t len)
{
    struct http2_session *session = s->session;

    if (s->waiting)
        unlink_waiting(s);
    else if (s->expected > 0)
        session->room_taken -= s->expected;
    s->expected = len;
    if (len > 0 && session->waiting == NULL && has_room(session, len)) {
        give_room(s);
    } else if (len > 0) {
        s->waiting = true;
        s->next_waiting = NULL;
        *session->waiting_tail = s;
        session->waiting_tail = &s->next_waiting;
    }
    serve_waiting(session);
}

void http2_hold(struct http2_stream *s, bool hold)
{
    s->held = hold;
    if (!hold && !s->remote_ended)
        consume(s);
}

void http2_settle(struct http2_stream *s)
{
    stream_settled(s);
}

void http2_patient(struct http2_stream *s)
{
    s->patient = true;
}

/* ---- the small ones -------------------------------------------------- */

void *http2_arg(const struct http2_stream *s)
{
    return s->session->config->arg;
}

struct connection *http2_connection(const struct http2_stream *s)
{
    return s->session->connection;
}

struct shard *http2_shard(const struct http2_stream *s)
{
    return connection_shard(s->session->connection);
}

void http2_set_user(struct http2_stream *s, void *user)
{
    s->user = user;
}

void *http2_user(const struct http2_stream *s)
{
    return s->user;
}

const struct http2_field *http2_fields(const struct http2_stream *s)
{
    return s->fields;
}
