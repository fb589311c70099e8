/* A connection's session: bytes to libnghttp2 and from it, and its events to
 * the streams. */
#include "internal.h"

#include "chorad/base/check.h"

#include <stdlib.h>
#include <string.h>

/* The connection's window: the streams' windows and the room for messages are
 * the bound, this one is only for how much is on its way. */
#define CONNECTION_WINDOW (16 * 1024 * 1024)
/* CONTINUATION, 9, is the last that RFC 9113 knows. */
#define FIRST_UNKNOWN_TYPE 10

/* ---- the end --------------------------------------------------------- */

void session_end(struct http2_session *session, uint32_t code, const char *text)
{
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->ng);

    if (session->ending)
        return;
    session->ending = true;
    (void)nghttp2_submit_goaway(session->ng, NGHTTP2_FLAG_NONE, last, code,
                                (const uint8_t *)text, strlen(text));
    connection_pause(session->connection);
    connection_want_output(session->connection);
}

void session_abused(struct http2_session *session, enum guard_kind kind)
{
    if (session->ending)
        return;
    guard_ended(session->connection, kind);
    session_end(session, NGHTTP2_ENHANCE_YOUR_CALM, "enhance your calm");
}

/* ---- what comes in --------------------------------------------------- */

static struct http2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(ng, id);
}

static void event(struct http2_session *session, enum guard_kind kind)
{
    if (!guard_event(&session->guard, kind,
                     shard_now_ns(connection_shard(session->connection))))
        session_abused(session, kind);
}

/* Every frame of a known type, but for CONTINUATION. */
static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd,
                          void *arg)
{
    struct http2_session *session = arg;

    (void)ng;
    session->block_ns = 0;
    switch (hd->type) {
    case NGHTTP2_DATA:
        if (hd->length == 0 && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0)
            event(session, GUARD_EMPTY_DATA);
        break;
    case NGHTTP2_HEADERS:
        session->block_ns = shard_now_ns(connection_shard(session->connection));
        break;
    case NGHTTP2_PRIORITY:
        event(session, GUARD_PRIORITY);
        /* The library doesn't look at what it has no use for. */
        if (hd->stream_id == 0)
            session_end(session, NGHTTP2_PROTOCOL_ERROR, "PRIORITY: stream 0");
        break;
    case NGHTTP2_RST_STREAM:
        event(session, GUARD_RESET);
        break;
    case NGHTTP2_SETTINGS:
        event(session, GUARD_SETTINGS);
        break;
    case NGHTTP2_PING:
        if ((hd->flags & NGHTTP2_FLAG_ACK) == 0)
            event(session, GUARD_PING);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        event(session, GUARD_WINDOW_UPDATE);
        break;
    default:
        break;
    }
    return 0;
}

/* A frame of a type that nobody knows: passed over. */
static int on_unknown_frame(nghttp2_session *ng, void **payload,
                            const nghttp2_frame_hd *hd, void *arg)
{
    (void)ng;
    (void)payload;
    (void)hd;
    event(arg, GUARD_UNKNOWN);
    return NGHTTP2_ERR_CANCEL;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame,
                            void *arg)
{
    struct http2_session *session = arg;
    struct http2_stream *stream;

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        event(session, GUARD_HEADERS);
        return 0;
    }
    stream = stream_new(session, frame->hd.stream_id);
    (void)nghttp2_session_set_stream_user_data(ng, stream->id, stream);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame,
                     const uint8_t *name, size_t name_len, const uint8_t *value,
                     size_t value_len, uint8_t flags, void *arg)
{
    struct http2_stream *stream = stream_of(ng, frame->hd.stream_id);

    (void)flags;
    (void)arg;
    if (stream == NULL)
        return 0;
    /* Trailers mean nothing here. */
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || stream->reset)
        return 0;
    if (!field_check(&stream->seen, bytes_of(name, name_len),
                     bytes_of(value, value_len)))
        http2_reset(stream, NGHTTP2_PROTOCOL_ERROR);
    else if (!stream_add_field(stream, bytes_of(name, name_len),
                               bytes_of(value, value_len)))
        http2_reset(stream, NGHTTP2_FRAME_SIZE_ERROR);
    return 0;
}

