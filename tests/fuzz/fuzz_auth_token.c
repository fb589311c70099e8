/* What a client shows as its token: simple ones, signed ones, and the claims
 * in these, which only whoever has the key can choose. */
#include "auth/jwt.h"
#include "chorad/base/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW UINT64_C(1700000000000000000)

static struct jwt *open_jwt(void)
{
    static const struct jwt_options options = {"HS256", "", "/proc/version",
                                               ""};
    struct jwt *jwt;

    CHECK(jwt_open(&options, &jwt, NULL) == 0);
    return jwt;
}

static void try_claims(struct bytes json)
{
    struct jwt_claims claims;

    (void)jwt_read_header(json, "HS256");
    if (jwt_read_claims(json, &claims) == 0) {
        CHECK(claims.who.len <= AUTH_NAME_MAX);
        (void)jwt_claims_hold(&claims, NOW);
    }
}

/* Signs the input as the user's name: it has to come back. */
static void try_signed(struct jwt *jwt, struct bytes name)
{
    struct buf token = {0};
    struct auth_who who;

    if (name.len > AUTH_NAME_MAX ||
        (name.len > 0 && memchr(name.data, 0, name.len) != NULL))
        return;
    CHECK(jwt_sign(jwt, name, 7, NOW, &token) == 0);
    CHECK(jwt_identify(jwt, bytes_of(token.data, token.len), NOW, &who) == 0);
    CHECK(who.rev == 7 && bytes_cmp(auth_name(&who), name) == 0);
    buf_close(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwt *jwt;
    struct bytes input = {data, size};
    struct auth_who who;
    uint64_t index;

    if (jwt == NULL)
        jwt = open_jwt();
    (void)simple_token_index(input, &index);
    CHECK(jwt_identify(jwt, input, NOW, &who) == ERR_AUTH_TOKEN);
    try_claims(input);
    try_signed(jwt, input);
    return 0;
}
