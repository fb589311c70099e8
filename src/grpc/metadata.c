/* What the fields of a request say of the call, and the rules that all calls
 * share. */
#include "internal.h"

#include "chorad/base/clock.h"
#include "chorad/base/err.h"

#include <stdio.h>
#include <string.h>

static bool equals(struct bytes b, const char *text, size_t len)
{
    return b.len == len && memcmp(b.data, text, len) == 0;
}
#define IS(b, literal) equals((b), (literal), sizeof(literal) - 1)

struct bytes metadata_find(const struct http2_field *fields, const char *name)
{
    size_t len = strlen(name);

    for (; fields != NULL; fields = fields->next)
        if (equals(fields->name, name, len))
            return fields->value;
    return (struct bytes){0};
}

bool metadata_is_grpc(struct bytes type)
{
    static const char grpc[] = "application/grpc";
    size_t len = sizeof(grpc) - 1;

    if (type.len < len || memcmp(type.data, grpc, len) != 0)
        return false;
    return type.len == len || type.data[len] == '+' || type.data[len] == ';';
}

/* ---- grpc-timeout ---------------------------------------------------- */

static uint64_t unit_ns(uint8_t unit)
{
    switch (unit) {
    case 'n':
        return 1;
    case 'u':
        return 1000;
    case 'm':
        return 1000000;
    case 'S':
        return UINT64_C(1000000000);
    case 'M':
        return UINT64_C(60000000000);
    case 'H':
        return UINT64_C(3600000000000);
    default:
        return 0;
    }
}

/* One to eight digits and a unit; the texts are grpc-go's. */
static int read_timeout(struct call *call, struct bytes value, char *text,
                        size_t size)
{
    const char *why = NULL;
    uint64_t unit = 0;
    uint64_t n = 0;

    if (value.len < 2)
        why = "transport: timeout string is too short";
    else if (value.len > 9)
        why = "transport: timeout string is too long";
    else if ((unit = unit_ns(value.data[value.len - 1])) == 0)
        why = "transport: timeout unit is not recognized";
    for (size_t i = 0; why == NULL && i + 1 < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            why = "strconv.ParseUint";
        else
            n = n * 10 + (uint64_t)(value.data[i] - '0');
    }
    if (why == NULL) {
        uint64_t now_ns = clock_mono_ns();

        /* 10^8 hours fit. */
        call->pub.deadline_ns =
            n * unit > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + n * unit;
        return 0;
    }
    if (strncmp(why, "strconv", 7) == 0)
        (void)snprintf(text, size,
                       "malformed grpc-timeout: strconv.ParseUint: parsing "
                       "\"%.*s\": invalid syntax",
                       (int)(value.len - 1), (const char *)value.data);
    else
        (void)snprintf(text, size, "malformed grpc-timeout: %s: \"%.*s\"", why,
                       (int)(value.len < 64 ? value.len : 64),
                       (const char *)value.data);
    return -1;
}

/* ---- the fields ------------------------------------------------------ */

/* Of a name that comes several times, the first value counts. The stream's
 * fields go with the stream, the call may stay. */
static void keep_first(struct call *call, struct bytes *kept,
                       struct bytes value)
{
    if (kept->data == NULL)
        *kept = bytes_of(arena_dup(&call->pub.arena, value.data, value.len),
                         value.len);
}

static void read_own(struct call *call, const struct http2_field *field)
{
    struct rpc_call *pub = &call->pub;
    struct bytes name = field->name;

    if (IS(name, "hasleader"))
        pub->has_leader = pub->has_leader || IS(field->value, "true");
    else if (IS(name, "client-api-version"))
        keep_first(call, &pub->api_version, field->value);
    else if (IS(name, "token"))
        keep_first(call, &pub->token, field->value);
    else if (IS(name, "authorization"))
        keep_first(call, &pub->authorization, field->value);
}

/* How many bytes of base64 are good before the one that isn't; all of them
 * where none is bad. grpc-go reads a length that is a multiple of four as
 * padded, and all others as not padded (source: its decodeBinHeader). */
static size_t base64_good(struct bytes v)
{
    size_t n = v.len;

    if (v.len % 4 == 0 && n > 0 && v.data[n - 1] == '=')
        n -= v.data[n - 2] == '=' ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = v.data[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              (c >= '0' && c <= '9') || c == '+' || c == '/'))
            return i;
    }
    return n % 4 == 1 ? n - 1 : v.len;
}

static bool is_binary(struct bytes name)
{
    return name.len > 4 && memcmp(name.data + name.len - 4, "-bin", 4) == 0;
}

static int check_binary(const struct http2_field *field, char *text,
                        size_t size)
{
    size_t good = base64_good(field->value);

    if (good == field->value.len)
        return 0;
    (void)snprintf(text, size,
                   "malformed binary metadata \"%.*s\" in header \"%.*s\": "
                   "illegal base64 data at input byte %zu",
                   (int)(field->value.len < 256 ? field->value.len : 256),
                   (const char *)field->value.data,
                   (int)(field->name.len < 64 ? field->name.len : 64),
                   (const char *)field->name.data, good);
    return -1;
}

int metadata_read(struct call *call, const struct http2_field *fields,
                  char *text, size_t size)
{
    int err = 0;

    call->pub.deadline_ns = UINT64_MAX;
    for (; fields != NULL && err == 0; fields = fields->next) {
        struct bytes name = fields->name;

        if (name.len > 0 && name.data[0] == ':')
            continue;
        if (IS(name, "grpc-timeout"))
            err = read_timeout(call, fields->value, text, size);
        else if (IS(name, "grpc-encoding"))
            call->encoding_name = fields->value;
        else if (is_binary(name))
            err = check_binary(fields, text, size);
        else
            read_own(call, fields);
    }
    if (call->pub.token.data == NULL)
        call->pub.token = call->pub.authorization;
    return err;
}

/* How many bytes the sequence at `p` takes; 0 if it isn't UTF-8 (RFC 3629:
 * no surrogates, no overlong forms, nothing over U+10FFFF). */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint8_t low = 0x80;
    uint8_t high = 0xbf;

    if (len == 1)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len > left)
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static bool is_utf8(struct bytes b)
{
    for (size_t at = 0; at < b.len;) {
        size_t len = utf8_length(b.data + at, b.len - at);

        if (len == 0)
            return false;
        at += len;
    }
    return true;
}

static bool is_learners_business(const struct rpc_call *pub)
{
    return pub->method->on_learner != NULL && pub->method->on_learner(pub);
}

int metadata_check(struct call *call)
{
    const struct rpc_config *config = &call->pub.shard->server->config;

    if (config->is_learner != NULL && config->is_learner(config->ctx) &&
        !is_learners_business(&call->pub))
        return ERR_LEARNER;
    if (!is_utf8(call->pub.api_version))
        return ERR_BAD_CLIENT_VERSION;
    rpc_metrics_api_version(call);
    if (call->pub.has_leader && config->has_leader != NULL &&
        !config->has_leader(config->ctx))
        return ERR_NO_LEADER;
    return 0;
}