static void on_request(struct http2_stream *stream)
{
    if (stream->reset)
        return;
    if (!field_is_whole(stream->seen)) {
        http2_reset(stream, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    stream->announced = true;
    stream->session->config->handler->on_request(stream);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *arg)
{
    struct http2_session *session = arg;
    struct http2_stream *stream = stream_of(ng, frame->hd.stream_id);

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        session->block_ns = 0;
        if (stream != NULL && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            on_request(stream);
        break;
    case NGHTTP2_SETTINGS:
        session->greeted = true;
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
            session->own_ping_ns = 0;
        else
            session_pinged(session);
        break;
    default:
        break;
    }
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 && stream != NULL &&
        stream->announced)
        stream_end(stream);
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id,
                   const uint8_t *data, size_t len, void *arg)
{
    struct http2_stream *stream = stream_of(ng, id);

    (void)flags;
    (void)arg;
    (void)nghttp2_session_consume_connection(ng, len);
    if (stream != NULL && stream->announced)
        stream_data(stream, bytes_of(data, len));
    return 0;
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame,
                            int error, void *arg)
{
    struct http2_session *session = arg;

    (void)ng;
    (void)frame;
    (void)error;
    session->block_ns = 0;
    event(session, GUARD_INVALID);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code,
                           void *arg)
{
    struct http2_session *session = arg;
    struct http2_stream *stream = stream_of(ng, id);

    if (stream == NULL)
        return 0;
    (void)nghttp2_session_set_stream_user_data(ng, id, NULL);
    stream_close(stream, stream->local_ended && code == NGHTTP2_NO_ERROR);
    if (session->draining && session->streams_n == 0)
        connection_want_output(session->connection);
    return 0;
}

/* ---- what goes out --------------------------------------------------- */

/* Behind the last frame of an answer to a request that isn't complete, its
 * client is told that the rest isn't wanted. */
static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame,
                         void *arg)
{
    struct http2_session *session = arg;
    struct http2_stream *stream;

    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    session->sent_since_ping = true;
    if (frame->hd.type == NGHTTP2_HEADERS)
        guard_sent(&session->guard);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    stream = stream_of(ng, frame->hd.stream_id);
    if (stream == NULL)
        return 0;
    stream->local_ended = true;
    if (!stream->remote_ended)
        (void)nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, stream->id,
                                        NGHTTP2_NO_ERROR);
    return 0;
}

void http2_reset(struct http2_stream *stream, uint32_t code)
{
    if (stream->reset)
        return;
    stream->reset = true;
    stream_settled(stream);
    (void)nghttp2_submit_rst_stream(stream->session->ng, NGHTTP2_FLAG_NONE,
                                    stream->id, code);
    connection_want_output(stream->session->connection);
}

/* ---- open and close -------------------------------------------------- */

