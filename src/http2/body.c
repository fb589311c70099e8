/* Answers: fields, a body in pieces, trailers. nghttp2 asks for as much of the
 * body as the client's windows allow; it goes out from where it lies. */
#include "internal.h"

#include "chorad/base/check.h"

#include <stdlib.h>
#include <string.h>

/* Below this a copy costs less than one more element in the write vector. */
#define COPY_MAX ((size_t)1024)
#define HEADERS_MAX 12

static nghttp2_nv nv_of(const struct http2_header *h)
{
    nghttp2_nv nv = {
        .name = (uint8_t *)(uintptr_t)h->name.data,
        .value = (uint8_t *)(uintptr_t)h->value.data,
        .namelen = h->name.len,
        .valuelen = h->value.len,
        .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME,
    };

    if (h->is_literal)
        nv.flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    return nv;
}

static void submit(struct http2_stream *s, const struct http2_header *headers,
                   size_t n, const nghttp2_data_provider *provider)
{
    nghttp2_nv nv[HEADERS_MAX];
    int rv;

    CHECK(n <= HEADERS_MAX && !s->responded);
    for (size_t i = 0; i < n; i++)
        nv[i] = nv_of(&headers[i]);
    s->responded = true;
    rv = nghttp2_submit_response(s->session->ng, s->id, nv, n, provider);
    CHECK(rv != NGHTTP2_ERR_NOMEM);
    connection_want_output(s->session->connection);
}

void http2_respond(struct http2_stream *s, const struct http2_header *headers,
                   size_t n)
{
    submit(s, headers, n, &body_provider);
}

void http2_respond_only(struct http2_stream *s,
                        const struct http2_header *headers, size_t n)
{
    s->finished = true;
    submit(s, headers, n, NULL);
}

/* ---- pieces ---------------------------------------------------------- */

static void go_on(struct http2_stream *s)
{
    if (!s->deferred)
        return;
    s->deferred = false;
    (void)nghttp2_session_resume_data(s->session->ng, s->id);
    connection_want_output(s->session->connection);
}

static void enqueue(struct http2_stream *s, struct piece *piece)
{
    piece->next = NULL;
    piece->refs = 1;
    piece->ends_message = false;
    *s->tail = piece;
    s->tail = &piece->next;
    s->last = piece;
    s->bytes += piece->len;
    if (s->bytes >= HTTP2_LOW_BYTES)
        s->above = true;
    go_on(s);
}

void http2_put(struct http2_stream *s, const void *data, size_t len)
{
    struct piece *piece;

    if (len == 0)
        return;
    piece = mem_alloc(sizeof(*piece) + len);
    memcpy(piece->copy, data, len);
    piece->data = piece->copy;
    piece->len = len;
    piece->release = NULL;
    piece->owner = NULL;
    enqueue(s, piece);
}

void http2_put_ref(struct http2_stream *s, struct bytes bytes,
                   void (*release)(void *owner), void *owner)
{
    struct piece *piece = mem_alloc(sizeof(*piece));

    piece->data = bytes.data;
    piece->len = bytes.len;
    piece->release = release;
    piece->owner = owner;
    enqueue(s, piece);
}

void http2_message_end(struct http2_stream *s)
{
    CHECK(s->last != NULL);
    s->last->ends_message = true;
    s->messages++;
    if (s->messages >= HTTP2_LOW_PIECES)
        s->above = true;
}

void http2_finish(struct http2_stream *s, const struct http2_header *trailers,
                  size_t n)
{
    CHECK(n <= TRAILERS_MAX && !s->finished);
    s->finished = true;
    for (size_t i = 0; i < n; i++) {
        s->trailers[i] = nv_of(&trailers[i]);
        if (trailers[i].is_literal)
            continue;
        s->trailers[i].value =
            arena_dup(&s->arena, trailers[i].value.data, trailers[i].value.len);
    }
    s->trailers_n = n;
    go_on(s);
}

static void unref_piece(void *arg)
{
    struct piece *piece = arg;

    if (--piece->refs > 0)
        return;
    if (piece->release != NULL)
        piece->release(piece->owner);
    free(piece);
}

static void drop_head(struct http2_stream *s)
{
    struct piece *piece = s->head;

    s->head = piece->next;
    if (s->head == NULL) {
        s->tail = &s->head;
        s->last = NULL;
    }
    if (piece->ends_message)
        s->messages--;
    unref_piece(piece);
}

void body_close(struct http2_stream *s)
{
    while (s->head != NULL)
        drop_head(s);
}

size_t http2_queued_bytes(const struct http2_stream *s)
{
    return s->bytes;
}

size_t http2_queued_messages(const struct http2_stream *s)
{
    return s->messages;
}

/* ---- what nghttp2 asks for ------------------------------------------- */

/* The type is nghttp2's. NOLINTNEXTLINE(readability-non-const-parameter) */
static ssize_t body_read(nghttp2_session *ng, int32_t id, uint8_t *to,
                         size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    struct http2_stream *s = nghttp2_session_get_stream_user_data(ng, id);

    (void)to;
    (void)source;
    (void)arg;
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (s->bytes == 0 && !s->finished) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (len > s->bytes)
        len = s->bytes;
    if (!s->finished || len < s->bytes)
        return (ssize_t)len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->trailers_n > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(ng, id, s->trailers, s->trailers_n) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)len;
}

const nghttp2_data_provider body_provider = {.read_callback = body_read};

static void put_part(struct http2_stream *s, struct piece *piece, size_t len)
{
    struct connection *c = s->session->connection;

    if (len <= COPY_MAX) {
        connection_put(c, piece->data, len);
    } else {
        piece->refs++;
        connection_put_ref(c, bytes_of(piece->data, len), unref_piece, piece);
    }
    piece->data += len;
    piece->len -= len;
    if (piece->len == 0)
        drop_head(s);
}

static void tell_drained(struct http2_stream *s)
{
    const struct http2_handler *handler = s->session->config->handler;

    if (!s->above || s->bytes >= HTTP2_LOW_BYTES ||
        s->messages >= HTTP2_LOW_PIECES)
        return;
    s->above = false;
    if (handler->on_drained != NULL && !s->finished)
        handler->on_drained(s);
}

int body_send(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head,
              size_t len, nghttp2_data_source *source, void *arg)
{
    struct http2_session *session = arg;
    struct http2_stream *s =
        nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);

    (void)source;
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    CHECK(frame->data.padlen == 0 && len <= s->bytes);
    connection_put(session->connection, head, 9);
    s->bytes -= len;
    while (len > 0) {
        size_t part = s->head->len < len ? s->head->len : len;

        put_part(s, s->head, part);
        len -= part;
    }
    guard_sent(&session->guard);
    tell_drained(s);
    return 0;
}
