/* HTTP/2 (RFC 9113) on a connection, by libnghttp2: streams in, answers out,
 * flow control by need, and an end for whoever abuses it. What a request
 * means is the handler's.
 *
 * Everything happens on the thread of the connection's shard.
 *
 *     on_request -> on_data* -> on_end ->.
 *         \_________ on_drained* ________\-> on_closed
 *
 * on_closed comes exactly once and last, when both sides have ended the stream,
 * one has reset it, or the connection is gone; then the stream is no more.
 *
 * Flow control. What comes in is passed on at once, and the client may send as
 * much again, up to HTTP2_STREAM_WINDOW on its way. Whoever has to keep a
 * longer message until it is whole asks for the room by http2_expect: a
 * connection has a right to so much, and streams that ask for more wait with
 * their windows shut until others are through. */
#ifndef CHORAD_HTTP2_H
#define CHORAD_HTTP2_H

#include "chorad/base/metrics.h"
#include "chorad/connection.h"

struct http2_session;
struct http2_stream;

#define HTTP2_STREAM_WINDOW ((uint32_t)64 * 1024)

/* A field of a request; lives as long as the stream. Names are lower case,
 * pseudo fields keep their colon. */
struct http2_field {
    struct bytes name;
    struct bytes value;
    const struct http2_field *next; /* in the order of the request */
};

/* A field of an answer. The name is a literal; the value one, too, or it is
 * lent for the time of the call. */
struct http2_header {
    struct bytes name;
    struct bytes value;
    bool is_literal;
};

struct http2_handler {
    /* The fields are there. */
    void (*on_request)(struct http2_stream *stream);
    /* Bytes of the request's body; lent. */
    void (*on_data)(struct http2_stream *stream, struct bytes data);
    /* The request is complete. */
    void (*on_end)(struct http2_stream *stream);
    /* Fewer than HTTP2_LOW_BYTES and HTTP2_LOW_PIECES wait to be sent, after
     * there were as many or more. Optional. */
    void (*on_drained)(struct http2_stream *stream);
    /* `clean`: both sides had come to their end. */
    void (*on_closed)(struct http2_stream *stream, bool clean);
};

#define HTTP2_LOW_BYTES ((size_t)64 * 1024)
#define HTTP2_LOW_PIECES ((size_t)16)

struct http2_config {
    const struct http2_handler *handler;
    /* Streams per connection; UINT32_MAX for no limit. */
    uint32_t max_concurrent_streams;
    /* Pings more often than that are too many (grpc's keepalive policy). */
    uint64_t keepalive_min_ms;
    /* Our own pings after that much silence, and how long they wait for an
     * answer; 0 for none. */
    uint64_t keepalive_interval_ms;
    uint64_t keepalive_timeout_ms;
    void *arg; /* what http2_arg gives */
};

/* The protocol to give to shards_take, with a struct http2_config, which
 * outlives all connections. */
extern const struct connection_protocol http2_protocol;

/* Registers the metrics; once, before the first connection. */
void http2_metrics_open(void);

/* ---- the stream ------------------------------------------------------ */

void *http2_arg(const struct http2_stream *stream);
struct connection *http2_connection(const struct http2_stream *stream);
struct shard *http2_shard(const struct http2_stream *stream);
/* The handler's own pointer; NULL at first. */
void http2_set_user(struct http2_stream *stream, void *user);
void *http2_user(const struct http2_stream *stream);

/* The fields, first to last. */
const struct http2_field *http2_fields(const struct http2_stream *stream);

/* ---- flow control of the request ------------------------------------- */

/* A message of `len` bytes is coming and will be kept until it is whole, or (0)
 * nothing is kept any more. Until there is room for it the client sends no
 * more than a window of it. A second call is for the next message. */
void http2_expect(struct http2_stream *stream, size_t len);
/* While it holds, the client sends no more than a window. */
void http2_hold(struct http2_stream *stream, bool hold);
/* The request is all that the handler will ever need of the client: it may
 * take its time now. Until then a stream whose client does nothing ends, after
 * a minute, or, where it is `patient`, when the connection has too many such
 * streams. */
void http2_settle(struct http2_stream *stream);
void http2_patient(struct http2_stream *stream);

/* ---- the answer ------------------------------------------------------ */

/* The status and fields; the body follows. */
void http2_respond(struct http2_stream *stream,
                   const struct http2_header *headers, size_t n);
/* Status and fields and nothing else. */
void http2_respond_only(struct http2_stream *stream,
                        const struct http2_header *headers, size_t n);
/* A piece of the body: copied; or sent from where it lies, with
 * `release(owner)` when that is over. */
void http2_put(struct http2_stream *stream, const void *data, size_t len);
void http2_put_ref(struct http2_stream *stream, struct bytes bytes,
                   void (*release)(void *owner), void *owner);
/* The message put last, of one byte at least, ends here: what
 * http2_queued_messages counts. */
void http2_message_end(struct http2_stream *stream);
/* The body is complete; `n` trailers, or none. */
void http2_finish(struct http2_stream *stream,
                  const struct http2_header *trailers, size_t n);
/* RST_STREAM with an error code of HTTP/2; on_closed follows, never from inside
 * this. */
void http2_reset(struct http2_stream *stream, uint32_t code);

/* What has been put and not yet given to the socket. */
size_t http2_queued_bytes(const struct http2_stream *stream);
size_t http2_queued_messages(const struct http2_stream *stream);

#endif