static nghttp2_session_callbacks *new_callbacks(void)
{
    nghttp2_session_callbacks *cb;
    int rv = nghttp2_session_callbacks_new(&cb);

    CHECK(rv == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb,
                                                            on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        cb, on_invalid_frame);
    nghttp2_session_callbacks_set_unpack_extension_callback(cb,
                                                            on_unknown_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_send_data_callback(cb, body_send);
    return cb;
}

static nghttp2_option *new_option(void)
{
    nghttp2_option *option;
    int rv = nghttp2_option_new(&option);

    CHECK(rv == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    /* What fields may hold is checked in field.c, as leniently as clients of
     * etcd need it: old ones send a URL as :authority. */
    nghttp2_option_set_no_http_messaging(option, 1);
    /* guard.c counts resets; the library's own bound is met by clients that
     * mean well and cancel many calls at once. */
    nghttp2_option_set_stream_reset_rate_limit(option, 1 << 20, 1 << 20);
    /* So are pings and settings. */
    nghttp2_option_set_max_outbound_ack(option, 8192);
    /* Closed streams are no use to us. */
    nghttp2_option_set_no_closed_streams(option, 1);
    for (unsigned type = FIRST_UNKNOWN_TYPE; type <= UINT8_MAX; type++)
        nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
    return option;
}

static void greet(struct http2_session *session)
{
    nghttp2_settings_entry entries[4];
    size_t n = 0;
    int rv;

    entries[n++] = (nghttp2_settings_entry){
        NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 64 * 1024};
    entries[n++] = (nghttp2_settings_entry){
        NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HTTP2_STREAM_WINDOW};
    /* Without the tree of RFC 7540, which cost much and served nobody. */
    entries[n++] =
        (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
    if (session->config->max_concurrent_streams < UINT32_MAX)
        entries[n++] =
            (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                     session->config->max_concurrent_streams};
    rv = nghttp2_submit_settings(session->ng, NGHTTP2_FLAG_NONE, entries, n);
    CHECK(rv == 0);
    rv = nghttp2_session_set_local_window_size(session->ng, NGHTTP2_FLAG_NONE,
                                               0, CONNECTION_WINDOW);
    CHECK(rv == 0);
}

static void *open(struct connection *connection, void *arg)
{
    struct http2_session *session = mem_zalloc(sizeof(*session));
    nghttp2_session_callbacks *callbacks = new_callbacks();
    nghttp2_option *option = new_option();
    int rv;

    session->connection = connection;
    session->config = arg;
    session->waiting_tail = &session->waiting;
    session->opened_ns = shard_now_ns(connection_shard(connection));
    guard_open(&session->guard, session->opened_ns);
    rv = nghttp2_session_server_new2(&session->ng, callbacks, session, option);
    CHECK(rv == 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    greet(session);
    session_watch(session);
    connection_want_output(connection);
    return session;
}

static void input(void *state, const uint8_t *data, size_t len)
{
    struct http2_session *session = state;
    ssize_t n;

    if (session->ending)
        return;
    n = nghttp2_session_mem_recv(session->ng, data, len);
    if (n == NGHTTP2_ERR_FLOODED)
        session_abused(session, GUARD_PING);
    else if (n == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
        session_abused(session, GUARD_HEADERS);
    else if (n < 0)
        connection_abort(session->connection);
    if (nghttp2_session_want_write(session->ng) != 0 ||
        nghttp2_session_want_read(session->ng) == 0)
        connection_want_output(session->connection);
}

static bool is_over(const struct http2_session *session)
{
    if (nghttp2_session_want_write(session->ng) != 0)
        return false;
    return session->ending || (session->draining && session->streams_n == 0) ||
           nghttp2_session_want_read(session->ng) == 0;
}

static bool output(void *state)
{
    struct http2_session *session = state;
    struct connection *c = session->connection;

    while (connection_room(c) > 0) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(session->ng, &data);

        if (n < 0) {
            connection_abort(c);
            return false;
        }
        if (n == 0)
            break;
        connection_put(c, data, (size_t)n);
    }
    if (is_over(session)) {
        connection_finish(c);
        return false;
    }
    return connection_room(c) == 0;
}

static void drain(void *state)
{
    static const char reason[] = "graceful_stop";
    struct http2_session *session = state;
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->ng);

    if (session->ending || session->draining)
        return;
    session->draining = true;
    (void)nghttp2_submit_goaway(session->ng, NGHTTP2_FLAG_NONE, last,
                                NGHTTP2_NO_ERROR, (const uint8_t *)reason,
                                sizeof(reason) - 1);
    connection_want_output(session->connection);
}

/* nghttp2 doesn't report the streams that are open at its end. */
static void closed(void *state)
{
    struct http2_session *session = state;

    while (session->all != NULL)
        stream_close(session->all, false);
    shard_timer_clear(connection_shard(session->connection), &session->timer);
    nghttp2_session_del(session->ng);
    free(session);
}

const struct connection_protocol http2_protocol = {
    .open = open,
    .input = input,
    .output = output,
    .drain = drain,
    .closed = closed,
};
