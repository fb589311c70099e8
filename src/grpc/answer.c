/* How an answer looks on HTTP/2: fields, messages, and a status behind them in
 * trailers (source: the gRPC project's PROTOCOL-HTTP2). */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/err.h"

#include <stdlib.h>
#include <string.h>

/* A text in grpc-message is cut there, so that a client's bound on header
 * lists isn't passed. */
#define TEXT_MAX ((size_t)4096)
#define ESCAPED_MAX (TEXT_MAX * 3)

#define TYPE_MAX 128
#define LITERAL(text)                                                          \
    {                                                                          \
        (const uint8_t *)(text), sizeof(text) - 1                              \
    }
#define FIELD(name, value)                                                     \
    {                                                                          \
        LITERAL(name), LITERAL(value), true                                    \
    }

static const struct http2_header beginning[] = {
    FIELD(":status", "200"),
    FIELD("content-type", "application/grpc"),
};

static const char *const codes[RPC_CODES] = {"0",  "1",  "2",  "3",  "4",  "5",
                                             "6",  "7",  "8",  "9",  "10", "11",
                                             "12", "13", "14", "15", "16"};

/* "application/grpc+proto" is answered as it was asked; "application/grpc;x" is
 * grpc-go's "application/grpc+x". */
static bool type_of(struct http2_stream *stream, char *out, size_t size)
{
    struct bytes type = metadata_find(http2_fields(stream), "content-type");
    size_t len = beginning[1].value.len;

    if (type.len <= len + 1 || type.len >= size)
        return false;
    memcpy(out, type.data, type.len);
    out[type.len] = '\0';
    out[len] = '+';
    return true;
}

void answer_begin(struct http2_stream *stream)
{
    struct http2_header fields[2];
    char type[TYPE_MAX];

    if (!type_of(stream, type, sizeof(type))) {
        http2_respond(stream, beginning, 2);
        return;
    }
    memcpy(fields, beginning, sizeof(beginning));
    fields[1].value = bytes_of(type, strlen(type));
    fields[1].is_literal = false;
    http2_respond(stream, fields, 2);
}

/* Everything but printable ASCII, and the escape itself, is escaped. */
static size_t escape(const char *text, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = strlen(text);
    size_t n = 0;

    if (len > TEXT_MAX)
        len = TEXT_MAX;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c <= 0x7e && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return n;
}

static void put_status(struct http2_header *fields, int code,
                       struct bytes message)
{
    const char *number;

    if (code < 0 || code >= RPC_CODES)
        code = GRPC_UNKNOWN;
    number = codes[code];
    fields[0] = (struct http2_header){LITERAL("grpc-status"),
                                      bytes_of(number, strlen(number)), true};
    fields[1] = (struct http2_header){LITERAL("grpc-message"), message, false};
}

void answer_end(struct http2_stream *stream, bool begun, int code,
                const char *text)
{
    char escaped[ESCAPED_MAX];
    char type[TYPE_MAX];
    size_t len = text != NULL ? escape(text, escaped) : 0;
    struct http2_header fields[4];

    if (begun) {
        put_status(fields, code, bytes_of(escaped, len));
        http2_finish(stream, fields, 2);
        return;
    }
    memcpy(fields, beginning, sizeof(beginning));
    if (type_of(stream, type, sizeof(type))) {
        fields[1].value = bytes_of(type, strlen(type));
        fields[1].is_literal = false;
    }
    put_status(fields + 2, code, bytes_of(escaped, len));
    http2_respond_only(stream, fields, 4);
}

void answer_http(struct http2_stream *stream, const char *http_status, int code,
                 const char *text)
{
    char escaped[ESCAPED_MAX];
    size_t len = escape(text, escaped);
    struct http2_header fields[4];

    memcpy(fields, beginning, sizeof(beginning));
    fields[0].value = bytes_of(http_status, strlen(http_status));
    fields[0].is_literal = false;
    put_status(fields + 2, code, bytes_of(escaped, len));
    http2_respond_only(stream, fields, 4);
}

/* ---- unary ----------------------------------------------------------- */

#define COPY_MAX ((size_t)1024)

static void put_prefix(uint8_t *to, size_t len)
{
    CHECK(len <= UINT32_MAX);
    to[0] = 0;
    to[1] = (uint8_t)(len >> 24);
    to[2] = (uint8_t)(len >> 16);
    to[3] = (uint8_t)(len >> 8);
    to[4] = (uint8_t)len;
}

/* Counted before it leaves: a client that has its answer finds it in the
 * metrics. An error counts as a message too, as etcd's interceptor has it. */
static void begin_answer(struct call *call, int code)
{
    CHECK(!call->answered);
    call->answered = true;
    count(&call->slot->sent, 1);
    call_handled(call, code);
}

