/* Signed tokens: each method's come back, and no other's are taken. That etcd
 * takes ours, and we take etcd's, is tests/api's business. */
#include "auth/jwt.h"
#include "chorad/base/base64.h"
#include "chorad/base/file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/pem.h>

#define S UINT64_C(1000000000)
#define NOW (1700000000 * S)

struct keys {
    char dir[32];
    char rsa[64];
    char rsa_pub[64];
    char ec[64];
    char ec_pub[64];
    char ec384[64];
    char ec521[64];
    char ec521_pub[64];
    char ed[64];
    char ed_pub[64];
    char secret[64];
};

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

/* ---- keys ---- */

static void write_key(const struct keys *k, char *path, const char *name,
                      EVP_PKEY *key, bool private)
{
    FILE *file;

    (void)snprintf(path, 64, "%s/%s", k->dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    if (private)
        assert_int_equal(
            PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    else
        assert_int_equal(PEM_write_PUBKEY(file, key), 1);
    assert_int_equal(fclose(file), 0);
}

static int make_keys(void **state)
{
    struct keys *k = calloc(1, sizeof(*k));
    EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    EVP_PKEY *ec384 = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
    EVP_PKEY *ec521 = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-521");
    EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    strcpy(k->dir, "/tmp/test_jwt.XXXXXX");
    if (mkdtemp(k->dir) == NULL)
        return -1;
    write_key(k, k->rsa, "rsa", rsa, true);
    write_key(k, k->rsa_pub, "rsa.pub", rsa, false);
    write_key(k, k->ec, "ec", ec, true);
    write_key(k, k->ec_pub, "ec.pub", ec, false);
    write_key(k, k->ec384, "ec384", ec384, true);
    write_key(k, k->ec521, "ec521", ec521, true);
    write_key(k, k->ec521_pub, "ec521.pub", ec521, false);
    write_key(k, k->ed, "ed", ed, true);
    write_key(k, k->ed_pub, "ed.pub", ed, false);
    (void)snprintf(k->secret, 64, "%s/secret", k->dir);
    if (file_write_atomic(k->secret, "a secret\n", 9, 0600, NULL) != 0)
        return -1;
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(ec);
    EVP_PKEY_free(ec384);
    EVP_PKEY_free(ec521);
    EVP_PKEY_free(ed);
    *state = k;
    return 0;
}

static int remove_keys(void **state)
{
    struct keys *k = *state;

    file_remove_tree(k->dir, NULL);
    free(k);
    return 0;
}

static struct jwt *open_jwt(const char *method, const char *private,
                            const char *public)
{
    struct jwt_options options = {method, public, private, "60s"};
    struct jwt *jwt = NULL;
    struct errmsg msg = {""};

    if (jwt_open(&options, &jwt, &msg) != 0)
        fail_msg("%s: %s", method, msg.text);
    return jwt;
}

static void sign(const struct jwt *jwt, const char *name, uint64_t rev,
                 struct buf *out)
{
    out->len = 0;
    assert_int_equal(jwt_sign(jwt, text(name), rev, NOW, out), 0);
}

static int identify(struct jwt *jwt, const struct buf *token, uint64_t now_ns,
                    struct auth_who *who)
{
    return jwt_identify(jwt, bytes_of(token->data, token->len), now_ns, who);
}

/* ---- all methods ---- */

struct way {
    const char *method;
    const char *private;
    const char *public; /* "": the same key verifies */
};

static size_t ways_of(const struct keys *k, struct way ways[13])
{
    const struct way all[] = {
        {"HS256", k->secret, ""},      {"HS384", k->secret, ""},
        {"HS512", k->secret, ""},      {"RS256", k->rsa, k->rsa_pub},
        {"RS384", k->rsa, k->rsa_pub}, {"RS512", k->rsa, k->rsa_pub},
        {"PS256", k->rsa, k->rsa_pub}, {"PS384", k->rsa, k->rsa_pub},
        {"PS512", k->rsa, k->rsa_pub}, {"ES256", k->ec, k->ec_pub},
        {"ES384", k->ec384, ""},       {"ES512", k->ec521, ""},
        {"EdDSA", k->ed, k->ed_pub},
    };

    memcpy(ways, all, sizeof(all));
    return sizeof(all) / sizeof(all[0]);
}

static void assert_taken(struct jwt *jwt, const struct buf *token)
{
    struct auth_who who;

    /* The second time from memory. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(identify(jwt, token, NOW, &who), 0);
        assert_int_equal(who.rev, 42);
        assert_int_equal(who.len, 5);
        assert_memory_equal(who.name, "alice", 5);
    }
    assert_int_equal(identify(jwt, token, NOW + 59 * S, &who), 0);
    assert_int_equal(identify(jwt, token, NOW + 60 * S, &who), ERR_AUTH_TOKEN);
}

static void test_each_method(void **state)
{
    struct way ways[13];
    size_t n = ways_of(*state, ways);
    struct buf token = {0};

    for (size_t i = 0; i < n; i++) {
        struct jwt *jwt = open_jwt(ways[i].method, ways[i].private, "");

        sign(jwt, "alice", 42, &token);
        assert_taken(jwt, &token);
        jwt_close(jwt);
        if (ways[i].public[0] == '\0')
            continue;
        jwt = open_jwt(ways[i].method, "", ways[i].public);
        assert_taken(jwt, &token);
        assert_int_equal(jwt_sign(jwt, text("a"), 1, NOW, &token),
                         ERR_VERIFY_ONLY);
        jwt_close(jwt);
    }
    buf_close(&token);
}

static void test_no_other_method_is_taken(void **state)
{
    struct way ways[13];
    size_t n = ways_of(*state, ways);
    struct buf token = {0};
    struct auth_who who;

    for (size_t i = 0; i < n; i++) {
        struct jwt *jwt = open_jwt(ways[i].method, ways[i].private, "");

        sign(jwt, "alice", 42, &token);
        jwt_close(jwt);
        for (size_t j = 0; j < n; j++) {
            jwt = open_jwt(ways[j].method, ways[j].private, "");
            assert_int_equal(identify(jwt, &token, NOW, &who),
                             i == j ? 0 : ERR_AUTH_TOKEN);
            jwt_close(jwt);
        }
    }
    buf_close(&token);
}

/* One changed character anywhere, one more, one less. */
static void test_changed_tokens(void **state)
{
    const struct keys *k = *state;
    struct jwt *jwt = open_jwt("ES256", k->ec, "");
    struct buf token = {0};
    struct auth_who who;

    sign(jwt, "alice", 42, &token);
    for (size_t i = 0; i + 1 < token.len; i++) {
        uint8_t kept = token.data[i];

        token.data[i] = kept == 'A' ? 'B' : 'A';
        assert_int_equal(identify(jwt, &token, NOW, &who), ERR_AUTH_TOKEN);
        token.data[i] = kept;
    }
    for (size_t len = token.len - 1; len > 0; len -= 7 < len ? 7 : len)
        assert_int_equal(
            jwt_identify(jwt, bytes_of(token.data, len), NOW, &who),
            ERR_AUTH_TOKEN);
    buf_append(&token, ".", 1);
    assert_int_equal(identify(jwt, &token, NOW, &who), ERR_AUTH_TOKEN);
    assert_int_equal(jwt_identify(jwt, text(""), NOW, &who), ERR_AUTH_TOKEN);
    jwt_close(jwt);
    buf_close(&token);
}

/* A public key is known to all: as a secret of HMAC it must sign nothing. */
static void test_a_public_key_is_no_secret(void **state)
{
    const struct keys *k = *state;
    struct jwt *forger = open_jwt("HS256", k->rsa_pub, "");
    struct jwt *jwt = open_jwt("RS256", "", k->rsa_pub);
    struct buf token = {0};
    struct auth_who who;

    sign(forger, "root", 1, &token);
    assert_int_equal(identify(jwt, &token, NOW, &who), ERR_AUTH_TOKEN);
    token.len = 0;
    base64_encode(&token, BASE64_URL, text("{\"alg\":\"none\"}"));
    buf_append(&token, ".", 1);
    base64_encode(&token, BASE64_URL,
                  text("{\"username\":\"root\",\"revision\":1}"));
    buf_append(&token, ".", 1);
    assert_int_equal(identify(jwt, &token, NOW, &who), ERR_AUTH_TOKEN);
    jwt_close(forger);
    jwt_close(jwt);
    buf_close(&token);
}

static void test_more_tokens_than_are_kept(void **state)
{
    const struct keys *k = *state;
    struct jwt *jwt = open_jwt("HS256", k->secret, "");
    struct buf token = {0};
    struct auth_who who;

    for (int round = 0; round < 2; round++)
        for (uint64_t rev = 1; rev < 2000; rev++) {
            sign(jwt, "alice", rev, &token);
            assert_int_equal(identify(jwt, &token, NOW, &who), 0);
            assert_int_equal(who.rev, rev);
        }
    jwt_close(jwt);
    buf_close(&token);
}

/* ---- claims ---- */

static void test_what_is_signed(void **state)
{
    struct buf out = {0};

    (void)state;
    jwt_put_header(&out, "RS256");
    jwt_put_claims(&out, text("a\"b/\xc3\xa4"), UINT64_MAX, 1700000060);
    buf_append(&out, "", 1);
    assert_string_equal((const char *)out.data,
                        "{\"alg\":\"RS256\",\"typ\":\"JWT\"}"
                        "{\"exp\":1700000060,"
                        "\"revision\":18446744073709551615,"
                        "\"username\":\"a\\\"b/\xc3\xa4\"}");
    buf_close(&out);
}

static void test_claims_that_are_taken(void **state)
{
    static const char *const good[] = {
        "{\"username\":\"alice\",\"revision\":42}",
        " {\"revision\":42.9,\"x\":[{}],\"username\":\"alice\"} \n",
        "{\"username\":\"bob\",\"username\":\"alice\",\"revision\":4.2e1}",
        "{\"username\":\"alice\",\"revision\":42,\"exp\":1700000001}",
        "{\"username\":\"alice\",\"revision\":42,\"nbf\":1700000000}",
        "{\"username\":\"alice\",\"revision\":42,\"exp\":0,\"nbf\":0}",
        "{\"username\":\"\\u0061lice\",\"revision\":42,\"iat\":\"x\"}",
    };
    struct jwt_claims claims;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(jwt_read_claims(text(good[i]), &claims), 0);
        assert_int_equal(claims.who.rev, 42);
        assert_memory_equal(claims.who.name, "alice", 5);
        assert_int_equal(claims.who.len, 5);
        assert_true(jwt_claims_hold(&claims, NOW));
    }
}

static void test_claims_that_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "\"x\"",
        "{}",
        "{\"username\":\"a\"}",
        "{\"revision\":1}",
        "{\"username\":1,\"revision\":1}",
        "{\"username\":null,\"revision\":1}",
        "{\"username\":\"a\",\"revision\":\"1\"}",
        "{\"username\":\"a\",\"revision\":true}",
        "{\"username\":\"a\",\"revision\":42,\"exp\":1.7e9e0}",
        "{\"username\":\"a\",\"revision\":-1}",
        "{\"username\":\"a\",\"revision\":1e30}",
        "{\"username\":\"a\",\"revision\":NaN}",
        "{\"username\":\"a\",\"revision\":1,\"exp\":\"5\"}",
        "{\"username\":\"a\",\"revision\":1,\"exp\":1e300}",
        "{\"username\":\"a\",\"revision\":1,\"nbf\":null}",
        "{\"username\":\"a\",\"revision\":1}x",
        "{\"username\":\"a\",\"revision\":1}{}",
        "{\"username\":\"a\",\"revision\":1",
        "{'username':'a','revision':1}",
        "{\"username\":\"a\",/**/\"revision\":1}",
    };
    char long_name[AUTH_NAME_MAX + 80];
    struct jwt_claims claims;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(jwt_read_claims(text(bad[i]), &claims),
                         ERR_AUTH_TOKEN);
    (void)snprintf(long_name, sizeof(long_name),
                   "{\"username\":\"%0512d\",\"revision\":1}", 0);
    assert_int_equal(jwt_read_claims(text(long_name), &claims), ERR_AUTH_TOKEN);
}

