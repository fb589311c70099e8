/* Which kind of token there is, and what --auth-token says about it. */
#include "tokens.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIMPLE_TTL_S 300
#define NS_PER_S UINT64_C(1000000000)

/* Of neither kind: nobody gets a token. */
struct auth_tokens {
    struct simple_tokens *simple;
    struct jwt *jwt;
};

/* ---- the settings ---- */

struct jwt_setting {
    const char *name;
    const char **value;
};

static int take_setting(char *option, const struct jwt_setting *settings,
                        size_t n, struct errmsg *msg)
{
    char *value = strchr(option, '=');

    if (value == NULL || strchr(value + 1, '=') != NULL)
        return err_set(msg, ERR_INVALID,
                       "--auth-token: \"%s\" is not of the form name=value",
                       option);
    *value++ = '\0';
    for (size_t i = 0; i < n; i++) {
        if (strcmp(option, settings[i].name) != 0)
            continue;
        if (*settings[i].value != NULL)
            return err_set(msg, ERR_INVALID, "--auth-token: %s comes twice",
                           option);
        *settings[i].value = value;
        return 0;
    }
    log_warn("an option of --auth-token has no effect",
             LOG_STR("option", option));
    return 0;
}

static int open_jwt(char *rest, struct jwt **out, struct errmsg *msg)
{
    struct jwt_options options = {NULL, NULL, NULL, NULL};
    const struct jwt_setting settings[] = {
        {"sign-method", &options.method},
        {"pub-key", &options.public_key},
        {"priv-key", &options.private_key},
        {"ttl", &options.ttl},
    };
    size_t n = sizeof(settings) / sizeof(settings[0]);
    char *option;

    while ((option = strsep(&rest, ",")) != NULL) {
        int rc = take_setting(option, settings, n, msg);

        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < n; i++)
        if (*settings[i].value == NULL)
            *settings[i].value = "";
    return jwt_open(&options, out, msg);
}

int auth_tokens_open(const char *options, uint64_t simple_ttl_s,
                     struct auth_tokens **out, struct errmsg *msg)
{
    struct auth_tokens *tokens = mem_zalloc(sizeof(*tokens));
    char *copy = mem_strdup(options);
    char *rest = copy;
    const char *kind = strsep(&rest, ",");
    int rc = 0;

    if (simple_ttl_s == 0 || simple_ttl_s > UINT64_MAX / NS_PER_S / 2)
        simple_ttl_s = SIMPLE_TTL_S;
    if (strcmp(kind, "simple") == 0)
        tokens->simple = simple_tokens_new(simple_ttl_s * NS_PER_S);
    else if (strcmp(kind, "jwt") == 0)
        rc = open_jwt(rest, &tokens->jwt, msg);
    else if (kind[0] != '\0')
        rc = err_set(msg, ERR_INVALID,
                     "--auth-token: there is no kind of token \"%s\", only "
                     "simple and jwt",
                     kind);
    free(copy);
    if (rc < 0)
        auth_tokens_close(tokens);
    else
        *out = tokens;
    return rc;
}

void auth_tokens_close(struct auth_tokens *tokens)
{
    if (tokens == NULL)
        return;
    simple_tokens_free(tokens->simple);
    jwt_close(tokens->jwt);
    free(tokens);
}

/* ---- giving them out ---- */

bool auth_signs(const struct auth *auth)
{
    return auth->tokens->jwt != NULL;
}

int auth_sign(const struct auth *auth, struct bytes name, uint64_t rev,
              uint64_t wall_ns, struct buf *out)
{
    return jwt_sign(auth->tokens->jwt, name, rev, wall_ns, out);
}

size_t auth_new_prefix(const struct auth *auth, char out[AUTH_PREFIX_LEN])
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    uint8_t byte;

    if (auth->tokens->simple == NULL)
        return 0;
    for (size_t i = 0; i < AUTH_PREFIX_LEN;) {
        random_bytes(&byte, 1);
        /* The greatest multiple of 52 in a byte: each letter is as likely. */
        if (byte < 208)
            out[i++] = letters[byte % 52];
    }
    return AUTH_PREFIX_LEN;
}

int auth_assign(struct auth *auth, struct bytes name, struct bytes prefix,
                uint64_t index, uint64_t mono_ns, struct buf *token)
{
    const struct user *user = named_find(&auth->users, name);
    struct auth_tokens *tokens = auth->tokens;
    char number[24];
    size_t start = token->len;

    if (!auth_enabled(auth))
        return ERR_AUTH_NOT_ENABLED;
    if (user == NULL || user->no_password)
        return ERR_AUTH_FAILED;
    if (tokens->jwt != NULL)
        return 0;
    if (tokens->simple == NULL)
        return ERR_AUTH_FAILED;
    buf_append(token, prefix.data, prefix.len);
    buf_append(token, number,
               (size_t)snprintf(number, sizeof(number), ".%" PRIu64, index));
    simple_tokens_give(tokens->simple,
                       bytes_of(token->data + start, token->len - start), name,
                       mono_ns);
    return 0;
}

void tokens_forget_user(struct auth_tokens *tokens, struct bytes user)
{
    if (tokens->simple != NULL)
        simple_tokens_forget(tokens->simple, user);
}

void tokens_forget_all(struct auth_tokens *tokens)
{
    if (tokens->simple != NULL)
        simple_tokens_forget_all(tokens->simple);
}

void auth_expire_tokens(struct auth *auth, uint64_t mono_ns)
{
    if (auth->tokens->simple != NULL)
        simple_tokens_expire(auth->tokens->simple, mono_ns);
}

/* ---- recognising them ---- */

struct auth_who auth_who_named(const struct auth *auth, struct bytes name)
{
    struct auth_who who = {.rev = 0};

    if (name.len > AUTH_NAME_MAX)
        return who;
    who.rev = auth_revision(auth);
    who.len = name.len;
    if (name.len > 0)
        memcpy(who.name, name.data, name.len);
    return who;
}

struct bytes auth_bare_token(struct bytes value)
{
    static const char bearer[] = "Bearer ";
    size_t len = sizeof(bearer) - 1;

    if (value.len >= len && memcmp(value.data, bearer, len) == 0)
        return bytes_of(value.data + len, value.len - len);
    return value;
}

int auth_identify(struct auth *auth, struct bytes token, uint64_t mono_ns,
                  uint64_t wall_ns, struct auth_who *who)
{
    struct auth_tokens *tokens = auth->tokens;

    who->rev = 0;
    if (tokens->jwt != NULL)
        return jwt_identify(tokens->jwt, token, wall_ns, who);
    /* The revision first: what a token is good for may end right after. */
    uint64_t rev = auth_revision(auth);
    if (tokens->simple == NULL ||
        !simple_tokens_find(tokens->simple, token, mono_ns, who))
        return ERR_AUTH_TOKEN;
    who->rev = rev;
    return 0;
}

bool auth_token_pending(struct auth *auth, struct bytes token, uint64_t applied,
                        uint64_t mono_ns, uint64_t *index)
{
    struct auth_who who;

    if (auth->tokens->simple == NULL || !simple_token_index(token, index) ||
        *index == UINT64_MAX || ++*index <= applied)
        return false;
    return !simple_tokens_find(auth->tokens->simple, token, mono_ns, &who);
}