/* The answer is HTTP/2's from here on, and the call over. */
static void leave(struct call *call)
{
    if (call->stream != NULL) {
        http2_expect(call->stream, 0);
        http2_settle(call->stream);
        http2_set_user(call->stream, NULL);
    }
    call->stream = NULL;
    call_end(call);
}

static void put_joined(struct call *call, struct bytes message)
{
    struct buf *joined = &call->pub.shard->joined;

    joined->len = 0;
    put_prefix(buf_reserve(joined, PREFIX_BYTES), message.len);
    joined->len = PREFIX_BYTES;
    buf_append(joined, message.data, message.len);
    http2_put(call->stream, joined->data, joined->len);
}

static void put_taken(struct call *call, struct buf taken)
{
    uint8_t prefix[PREFIX_BYTES];

    put_prefix(prefix, taken.len);
    http2_put(call->stream, prefix, sizeof(prefix));
    http2_put_ref(call->stream, bytes_of(taken.data, taken.len), free,
                  taken.data);
}

void rpc_reply(struct rpc_call *pub, struct buf *buf)
{
    struct call *call = call_of(pub);
    struct buf taken = *buf;

    /* It may lie in the call's own memory, which goes with the answer. */
    *buf = (struct buf){0};
    if (taken.len <= COPY_MAX || call->stream == NULL) {
        rpc_reply_copy(pub, bytes_of(taken.data, taken.len));
        buf_close(&taken);
        return;
    }
    CHECK(pub->method->kind == RPC_UNARY);
    begin_answer(call, GRPC_OK);
    count(&pub->shard->bytes_out, taken.len);
    answer_begin(call->stream);
    put_taken(call, taken);
    answer_end(call->stream, true, GRPC_OK, NULL);
    leave(call);
}

void rpc_reply_copy(struct rpc_call *pub, struct bytes message)
{
    struct call *call = call_of(pub);

    CHECK(pub->method->kind == RPC_UNARY);
    begin_answer(call, GRPC_OK);
    count(&pub->shard->bytes_out, message.len);
    if (call->stream != NULL) {
        answer_begin(call->stream);
        put_joined(call, message);
        answer_end(call->stream, true, GRPC_OK, NULL);
    }
    leave(call);
}

void answer_early(struct call *call, const char *http_status, int code,
                  const char *text)
{
    call->finishing = true;
    begin_answer(call, code);
    answer_http(call->stream, http_status, code, text);
    leave(call);
}

static void fail_unary(struct call *call, int code, const char *text)
{
    begin_answer(call, code);
    if (call->stream != NULL)
        answer_end(call->stream, false, code, text);
    leave(call);
}

void rpc_fail_text(struct rpc_call *pub, int grpc_code, const char *text)
{
    if (pub->method->kind == RPC_UNARY)
        fail_unary(call_of(pub), grpc_code, text);
    else
        rpc_finish_text(pub, grpc_code, text);
}

void rpc_fail(struct rpc_call *pub, int err)
{
    rpc_fail_text(pub, err_grpc_status(err), err_text(err));
}

/* ---- a stream's message ---------------------------------------------- */

static void unref_shared(void *shared)
{
    shared_unref(shared);
}

static void put_copied(struct http2_stream *stream, struct buf *joined)
{
    http2_put(stream, joined->data, joined->len);
    joined->len = 0;
}

/* Small parts are copied together; a large shared one is sent from where it
 * lies. */
void rpc_send(struct rpc_call *pub, const struct rpc_piece *pieces, size_t n)
{
    struct call *call = call_of(pub);
    struct buf *joined = &pub->shard->joined;
    size_t bytes = 0;

    CHECK(pub->method->kind != RPC_UNARY);
    if (!stream_is_open(call))
        return;
    for (size_t i = 0; i < n; i++)
        bytes += pieces[i].bytes.len;
    count(&call->slot->sent, 1);
    count(&pub->shard->bytes_out, bytes);
    if (!call->responded)
        answer_begin(call->stream);
    call->responded = true;
    joined->len = 0;
    put_prefix(buf_reserve(joined, PREFIX_BYTES), bytes);
    joined->len = PREFIX_BYTES;
    for (size_t i = 0; i < n; i++) {
        struct bytes part = pieces[i].bytes;

        if (pieces[i].shared == NULL || part.len <= COPY_MAX) {
            if (part.len > 0)
                buf_append(joined, part.data, part.len);
            continue;
        }
        put_copied(call->stream, joined);
        http2_put_ref(call->stream, part, unref_shared,
                      shared_ref(pieces[i].shared));
    }
    put_copied(call->stream, joined);
    http2_message_end(call->stream);
}

void rpc_send_copy(struct rpc_call *pub, struct bytes message)
{
    struct rpc_piece piece = {.bytes = message};

    rpc_send(pub, &piece, 1);
}
