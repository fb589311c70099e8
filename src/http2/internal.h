/* What HTTP/2's files share. */
#ifndef CHORAD_HTTP2_INTERNAL_H
#define CHORAD_HTTP2_INTERNAL_H

#include "chorad/http2.h"

#include <nghttp2/nghttp2.h>

/* ---- guard.c: what abuse costs --------------------------------------- */

/* What a client may do only so often. */
enum guard_kind {
    GUARD_RESET,
    GUARD_PING,
    GUARD_SETTINGS,
    GUARD_EMPTY_DATA,
    GUARD_PRIORITY,
    GUARD_WINDOW_UPDATE,
    GUARD_UNKNOWN,
    GUARD_HEADERS, /* a header block that is no request */
    GUARD_INVALID, /* a frame that breaks a rule, and its stream only */
    GUARD_KINDS
};

/* Leaky buckets: each event fills one up, time and our own traffic drain it. */
struct guard {
    uint32_t level[GUARD_KINDS];
    uint64_t since_ns[GUARD_KINDS];
};

void guard_open(struct guard *guard, uint64_t now_ns);
/* Once more of that kind: false when it is too much. */
bool guard_event(struct guard *guard, enum guard_kind kind, uint64_t now_ns);
/* A frame of an answer has left: clients answer it with windows and pings. */
void guard_sent(struct guard *guard);
/* Counts the connection's end, and logs it at a bounded rate. */
void guard_ended(struct connection *connection, enum guard_kind kind);

/* ---- field.c: what a request's fields may be ------------------------- */

/* Bits of what has come of a request so far. */
enum field_seen {
    FIELD_METHOD = 1,
    FIELD_SCHEME = 2,
    FIELD_AUTHORITY = 4,
    FIELD_PATH = 8,
    FIELD_REGULAR = 16,
};

/* False: a request with that field behind those seen is malformed. */
bool field_check(unsigned *seen, struct bytes name, struct bytes value);
/* A request has to have a method, a scheme and a path. */
bool field_is_whole(unsigned seen);

/* ---- the session ----------------------------------------------------- */

/* A piece of a body. */
struct piece {
    struct piece *next;
    const uint8_t *data;
    size_t len;
    void (*release)(void *owner); /* NULL: `copy` */
    void *owner;
    unsigned refs; /* one for the queue, one for each part on its way */
    bool ends_message;
    uint8_t copy[];
};

#define TRAILERS_MAX 4

struct http2_stream {
    struct http2_session *session;
    int32_t id;
    void *user;
    struct arena arena; /* of the fields */
    struct http2_field *fields;
    struct http2_field **fields_tail;
    uint32_t header_bytes;
    unsigned seen;     /* enum field_seen */
    bool announced;    /* on_request has been called */
    bool remote_ended; /* on_end has been called, or can't be any more */
    bool responded;
    bool finished; /* http2_finish has been called */
    bool local_ended;
    bool deferred; /* nghttp2 waits for more of the body */
    bool reset;
    bool above; /* has been over the marks of on_drained */

    struct piece *head;
    struct piece **tail;
    struct piece *last;
    size_t bytes;
    size_t messages;
    nghttp2_nv trailers[TRAILERS_MAX];
    size_t trailers_n;

    /* The request's flow control. */
    size_t unconsumed; /* bytes that the client may not send again yet */
    size_t expected;   /* bytes of room asked for */
    bool held;
    bool waiting; /* for room */
    struct http2_stream *next_waiting;

    /* In the session's list of all. */
    struct http2_stream *next_all;
    struct http2_stream **prev_all;

    /* In the session's list of those whose client has yet to do something,
     * oldest first. */
    bool unsettled;
    bool patient;
    uint64_t since_ns;
    struct http2_stream *next;
    struct http2_stream *prev;
};

struct http2_session {
    nghttp2_session *ng;
    struct connection *connection;
    const struct http2_config *config;
    struct guard guard;
    struct shard_timer timer; /* looks after what takes too long */
    struct http2_stream *all;
    struct http2_stream *oldest; /* unsettled */
    struct http2_stream *newest;
    size_t unsettled_n;
    size_t streams_n;
    size_t room_taken;
    struct http2_stream *waiting; /* for room, first come */
    struct http2_stream **waiting_tail;
    uint64_t opened_ns;
    uint64_t block_ns;    /* when the header block under way began; 0: none */
    uint64_t ping_ns;     /* the client's last ping */
    uint64_t own_ping_ns; /* ours that isn't answered; 0: none */
    unsigned strikes;     /* pings that came too soon */
    bool sent_since_ping; /* fields or a body */
    bool greeted;         /* the client's settings have come */
    bool draining;
    bool ending;
};

/* ---- stream.c: their life -------------------------------------------- */

struct http2_stream *stream_new(struct http2_session *session, int32_t id);
/* Tells the handler and frees it. */
void stream_close(struct http2_stream *stream, bool clean);
/* A field of the request came in. False: that was too much. */
bool stream_add_field(struct http2_stream *stream, struct bytes name,
                      struct bytes value);
void stream_data(struct http2_stream *stream, struct bytes data);
void stream_end(struct http2_stream *stream);
/* Takes it out of the list of the unsettled. */
void stream_settled(struct http2_stream *stream);
/* It isn't the one that has been idle for longest any more. */
void stream_touch(struct http2_stream *stream);

/* ---- body.c: what is sent -------------------------------------------- */

extern const nghttp2_data_provider body_provider;
/* nghttp2_send_data_callback */
int body_send(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head,
              size_t len, nghttp2_data_source *source, void *arg);
void body_close(struct http2_stream *stream);

/* ---- session.c ------------------------------------------------------- */

/* GOAWAY with that code and text; the connection ends behind it. */
void session_end(struct http2_session *session, uint32_t code,
                 const char *text);
/* The same for too much of something. */
void session_abused(struct http2_session *session, enum guard_kind kind);

/* ---- watch.c: what takes too long ------------------------------------ */

void session_watch(struct http2_session *session);
/* A ping came. */
void session_pinged(struct http2_session *session);

#endif
