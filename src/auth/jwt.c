/* Signed tokens: header, claims and signature in base64, with points between
 * (RFC 7519, RFC 7515 section 7.1).
 *
 * Verifying a signature takes longer than all else about a request, and clients
 * show the same token again and again: those that have been verified are kept
 * for a while. */
#include "jwt.h"
#include "chorad/base/base64.h"
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/duration.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TTL_NS INT64_C(300000000000)
#define NS_PER_S 1000000000
/* Longer ones are verified each time. */
#define CACHED_MAX 4096

struct jwt_cached {
    uint64_t hash;
    struct jwt_claims claims;
    size_t len;
    uint8_t token[];
};

/* ---- the settings ---- */

static const struct jwt_method *find_method(const char *name)
{
    static const struct jwt_method methods[] = {
        {"HS256", JWT_HMAC, EVP_sha256, 0}, {"HS384", JWT_HMAC, EVP_sha384, 0},
        {"HS512", JWT_HMAC, EVP_sha512, 0}, {"RS256", JWT_RSA, EVP_sha256, 0},
        {"RS384", JWT_RSA, EVP_sha384, 0},  {"RS512", JWT_RSA, EVP_sha512, 0},
        {"PS256", JWT_PSS, EVP_sha256, 0},  {"PS384", JWT_PSS, EVP_sha384, 0},
        {"PS512", JWT_PSS, EVP_sha512, 0},  {"ES256", JWT_EC, EVP_sha256, 256},
        {"ES384", JWT_EC, EVP_sha384, 384}, {"ES512", JWT_EC, EVP_sha512, 521},
        {"EdDSA", JWT_ED, NULL, 0},
    };

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

static int set_ttl(struct jwt *jwt, const char *text, struct errmsg *msg)
{
    int64_t ns = DEFAULT_TTL_NS;

    if (text[0] != '\0' && (duration_parse(text, &ns) < 0 || ns < 0))
        return err_set(msg, ERR_INVALID,
                       "--auth-token: ttl: \"%s\" is no duration such as 5m",
                       text);
    jwt->ttl_ns = (uint64_t)ns;
    return 0;
}

int jwt_open(const struct jwt_options *options, struct jwt **out,
             struct errmsg *msg)
{
    struct jwt *jwt = mem_zalloc(sizeof(*jwt));
    int rc = 0;

    CHECK(pthread_mutex_init(&jwt->lock, NULL) == 0);
    jwt->seed = random_u64();
    jwt->method = find_method(options->method);
    if (jwt->method == NULL)
        rc = err_set(msg, ERR_INVALID,
                     "--auth-token: sign-method has to be one of RS256, "
                     "RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, "
                     "EdDSA, HS256, HS384 and HS512, not \"%s\"",
                     options->method);
    if (rc == 0)
        rc = set_ttl(jwt, options->ttl, msg);
    if (rc == 0)
        rc = jwt_load_keys(jwt, options, msg);
    if (rc < 0)
        jwt_close(jwt);
    else
        *out = jwt;
    return rc;
}

void jwt_close(struct jwt *jwt)
{
    if (jwt == NULL)
        return;
    for (size_t i = 0; i < JWT_CACHE_SLOTS; i++)
        free(jwt->cache[i]);
    if (jwt->secret.len > 0)
        OPENSSL_cleanse(jwt->secret.data, jwt->secret.len);
    buf_close(&jwt->secret);
    EVP_PKEY_free(jwt->key);
    pthread_mutex_destroy(&jwt->lock);
    free(jwt);
}

/* ---- making one ---- */

int jwt_sign(const struct jwt *jwt, struct bytes name, uint64_t rev,
             uint64_t wall_ns, struct buf *out)
{
    struct buf part = {0};
    size_t start = out->len;
    int rc;

    if (!jwt->signs)
        return ERR_VERIFY_ONLY;
    jwt_put_header(&part, jwt->method->name);
    base64_encode(out, BASE64_URL, bytes_of(part.data, part.len));
    buf_append(out, ".", 1);
    part.len = 0;
    jwt_put_claims(&part, name, rev,
                   (int64_t)((wall_ns + jwt->ttl_ns) / NS_PER_S));
    base64_encode(out, BASE64_URL, bytes_of(part.data, part.len));
    part.len = 0;
    rc = jwt_make_signature(jwt, bytes_of(out->data + start, out->len - start),
                            &part);
    buf_append(out, ".", 1);
    base64_encode(out, BASE64_URL, bytes_of(part.data, part.len));
    buf_close(&part);
    if (rc < 0)
        out->len = start;
    return rc;
}

/* ---- recognising one ---- */

/* header.claims.signature */
struct parts {
    struct bytes header;
    struct bytes claims;
    struct bytes signature;
    struct bytes signed_; /* header.claims */
};

static bool cut(struct bytes *rest, struct bytes *part)
{
    const uint8_t *point =
        rest->len > 0 ? memchr(rest->data, '.', rest->len) : NULL;

    if (point == NULL)
        return false;
    *part = bytes_of(rest->data, (size_t)(point - rest->data));
    *rest = bytes_of(point + 1, rest->len - part->len - 1);
    return true;
}

static bool split(struct bytes token, struct parts *parts)
{
    struct bytes rest = token;

    if (!cut(&rest, &parts->header) || !cut(&rest, &parts->claims))
        return false;
    parts->signature = rest;
    parts->signed_ = bytes_of(token.data, token.len - rest.len - 1);
    return rest.len == 0 || memchr(rest.data, '.', rest.len) == NULL;
}

static int decode(struct buf *out, struct bytes part)
{
    out->len = 0;
    return base64_decode(out, BASE64_URL, part) < 0 ? ERR_AUTH_TOKEN : 0;
}

/* The claims are looked at only once the signature is known to be good. */
static int verify(const struct jwt *jwt, struct bytes token,
                  struct jwt_claims *claims)
{
    struct buf part = {0};
    struct parts parts;
    int rc = split(token, &parts) ? 0 : ERR_AUTH_TOKEN;

    if (rc == 0)
        rc = decode(&part, parts.header);
    if (rc == 0)
        rc = jwt_read_header(bytes_of(part.data, part.len), jwt->method->name);
    if (rc == 0)
        rc = decode(&part, parts.signature);
    if (rc == 0 &&
        !jwt_check_signature(jwt, parts.signed_, bytes_of(part.data, part.len)))
        rc = ERR_AUTH_TOKEN;
    if (rc == 0)
        rc = decode(&part, parts.claims);
    if (rc == 0)
        rc = jwt_read_claims(bytes_of(part.data, part.len), claims);
    buf_close(&part);
    return rc;
}

/* ---- those that have been verified ---- */

static uint64_t hash_of(const struct jwt *jwt, struct bytes token)
{
    uint64_t hash = jwt->seed;

    for (size_t i = 0; i < token.len; i++)
        hash = (hash ^ token.data[i]) * UINT64_C(1099511628211);
    return hash ^ hash >> 32;
}

static bool recall(struct jwt *jwt, struct bytes token, uint64_t hash,
                   struct jwt_claims *claims)
{
    const struct jwt_cached *cached;
    bool found;

    pthread_mutex_lock(&jwt->lock);
    cached = jwt->cache[hash % JWT_CACHE_SLOTS];
    /* How far a forged token agrees must not show in the time it takes. */
    found = cached != NULL && cached->hash == hash &&
            cached->len == token.len &&
            CRYPTO_memcmp(cached->token, token.data, token.len) == 0;
    if (found)
        *claims = cached->claims;
    pthread_mutex_unlock(&jwt->lock);
    return found;
}

static void remember(struct jwt *jwt, struct bytes token, uint64_t hash,
                     const struct jwt_claims *claims)
{
    struct jwt_cached **slot = &jwt->cache[hash % JWT_CACHE_SLOTS];
    struct jwt_cached *cached;
    struct jwt_cached *old;

    if (token.len > CACHED_MAX)
        return;
    cached = mem_alloc(sizeof(*cached) + token.len);
    cached->hash = hash;
    cached->claims = *claims;
    cached->len = token.len;
    memcpy(cached->token, token.data, token.len);
    pthread_mutex_lock(&jwt->lock);
    old = *slot;
    *slot = cached;
    pthread_mutex_unlock(&jwt->lock);
    free(old);
}

int jwt_identify(struct jwt *jwt, struct bytes token, uint64_t wall_ns,
                 struct auth_who *who)
{
    uint64_t hash = hash_of(jwt, token);
    struct jwt_claims claims;
    int rc = 0;

    if (!recall(jwt, token, hash, &claims)) {
        rc = verify(jwt, token, &claims);
        if (rc == 0)
            remember(jwt, token, hash, &claims);
    }
    if (rc == 0 && !jwt_claims_hold(&claims, wall_ns))
        rc = ERR_AUTH_TOKEN;
    if (rc == 0)
        *who = claims.who;
    return rc;
}
