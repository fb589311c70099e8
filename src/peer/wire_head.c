/* What the head of a request must not be, before anybody asks what it is for.
 * The order, the statuses and the texts are those of Go's server, which is
 * etcd's. http_parser lets through what RFC 9112 wants refused: codings that it
 * doesn't know (section 6.1), hosts that are missing or several (3.2), white
 * space in names (5.1). Two readers of one message must not come to different
 * ends of it. */
#include "wire.h"
#include <string.h>
#include <strings.h>

static const struct wire_fault malformed = {"400 Bad Request",
                                            "400 Bad Request"};
static const struct wire_fault bad_coding = {"501 Not Implemented",
                                             "Unsupported transfer encoding"};
static const struct wire_fault too_long = {
    "431 Request Header Fields Too Large",
    "431 Request Header Fields Too Large"};

#define NO_VERSION                                                             \
    "505 HTTP Version Not Supported: unsupported protocol version"
#define NO_HOST "400 Bad Request: missing required Host header"
#define BAD_HOST "400 Bad Request: malformed Host header"
#define BAD_NAME "400 Bad Request: invalid header name"

static const struct wire_fault no_version = {NO_VERSION, NO_VERSION};
static const struct wire_fault no_host = {NO_HOST, NO_HOST};
static const struct wire_fault bad_host = {BAD_HOST, BAD_HOST};
static const struct wire_fault bad_name = {BAD_NAME, BAD_NAME};
static const struct wire_fault bad_expectation = {"417 Expectation Failed", ""};

/* White space around a value is none of it. */
static bool value_is(const struct wire_reader *r, enum wire_field field,
                     const char *want)
{
    const char *value = wire_value(r, field);
    size_t len = strlen(want);

    value += strspn(value, " \t");
    return strncasecmp(value, want, len) == 0 &&
           strspn(value + len, " \t") == strlen(value + len);
}

/* Without one, and with just "chunked", it is known where a message ends. */
static bool is_coding_known(const struct wire_reader *r)
{
    return !r->has[WIRE_TRANSFER_ENCODING] ||
           (!r->again[WIRE_TRANSFER_ENCODING] &&
            value_is(r, WIRE_TRANSFER_ENCODING, "chunked"));
}

static bool is_host_valid(const char *host)
{
    /* Of RFC 3986: names, addresses, ports, and escapes of any of them. */
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789!$%&'()*+,-.:;=[]_~";
    size_t len = strspn(host, allowed);

    return strspn(host + len, " \t") == strlen(host + len);
}

const struct wire_fault *wire_head_fault(const struct wire_reader *r)
{
    if (!is_coding_known(r))
        return &bad_coding;
    if (r->again[WIRE_HOST])
        return &malformed;
    if (r->parser.http_major != 1)
        return &no_version;
    if (r->parser.http_minor > 0 && !r->has[WIRE_HOST])
        return &no_host;
    if (!is_host_valid(wire_value(r, WIRE_HOST)))
        return &bad_host;
    if (r->spaced_name)
        return &bad_name;
    if (wire_value(r, WIRE_EXPECT)[0] != '\0' &&
        !value_is(r, WIRE_EXPECT, "100-continue"))
        return &bad_expectation;
    return NULL;
}

const struct wire_fault *wire_error_fault(const struct wire_reader *r,
                                          enum http_errno error)
{
    if (r->head_done)
        return &malformed;
    if (r->too_long || error == HPE_HEADER_OVERFLOW)
        return &too_long;
    if (error == HPE_INVALID_TRANSFER_ENCODING || !is_coding_known(r))
        return &bad_coding;
    return &malformed;
}

const char *wire_path(const struct wire_reader *r)
{
    const char *path = wire_value(r, WIRE_PATH);
    const char *authority;

    if (path[0] == '/')
        return path;
    authority = strstr(path, "://");
    if (authority == NULL)
        return path;
    path = authority + 3;
    path += strcspn(path, "/?");
    return path[0] == '\0' ? "/" : path;
}

void wire_put_fault(struct buf *out, const struct wire_fault *fault)
{
    buf_printf(out,
               "HTTP/1.1 %s\r\n"
               "Content-Type: text/plain; charset=utf-8\r\n"
               "Connection: close\r\n\r\n%s",
               fault->status, fault->text);
}
