#include "wire.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* More memory than that isn't kept for the next message. */
#define TEXT_KEPT ((size_t)1024)

static const char *const names[WIRE_FIELDS] = {
    [WIRE_PATH] = "",
    [WIRE_FROM] = "X-Server-From",
    [WIRE_VERSION] = "X-Server-Version",
    [WIRE_MIN_VERSION] = "X-Min-Cluster-Version",
    [WIRE_CLUSTER_ID] = "X-Etcd-Cluster-ID",
    [WIRE_RAFT_TO] = "X-Raft-To",
    [WIRE_PEER_URLS] = "X-PeerURLs",
    [WIRE_AUTHORIZATION] = "Authorization",
    [WIRE_EXPECT] = "Expect",
    [WIRE_HOST] = "Host",
    [WIRE_TRANSFER_ENCODING] = "Transfer-Encoding",
};

static struct wire_reader *reader_of(const http_parser *parser)
{
    return parser->data;
}

/* ---- what is kept -------------------------------------------------------- */

static void begin_value(struct wire_reader *r, int field)
{
    r->field = field;
    if (field == WIRE_FIELDS)
        return;
    /* As in Go, the first of several counts. */
    if (r->has[field]) {
        r->again[field] = true;
        r->field = WIRE_FIELDS;
        return;
    }
    r->has[field] = true;
    r->at[field] = r->text.len;
}

static int add_to_value(struct wire_reader *r, const char *data, size_t len)
{
    if (r->field == WIRE_FIELDS)
        return 0;
    if (r->text.len + len > WIRE_HEAD_MAX) {
        r->too_long = true;
        return -1;
    }
    buf_append(&r->text, data, len);
    return 0;
}

static void end_value(struct wire_reader *r)
{
    if (r->field != WIRE_FIELDS)
        buf_append(&r->text, "", 1);
    r->field = WIRE_FIELDS;
}

static int field_of(const struct wire_reader *r)
{
    for (int i = WIRE_PATH + 1; i < WIRE_FIELDS; i++) {
        if (strlen(names[i]) == r->name_len &&
            strncasecmp(names[i], r->name, r->name_len) == 0)
            return i;
    }
    return WIRE_FIELDS;
}

/* ---- the parser's callbacks ---------------------------------------------- */

static int on_begin(http_parser *parser)
{
    reader_of(parser)->begun = true;
    return 0;
}

static int on_url(http_parser *parser, const char *data, size_t len)
{
    struct wire_reader *r = reader_of(parser);

    if (!r->has[WIRE_PATH])
        begin_value(r, WIRE_PATH);
    return add_to_value(r, data, len);
}

static int on_name(http_parser *parser, const char *data, size_t len)
{
    struct wire_reader *r = reader_of(parser);

    if (!r->in_name) {
        end_value(r);
        r->in_name = true;
        r->name_len = 0;
    }
    r->spaced_name = r->spaced_name || memchr(data, ' ', len) != NULL;
    for (size_t i = 0; i < len; i++) {
        if (r->name_len < sizeof(r->name))
            r->name[r->name_len] = data[i];
        /* Too long a name goes on counting, so that it matches none. */
        r->name_len++;
    }
    return 0;
}

static int on_value(http_parser *parser, const char *data, size_t len)
{
    struct wire_reader *r = reader_of(parser);

    if (r->in_name) {
        r->in_name = false;
        begin_value(r, field_of(r));
    }
    return add_to_value(r, data, len);
}

static int on_head(http_parser *parser)
{
    struct wire_reader *r = reader_of(parser);

    end_value(r);
    if (parser->type == HTTP_RESPONSE && parser->status_code < 200)
        return 0;
    if (parser->type == HTTP_REQUEST) {
        r->fault = wire_head_fault(r);
        if (r->fault != NULL)
            return -1;
    }
    r->head_done = true;
    r->keep_alive = http_should_keep_alive(parser) != 0;
    r->stopped = r->events->head(r->arg);
    return r->stopped ? -1 : 0;
}

static int on_body(http_parser *parser, const char *data, size_t len)
{
    struct wire_reader *r = reader_of(parser);

    r->stopped = r->events->body(r->arg, bytes_of(data, len));
    return r->stopped ? -1 : 0;
}

