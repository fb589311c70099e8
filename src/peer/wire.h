/* HTTP/1.1 as members speak it: heads written, heads and bodies read. Pure. */
#ifndef CHORAD_PEER_WIRE_H
#define CHORAD_PEER_WIRE_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who we are: part of everything that is sent. */
struct wire_identity {
    uint64_t member_id;
    uint64_t cluster_id;
    char version[32];
    char min_version[32];
    char *peer_urls; /* "http://a:2380,http://b:2380", or NULL */
};

/* ---- reading ------------------------------------------------------------- */

/* The headers that anybody looks at. */
enum wire_field {
    WIRE_PATH, /* of a request, with its query */
    WIRE_FROM,
    WIRE_VERSION,
    WIRE_MIN_VERSION,
    WIRE_CLUSTER_ID,
    WIRE_RAFT_TO,
    WIRE_PEER_URLS,
    WIRE_AUTHORIZATION,
    WIRE_EXPECT,
    WIRE_HOST,
    WIRE_TRANSFER_ENCODING,
    WIRE_FIELDS,
};

/* What these hold together at most; longer heads are malformed. */
#define WIRE_HEAD_MAX ((size_t)32 << 10)

/* Each may end the reading by anything but 0. */
struct wire_events {
    int (*head)(void *arg);
    int (*body)(void *arg, struct bytes part);
    int (*whole)(void *arg);
};

/* Why a request isn't taken at all: it is answered so, in plain text, and
 * nothing more is read from its connection. */
struct wire_fault {
    const char *status; /* "501 Not Implemented" */
    const char *text;
};

struct wire_reader {
    http_parser parser;
    const struct wire_events *events;
    void *arg;
    struct buf text; /* what was kept, each ended by a zero byte */
    size_t at[WIRE_FIELDS];
    bool has[WIRE_FIELDS];
    bool again[WIRE_FIELDS]; /* it has come more than once */
    int field; /* whose value is being read; WIRE_FIELDS: nobody's */
    bool in_name;
    char name[32];
    size_t name_len;
    bool spaced_name; /* a name had white space in it */
    bool too_long;    /* more than is kept */
    bool begun;       /* bytes of a message have come */
    bool head_done;
    bool whole;
    bool keep_alive;                /* another message may follow this one */
    int stopped;                    /* what an event has answered */
    const struct wire_fault *fault; /* of a request that is malformed */
};

void wire_reader_init(struct wire_reader *r, enum http_parser_type type,
                      const struct wire_events *events, void *arg);
void wire_reader_close(struct wire_reader *r);

/* Reads until the bytes are used up, a message is whole or an event ends it.
 * ERR_MALFORMED, with a request's `fault`, or what the event said: no more may
 * be read. */
int wire_read(struct wire_reader *r, struct bytes in, size_t *used);
/* The connection has ended: a message without a length is whole now. */
void wire_read_end(struct wire_reader *r);
/* On to the next message, after a whole one. */
void wire_next(struct wire_reader *r);

/* A header's value or the path; "" if it wasn't there. Valid until
 * wire_next. */
const char *wire_value(const struct wire_reader *r, enum wire_field field);
static inline const char *wire_method(const struct wire_reader *r)
{
    return http_method_str((enum http_method)r->parser.method);
}
/* A request's path with its query, also of one that was written for a proxy:
 * "http://host/path". */
const char *wire_path(const struct wire_reader *r);
/* Something follows the head. */
bool wire_has_body(const struct wire_reader *r);

/* An id as members write it: hexadecimal, at most 64 bits. */
bool wire_parse_id(const char *text, uint64_t *id);

/* Whether the sender of a request may talk to us: 0, ERR_UNSUPPORTED (its
 * version), ERR_INVALID (another cluster). */
int wire_check_sender(const struct wire_identity *self,
                      const struct wire_reader *r);
/* etcd's texts for these two. */
#define WIRE_INCOMPATIBLE "incompatible version"
#define WIRE_CLUSTER_MISMATCH "cluster ID mismatch"

/* ---- wire_head.c: requests that aren't taken ------------------------------
 */

/* Of a head that is there; NULL: it is taken. */
const struct wire_fault *wire_head_fault(const struct wire_reader *r);
/* Of a request that can't be read, at whatever place. */
const struct wire_fault *wire_error_fault(const struct wire_reader *r,
                                          enum http_errno error);
void wire_put_fault(struct buf *out, const struct wire_fault *fault);

/* ---- writing ------------------------------------------------------------- */

#define WIRE_NO_BODY (-1)
#define WIRE_CHUNKED (-2)

struct wire_request {
    const char *method;
    const char *host; /* "127.0.0.1:2380" */
    const char *path;
    const char *content_type;  /* NULL: none */
    const char *authorization; /* NULL: none */
    uint64_t raft_to;          /* 0: none */
    int64_t body_len;          /* or WIRE_NO_BODY, WIRE_CHUNKED */
};

void wire_put_request(struct buf *out, const struct wire_identity *self,
                      const struct wire_request *request);

struct wire_answer {
    unsigned status;
    const char *content_type; /* NULL: none */
    const char *allow;        /* of a 405; NULL: none */
    struct bytes body;
    bool keep_alive;
    bool head_only;    /* to a HEAD request */
    bool with_version; /* to who asked for a stream */
};

/* A whole answer. Plain text of an error says that it is nothing else. */
void wire_put_answer(struct buf *out, const struct wire_identity *self,
                     const struct wire_answer *answer);
/* The head of a stream; chunks follow. */
void wire_put_stream_head(struct buf *out, const struct wire_identity *self);

/* The size line of a chunk: 8 digits, so that it can be written last. */
#define WIRE_CHUNK_HEAD 10
void wire_put_chunk_head(uint8_t *p, size_t len);
#define WIRE_CHUNK_END "\r\n"
#define WIRE_CHUNKS_END "0\r\n\r\n"

#endif
