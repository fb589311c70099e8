/* Inside of signed tokens: methods, keys, claims. */
#ifndef CHORAD_AUTH_JWT_H
#define CHORAD_AUTH_JWT_H

#include "tokens.h"

#include <openssl/evp.h>
#include <pthread.h>

enum jwt_family { JWT_HMAC, JWT_RSA, JWT_PSS, JWT_EC, JWT_ED };

/* RFC 7518 section 3.1, RFC 8037. */
struct jwt_method {
    const char *name;
    enum jwt_family family;
    const EVP_MD *(*digest)(void); /* NULL: the signature has its own */
    int curve_bits;
};

#define JWT_CACHE_SLOTS 512

struct jwt_cached;

struct jwt {
    const struct jwt_method *method;
    uint64_t ttl_ns;
    bool signs;
    struct buf secret; /* HMAC */
    EVP_PKEY *key;     /* the others: private, or public */
    /* Tokens whose signature has been verified. */
    pthread_mutex_t lock;
    uint64_t seed;
    struct jwt_cached *cache[JWT_CACHE_SLOTS];
};

/* ---- jwt_key.c ---- */

/* Reads the key files the method needs. ERR_INVALID, ERR_IO, ERR_NOTFOUND. */
int jwt_load_keys(struct jwt *jwt, const struct jwt_options *options,
                  struct errmsg *msg);

/* ---- jwt_signature.c ---- */

/* Appends the signature, as it stands in a token before base64. */
int jwt_make_signature(const struct jwt *jwt, struct bytes message,
                       struct buf *out);
bool jwt_check_signature(const struct jwt *jwt, struct bytes message,
                         struct bytes signature);

/* ---- claims.c: pure ---- */

struct jwt_claims {
    struct auth_who who;
    bool expires;
    bool begins;
    int64_t expiry_s; /* from here on it is too late */
    int64_t begin_s;  /* before that it is too early */
};

/* The JSON of a token's first and second part, appended. */
void jwt_put_header(struct buf *out, const char *method);
void jwt_put_claims(struct buf *out, struct bytes name, uint64_t rev,
                    int64_t expiry_s);

/* ERR_AUTH_TOKEN. */
int jwt_read_header(struct bytes json, const char *method);
int jwt_read_claims(struct bytes json, struct jwt_claims *claims);

bool jwt_claims_hold(const struct jwt_claims *claims, uint64_t wall_ns);

#endif
