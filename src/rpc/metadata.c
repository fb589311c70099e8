/* What the metadata of every call is looked at for, and the rules that all
 * calls share. */
#include "transport.h"

#include "chorad/base/err.h"

#include <string.h>

static struct bytes slice_bytes(const grpc_slice *slice)
{
    return bytes_of(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}

static bool equals(struct bytes b, const char *text, size_t len)
{
    return b.len == len && memcmp(b.data, text, len) == 0;
}
#define IS(b, literal) equals((b), (literal), sizeof(literal) - 1)

/* Of a key that comes several times, the first value counts. */
static void keep_first(struct bytes *kept, struct bytes value)
{
    if (kept->data == NULL)
        *kept = value;
}

static void read_metadata(struct call *call)
{
    struct rpc_call *pub = &call->pub;

    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *md = &call->metadata.metadata[i];
        struct bytes key = slice_bytes(&md->key);
        struct bytes value = slice_bytes(&md->value);

        if (IS(key, "hasleader"))
            pub->has_leader = pub->has_leader || IS(value, "true");
        else if (IS(key, "client-api-version"))
            keep_first(&pub->api_version, value);
        else if (IS(key, "token"))
            keep_first(&pub->token, value);
        else if (IS(key, "authorization"))
            keep_first(&pub->authorization, value);
    }
    if (pub->token.data == NULL)
        pub->token = pub->authorization;
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
    read_metadata(call);
    if (!is_utf8(call->pub.api_version))
        return ERR_BAD_CLIENT_VERSION;
    rpc_metrics_api_version(call);
    if (call->pub.has_leader && config->has_leader != NULL &&
        !config->has_leader(config->ctx))
        return ERR_NO_LEADER;
    return 0;
}