static void forget(struct wire_reader *r)
{
    memset(r->has, 0, sizeof(r->has));
    memset(r->again, 0, sizeof(r->again));
    r->spaced_name = false;
    r->too_long = false;
    r->text.len = 0;
    r->field = WIRE_FIELDS;
    r->in_name = false;
    r->begun = false;
    r->head_done = false;
    r->whole = false;
}

static int on_whole(http_parser *parser)
{
    struct wire_reader *r = reader_of(parser);

    /* "100 Continue": the answer is still to come. */
    if (parser->type == HTTP_RESPONSE && parser->status_code < 200) {
        forget(r);
        return 0;
    }
    r->whole = true;
    r->keep_alive = http_should_keep_alive(parser) != 0;
    http_parser_pause(parser, 1);
    r->stopped = r->events->whole(r->arg);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_whole,
};

/* ---- reading ------------------------------------------------------------- */

void wire_reader_init(struct wire_reader *r, enum http_parser_type type,
                      const struct wire_events *events, void *arg)
{
    *r = (struct wire_reader){.events = events, .arg = arg};
    r->field = WIRE_FIELDS;
    http_parser_init(&r->parser, type);
    r->parser.data = r;
}

void wire_reader_close(struct wire_reader *r)
{
    buf_close(&r->text);
}

int wire_read(struct wire_reader *r, struct bytes in, size_t *used)
{
    enum http_errno rc;

    *used = http_parser_execute(&r->parser, &settings, (const char *)in.data,
                                in.len);
    rc = HTTP_PARSER_ERRNO(&r->parser);
    if (r->stopped)
        return r->stopped;
    if (rc == HPE_PAUSED) {
        http_parser_pause(&r->parser, 0);
        return 0;
    }
    if (rc == HPE_OK)
        return 0;
    end_value(r);
    if (r->fault == NULL && r->parser.type == HTTP_REQUEST)
        r->fault = wire_error_fault(r, rc);
    return ERR_MALFORMED;
}

void wire_read_end(struct wire_reader *r)
{
    if (r->head_done && !r->whole && !r->stopped)
        (void)http_parser_execute(&r->parser, &settings, NULL, 0);
}

void wire_next(struct wire_reader *r)
{
    forget(r);
    /* Connections wait long for the next one, and there may be many. */
    if (r->text.cap > TEXT_KEPT)
        buf_close(&r->text);
}

const char *wire_value(const struct wire_reader *r, enum wire_field field)
{
    return r->has[field] ? (const char *)r->text.data + r->at[field] : "";
}

bool wire_has_body(const struct wire_reader *r)
{
    bool chunked = (r->parser.flags & F_CHUNKED) != 0;

    return chunked || (r->parser.content_length > 0 &&
                       r->parser.content_length != UINT64_MAX);
}

/* ---- what the headers say ------------------------------------------------ */

bool wire_parse_id(const char *text, uint64_t *id)
{
    size_t len = strlen(text);

    if (len == 0 || len > 16 || strspn(text, "0123456789abcdefABCDEF") != len)
        return false;
    *id = strtoull(text, NULL, 16);
    return true;
}

struct version {
    unsigned long major;
    unsigned long minor;
};

static bool parse_version(const char *text, struct version *v)
{
    char *end;

    /* etcd 2.0 didn't say it. */
    if (text[0] == '\0')
        text = "2.0.0";
    if (text[0] < '0' || text[0] > '9')
        return false;
    v->major = strtoul(text, &end, 10);
    if (end[0] != '.' || end[1] < '0' || end[1] > '9')
        return false;
    v->minor = strtoul(end + 1, &end, 10);
    return end[0] == '.' || end[0] == '\0';
}

static bool below(struct version a, struct version b)
{
    return a.major != b.major ? a.major < b.major : a.minor < b.minor;
}

int wire_check_sender(const struct wire_identity *self,
                      const struct wire_reader *r)
{
    struct version its;
    struct version its_min;
    struct version ours;
    struct version our_min;
    uint64_t cluster_id;

    if (!parse_version(self->version, &ours) ||
        !parse_version(self->min_version, &our_min) ||
        !parse_version(wire_value(r, WIRE_VERSION), &its) ||
        !parse_version(wire_value(r, WIRE_MIN_VERSION), &its_min) ||
        below(its, our_min) || below(ours, its_min))
        return ERR_UNSUPPORTED;
    if (!wire_parse_id(wire_value(r, WIRE_CLUSTER_ID), &cluster_id) ||
        cluster_id != self->cluster_id)
        return ERR_INVALID;
    return 0;
}
