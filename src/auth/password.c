/* Passwords, hashed by bcrypt (Provos, Mazieres, USENIX 1999) in the form of
 * Go's package: $2a$, two digits of cost, 22 of salt, 31 of hash. */
#include "chorad/auth.h"
#include "chorad/base/clock.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_MAX 72
#define SALT_BYTES 16
#define SALT_LEN 22
#define HASH_LEN 31
/* "$2b$10$" */
#define HEAD_LEN 7
#define TEXT_LEN (HEAD_LEN + SALT_LEN + HASH_LEN)

/* $2b$ is how libcrypt calls what Go calls $2a$; its own $2a$ guards against
 * hashes of a broken implementation, and differs for a few passwords. */
static const char *hash(struct bytes password, const char *setting,
                        struct crypt_data *data)
{
    char text[PASSWORD_MAX + 1];
    const char *out;

    if (password.len > 0)
        memcpy(text, password.data, password.len);
    text[password.len] = '\0';
    memset(data, 0, sizeof(*data));
    out = crypt_rn(text, setting, data, (int)sizeof(*data));
    OPENSSL_cleanse(text, sizeof(text));
    return out != NULL && strlen(out) == TEXT_LEN ? out : NULL;
}

static bool has_zero(struct bytes password)
{
    return password.len > 0 && memchr(password.data, 0, password.len) != NULL;
}

int auth_hash_password(struct bytes password, unsigned cost, struct buf *out)
{
    struct crypt_data *data;
    uint8_t random[SALT_BYTES];
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    const char *text = NULL;

    if (password.len > PASSWORD_MAX)
        return ERR_PASSWORD_TOO_LONG;
    if (has_zero(password))
        return ERR_PASSWORD_ZERO;
    random_bytes(random, sizeof(random));
    data = mem_alloc(sizeof(*data));
    if (crypt_gensalt_rn("$2b$", cost, (const char *)random, sizeof(random),
                         setting, sizeof(setting)) != NULL)
        text = hash(password, setting, data);
    if (text != NULL) {
        buf_append(out, "$2a", 3);
        buf_append(out, text + 3, TEXT_LEN - 3);
    }
    OPENSSL_cleanse(data, sizeof(*data));
    free(data);
    return text != NULL ? 0 : ERR_INVALID;
}

/* Cuts "$2a$10$" or "$2$10$" off; the cost, or -1. */
static int take_head(struct bytes *text)
{
    size_t at = 2;
    int cost;

    if (text->len < TEXT_LEN - 1 || memcmp(text->data, "$2", 2) != 0)
        return -1;
    if (text->data[at] != '$')
        at++;
    at++;
    if (text->data[at] < '0' || text->data[at] > '9' ||
        text->data[at + 1] < '0' || text->data[at + 1] > '9')
        return -1;
    cost = (text->data[at] - '0') * 10 + text->data[at + 1] - '0';
    *text = bytes_of(text->data + at + 3, text->len - at - 3);
    return cost >= AUTH_COST_MIN && cost <= AUTH_COST_MAX ? cost : -1;
}

bool auth_password_matches(struct bytes stored, struct bytes password)
{
    int cost = take_head(&stored);
    char setting[HEAD_LEN + SALT_LEN + 1];
    struct crypt_data *data;
    const char *text;
    bool same;

    if (cost < 0 || stored.len < SALT_LEN + HASH_LEN)
        return false;
    /* What is behind 72 bytes has no part in the hash. */
    if (password.len > PASSWORD_MAX)
        password.len = PASSWORD_MAX;
    if (has_zero(password))
        return false;
    (void)snprintf(setting, sizeof(setting), "$2b$%02u$", (unsigned)cost % 100);
    memcpy(setting + HEAD_LEN, stored.data, SALT_LEN);
    setting[HEAD_LEN + SALT_LEN] = '\0';
    data = mem_alloc(sizeof(*data));
    text = hash(password, setting, data);
    same = text != NULL && CRYPTO_memcmp(text + HEAD_LEN + SALT_LEN,
                                         stored.data + SALT_LEN, HASH_LEN) == 0;
    OPENSSL_cleanse(data, sizeof(*data));
    free(data);
    return same;
}
