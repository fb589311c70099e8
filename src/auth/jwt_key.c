/* The keys that tokens are signed and verified with. */
#include "chorad/base/file.h"
#include "jwt.h"

#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define KEY_FILE_MAX ((size_t)1 << 20)

static const char *key_type(const struct jwt_method *method)
{
    switch (method->family) {
    case JWT_EC:
        return "EC";
    case JWT_ED:
        return "ED25519";
    default:
        return "RSA";
    }
}

static int read_file(const char *option, const char *path, struct buf *out,
                     struct errmsg *msg)
{
    int rc = file_read(path, KEY_FILE_MAX, out, msg);

    return rc < 0 ? err_wrap(msg, rc, "--auth-token: %s", option) : 0;
}

/* ---- PEM ---- */

/* Nobody is asked for a password at a start: this is the one that is tried. */
static char no_password[] = "";

static EVP_PKEY *decode(struct bytes pem, const char *type, int selection)
{
    EVP_PKEY *key = NULL;
    const uint8_t *at = pem.data;
    size_t len = pem.len;
    OSSL_DECODER_CTX *ctx = OSSL_DECODER_CTX_new_for_pkey(
        &key, "PEM", NULL, type, selection, NULL, NULL);

    if (ctx == NULL)
        return NULL;
    (void)OSSL_DECODER_CTX_set_passphrase(ctx, (uint8_t *)no_password, 0);
    if (OSSL_DECODER_from_data(ctx, &at, &len) != 1) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    OSSL_DECODER_CTX_free(ctx);
    return key;
}

/* The key in a certificate. */
static EVP_PKEY *decode_certificate(struct bytes pem, const char *type)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *cert =
        bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, no_password) : NULL;
    EVP_PKEY *key = cert != NULL ? X509_get_pubkey(cert) : NULL;

    if (key != NULL && !EVP_PKEY_is_a(key, type)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    X509_free(cert);
    BIO_free(bio);
    return key;
}

static int load(const struct jwt_method *method, const char *option,
                const char *path, bool private, EVP_PKEY **out,
                struct errmsg *msg)
{
    const char *type = key_type(method);
    struct buf file = {0};
    struct bytes pem;
    int rc = read_file(option, path, &file, msg);

    *out = NULL;
    if (rc < 0)
        return rc;
    if (private)
        file_check_key_mode(path);
    pem = bytes_of(file.data, file.len);
    *out = decode(pem, type, private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY);
    if (*out == NULL && !private)
        *out = decode_certificate(pem, type);
    ERR_clear_error();
    OPENSSL_cleanse(file.data, file.len);
    buf_close(&file);
    if (*out != NULL)
        return 0;
    return err_set(msg, ERR_INVALID,
                   "--auth-token: %s: %s has no %s key of type %s in PEM form",
                   option, path, private ? "private" : "public", type);
}

static int check_curve(const struct jwt *jwt, struct errmsg *msg)
{
    int bits = jwt->method->curve_bits;

    if (bits == 0 || EVP_PKEY_get_bits(jwt->key) == bits)
        return 0;
    return err_set(msg, ERR_INVALID,
                   "--auth-token: %s needs a key on a curve of %d bits, this "
                   "one has %d",
                   jwt->method->name, bits, EVP_PKEY_get_bits(jwt->key));
}

/* A private key has the public one in it; where both are given they must
 * match. */
static int load_pair(struct jwt *jwt, const struct jwt_options *options,
                     struct errmsg *msg)
{
    EVP_PKEY *public = NULL;
    int rc = 0;

    if (options->private_key[0] != '\0')
        rc = load(jwt->method, "priv-key", options->private_key, true,
                  &jwt->key, msg);
    if (rc == 0 && options->public_key[0] != '\0')
        rc = load(jwt->method, "pub-key", options->public_key, false, &public,
                  msg);
    if (rc == 0 && jwt->key == NULL && public == NULL)
        rc = err_set(msg, ERR_INVALID,
                     "--auth-token: %s needs a priv-key, or a pub-key to "
                     "verify tokens only",
                     jwt->method->name);
    if (rc == 0 && jwt->key != NULL && public != NULL &&
        EVP_PKEY_eq(jwt->key, public) != 1)
        rc = err_set(msg, ERR_INVALID,
                     "--auth-token: pub-key and priv-key don't match");
    jwt->signs = jwt->key != NULL;
    if (jwt->key == NULL) {
        jwt->key = public;
        public = NULL;
    }
    EVP_PKEY_free(public);
    return rc == 0 ? check_curve(jwt, msg) : rc;
}

/* The secret is the file as it is. */
static int load_secret(struct jwt *jwt, const struct jwt_options *options,
                       struct errmsg *msg)
{
    int rc = 0;

    if (options->private_key[0] != '\0')
        rc = read_file("priv-key", options->private_key, &jwt->secret, msg);
    if (rc == 0)
        file_check_key_mode(options->private_key);
    if (rc == 0 && jwt->secret.len == 0)
        rc = err_set(msg, ERR_INVALID,
                     "--auth-token: %s needs a priv-key that isn't empty",
                     jwt->method->name);
    jwt->signs = true;
    return rc;
}

int jwt_load_keys(struct jwt *jwt, const struct jwt_options *options,
                  struct errmsg *msg)
{
    return jwt->method->family == JWT_HMAC ? load_secret(jwt, options, msg)
                                           : load_pair(jwt, options, msg);
}