static void test_before_and_after(void **state)
{
    struct jwt_claims claims;

    (void)state;
    assert_int_equal(jwt_read_claims(text("{\"username\":\"a\",\"revision\":1,"
                                          "\"nbf\":1000.9,\"exp\":2000.9}"),
                                     &claims),
                     0);
    assert_false(jwt_claims_hold(&claims, 1000 * S - 1));
    assert_true(jwt_claims_hold(&claims, 1000 * S));
    assert_true(jwt_claims_hold(&claims, 2000 * S - 1));
    assert_false(jwt_claims_hold(&claims, 2000 * S));
}

/* ---- settings ---- */

static void assert_refused(const char *options, const char *names)
{
    struct auth_tokens *tokens;
    struct errmsg msg = {""};

    assert_int_not_equal(auth_tokens_open(options, 0, &tokens, &msg), 0);
    if (strstr(msg.text, names) == NULL)
        fail_msg("%s: %s", options, msg.text);
}

static void test_settings_that_are_refused(void **state)
{
    const struct keys *k = *state;
    char options[512];

    assert_refused("jwt", "sign-method");
    assert_refused("jwt,sign-method=none", "sign-method");
    assert_refused("jwt,sign-method=rs256", "sign-method");
    assert_refused("jwt,sign-method", "name=value");
    assert_refused("jwt,sign-method=RS256=x", "name=value");
    assert_refused("jwt,sign-method=RS256,sign-method=RS256", "twice");
    assert_refused("jwt,sign-method=RS256", "priv-key");
    assert_refused("jwt,sign-method=HS256", "priv-key");
    assert_refused("jwt,sign-method=HS256,priv-key=/nowhere", "/nowhere");
    assert_refused("jwt,sign-method=HS256,priv-key=/dev/null", "empty");
    assert_refused("jwt,sign-method=RS256,priv-key=/dev/null", "/dev/null");
#define REFUSED(names, ...)                                                    \
    do {                                                                       \
        (void)snprintf(options, sizeof(options), __VA_ARGS__);                 \
        assert_refused(options, names);                                        \
    } while (0)
    REFUSED("RSA", "jwt,sign-method=RS256,priv-key=%s", k->ec);
    REFUSED("EC", "jwt,sign-method=ES256,pub-key=%s", k->rsa_pub);
    REFUSED("ED25519", "jwt,sign-method=EdDSA,priv-key=%s", k->rsa);
    REFUSED("private", "jwt,sign-method=RS256,priv-key=%s", k->rsa_pub);
    REFUSED("384 bits", "jwt,sign-method=ES384,priv-key=%s", k->ec);
    REFUSED("match", "jwt,sign-method=ES256,priv-key=%s,pub-key=%s", k->ec,
            k->ec521_pub);
    REFUSED("ttl", "jwt,sign-method=HS256,priv-key=%s,ttl=5", k->secret);
    REFUSED("ttl", "jwt,sign-method=HS256,priv-key=%s,ttl=-5s", k->secret);
}

static void test_settings_that_are_taken(void **state)
{
    const struct keys *k = *state;
    struct auth_tokens *tokens;
    struct errmsg msg;
    char options[512];

    (void)snprintf(options, sizeof(options),
                   "jwt,sign-method=RS256,pub-key=%s,priv-key=%s,ttl=10m",
                   k->rsa_pub, k->rsa);
    assert_int_equal(auth_tokens_open(options, 0, &tokens, &msg), 0);
    auth_tokens_close(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_method),
        cmocka_unit_test(test_no_other_method_is_taken),
        cmocka_unit_test(test_changed_tokens),
        cmocka_unit_test(test_a_public_key_is_no_secret),
        cmocka_unit_test(test_more_tokens_than_are_kept),
        cmocka_unit_test(test_what_is_signed),
        cmocka_unit_test(test_claims_that_are_taken),
        cmocka_unit_test(test_claims_that_are_refused),
        cmocka_unit_test(test_before_and_after),
        cmocka_unit_test(test_settings_that_are_refused),
        cmocka_unit_test(test_settings_that_are_taken),
    };

    return cmocka_run_group_tests(tests, make_keys, remove_keys);
}
