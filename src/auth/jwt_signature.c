/* Signatures (RFC 7515 section 5, RFC 7518 section 3, RFC 8037). */
#include "jwt.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

/* ---- HMAC ---- */

static int make_mac(const struct jwt *jwt, struct bytes message,
                    struct buf *out)
{
    unsigned len = 0;
    uint8_t *at = buf_reserve(out, EVP_MAX_MD_SIZE);

    if (HMAC(jwt->method->digest(), jwt->secret.data, (int)jwt->secret.len,
             message.data, message.len, at, &len) == NULL)
        return ERR_NOMEM;
    out->len += len;
    return 0;
}

static bool check_mac(const struct jwt *jwt, struct bytes message,
                      struct bytes signature)
{
    struct buf mac = {0};
    bool same = make_mac(jwt, message, &mac) == 0 && mac.len == signature.len &&
                CRYPTO_memcmp(mac.data, signature.data, mac.len) == 0;

    buf_close(&mac);
    return same;
}

/* ---- the two numbers of ECDSA ---------------------------------------------
 *
 * In a token r and s stand one behind the other, each as long as the curve's
 * numbers; OpenSSL has them in DER. */

static size_t number_len(const struct jwt *jwt)
{
    return ((size_t)jwt->method->curve_bits + 7) / 8;
}

static int numbers_of(const struct jwt *jwt, struct bytes der, struct buf *out)
{
    const uint8_t *at = der.data;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)der.len);
    int len = (int)number_len(jwt);
    uint8_t *to = buf_reserve(out, 2 * (size_t)len);
    bool ok = sig != NULL &&
              BN_bn2binpad(ECDSA_SIG_get0_r(sig), to, len) == len &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), to + len, len) == len;

    if (ok)
        out->len += 2 * (size_t)len;
    ECDSA_SIG_free(sig);
    return ok ? 0 : ERR_NOMEM;
}

static int der_of(const struct jwt *jwt, struct bytes numbers, struct buf *out)
{
    size_t len = number_len(jwt);
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r;
    BIGNUM *s;
    uint8_t *at;
    int der_len;

    if (sig == NULL || numbers.len != 2 * len) {
        ECDSA_SIG_free(sig);
        return ERR_AUTH_TOKEN;
    }
    r = BN_bin2bn(numbers.data, (int)len, NULL);
    s = BN_bin2bn(numbers.data + len, (int)len, NULL);
    if (r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(sig);
        return ERR_NOMEM;
    }
    der_len = i2d_ECDSA_SIG(sig, NULL);
    if (der_len > 0) {
        at = buf_reserve(out, (size_t)der_len);
        out->len += (size_t)i2d_ECDSA_SIG(sig, &at);
    }
    ECDSA_SIG_free(sig);
    return der_len > 0 ? 0 : ERR_NOMEM;
}

/* ---- keys ---- */

static const EVP_MD *digest(const struct jwt *jwt)
{
    return jwt->method->digest != NULL ? jwt->method->digest() : NULL;
}

/* The salt is as long as the digest; one of any other length is taken. */
static bool set_padding(const struct jwt *jwt, EVP_PKEY_CTX *ctx, int salt)
{
    return jwt->method->family != JWT_PSS ||
           (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, salt) > 0);
}

static int sign(const struct jwt *jwt, struct bytes message, struct buf *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_ctx;
    size_t len = 0;
    uint8_t *at;
    bool ok =
        ctx != NULL &&
        EVP_DigestSignInit(ctx, &key_ctx, digest(jwt), NULL, jwt->key) == 1 &&
        set_padding(jwt, key_ctx, RSA_PSS_SALTLEN_DIGEST) &&
        EVP_DigestSign(ctx, NULL, &len, message.data, message.len) == 1;

    if (ok) {
        at = buf_reserve(out, len);
        ok = EVP_DigestSign(ctx, at, &len, message.data, message.len) == 1;
    }
    if (ok)
        out->len += len;
    EVP_MD_CTX_free(ctx);
    return ok ? 0 : ERR_NOMEM;
}

static bool verify(const struct jwt *jwt, struct bytes message,
                   struct bytes signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_ctx;
    bool ok =
        ctx != NULL &&
        EVP_DigestVerifyInit(ctx, &key_ctx, digest(jwt), NULL, jwt->key) == 1 &&
        set_padding(jwt, key_ctx, RSA_PSS_SALTLEN_AUTO) &&
        EVP_DigestVerify(ctx, signature.data, signature.len, message.data,
                         message.len) == 1;

    EVP_MD_CTX_free(ctx);
    return ok;
}

/* ---- any method ---- */

int jwt_make_signature(const struct jwt *jwt, struct bytes message,
                       struct buf *out)
{
    struct buf der = {0};
    int rc;

    if (jwt->method->family == JWT_HMAC)
        return make_mac(jwt, message, out);
    if (jwt->method->family != JWT_EC) {
        rc = sign(jwt, message, out);
    } else {
        rc = sign(jwt, message, &der);
        if (rc == 0)
            rc = numbers_of(jwt, bytes_of(der.data, der.len), out);
        buf_close(&der);
    }
    ERR_clear_error();
    return rc;
}

bool jwt_check_signature(const struct jwt *jwt, struct bytes message,
                         struct bytes signature)
{
    struct buf der = {0};
    bool ok;

    if (jwt->method->family == JWT_HMAC)
        return check_mac(jwt, message, signature);
    if (jwt->method->family != JWT_EC) {
        ok = verify(jwt, message, signature);
    } else {
        ok = der_of(jwt, signature, &der) == 0 &&
             verify(jwt, message, bytes_of(der.data, der.len));
        buf_close(&der);
    }
    ERR_clear_error();
    return ok;
}
